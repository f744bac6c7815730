"""What visitors say of themselves: checked by type, gated by purpose, the same on every device."""

import asyncio
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collector import Collector, ConfigurationError, DeclarationError, MemorySink, alter, declare, declared
from collector.declared import checked, read
from collector.policy import Attribute, Policy
from tests.asgi import Answer, cookie_header, get, http_scope, post
from tests.policies import EVERYTHING, NECESSARY, measured, policy, purpose, version

ATTRIBUTES = (
    Attribute("age_band", "choice", "statistics", 90, "Your age.", options=("18-24", "25-34")),
    Attribute("city", "text", "advertising", 90, "Your city.", mandatory=True),
    Attribute("orders", "integer", "necessary", 90, "How often you ordered."),
)
RULES = policy(
    replace(
        version(NECESSARY, purpose("statistics", EVERYTHING), purpose("advertising", EVERYTHING)),
        declared={attribute.name: attribute for attribute in ATTRIBUTES},
    )
)
FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")


async def _declare(request: Request) -> Response:
    """Declares what the query says, numbers as numbers."""
    values = {name: int(text) if text.isdecimal() else text for name, text in request.query_params.items()}
    try:
        return JSONResponse(sorted(await declare(request.scope, **values)))
    except (ConfigurationError, DeclarationError) as error:
        return JSONResponse(str(error), 400)


async def _alter(request: Request) -> Response:
    return JSONResponse(sorted(await alter(request.scope, **request.query_params)))


async def _declared(request: Request) -> Response:
    found = await declared(request.scope)
    return JSONResponse({name: [value.value, value.public] for name, value in found.items()})


APP = Starlette(routes=[Route("/declare", _declare), Route("/alter", _alter), Route("/declared", _declared)])


