"""A new version of the policy, around midnight UTC and across workers: wider asks, narrower holds at once."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from collector import Collector, granted, must_ask
from collector.policy import Policy, Service
from collector.record import DAY_MS, Record, decode, frames
from tests.asgi import Answer, call, cookie_header, get, http_scope
from tests.policies import EVERYTHING, NECESSARY, policy, purpose, version

CHANGE = date(2026, 11, 25)
MIDNIGHT_MS = (CHANGE - date(1970, 1, 1)).days * DAY_MS
SHOP = Service("shop", "/product", {"visitor": "mandatory", "path": "optional"}, 30)
COARSE = {"cookie": "long-lived", "time": "minute", "page": "route", "browser": "family"}


def changed(before: dict[str, str], after: dict[str, str], recipients: tuple[str, ...] = ()) -> Policy:
    """A policy whose purpose `statistics` changes at midnight."""
    return policy(
        version(NECESSARY, purpose("statistics", before)),
        version(
            NECESSARY,
            purpose("statistics", after, recipients=recipients),
            version_id="v2",
            effective=CHANGE,
        ),
    )


async def page(request: Request) -> Response:
    if request.url.path == "/holds":
        return JSONResponse({"ask": must_ask(request.scope), "granted": sorted(granted(request.scope))})
    return HTMLResponse("<!doctype html><title>page</title>")


class Site:
    """Two workers on one data directory, with a clock of the test's, and one browser."""

    def __init__(self, rules: Policy, data: Path) -> None:
        self.now_ms = MIDNIGHT_MS - 3_600_000
        self.data = data
        self._cookies: list[Answer] = []
        self.workers = [
            Collector(
                Starlette(routes=[Route("/{path:path}", page)]),
                policy=rules,
                data=data,
                clock=lambda: self.now_ms,
            )
            for _ in range(2)
        ]

    @property
    def cookies(self) -> tuple[tuple[str, str], ...]:
        """The browser's header."""
        return (cookie_header(*self._cookies),) if self._cookies else ()

    def choose(self, act: str, worker: int = 0) -> None:
        """Grant or refuse everything."""
        headers = [("sec-fetch-site", "same-origin"), ("content-type", "application/json"), *self.cookies]
        scope = http_scope("/_impersonal/consent", "POST", headers)
        answer = asyncio.run(call(self.workers[worker], scope, b'{"act": "%b"}' % act.encode()))
        assert answer.status == 200
        self._cookies.append(answer)

    def view(self, at_ms: int, path: str = "/shoes") -> None:
        """Look at a page, served by each worker."""
        self.now_ms = at_ms
        for worker in self.workers:
            assert get(worker, path, headers=self.cookies).status == 200

    def asks(self, at_ms: int) -> bool:
        """Whether the visitor is asked; all workers agree."""
        self.now_ms = at_ms
        (found,) = {get(worker, "/holds", headers=self.cookies).body for worker in self.workers}
        return b'"ask":true' in found

    def records(self) -> list[Record]:
        """The page views on disk, oldest first."""
        for worker in self.workers:
            worker.writer.stop()
            assert worker.writer.counters()["errors"] == {}
        found = [
            decode(each.payload)
            for path in sorted((self.data / "logs").rglob("*.log"))
            for each in frames(path.read_bytes())
            if each.payload
        ]
        return sorted((each for each in found if each.kind == "view"), key=lambda each: each.ts_ms)


def said(records: Iterable[Record]) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(each.policy, each.consent, each.path, each.country) for each in records]


