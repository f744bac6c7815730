"""The privacy page: it shows what is held, opens for the cookie alone, and its acts hold at once."""

import asyncio
import csv
import html
import io
import itertools
import json
import random
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scipy.stats import mannwhitneyu
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collector import Collector, ConfigurationError
from collector.answers import Answer as Gathered
from collector.answers import Choice, Handed
from collector.browser import FILES
from collector.identity import Pseudonyms, new_id
from collector.policy import Attribute, Policy, Service
from collector.record import COLUMNS, DAY_MS, FIELDS, LEVELS, Record, encode
from collector.rights import Request as Asked
from collector.rights import Rights, receipt_of
from collector.words import languages, words
from pipeline.transfer_gate import GROUNDS
from tests.asgi import Answer, call, cookie_header, get, http_scope, post
from tests.policies import EVERYTHING, NECESSARY, policy, purpose, version

FORM = ("content-type", "application/x-www-form-urlencoded")
ATTRIBUTES = (
    Attribute("age_band", "choice", "statistics", 90, "Your age band.", options=("18-24", "25-34")),
    Attribute("city", "text", "statistics", 90, "Your city.", mandatory=True),
    Attribute("taste", "text", "advertising", 90, "Your taste."),
)
V1 = replace(
    version(
        NECESSARY,
        purpose("statistics", EVERYTHING, retention_days=77, recipients=("A counting house",)),
        purpose("advertising", {"page": "route"}),
        services=(Service("shop", "/shop", {"visitor": "mandatory", "path": "optional"}, 30),),
    ),
    declared={attribute.name: attribute for attribute in ATTRIBUTES},
)
V0 = replace(V1, id="v0", modified=date(2024, 12, 1), effective=date(2025, 1, 1), summary="How it began.")
RULES = policy(V0, V1)
HOSTILE = '=cmd|"/C calc"!A0<script>alert(1)</script>'


def page(request: Request) -> Response:
    return HTMLResponse("<!doctype html><title>page</title>")


class Site:
    """A real site whose collector writes real files."""

    def __init__(self, data: Path, rules: Policy = RULES, **options: Any) -> None:
        self.data = data
        app = Starlette(routes=[Route("/{path:path}", page)])
        self.collector = Collector(app, policy=rules, data=data, privacy="/privacy", **options)
        self.rights = Rights(data)
        self._addresses = (f"198.51.{number // 250}.{number % 250 + 1}" for number in itertools.count())

    def _elsewhere(self) -> tuple[str, int]:
        """An address of its own for each request: tests that share a site share no rate limit."""
        return next(self._addresses), 50000

    def grant(self, *purposes: str) -> tuple[str, str]:
        """Consent; gives the browser's Cookie header."""
        body = "act=grant" + "".join(f"&purposes={name}" for name in purposes)
        answer = post(self.collector, "/_impersonal/consent", body.encode(), [FORM])
        assert answer.status == 303
        return cookie_header(answer)

    def act(self, what: str, body: str, *headers: tuple[str, str]) -> Answer:
        """A form of the page."""
        target = f"/_impersonal/privacy/{what}"
        return post(self.collector, target, body.encode(), [FORM, *headers], client=self._elsewhere())

    def show(self, *headers: tuple[str, str], query: str = "") -> str:
        """The page."""
        answer = get(self.collector, f"/privacy{query}", headers=headers, client=self._elsewhere())
        assert answer.status == 200
        return answer.body.decode()

    def data_of(self, *headers: tuple[str, str]) -> Any:
        """The JSON download; None where nothing is opened."""
        target = "/_impersonal/privacy/data.json"
        answer = get(self.collector, target, headers=headers, client=self._elsewhere())
        return json.loads(answer.body) if answer.status == 200 else None

    def rows_of(self, *headers: tuple[str, str]) -> list[str]:
        """The kinds of the CSV download's rows."""
        target = "/_impersonal/privacy/data.csv"
        answer = get(self.collector, target, headers=headers, client=self._elsewhere())
        return [row["kind"] for row in csv.DictReader(io.StringIO(answer.body.decode()))]

    def visit(self, cookies: tuple[str, str], *targets: str) -> None:
        """Page views, on disk when this returns."""
        for target in targets:
            get(self.collector, target, headers=[cookies])
        self.collector.writer.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One site for all: each test has visitors of its own."""
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def own(tmp_path: Path) -> Site:
    """A site for one test, over a new data directory."""
    return Site(tmp_path)


def pseudonym(site: Site, cookies: tuple[str, str]) -> str:
    found = re.search(r"__Host-id=([0-9a-f]{32})", cookies[1])
    assert found
    return Pseudonyms(site.data).of_id(found[1])


def in_words(language: str) -> Iterator[str]:
    """The values of FIELDS, LEVELS and GROUNDS that need a name on the page."""
    yield from (f"fields.{row.name}" for row in FIELDS)
    yield from (f"categories.{category}" for category in LEVELS)
    yield from (
        f"levels.{category}.{level}" for category in LEVELS for level in LEVELS[category] if level != "none"
    )
    yield from (f"grounds.{ground}" for ground in GROUNDS)


# ---- to see -------------------------------------------------------------------------------------------


def test_the_page_tells_everything_by_category_purpose_service_and_version(site: Site) -> None:
    """Records with every field, the choices, what may be declared, retention, recipients, services."""
    visitor = site.grant()
    site.visit(visitor, "/read?utm_source=letter", "/shop/basket")
    shown = site.show(visitor)
    for said in (
        pseudonym(site, visitor),
        "Firefox", "NL", "193.0.6.0/24", "/read", "letter", "/shop/basket", "service shop",  # records
        "version v1", "Statistics", "allowed", "by a form",
        "77 days", "A counting house", "your consent", "country and a truncated network",  # settings
        "Your age band.", "mandatory", "optional", "shop", "30 days",
        "Example", "privacy@example.org",
    ):  # fmt: skip
        assert said in shown, said


def test_a_browser_without_a_choice_is_told_so(own: Site) -> None:
    """No cookie, no record, and the page says why; looking stores nothing and sets no cookie."""
    answer = get(own.collector, "/privacy")
    text = answer.body.decode()
    assert "You have not made a choice yet" in text and "This browser has no identifier" in text
    assert answer.headers("set-cookie") == []
    own.collector.writer.stop()
    assert not list(own.data.glob("logs/*/*")) and not own.rights.path.exists()


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        (("sec-gpc", "1"), "sends Global Privacy Control (Sec-GPC). This site has seen it and honours it"),
        (("dnt", "1"), "sends Do Not Track (DNT). This site has seen it and honours it"),
        (("sec-gpc", "0"), "sends no signal"),
    ],
)
def test_the_signal_of_the_browser_is_seen_and_said(site: Site, signal: tuple[str, str], said: str) -> None:
    """Sec-GPC and DNT are named, with what became of them; a choice of one's own comes first."""
    assert said in site.show(signal)
    if "honours" in said:
        assert "comes first" in site.show(signal, site.grant())