class Site:
    """A host with declared attributes, and one of its visitors."""

    def __init__(self, data: Path, rules: Policy = RULES, **options: Any) -> None:
        self.collector = Collector(APP, policy=rules, data=data, sink=MemorySink(), **options)

    def choose(self, act: str, *purposes: str, cookies: tuple[str, str] | None = None) -> Answer:
        """A choice by fetch."""
        body = json.dumps({"act": act, "purposes": purposes}).encode()
        return post(self.collector, "/_impersonal/consent", body, [JSON, *([cookies] if cookies else [])])

    def declare(self, query: str, *headers: tuple[str, str]) -> Any:
        """What the host was told: the names stored, or the error."""
        return json.loads(get(self.collector, f"/declare?{query}", headers=headers).body)

    def edit(self, body: str, *headers: tuple[str, str], act: str = "declared") -> None:
        """A form of the privacy page."""
        answer = post(self.collector, f"/_impersonal/privacy/{act}", body.encode(), [FORM, *headers])
        assert answer.status == 303

    def declared(self, *headers: tuple[str, str]) -> Any:
        """Name → value and whether it is public."""
        return json.loads(get(self.collector, "/declared", headers=headers).body)

    @property
    def declined(self) -> Any:
        """Values that were not stored, by reason."""
        return self.collector.writer.counters()["declined"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One host for all: each test has visitors of its own."""
    return Site(tmp_path_factory.mktemp("site"))


def test_a_value_is_stored_under_its_granted_purpose(tmp_path: Path) -> None:
    """Of two values the one whose purpose is granted is stored; the other is counted and nowhere."""
    site = Site(tmp_path)
    visitor = cookie_header(site.choose("grant", "statistics"))
    assert site.declare("age_band=25-34&city=Almaty&orders=7", visitor) == ["age_band", "orders"]
    assert site.declared(visitor) == {"age_band": ["25-34", False], "orders": [7, False]}
    assert site.declined == {"not_granted": 1}


def test_nobody_can_be_told_about(tmp_path: Path) -> None:
    """Without id cookie and account there is nobody to store a value for, and no file is made."""
    site = Site(tmp_path)
    refused = cookie_header(site.choose("refuse"))
    for headers in ([], [refused]):
        assert site.declare("orders=1", *headers) == []
        assert site.declared(*headers) == {}
    assert site.declined == {"unknown_visitor": 2}


def test_two_visitors_do_not_see_each_other(site: Site) -> None:
    """A value belongs to the browser that holds the cookie."""
    ann, ben = (cookie_header(site.choose("grant")) for _ in range(2))
    site.declare("city=Almaty", ann)
    assert site.declared(ann) == {"city": ["Almaty", False]}
    assert site.declared(ben) == {}


def test_withdrawing_ends_the_use_whatever_the_cookie_says(site: Site) -> None:
    """After a withdrawal not even the old cookie reads or stores what its purpose allowed."""
    before = site.choose("grant")
    old = cookie_header(before)
    site.declare("city=Almaty&age_band=25-34", old)
    site.choose("withdraw", "advertising", cookies=old)
    assert site.declared(old) == {"age_band": ["25-34", False]}
    assert site.declare("city=Astana", old) == []


def test_the_visitors_own_word_stands(tmp_path: Path) -> None:
    """What the visitor altered or erased on the page is neither overwritten nor revived, and counted."""
    site = Site(tmp_path)
    visitor = cookie_header(site.choose("grant"))
    assert site.declare("age_band=18-24&orders=1", visitor) == ["age_band", "orders"]
    site.edit("act=save&name=age_band&value=25-34&public=on", visitor)
    site.edit("act=erase&name=orders", visitor)
    for _ in range(2):
        assert site.declare("age_band=18-24&orders=2&city=Almaty", visitor) == ["city"]
        assert site.declared(visitor) == {"age_band": ["25-34", True], "city": ["Almaty", False]}
    assert site.declined == {"visitors_own": 4}
    site.edit("act=save&name=orders&value=3", visitor)
    assert site.declared(visitor)["orders"] == [3, False], "the visitor may"


def test_a_form_of_the_site_is_the_visitors_word_as_well(tmp_path: Path) -> None:
    """Their latest word wins, wherever they say it; what they opened stays open while they say the same."""
    site = Site(tmp_path)
    visitor = cookie_header(site.choose("grant", "statistics"))
    site.edit("act=save&name=age_band&value=25-34&public=on", visitor)
    for said, is_public in (("25-34", True), ("18-24", False)):
        stored = get(site.collector, f"/alter?age_band={said}&city=Almaty", headers=[visitor])
        assert json.loads(stored.body) == ["age_band"]
        assert site.declared(visitor) == {"age_band": [said, is_public]}
    assert site.declined == {"not_granted": 2}
    assert site.declare("age_band=18-24", visitor) == []
    site.edit("act=erase&name=age_band", visitor)
    get(site.collector, "/alter?age_band=25-34", headers=[visitor])
    assert site.declared(visitor) == {"age_band": ["25-34", False]}


def test_what_the_site_alters_is_private_again(tmp_path: Path) -> None:
    """The visitor opened a value that they saw, not one that is put in its place."""
    site = Site(tmp_path)
    visitor = cookie_header(site.choose("grant"))
    site.declare("city=Almaty", visitor)
    site.edit("act=save&name=city&value=Almaty&public=on", visitor)
    assert site.declare("city=Almaty", visitor) == ["city"]
    assert site.declared(visitor) == {"city": ["Almaty", True]}
    assert site.declare("city=Astana", visitor) == ["city"]
    assert site.declared(visitor) == {"city": ["Astana", False]}


def test_signing_in_does_not_take_the_visitors_word_away(tmp_path: Path) -> None:
    """What they altered or erased before they signed in holds for who they are then as well."""
    site = Site(tmp_path, subject=by_header)
    visitor, signed_in = cookie_header(site.choose("grant")), ("x-account", "a")
    site.edit("act=save&name=age_band&value=25-34", visitor)
    assert site.declare("age_band=18-24&orders=1", visitor, signed_in) == ["orders"]
    assert site.declared(visitor, signed_in) == {"age_band": ["25-34", False], "orders": [1, False]}


def test_an_erased_browser_grants_nothing_to_an_account_either(tmp_path: Path) -> None:
    """With its stale cookies only what needs no consent is stored; a choice that is made anew counts."""
    site = Site(tmp_path, subject=by_header)
    visitor, signed_in = cookie_header(site.choose("grant")), ("x-account", "a")
    site.declare("city=Almaty", visitor, signed_in)
    site.edit("what=all", visitor, signed_in, act="erase")
    assert site.declare("city=Almaty&orders=1", visitor, signed_in) == ["orders"]
    assert site.declared(visitor, signed_in) == {"orders": [1, False]}
    assert site.declare("orders=1", visitor) == []
    assert site.declined == {"not_granted": 1, "erased": 1}
    again = cookie_header(site.choose("grant", cookies=visitor))
    assert site.declare("city=Almaty", again, signed_in) == ["city"]


def test_a_withdrawn_id_opens_nothing_to_the_site(tmp_path: Path) -> None:
    """Shown again, it neither reads nor stores even what needs no consent."""
    site = Site(tmp_path)
    visitor = cookie_header(site.choose("grant"))
    site.declare("orders=1", visitor)
    site.choose("withdraw", cookies=visitor)
    assert site.declared(visitor) == {}
    assert site.declare("orders=2", visitor) == []
    assert site.declined == {"unknown_visitor": 1}


def test_a_wider_policy_covers_no_older_consent(tmp_path: Path) -> None:
    """An attribute that a later version adds is not stored under a consent to the earlier one."""
    base = RULES.versions[0]
    older = replace(base, id="v0", effective=date(2025, 1, 1), declared={"city": base.declared["city"]})
    clock = [older.effective_ms + 1000]
    site = Site(tmp_path, policy(older, base), clock=lambda: clock[0])
    visitor = cookie_header(site.choose("grant"))
    clock[0] = base.effective_ms + 1000
    assert site.declare("city=Almaty&age_band=25-34&orders=1", visitor) == ["city", "orders"]


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("shoe=43", "add [versions.declared.shoe]"),
        ("age_band=99", "give 18-24 or 25-34"),
        ("orders=many", "give a whole number"),
        ("city=%0A", "give 1 to 200 printable characters"),
    ],
)
def test_the_programmers_mistakes_are_told(site: Site, query: str, remedy: str) -> None:
    """An attribute that the policy lacks, or a value of another type, is an error with its remedy."""
    visitor = cookie_header(site.choose("grant"))
    assert remedy in site.declare(query, visitor)
    assert remedy in site.declare(query), "a mistake is one for every visitor"


def test_without_the_middleware_it_says_so() -> None:
    """declare and declared name what is missing."""
    for act in (declare(http_scope()), declared(http_scope())):
        with pytest.raises(ConfigurationError, match="add it"):
            asyncio.run(act)


def by_header(scope: Any) -> str | None:
    """A host that knows who is signed in by a header."""
    account = dict(scope["headers"]).get(b"x-account")
    if account == b"broken":
        raise RuntimeError("the session store is down")
    return 7 if account == b"number" else (account or b"").decode()  # type: ignore[return-value]


def test_an_account_is_the_same_on_every_device(tmp_path: Path) -> None:
    """Two browsers of one account read one record; what the account says is not kept as it is."""
    site = Site(tmp_path, subject=by_header)
    phone, desk = (cookie_header(site.choose("grant")) for _ in range(2))
    signed_in = ("x-account", "customer-0815")
    assert site.declare("city=Almaty", phone, signed_in) == ["city"]
    assert site.declared(desk, signed_in) == {"city": ["Almaty", False]}
    assert site.declared(desk) == site.declared(phone) == {}
    assert b"customer-0815" not in (tmp_path / "rights.sqlite").read_bytes()


def test_a_fault_of_the_host_breaks_no_request(tmp_path: Path) -> None:
    """Where the host cannot tell who is signed in, the browser alone counts, and the fault is counted."""
    site = Site(tmp_path, subject=by_header)
    for account in ("broken", "number", ""):
        visitor = cookie_header(site.choose("grant"))
        assert site.declare("city=Almaty", visitor, ("x-account", account)) == ["city"]
        assert site.declared(visitor) == {"city": ["Almaty", False]}
    assert site.collector.writer.counters()["errors"] == {"RuntimeError": 1, "TypeError": 1}


def test_without_consent_an_exempt_purpose_is_enough_for_an_account(tmp_path: Path) -> None:
    """What needs no consent is stored for an account that has no cookie at all."""
    rules = policy(
        replace(version(NECESSARY, measured({"page": "route"})), declared={"orders": ATTRIBUTES[2]})
    )
    site = Site(tmp_path, rules, subject=by_header)
    assert site.declare("orders=3", ("x-account", "a")) == ["orders"]
    assert site.declared(("x-account", "a")) == {"orders": [3, False]}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", " Almaty ", "Almaty"),
        ("integer", "-7", -7),
        ("boolean", "true", True),
        ("date", "2026-01-31", "2026-01-31"),
        ("choice", "a", "a"),
        ("text", "x" * 201, None),
        ("text", "\u202e\x00", None),
        ("integer", "7.5", None),
        ("integer", str(2**53), None),
        ("integer", "9" * 5000, None),
        ("boolean", "yes", None),
        ("date", "2026-02-30", None),
        ("date", "20260131", None),
        ("choice", "b", None),
    ],
)
def test_a_form_carries_every_type(kind: str, text: str, value: object) -> None:
    """Each type reads what fits it and refuses the rest with a remedy."""
    attribute = Attribute("x", kind, "statistics", 90, "X.", options=("a",) if kind == "choice" else ())
    if value is None:
        with pytest.raises(DeclarationError, match="x does not fit: give"):
            read(attribute, text)
    else:
        assert read(attribute, text) == checked(attribute, value) == value