@pytest.mark.parametrize("recipients", [(), ("A partner",)])
def test_a_wider_version_asks_again_and_records_under_the_old_one_until_it_is_answered(
    recipients: tuple[str, ...], tmp_path: Path
) -> None:
    """In both workers from the first millisecond of its day on, and not one before."""
    site = Site(changed(COARSE, EVERYTHING, recipients), tmp_path)
    assert site.asks(MIDNIGHT_MS - 1), "nothing was chosen yet"
    site.choose("grant")
    assert not site.asks(MIDNIGHT_MS - 1)
    assert site.asks(MIDNIGHT_MS)
    site.view(MIDNIGHT_MS - 1)
    site.view(MIDNIGHT_MS)
    site.choose("grant", worker=1)
    assert not site.asks(MIDNIGHT_MS + 1)
    site.view(MIDNIGHT_MS + 61_000)
    assert said(site.records()) == [
        *2 * [("v1", "v1", None, None)],
        *2 * [("v2", "v1", None, None)],
        *2 * [("v2", "v2", "/shoes", "NL")],
    ]


def test_a_narrower_version_holds_at_once_and_asks_nobody(tmp_path: Path) -> None:
    """From midnight on the finer fields are gone, under the consent that was given before."""
    site = Site(changed(EVERYTHING, COARSE), tmp_path)
    site.choose("grant")
    site.view(MIDNIGHT_MS - 1)
    site.view(MIDNIGHT_MS)
    assert not site.asks(MIDNIGHT_MS)
    assert said(site.records()) == [
        *2 * [("v1", "v1", "/shoes", "NL")],
        *2 * [("v2", "v1", None, None)],
    ]


def choose(site: Site, body: str) -> None:
    """A form of the site."""
    headers = [("sec-fetch-site", "same-origin"), *site.cookies]
    answer = asyncio.run(
        call(site.workers[0], http_scope("/_impersonal/consent", "POST", headers), body.encode())
    )
    assert answer.status == 303
    site._cookies.append(answer)


def ticked(site: Site) -> dict[str, bool]:
    """The boxes of the privacy page."""
    shown = get(site.workers[0], "/_impersonal/privacy", headers=site.cookies).body.decode()
    boxes = re.findall(r'name="purposes" value="(\w+)"\s+(checked)?', shown)
    return {name: bool(is_ticked) for name, is_ticked in boxes}


def test_neither_the_privacy_page_nor_a_withdrawal_widens_a_consent(tmp_path: Path) -> None:
    """What asks for more than before is not ticked there, and what a withdrawal leaves stays as it was."""
    kept = purpose("advertising", COARSE), purpose("improvement", COARSE)
    rules = policy(
        version(NECESSARY, purpose("statistics", COARSE), *kept),
        version(
            NECESSARY,
            purpose("statistics", EVERYTHING, recipients=("A broker",)),
            *kept,
            purpose("services", access="exempt", basis="legitimate_interests", default="granted"),
            version_id="v2",
            effective=CHANGE,
        ),
    )
    site = Site(rules, tmp_path)
    site.choose("grant")
    boxes = dict.fromkeys(("necessary", "statistics", "advertising", "improvement"), True)
    assert ticked(site) == boxes
    site.now_ms = MIDNIGHT_MS
    assert ticked(site) == boxes | {"statistics": False, "services": True}
    choose(site, "act=withdraw&purposes=advertising")
    assert site.asks(MIDNIGHT_MS)
    site.view(MIDNIGHT_MS)
    held = ("improvement", "necessary", "services", "statistics")
    site.now_ms += 1
    choose(site, "act=withdraw&purposes=services")  # of which the older version says nothing
    site.view(MIDNIGHT_MS + 60_000)
    assert ticked(site) == dict.fromkeys(boxes, False) | {
        "necessary": True,
        "improvement": True,
        "services": False,
    }
    assert site.asks(MIDNIGHT_MS + 60_000), "what widened is still to be decided on"
    site.now_ms += 60_000
    choose(site, "act=withdraw")
    assert not site.asks(MIDNIGHT_MS + 120_000), "as after a refusal"
    records = site.records()
    assert said(records) == 4 * [("v2", "v1", None, None)]
    left = tuple(name for name in held if name != "services")
    assert [each.purposes for each in records] == [*2 * [held], *2 * [left]]


