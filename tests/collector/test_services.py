"""A service's regulation: what it does not name is refused at capture, and counted."""

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from collector.policy import Service
from tests.asgi import get
from tests.collector.test_middleware import Site, page
from tests.policies import EVERYTHING, NECESSARY, measured, policy, purpose, version

SHOP = Service("shop", "/product", {"visitor": "mandatory", "path": "optional"}, 30)
RULES = policy(version(NECESSARY, purpose("statistics", EVERYTHING), services=(SHOP,)))


def test_what_a_service_does_not_name_is_counted() -> None:
    """Two views of the shop: each granted field that it does not name was refused twice, others never."""
    site = Site(RULES)
    visitor = site.grant()
    for target in ("/product/1", "/product/2", "/"):
        get(site.collector, target, headers=[visitor])
    shop = [view for view in site.views() if view.service == "shop"]
    assert [(view.path, view.country, view.browser) for view in shop] == [
        ("/product/1", None, None),
        ("/product/2", None, None),
    ]
    refused = site.collector.writer.counters()["unnamed"]
    assert refused["shop.country"] == refused["shop.browser"] == 2
    assert "shop.path" not in refused and "shop.visitor" not in refused
    assert "shop.scroll" not in refused, "a view the server counts has none"
    assert all(name.startswith("shop.") for name in refused)


@pytest.mark.parametrize(
    ("mount", "inside", "outside"),
    [
        ("/магазин", "/%D0%BC%d0%b0%D0%B3%D0%B0%D0%B7%D0%B8%D0%BD/x", "/%D0%BC/x"),
        ("/%D0%BC", "/%d0%bc", "/%D0%BD"),
        ("/club/1234567", "/club/1234567/x", "/club/7654321/x"),
        ("/my-shop@home", "/my-shop%40home/x", "/my-shop@work/x"),
        ("/shop", "/api/../shop//x", "/shopping"),
    ],
)
def test_a_mount_is_met_however_it_is_spelt_and_whatever_it_looks_like(
    mount: str, inside: str, outside: str
) -> None:
    """Percent-encoded or not, and where a record would blank it: a neighbour of the same looks is outside."""
    site = Site(
        policy(version(measured(EVERYTHING), services=(Service("shop", mount, {"path": "mandatory"}, 30),))),
        Starlette(routes=[Route("/{path:path}", page)]),
    )
    for target in (inside, outside):
        get(site.collector, target)
    assert [(view.service, view.country) for view in site.views()] == [("shop", None), (None, "NL")]


def test_a_consent_given_within_a_service_proves_who_gave_it() -> None:
    """A regulation that names no pseudonym is about visits, and leaves the proof of a consent alone."""
    nameless = Service("shop", "/product", {"path": "mandatory"}, 30)
    site = Site(policy(version(NECESSARY, purpose("statistics", EVERYTHING), services=(nameless,))))
    get(site.collector, "/", headers=[site.grant(u="/product/1")])
    consent, shop, home = site.records()
    assert (consent.kind, consent.service, shop.service) == ("consent", "shop", "shop")
    assert consent.visitor == home.visitor is not None
    assert shop.visitor is None
    assert site.collector.writer.counters()["unnamed"]["shop.visitor"] == 1, "of the view alone"


def test_what_no_purpose_grants_is_not_refused_by_the_service() -> None:
    """A field that was not granted was never asked of the service."""
    coarse = policy(version(NECESSARY, purpose("statistics", {"page": "path"}), services=(SHOP,)))
    site = Site(coarse)
    get(site.collector, "/product/1", headers=[site.grant()])
    site.records()
    assert set(site.collector.writer.counters()["unnamed"]) <= {
        f"shop.{name}"
        for name in ("visitor", "cohort", "route", "referrer", "utm_source", "utm_medium", "utm_campaign")
    }