def test_the_headers_leave_nothing_to_others(site: Site) -> None:
    """A strict CSP, no cache, no frame, no referrer to other sites, and the language is said."""
    answer = get(site.collector, "/privacy?lang=ru")
    assert answer.headers("content-security-policy") == [
        "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ]
    assert answer.headers("cache-control") == ["no-store"]
    assert answer.headers("referrer-policy") == ["same-origin"]
    assert answer.headers("content-language") == ["ru"]
    css = get(site.collector, "/_impersonal/privacy.css")
    assert (css.status, css.body) == (200, FILES["privacy.css"].content)


@pytest.mark.parametrize("language", languages())
def test_every_row_has_a_name_in_every_language(site: Site, language: str) -> None:
    """Another language says every sentence of the page, and every field, category and precision."""
    said = words(language)
    english = [key for key in words("en")._said if key.startswith("privacy.")]
    assert [key for key in english if key not in said._said] == []
    assert [key for key in in_words(language) if f"privacy.{key}" not in said._said] == []
    for key in english:
        names = re.findall(r"\{(\w+)\}", words("en")._said[key])
        assert sorted(re.findall(r"\{(\w+)\}", said._said[key])) == sorted(names), key
    html = site.show(site.grant(), query=f"?lang={language}")
    assert f'<html lang="{language}">' in html
    assert said("privacy.heading") in html


def test_the_browsers_language_is_spoken(site: Site) -> None:
    """Accept-Language decides, ?lang= overrules it, and what is no language is English."""
    assert "Что этот сайт знает о вас" in site.show(("accept-language", "ru-RU,ru;q=0.9,en;q=0.5"))
    assert "Бұл сайт сіз туралы" in site.show(("accept-language", "ru"), query="?lang=kk")
    assert "What this site knows" in site.show(query="?lang=<script>")


def test_the_page_lies_where_the_site_wants_it(tmp_path: Path) -> None:
    """Mounted elsewhere and below a root path, forms and links still find their way."""
    site = Site(tmp_path)
    answer = get(site.collector, "/app/privacy", root_path="/app")
    text = answer.body.decode()
    assert answer.status == 200
    assert 'action="/app/_impersonal/consent"' in text and 'href="/app/_impersonal/privacy.css"' in text
    assert 'value="/app/privacy?done=choice"' in text
    assert get(site.collector, "/_impersonal/privacy").status == 200
    with pytest.raises(ConfigurationError, match="start it with a slash"):
        Site(tmp_path).collector.__class__(page, policy=RULES, data=tmp_path, privacy="privacy")  # type: ignore[arg-type]


def test_a_host_that_has_the_address_itself_keeps_it(tmp_path: Path) -> None:
    """Without `privacy` the site's own /privacy answers; with gpc=False so does its gpc.json."""
    app = Starlette(routes=[Route("/{path:path}", page)])
    collector = Collector(app, policy=RULES, data=tmp_path, gpc=False)
    assert b"<title>page</title>" in get(collector, "/privacy").body
    assert b"<title>page</title>" in get(collector, "/.well-known/gpc.json").body


def test_gpc_json_tells_since_when(site: Site) -> None:
    """The resource browsers look for: honoured, since the version in force."""
    answer = get(site.collector, "/.well-known/gpc.json")
    assert answer.headers("content-type") == ["application/json"]
    assert json.loads(answer.body) == {"gpc": True, "lastUpdate": "2026-01-01"}
    before = Site(site.data, clock=lambda: 0)
    assert get(before.collector, "/.well-known/gpc.json").status == 404


def test_the_policy_is_shown_with_all_its_versions(site: Site) -> None:
    """The version in force, the dates of each, what it was about, and the older one in full."""
    text = get(site.collector, "/_impersonal/policy").body.decode()
    assert "Version v1, modified on 2026-01-01, in effect from 2026-01-01." in text
    assert "Modified on 2024-12-01, in effect from 2025-01-01" in text and "How it began." in text
    assert "For advertising." in text
    older = get(site.collector, "/_impersonal/policy?version=v0").body.decode()
    assert "Version v0, modified on 2024-12-01" in older and "past" in older


# ---- to take along ------------------------------------------------------------------------------------


def test_the_json_reads_back_as_the_contracts_records(site: Site) -> None:
    """Every record of the visitor, equal to what lies in the log, with what was declared."""
    visitor = site.grant()
    site.visit(visitor, "/a", "/b", "/shop/c")
    site.act("declared", "act=save&name=city&value=Almaty", visitor)
    found = site.data_of(visitor)
    records = msgspec.convert(found["records"], list[Record])
    assert [record.path for record in records if record.kind == "view"] == ["/a", "/b", "/shop/c"]
    assert [record.act for record in records if record.kind == "consent"] == ["grant"]
    assert found["reference"] == records[0].visitor == pseudonym(site, visitor)
    assert [(value["name"], value["value"]) for value in found["declared"]] == [("city", "Almaty")]
    assert found["complete"] is False, "nothing was gathered yet"
    assert [change["act"] for change in found["history"]] == ["declare"]


def test_no_cell_of_the_csv_is_a_formula(site: Site) -> None:
    """A value that a spreadsheet would run has an apostrophe before it; without it, it is as it was."""
    visitor = site.grant()
    site.visit(visitor, "/a", "/b?utm_source=%40SUM(1)")
    site.act(
        "declared",
        "act=save&name=city&value=%3Dcmd%7C%22%2FC+calc%22%21A0%3Cscript%3Ealert%281%29%3C%2Fscript%3E",
        visitor,
    )
    answer = get(site.collector, "/_impersonal/privacy/data.csv", headers=[visitor])
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert list(rows[0]) == [*(name for name, _ in COLUMNS), "value", "public"]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(tuple("=+-@\t\r\n\0"))]
    assert rows[-1]["value"] == "'" + HOSTILE
    assert "'@sum(1)" in [row["utm_source"] for row in rows]
    assert [int(row["ts_ms"]) for row in rows[:3]] == [
        record["ts_ms"] for record in site.data_of(visitor)["records"]
    ]
    assert answer.headers("content-disposition")[0].startswith("attachment")