@pytest.mark.parametrize("order", [("services", "statistics"), ("statistics", "services")])
def test_who_turned_off_all_that_widened_is_not_asked_again(order: tuple[str, str], tmp_path: Path) -> None:
    """One purpose widened and one is new: turned off one after the other, each is asked about until then, and
    holds no more under a still newer version; what was granted before stays."""
    services = purpose("services", access="exempt", basis="legitimate_interests", default="granted")
    kept = NECESSARY, purpose("improvement", COARSE)
    rules = policy(
        version(*kept, purpose("statistics", COARSE)),
        version(*kept, services, purpose("statistics", EVERYTHING), version_id="v2", effective=CHANGE),
        version(
            *kept,
            services,
            purpose("statistics", EVERYTHING),
            version_id="v3",
            effective=date(2026, 11, 26),
        ),
    )
    site = Site(rules, tmp_path)
    site.choose("grant")
    site.now_ms = MIDNIGHT_MS
    for name in order:
        assert site.asks(site.now_ms)
        choose(site, f"act=withdraw&purposes={name}")
        site.now_ms += 1
    for now_ms in (MIDNIGHT_MS + 2, MIDNIGHT_MS + DAY_MS):
        assert not site.asks(now_ms)
        boxes = {"necessary": True, "improvement": True, "services": False, "statistics": False}
        assert ticked(site) == boxes
    site.choose("grant")
    assert ticked(site) == dict.fromkeys(boxes, True)


@pytest.mark.parametrize("act", ["grant", "refuse"])
def test_what_cannot_be_refused_and_widens_is_told_to_who_chose_before(act: str, tmp_path: Path) -> None:
    """By a banner that keeps the choice, and with its date on the privacy page, from its day on, until they
    choose again; and to who did not choose before it is nothing new."""
    wider = purpose("necessary", COARSE, access="exempt", basis="contract", recipients=("Couriers",))
    before = version(NECESSARY, purpose("statistics", COARSE))
    after = version(wider, purpose("statistics", COARSE), version_id="v2", effective=CHANGE)
    site = Site(policy(before, after), tmp_path)

    def told() -> list[str]:
        shown = get(site.workers[0], "/_impersonal/privacy", headers=site.cookies).body.decode()
        assert f"modified on {CHANGE if site.now_ms >= MIDNIGHT_MS else '2026-01-01'}" in shown
        since = r"You chose under version v1\. Since then, last on 2026-11-25, .*?<ul>(.*?)</ul>"
        found = re.search(since, shown, re.DOTALL)
        return re.findall("<li>(.*?)</li>", found[1]) if found else []

    site.now_ms = MIDNIGHT_MS
    assert told() == [], "nothing was chosen yet"
    site.now_ms = MIDNIGHT_MS - 1
    site.choose(act)
    assert told() == []
    site.now_ms = MIDNIGHT_MS
    assert site.asks(MIDNIGHT_MS)
    assert "adds the recipient Couriers to necessary" in told() and len(told()) > 1
    shown = get(site.workers[0], "/_impersonal/banner", headers=site.cookies).body.decode()
    assert "What is always on now takes in more" in shown
    first = shown.split("<details")[0]
    assert re.findall(r'value="(\w+)">(.*?)</button>', first) == [("keep", "Keep my choice")]
    choose(site, "act=keep&by=banner")
    assert told() == [] and not site.asks(MIDNIGHT_MS)
    assert ticked(site) == {"necessary": True, "statistics": act == "grant"}
    site.view(MIDNIGHT_MS + 61_000)
    assert {(each.policy, each.consent, each.purposes) for each in site.records()} == {
        ("v2", "v2", ("necessary", "statistics") if act == "grant" else ("necessary",))
    }