def test_what_a_visitor_wrote_is_text_on_the_page(site: Site) -> None:
    """Markup in a declared value or in an address is shown, never run."""
    visitor = site.grant()
    site.act("declared", "act=save&name=city&value=%3Cscript%3Ealert%281%29%3C%2Fscript%3E", visitor)
    site.visit(visitor, "/a?utm_source=%3Cscript%3Ex", "/%3Cscript%3Ey")
    assert "<script" not in site.show(visitor)


def test_the_rest_is_gathered_by_the_pipeline_and_merged(own: Site) -> None:
    """The page says since when it waits; the answer's records and the live ones appear once each."""
    visitor = own.grant()
    own.visit(visitor, "/today")
    subject = pseudonym(own, visitor)
    for _ in range(2):
        assert own.act("request", "", visitor).status == 303
    assert [(each.subject, each.act) for each in own.rights.requests()] == [(subject, "access")]
    assert "are being gathered since" in own.show(visitor)
    live = msgspec.convert(own.data_of(visitor)["records"], list[Record])
    old = Record(v=1, kind="view", id="0" * 28, ts_ms=1, policy="v0", visitor=subject, path="/long-ago")
    now_ms = own.collector._clock()
    choices = [
        Choice(id_, ts_ms, "grant", "banner", "v0", ("necessary",), None)
        for id_, ts_ms in (("0" * 27 + "1", 1), (live[0].id, live[0].ts_ms))
    ]
    assert live[0].kind == "consent"
    gathered = Gathered(now_ms, [old, *live], choices, [Handed("2026-11-20", "Couriers", "necessary")])
    (own.data / "outbox").mkdir()
    mark = own.rights.mark(subject).hex()
    (own.data / "outbox" / f"{mark}.json").write_bytes(msgspec.json.encode(gathered))
    own.rights.answered(Asked(subject, "access", 1), 2)
    shown = own.show(visitor)
    assert "/long-ago" in shown and "Everything was gathered on" in shown
    assert re.findall(r"<strong>(.*?)</strong> \((.*?)\)", shown) == [
        ("allowed", "by a form"),
        ("allowed", "by the banner"),
        ("Couriers", "a service that you use needs it"),
    ]
    taken = own.data_of(visitor)
    assert msgspec.convert(taken["records"], list[Record]) == [old, *live]
    assert taken["complete"] is True
    assert msgspec.convert(taken["choices"], list[Choice]) == choices
    assert taken["transfers"] == [{"day": "2026-11-20", "recipient": "Couriers", "ground": "necessary"}]
    assert own.rows_of(visitor) == ["view", "consent", "view", "consent"]
    stranger = own.grant()
    other = own.show(stranger)
    assert "/long-ago" not in other and "Couriers" not in other and "Gather everything to see" in other


def test_a_torn_or_foreign_frame_hides_nothing(own: Site) -> None:
    """What lies between records, or holds another's pseudonym in its path, is passed over."""
    visitor = own.grant()
    own.visit(visitor, "/a")
    subject = pseudonym(own, visitor)
    other = {
        "v": 1,
        "kind": "view",
        "id": "x",
        "ts_ms": 1,
        "policy": "v1",
        "visitor": "00" * 16,
        "path": f"/{subject}",
    }
    directory = next((own.data / "logs").iterdir())
    damaged = b"\x1e00000000 {%b}\n" % subject.encode() + subject.encode() + encode(other) + b"\x1etorn"
    (directory / "other-000000.log").write_bytes(damaged)
    assert [record["kind"] for record in own.data_of(visitor)["records"]] == ["consent", "view"]


# ---- to change ----------------------------------------------------------------------------------------


def test_settings_are_saved_by_the_page(site: Site) -> None:
    """Choosing on the page holds at once, is recorded as done there, and is not counted as a page."""
    visitor = site.grant()
    body = b"act=choose&purposes=statistics&by=page&back=/privacy%3Fdone%3Dchoice"
    answer = post(
        site.collector,
        "/_impersonal/consent",
        body,
        [FORM, visitor, ("referer", "https://example.org/privacy")],
    )
    assert answer.headers("location") == ["/privacy?done=choice"]
    site.collector.writer.stop()
    records = msgspec.convert(site.data_of(visitor)["records"], list[Record])
    assert [(record.kind, record.via) for record in records] == [("consent", "form"), ("consent", "page")]
    assert "on this page" in site.show(visitor)