@pytest.mark.parametrize("act", ["keep", "withdraw&purposes=advertising"])
def test_what_was_withdrawn_elsewhere_is_neither_kept_nor_left(act: str, tmp_path: Path) -> None:
    """An older cookie still grants it, as from a back-up of the browser; the visitor's later word stands."""
    purposes = purpose("statistics", COARSE), purpose("advertising", COARSE), purpose("improvement", COARSE)
    wider = purpose("necessary", COARSE, access="exempt", basis="contract", recipients=("Couriers",))
    rules = policy(
        version(NECESSARY, *purposes), version(wider, *purposes, version_id="v2", effective=CHANGE)
    )
    site = Site(rules, tmp_path)
    site.choose("grant")
    older = list(site._cookies)
    choose(site, "act=withdraw&purposes=statistics")
    site._cookies = older
    site.now_ms = MIDNIGHT_MS
    choose(site, f"act={act}")
    left = {"advertising", "improvement"} if act == "keep" else {"improvement"}
    assert {name for name, is_on in ticked(site).items() if is_on} == {"necessary", *left}


def test_a_purpose_that_is_new_is_asked_for_and_not_assumed(tmp_path: Path) -> None:
    """Who granted everything before granted what there was."""
    before = version(NECESSARY, purpose("statistics", COARSE))
    after = version(
        NECESSARY,
        purpose("statistics", COARSE),
        purpose("advertising", EVERYTHING),
        version_id="v2",
        effective=CHANGE,
    )
    site = Site(policy(before, after), tmp_path)
    site.choose("grant")
    assert site.asks(MIDNIGHT_MS)
    site.view(MIDNIGHT_MS)
    assert [each.purposes for each in site.records()] == 2 * [("necessary", "statistics")]


def test_a_refusal_outlives_a_wider_version_as_a_refusal(tmp_path: Path) -> None:
    """Who refused is asked about what is new, and nothing is recorded meanwhile."""
    site = Site(changed(COARSE, EVERYTHING), tmp_path)
    site.choose("refuse")
    site.view(MIDNIGHT_MS)
    assert site.asks(MIDNIGHT_MS)
    assert site.records() == []


@pytest.mark.parametrize("later", [(replace(SHOP, fields={**SHOP.fields, "country": "optional"}),), ()])
def test_a_consent_covers_no_field_that_its_version_kept_from_a_service(
    later: tuple[Service, ...], tmp_path: Path
) -> None:
    """A version that names another, or ends the regulation, asks again; until then the older one binds."""
    purposes = NECESSARY, purpose("statistics", EVERYTHING)
    before = version(*purposes, services=(SHOP,))
    after = version(*purposes, services=later, version_id="v2", effective=CHANGE)
    site = Site(policy(before, after), tmp_path)
    site.choose("grant")
    assert not site.asks(MIDNIGHT_MS - 1)
    site.view(MIDNIGHT_MS - 1, "/product/1")
    assert site.asks(MIDNIGHT_MS)
    site.view(MIDNIGHT_MS, "/product/1")
    site.choose("grant")
    site.view(MIDNIGHT_MS + 61_000, "/product/1")
    assert said(site.records()) == [
        *2 * [("v1", "v1", "/product/1", None)],
        *2 * [("v2", "v1", "/product/1", None)],
        *2 * [("v2", "v2", "/product/1", "NL")],
    ]


def test_a_narrower_regulation_asks_nobody() -> None:
    """A service that names less, or is new, holds at once."""
    purposes = NECESSARY, purpose("statistics", EVERYTHING)
    less = replace(SHOP, fields={"path": "mandatory"})
    before, after = version(*purposes, services=(SHOP,)), version(*purposes, services=(less,))
    assert not after.widened(before)
    assert not before.widened(version(*purposes))
    assert before.widened(after) == version(*purposes).widened(before) == {"statistics"}


def test_a_view_that_waits_in_the_queue_is_of_the_day_it_was_seen(tmp_path: Path) -> None:
    """Seen a millisecond before midnight and written after it: the old version's record, in the old day."""
    site = Site(changed(EVERYTHING, COARSE), tmp_path)
    site.choose("grant")
    site.now_ms = MIDNIGHT_MS - 1
    get(site.workers[0], "/shoes", headers=site.cookies)
    site.now_ms = MIDNIGHT_MS + 5_000
    assert said(site.records()) == [("v1", "v1", "/shoes", "NL")]
    days = {path.parent.name for path in (tmp_path / "logs").rglob("*.log")}
    assert days == {"2026-11-24"}