def test_a_value_is_declared_altered_published_and_erased_by_its_visitor(site: Site) -> None:
    """Each act shows; public only while the visitor ticks it; a mandatory value goes only with all others."""
    visitor = site.grant()
    site.act("declared", "act=save&name=age_band&value=18-24", visitor)
    assert "public</span>" not in site.show(visitor)
    site.act("declared", "act=save&name=age_band&value=25-34&public=on", visitor)
    site.act("declared", "act=save&name=city&value=Almaty", visitor)
    subject = pseudonym(site, visitor)
    assert [(value.name, value.value, value.public) for value in site.rights.declared(subject)] == [
        ("age_band", "25-34", True),
        ("city", "Almaty", False),
    ]
    assert "public</span>" in site.show(visitor)
    refused = site.act("declared", "act=erase&name=city", visitor)
    assert refused.status == 409 and "or erase all that you have told us" in refused.body.decode()
    assert "are erased at once, mandatory ones too" in site.show(visitor)
    for _ in range(2):
        assert site.act("declared", "act=erase&name=age_band", visitor).status == 303
    assert [value.name for value in site.rights.declared(subject)] == ["city"]
    assert site.act("declared", "act=erase_all", visitor).status == 303
    assert site.rights.declared(subject) == []
    assert [change.by for change in site.rights.history(subject)] == ["visitor"] * 6


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("act=save&name=age_band&value=99", 400, "choose one of the answers"),
        ("act=save&name=city&value=", 400, "1 to 200 characters"),
        ("act=save&name=shoe&value=43", 400, "could not be read"),
        ("act=steal&name=city&value=x", 400, "could not be read"),
        ("act=save&name=taste&value=sweet", 409, "its purpose is not allowed"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(site: Site, body: str, status: int, said: str) -> None:
    """The page comes back with the reason, and nothing was stored."""
    visitor = site.grant("statistics")
    answer = site.act("declared", body, visitor)
    assert (answer.status, said in answer.body.decode()) == (status, True)
    assert not site.rights.declared(pseudonym(site, visitor))


def test_erasing_everything_holds_at_once_and_leaves_a_receipt(own: Site) -> None:
    """Tombstone, cookies, receipt; the old cookie opens nothing, collects nothing, and twice is the same."""
    visitor = own.grant()
    own.visit(visitor, "/secret-reading")
    own.act("declared", "act=save&name=city&value=Almaty", visitor)
    answers = [own.act("erase", "what=all", visitor) for _ in range(2)]
    assert [(each.status, each.headers("location")) for each in answers] == [
        (303, ["/privacy?done=erased#receipt"])
    ] * 2
    cookies = answers[0].cookies
    assert cookies["__Host-id"]["max-age"] == "0"
    assert cookies["__Host-consent"].value.split("|")[3] == ""
    receipt = cookies["__Host-receipt"]
    shown = own.show(("cookie", f"__Host-receipt={receipt.value}"))
    assert "The proof of your choices stays for 760 days under a one-way mark" in shown
    assert re.fullmatch("[0-9a-f]{32}", receipt.value)
    assert all(receipt[flag] for flag in ("secure", "httponly")) and receipt["samesite"] == "lax"
    assert receipt["max-age"] == str(30 * 24 * 60 * 60)

    subject = pseudonym(own, visitor)
    assert own.rights.standing(subject) == "erased"
    assert [each.act for each in own.rights.requests()] == ["erase"]
    assert own.data_of(visitor) is None
    assert "/secret-reading" not in own.show(visitor) and "was erased" in own.show(visitor)
    before = own.collector.writer.counters()["written"]
    own.visit(visitor, "/again")
    assert own.collector.writer.counters()["written"] == before
    assert own.collector.writer.counters()["dropped"] == {"erased": 1}
    own.act("request", "", visitor)
    assert [each.act for each in own.rights.requests()] == ["erase"]

    after = cookie_header(answers[0])
    waiting = own.show(after)
    assert "The files are cleaned by the next run" in waiting and "published statistics" in waiting
    own.rights.answered(Asked(subject, "erase", 1), own.collector._clock(), {"logs": 41})
    assert "It was carried out in every file on" in own.show(after)
    assert "41" in own.show(after) and "entries of the log" in own.show(after)
    assert own.rights.receipt(receipt_of("0" * 32)) is None


def test_an_erasure_sent_twice_leaves_one_receipt_with_what_was_removed(own: Site) -> None:
    """The second comes from a browser that heard nothing of the first: the same number, the same counts."""
    cookies = own.grant("statistics")
    own.act("declared", "act=save&name=city&value=Almaty", cookies)
    once = own.show(cookies).rsplit('name="once" value="', 1)[1][:32]
    answers = [own.act("erase", f"what=all&once={once}", cookies) for _ in range(2)]
    assert [answer.headers("location") for answer in answers] == 2 * [["/privacy?done=erased#receipt"]]
    numbers = {answer.cookies["__Host-receipt"].value for answer in answers}
    (number,) = numbers
    receipt = own.rights.receipt(receipt_of(number))
    assert receipt is not None and receipt.counts == {"declared": 1}
    assert "malformed" not in {
        own.act("erase", "what=all&once=malformed", cookies).cookies["__Host-receipt"].value
    }


def signed_in(scope: Any) -> str | None:
    return dict(scope["headers"]).get(b"x-account", b"").decode() or None


def test_an_act_reaches_account_and_browser(tmp_path: Path) -> None:
    """What is altered, hidden or erased while signed in is so on the same browser after signing out."""
    site = Site(tmp_path, subject=signed_in)
    account, visitor = ("x-account", "customer-1"), site.grant()

    def held(*headers: tuple[str, str]) -> list[tuple[str, bool]]:
        return [(value["value"], value["public"]) for value in site.data_of(*headers)["declared"]]

    site.act("declared", "act=save&name=city&value=Almaty&public=on", visitor)
    site.act("declared", "act=save&name=city&value=Astana&public=on", visitor, account)
    assert held(visitor) == held(visitor, account) == held(account) == [("Astana", True)]
    site.act("declared", "act=save&name=city&value=Astana", visitor, account)
    assert held(visitor) == held(account) == [("Astana", False)]
    site.act("declared", "act=save&name=age_band&value=18-24", visitor, account)
    assert held(visitor) == [("Astana", False)], "what only the account has stays with it"
    site.act("declared", "act=erase_all", visitor, account)
    assert held(visitor) == held(account) == []
    acts = [(change["name"], change["act"]) for change in site.data_of(visitor, account)["history"]]
    assert acts[-2:] == [("age_band", "erase"), ("city", "erase")], "each act once"


def test_an_account_is_erased_with_the_browser_or_stays(tmp_path: Path) -> None:
    """Erasing a browser keeps what its account declared; erasing everything does not."""
    site = Site(tmp_path, subject=signed_in)
    account = ("x-account", "customer-1")
    phone, desk = site.grant(), site.grant()
    site.act("declared", "act=save&name=city&value=Almaty", phone, account)
    assert "Almaty" in site.show(desk, account) and "You are signed in" in site.show(desk, account)
    [reference] = re.findall(r"<code>account-([0-9a-f]{32})</code>", site.show(desk, account))
    assert site.rights.declared(reference)[0].value == "Almaty", "what an operator finds it by"
    assert "account-" not in site.show(desk)
    alone = site.data_of(account)
    assert alone["declared"][0]["value"] == "Almaty", "an account needs no cookie"
    assert alone["complete"] is True, "and has no records"
    assert "done=nothing" in site.act("erase", "what=browser", account).headers("location")[0]
    site.act("erase", "what=browser", phone, account)
    assert "Almaty" in site.show(desk, account)
    assert site.act("declared", "act=save&name=city&value=x", phone, account).status == 409, "stale cookies"
    assert site.data_of(phone, account)["reference"] is None
    site.act("erase", "what=all", desk, account)
    assert site.data_of(account) is None
    again = site.grant()
    site.act("declared", "act=save&name=city&value=Astana", again, account)
    assert site.data_of(account)["declared"][0]["value"] == "Astana"


# ---- proof, forgery, faults ---------------------------------------------------------------------------


def withdraw(site: Site, cookies: tuple[str, str], *purposes: str) -> None:
    """What the page's button does."""
    body = "act=withdraw&by=page" + "".join(f"&purposes={name}" for name in purposes)
    assert post(site.collector, "/_impersonal/consent", body.encode(), [FORM, cookies]).status == 303


def strangers(site: Site) -> dict[str, tuple[str, str] | None]:
    """Browsers that prove nothing: no cookie, a broken or guessed one, one that was erased or taken away."""
    erased, withdrawn = site.grant(), site.grant()
    site.visit(erased, *("/erased",) * 20)
    site.visit(withdrawn, *("/withdrawn",) * 20)
    site.act("erase", "what=all", erased)
    withdraw(site, withdrawn)
    return {
        "no cookie": None,
        "broken": ("cookie", "__Host-id=nonsense"),
        "guessed": ("cookie", f"__Host-id={new_id(date.today()).cookie()}"),
        "reference": ("cookie", f"__Host-id={pseudonym(site, erased)}.2026-W47"),
        "erased": ("cookie", erased[1]),
        "withdrawn": ("cookie", withdrawn[1]),
    }


def test_guesses_and_replays_get_the_same_404_in_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies and headers are equal, and the times of interleaved requests come from one distribution."""
    monkeypatch.setattr("collector.privacy.READS", (1e9, 1e9))
    site = Site(tmp_path)
    owner = site.grant()
    site.visit(owner, *("/mine",) * 50)
    known = strangers(site)
    answers: dict[str, Answer] = {}

    def timed(name: str) -> float:
        headers = [found] if (found := known[name]) else []
        start_s = time.perf_counter()
        answers[name] = get(site.collector, "/_impersonal/privacy/data.json", headers=headers)
        return time.perf_counter() - start_s

    def differing() -> set[str]:
        turns = [{name: timed(name) for name in random.sample(list(known), len(known))} for _ in range(80)]
        times = {name: [turn[name] for turn in turns[5:]] for name in known}
        return {name for name in known if mannwhitneyu(times["guessed"], times[name]).pvalue < 0.01}

    # One comparison in a hundred is that unlike by chance; what is unlike in truth is so every time.
    assert not (differing() and differing())
    assert {answer.status for answer in answers.values()} == {404}
    assert len({(answer.body, str(answer.messages[0])) for answer in answers.values()}) == 1
    assert site.data_of(owner) is not None


def test_a_withdrawn_id_proves_nothing(own: Site) -> None:
    """Shown again, from wherever, it opens, gathers, alters and erases nothing; the records stay."""
    visitor = own.grant()
    own.visit(visitor, "/mine")
    own.act("declared", "act=save&name=city&value=Almaty", visitor)
    withdraw(own, visitor, "advertising")
    assert own.data_of(visitor) is not None, "a purpose that keeps the id is left"
    withdraw(own, visitor)

    def stored() -> list[tuple[Any, ...]]:
        tables = ("declared", "history", "request", "receipt")
        with closing(own.rights.connect()) as database:
            return [row for table in tables for row in database.execute(f"SELECT * FROM {table}")]

    before = stored()
    assert own.data_of(visitor) is None
    shown = own.show(visitor)
    assert "/mine" not in shown and "Almaty" not in shown and "has no identifier" in shown
    for act, body in (("request", ""), ("declared", "act=erase_all"), ("erase", "what=all")):
        answer = own.act(act, body, visitor)
        assert answer.headers("location")[0].startswith("/privacy?done=nothing#")
        assert answer.headers("set-cookie") == []
    assert own.act("declared", "act=save&name=city&value=Astana", visitor).status == 409
    assert stored() == before


def test_a_later_policy_neither_opens_nor_closes_what_an_id_proves(tmp_path: Path) -> None:
    """Whether an id was taken away is a matter of the version under which its visitor chose."""
    coarse = purpose("statistics", {**EVERYTHING, "cookie": "none"})
    first = version(NECESSARY, purpose("statistics", EVERYTHING), purpose("advertising", {"page": "route"}))
    second = replace(
        first, id="v2", effective=date(2026, 2, 1), purposes={**first.purposes, "statistics": coarse}
    )
    clock = [first.effective_ms]
    site = Site(tmp_path, rules=policy(first, second), clock=lambda: clock[0])
    kept, taken = site.grant(), site.grant()
    site.visit(kept, "/mine")
    withdraw(site, kept, "advertising")
    withdraw(site, taken, "statistics")
    clock[0] = second.effective_ms
    assert site.data_of(kept) is not None and site.data_of(taken) is None


@pytest.mark.parametrize("act", ["act=withdraw", "act=choose&purposes=advertising"])
def test_who_withdrew_without_an_id_sees_until_when_it_holds(tmp_path: Path, act: str) -> None:
    """Where visitors are known by the day alone: the end of the day, and the cookie's own. A neighbour of the
    same address and browser is told nothing, whatever they chose; nor who allows it again or is elsewhere."""
    day, midnight = date(2026, 11, 24), date(2026, 11, 25)
    clock = [(day - date(1970, 1, 1)).days * DAY_MS + 1000]
    rules = policy(
        version(NECESSARY, purpose("statistics", EVERYTHING | {"cookie": "daily"}), purpose("advertising"))
    )
    site = Site(tmp_path, rules=rules, clock=lambda: clock[0])

    def said(*cookies: tuple[str, str], **options: Any) -> list[str]:
        shown = get(site.collector, "/privacy", headers=cookies, **options).body.decode()
        return re.findall(r"What you turned off today is off: until ([^<]+), when you", shown)

    def choose(body: str, *cookies: tuple[str, str]) -> tuple[str, str]:
        return cookie_header(post(site.collector, "/_impersonal/consent", body.encode(), [FORM, *cookies]))

    visitor, neighbour = site.grant(), site.grant()
    assert said(visitor) == []
    off = choose(act, visitor)
    assert len(said(off)) == 1 and said(off)[0].startswith(f"{midnight} 00:00 UTC for all visits")
    assert said(off)[0].endswith(str(day + timedelta(days=182 if act == "act=withdraw" else 395)))
    assert said() == said(neighbour) == said(choose("act=refuse")) == []
    assert said(off, client=("198.51.100.7", 1)) == []
    assert said(choose("act=grant", off)) == []
    clock[0] += DAY_MS
    assert said(off) == []


def test_nobody_is_told_that_something_was_erased(own: Site) -> None:
    """Without id and account there is nothing to gather or erase: the page says so, and no file is made."""
    for act, body in (("request", ""), ("declared", "act=erase_all"), ("erase", "what=all")):
        answer = own.act(act, body)
        assert (answer.status, answer.headers("set-cookie")) == (303, [])
        assert answer.headers("location")[0].startswith("/privacy?done=nothing#")
    assert "There is nothing to gather or to erase" in own.show(query="?done=nothing")
    assert not own.rights.path.exists()


def test_who_answers_for_the_data_stands_on_every_page(tmp_path: Path) -> None:
    """In sentences: name, contact, number, address, where the data is kept, and whether it goes abroad."""
    controller = replace(
        RULES.controller, identifier="123456789012", address="1 Abay Avenue", storage="Almaty, own servers"
    )
    shown = Site(tmp_path, replace(RULES, controller=controller)).show()
    assert " ".join(shown.partition("<footer>")[2].split()).startswith(
        "<p>Answerable for the data: Example. Write to privacy@example.org. "
        "Registration number 123456789012. 1 Abay Avenue. "
        "Where the data is kept: Almaty, own servers. Personal data does not leave the country."
    )


ELSEWHERE: tuple[list[tuple[str, str]], ...] = (
    [("sec-fetch-site", "cross-site")],
    [("sec-fetch-site", "same-site"), ("origin", "https://example.org")],
    [("origin", "https://evil.example")],
    [("origin", "null")],
    [],
)


def test_another_site_changes_nothing(site: Site) -> None:
    """A form, fetch or link from elsewhere is refused before it is read, whatever cookies come along."""
    visitor = site.grant()
    site.act("declared", "act=save&name=city&value=Almaty", visitor)
    before = site.rights.path.read_bytes()
    for act, headers in itertools.product(("request", "declared", "erase"), ELSEWHERE):
        scope = http_scope(f"/_impersonal/privacy/{act}", "POST", [FORM, visitor, *headers])
        answer = asyncio.run(call(site.collector, scope, b"act=erase_all&what=all"))
        assert (answer.status, answer.headers("set-cookie")) == (403, []), (act, headers)
        assert get(site.collector, f"/_impersonal/privacy/{act}?what=all", headers=[visitor]).status == 405
    assert site.rights.path.read_bytes() == before


@pytest.mark.parametrize("language", languages())
def test_a_form_that_is_refused_is_answered_in_words(own: Site, language: str) -> None:
    """From elsewhere, unreadable, or too often: who has no script reads why, and finds the way on."""
    spoken = ("accept-language", language)

    def answered(answer: Answer, status: int, why: str) -> bool:
        text = html.unescape(answer.body.decode())
        assert (answer.status, answer.headers("set-cookie")) == (status, [])
        assert f'<html lang="{language}">' in text and 'href="/privacy#settings"' in text
        return words(language)(f"privacy.problems.{why}") in text

    for act in ("consent", "privacy/request", "privacy/declared", "privacy/erase"):
        target = f"/_impersonal/{act}"
        foreign = http_scope(target, "POST", [FORM, spoken, ("sec-fetch-site", "cross-site")])
        assert answered(asyncio.run(call(own.collector, foreign, b"act=grant")), 403, "foreign")
    for body in (b"act=nothing", b"act=choose&purposes=unknown", b"\xff"):
        answer = post(own.collector, "/_impersonal/consent", body, [FORM, spoken])
        assert answered(answer, 400, "unreadable")
    by_script = http_scope("/_impersonal/consent", "POST", [("content-type", "application/json"), spoken])
    line = asyncio.run(call(own.collector, by_script, b"{}"))
    assert json.loads(line.body) == {"error": words(language)("privacy.problems.foreign")}
    for act in ("consent", "privacy/request"):
        asked = (post(own.collector, f"/_impersonal/{act}", b"act=x", [FORM, spoken]) for _ in range(200))
        assert answered(next(answer for answer in asked if answer.status == 429), 429, "often")


def test_too_many_acts_are_refused(site: Site) -> None:
    """One address has so many acts at once and then has to wait; another is not concerned."""
    target, headers = "/_impersonal/privacy/request", [FORM, site.grant()]
    statuses = [post(site.collector, target, b"", headers).status for _ in range(90)]
    assert statuses[:40] == [303] * 40 and 429 in statuses
    assert site.act("request", "", headers[1]).status == 303


def test_what_cannot_be_stored_is_never_confirmed(own: Site) -> None:
    """Where the store cannot be written, the answer says so, and no cookie is taken away."""
    visitor = own.grant()
    own.rights.path.mkdir()  # nobody can write a database there, not even root
    acts = (
        ("request", ""),
        ("declared", "act=save&name=city&value=x"),
        ("declared", "act=erase_all"),
        ("erase", "what=all"),
    )
    for act, body in acts:
        answer = own.act(act, body, visitor)
        assert (answer.status, answer.headers("set-cookie")) == (503, []), act
        problem = words("en")(f"privacy.problems.{'not_erased' if act == 'erase' else 'not_stored'}")
        assert problem in answer.body.decode()
