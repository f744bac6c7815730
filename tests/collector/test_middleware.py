"""The middleware around real apps: what passes through, what is recorded, and what never is."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from collector import Collector, ConfigurationError, MemorySink, PolicyError, granted, must_ask
from collector.policy import Policy
from collector.record import DAY_MS, FIELDS, Record, decode, frames
from tests.asgi import FIREFOX, GOOGLEBOT, App, Message, call, cookie_header, get, http_scope, post
from tests.policies import BY_DAY, CONSENTED, EVERYTHING, EXEMPT, NECESSARY, policy, purpose, version

PAGE = "<!doctype html><title>Hello</title>"


def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


SITE = Starlette(
    routes=[
        Route("/", page),
        Route("/product/{id}", page),
        Route("/api", lambda request: JSONResponse({"granted": sorted(granted(request.scope))})),
        Route("/missing", lambda request: HTMLResponse("gone", 404)),
        Route("/post", page, methods=["POST"]),
        Mount("/docs", routes=[Route("/{page}", page)]),
    ]
)


class Site:
    """A site with the collector around it, and what the collector wrote."""

    def __init__(self, rules: Policy = CONSENTED, app: Any = SITE, **options: Any) -> None:
        self.sink = MemorySink()
        self.collector = Collector(app, policy=rules, sink=self.sink, **options)

    def records(self) -> list[Record]:
        """Everything written so far."""
        self.collector.writer.stop()
        return [
            decode(found.payload)
            for day in self.sink.frames.values()
            for frame in day
            for found in frames(frame)
            if found.payload
        ]

    def views(self) -> list[Record]:
        """The page views among them."""
        return [record for record in self.records() if record.kind == "view"]

    def grant(self, *purposes: str, **body: str) -> tuple[str, str]:
        """Consent by fetch; gives the Cookie header of the browser from then on."""
        answer = post(
            self.collector,
            "/_impersonal/consent",
            json.dumps({"act": "grant", "purposes": purposes, **body}).encode(),
            [("content-type", "application/json")],
        )
        assert answer.status == 200
        return cookie_header(answer)


# ---- recorded ------------------------------------------------------------------------------------------


def test_without_consent_nothing_is_written_and_no_cookie_set() -> None:
    """A first visit under a policy that asks leaves no record and no cookie."""
    site = Site()
    answer = get(site.collector)
    assert answer.headers("set-cookie") == []
    assert site.records() == []


def test_a_consented_view_holds_every_field_the_policy_grants() -> None:
    """The record of one page view, field by field."""
    site = Site()
    cookies = site.grant("statistics")
    get(
        site.collector,
        "/product/7?utm_source=News&utm_medium=email&utm_campaign=spring&secret=1",
        headers=[cookies, ("referer", "https://www.search.example/find?q=private")],
    )
    (view,) = site.views()
    assert (view.policy, view.consent, view.purposes) == ("v1", "v1", ("necessary", "statistics"))
    assert view.visitor and re.fullmatch("[0-9a-f]{32}", view.visitor)
    assert view.cohort and re.fullmatch(r"\d{4}-W\d\d", view.cohort)
    assert (view.device, view.browser, view.os, view.browser_major) == ("desktop", "Firefox", "Linux", "140")
    assert (view.country, view.network) == ("NL", "193.0.6.0/24")
    assert (view.path, view.route) == ("/product/7", "/product/{id}")
    assert view.referrer == "search.example"
    assert (view.utm_source, view.utm_medium, view.utm_campaign) == ("news", "email", "spring")


def test_only_fields_of_granted_purposes_are_built() -> None:
    """Advertising grants the country, statistics the route: one grant never yields the other's field."""
    rules = policy(
        version(purpose("statistics", {"page": "route"}), purpose("advertising", {"ip": "country"}))
    )
    allowed = {"statistics": {"route"}, "advertising": {"country"}}
    for name, expected in allowed.items():
        site = Site(rules)
        get(site.collector, "/product/7", headers=[site.grant(name)])
        (view,) = site.views()
        assert {field.name for field in FIELDS if getattr(view, field.name) is not None} == expected


def test_time_is_cut_to_the_precision_granted() -> None:
    """An hour is an hour on disk."""
    for level, step_ms in (("hour", 3_600_000), ("minute", 60_000), ("second", 1000)):
        site = Site(
            policy(version(purpose("statistics", {"time": level, "page": "path"}))),
            clock=lambda: 1_796_000_123_456,
        )
        get(site.collector, headers=[site.grant("statistics")])
        (view,) = site.views()
        assert view.ts_ms == 1_796_000_123_456 // step_ms * step_ms


def test_the_pseudonym_follows_the_cookie_and_the_raw_id_is_never_written() -> None:
    """Two views of one browser share a pseudonym; another browser has another."""
    site = Site()
    first, second = site.grant("statistics"), site.grant("statistics")
    for cookies in (first, first, second):
        get(site.collector, headers=[cookies])
    pseudonyms = [view.visitor for view in site.views()]
    assert len(pseudonyms) == 3 and len(set(pseudonyms)) == 2 and pseudonyms[0] == pseudonyms[1]
    bits = re.findall(r"__Host-id=([0-9a-f]{32})", first[1] + second[1])
    written = b"".join(frame for day in site.sink.frames.values() for frame in day)
    assert len(bits) == 2 and not any(text.encode() in written for text in bits)


def test_exempt_statistics_use_a_daily_pseudonym_without_any_cookie() -> None:
    """Measured without asking: coarse, no cookie, and the same visitor today."""
    site = Site(EXEMPT)
    answers = [get(site.collector) for _ in range(2)]
    assert [answer.headers("set-cookie") for answer in answers] == [[], []]
    views = site.views()
    assert len({view.visitor for view in views}) == 1 and len(views) == 2
    assert {view.cohort for view in views} == {None}


@pytest.mark.parametrize("signal", [("sec-gpc", "1"), ("dnt", "1")])
def test_a_browser_signal_opts_out_of_exempt_statistics(signal: tuple[str, str]) -> None:
    """Sec-GPC and DNT are honoured where nobody was asked."""
    site = Site(EXEMPT)
    get(site.collector, headers=[signal])
    assert site.records() == []


def test_bots_are_counted_by_category_and_never_logged() -> None:
    """Under an exemption and under consent alike."""
    for rules in (EXEMPT, CONSENTED):
        site = Site(rules)
        get(site.collector, headers=[("user-agent", GOOGLEBOT)])
        assert site.records() == []
        assert site.collector.writer.counters()["bots"] == {"search": 1}


@pytest.mark.parametrize(
    ("target", "method", "headers"),
    [
        ("/api", "GET", []),
        ("/missing", "GET", []),
        ("/post", "POST", []),
        ("/", "HEAD", []),
        ("/", "GET", [("sec-purpose", "prefetch;prerender")]),
        ("/", "GET", [("service-worker-navigation-preload", "true")]),
        ("/", "GET", [("sec-fetch-dest", "iframe")]),
        ("/", "GET", [("sec-fetch-dest", "empty")]),
    ],
)
def test_what_is_no_page_view_is_not_recorded(
    target: str, method: str, headers: list[tuple[str, str]]
) -> None:
    """JSON, errors, POST, HEAD, prefetches, frames and fetches."""
    site = Site(EXEMPT)
    asyncio.run(call(site.collector, http_scope(target, method, headers)))
    assert site.records() == []


def test_a_service_restricts_what_its_mount_collects() -> None:
    """Under /docs only the fields its regulation names."""
    from collector.policy import Service

    service = Service("docs", "/docs", {"path": "mandatory"}, 30)
    site = Site(policy(version(purpose("statistics", EVERYTHING), services=(service,))))
    cookies = site.grant("statistics")
    get(site.collector, "/docs/start", headers=[cookies])
    get(site.collector, "/", headers=[cookies])
    docs, home = site.views()
    assert docs.service == "docs" and home.service is None
    assert {field.name for field in FIELDS if getattr(docs, field.name) is not None} == {"path"}
    assert home.country == "NL"


def test_conservation_holds_after_a_flood() -> None:
    """accepted = written + dropped + queued, and accepted is what was sent."""
    site = Site(EXEMPT)

    async def flood() -> None:
        for number in range(3000):
            agent = GOOGLEBOT if number % 10 == 0 else FIREFOX
            await call(site.collector, http_scope("/", headers=[("user-agent", agent)]))

    asyncio.run(flood())
    site.collector.writer.stop()
    counters = site.collector.writer.counters()
    assert counters["accepted"] == 3000
    assert (counters["written"], counters["dropped"], counters["queued"]) == (2700, {"bot": 300}, 0)


def test_what_is_granted_after_records_of_the_day_is_recorded_from_tomorrow_on() -> None:
    """No record of a granted purpose stands under a name that no cookie opens, and nobody is two that day."""
    now_ms = 1_796_000_123_456
    site = Site(EXEMPT, clock=lambda: now_ms)
    get(site.collector, "/product/before")
    cookies = site.grant(u="/product/before")
    for path in "abc":
        get(site.collector, f"/product/{path}", headers=[cookies])
    answer = get(site.collector, "/api", headers=[cookies])
    assert json.loads(answer.body) == {"granted": ["advertising", "necessary", "statistics"]}
    now_ms += DAY_MS
    get(site.collector, "/product/tomorrow", headers=[cookies])
    consent, *views = sorted(site.records(), key=lambda record: record.kind)
    assert consent.purposes == ("advertising", "necessary", "statistics")
    *today, tomorrow = sorted(views, key=lambda view: view.ts_ms)
    assert len(today) == 4 and len({view.visitor for view in today}) == 1
    assert {view.purposes for view in today} == {("necessary", "statistics")}
    assert {view.network for view in today} == {None}
    assert (tomorrow.purposes, tomorrow.network) == (consent.purposes, "193.0.6.0/24")
    assert tomorrow.visitor == consent.visitor != today[0].visitor


# ---- consent -------------------------------------------------------------------------------------------


def test_granting_sets_both_cookies_with_their_attributes() -> None:
    """__Host-, Secure, HttpOnly, SameSite, 13 months."""
    site = Site()
    answer = post(
        site.collector, "/_impersonal/consent", b'{"act": "grant"}', [("content-type", "application/json")]
    )
    assert set(answer.cookies) == {"__Host-consent", "__Host-id"}
    for morsel in answer.cookies.values():
        attributes = ("path", "secure", "httponly", "samesite", "domain")
        assert [morsel[name] for name in attributes] == ["/", True, True, "lax", ""]
        assert morsel["max-age"] == str(395 * 24 * 3600)
        assert len(morsel.OutputString()) <= 4096
    assert json.loads(answer.body)["granted"] == ["advertising", "necessary", "statistics"]


def test_visits_never_prolong_the_id() -> None:
    """No answer after the grant sets a cookie."""
    site = Site()
    cookies = site.grant("statistics")
    assert get(site.collector, headers=[cookies]).headers("set-cookie") == []


def test_granting_again_renews_the_id_for_as_long_as_the_consent() -> None:
    """The same visitor for another 13 months; a withdrawal of one purpose prolongs nothing."""
    now_ms = 1_796_000_123_456
    site, choice = Site(clock=lambda: now_ms), ("content-type", "application/json")
    old = site.grant()
    now_ms += 380 * DAY_MS
    withdrawal = b'{"act": "withdraw", "purposes": ["advertising"]}'
    assert "__Host-id" not in post(site.collector, "/_impersonal/consent", withdrawal, [choice, old]).cookies
    answer = post(site.collector, "/_impersonal/consent", b'{"act": "grant"}', [choice, old])
    renewed = answer.cookies["__Host-id"]
    assert renewed["max-age"] == str(395 * 24 * 3600)
    assert renewed.value.partition(".")[0] in old[1] and renewed.value not in old[1]
    now_ms += 20 * DAY_MS
    get(site.collector, headers=[cookie_header(answer)])
    first, *_, view = site.records()
    assert view.kind == "view" and view.visitor == first.visitor is not None


def test_a_refusal_leaves_no_identifier() -> None:
    """The cookie is the same for everybody who refuses on one day, and the record names nobody."""
    site = Site()
    answers = [
        post(
            site.collector,
            "/_impersonal/consent",
            b"act=refuse",
            [("content-type", "application/x-www-form-urlencoded")],
        )
        for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [303, 303]
    assert len({answer.cookies["__Host-consent"].value for answer in answers}) == 1
    assert "__Host-id" not in answers[0].cookies
    for record in site.records():
        assert record.act == "refuse" and record.via == "form" and record.ts_ms % 3_600_000 == 0
        assert all(getattr(record, field.name) is None for field in FIELDS)


def test_withdrawing_deletes_the_id_and_stops_collection() -> None:
    """From the answer on, nothing more is recorded; the withdrawal itself is proof under the pseudonym."""
    site = Site()
    cookies = site.grant("statistics")
    answer = post(
        site.collector,
        "/_impersonal/consent",
        b'{"act": "withdraw"}',
        [("content-type", "application/json"), cookies],
    )
    assert answer.cookies["__Host-id"]["max-age"] == "0"
    get(site.collector, headers=[cookie_header(answer)])
    grant, withdrawal = site.records()
    assert (grant.act, withdrawal.act) == ("grant", "withdraw")
    assert grant.visitor == withdrawal.visitor is not None


def test_only_a_browser_s_first_choice_is_its_first() -> None:
    """Not a second one, not a withdrawal, and not that of a browser that lost its choice but kept its id."""
    site, kind = Site(), ("content-type", "application/json")
    cookies = site.grant("statistics")
    id_alone = ("cookie", next(pair for pair in cookies[1].split("; ") if pair.startswith("__Host-id=")))
    for act, sent in (("grant", [cookies]), ("withdraw", [cookies]), ("grant", [id_alone]), ("refuse", [])):
        post(site.collector, "/_impersonal/consent", json.dumps({"act": act}).encode(), [kind, *sent])
    firsts = [(record.act, record.first) for record in site.records()]
    assert firsts == [("grant", True), ("grant", None), ("withdraw", None), ("grant", None), ("refuse", True)]


def test_one_purpose_can_be_withdrawn_alone() -> None:
    """Advertising ends, statistics stay."""
    site = Site()
    cookies = site.grant("statistics", "advertising")
    answer = post(
        site.collector,
        "/_impersonal/consent",
        b'{"act": "withdraw", "purposes": ["advertising"]}',
        [("content-type", "application/json"), cookies],
    )
    assert json.loads(answer.body)["granted"] == ["necessary", "statistics"]
    assert "__Host-id" not in answer.cookies


def test_who_is_known_by_the_day_alone_is_held_to_a_refusal_for_that_day(tmp_path: Path) -> None:
    """Whatever cookie comes, in another worker too; not another browser, and not after a new choice."""
    now_ms = 1_796_000_123_456
    site, worker = (Site(EXEMPT, data=tmp_path, clock=lambda: now_ms) for _ in range(2))
    other = ("user-agent", FIREFOX.replace("140", "139"))

    def seen(path: str, *headers: tuple[str, str]) -> list[str | None]:
        get(worker.collector, path, headers=headers)
        return [view.path for view in worker.views()]

    assert seen("/product/before") == ["/product/before"]
    choice = [("content-type", "application/json")]
    post(site.collector, "/_impersonal/consent", b'{"act": "refuse"}', choice)
    assert seen("/product/after") == ["/product/before"]
    assert seen("/product/other", other) == ["/product/before", "/product/other"]
    post(site.collector, "/_impersonal/consent", b'{"act": "grant"}', choice)
    assert seen("/product/granted") == ["/product/before", "/product/other", "/product/granted"]
    post(site.collector, "/_impersonal/consent", b'{"act": "refuse"}', choice)
    now_ms += DAY_MS
    assert seen("/product/tomorrow") == [
        "/product/before",
        "/product/other",
        "/product/granted",
        "/product/tomorrow",
    ]


COUNTED = policy(version(purpose("statistics", {"page": "path", "time": "second"}), NECESSARY))
"""After consent, without any pseudonym."""


@pytest.mark.parametrize("act", ["consent", "privacy/erase"])
@pytest.mark.parametrize(
    ("rules", "keeps"),
    [(COUNTED, "__Host-consent"), (BY_DAY, "__Host-consent"), (CONSENTED, "__Host-consent"), (CONSENTED, "")],
)
def test_a_withdrawal_holds_for_old_cookies_without_the_id(
    tmp_path: Path, rules: Policy, keeps: str, act: str
) -> None:
    """For records and for granted(scope), in a worker that wrote nothing yet, with the id lost or not."""
    now_ms = 1_796_000_123_456
    site, worker = (Site(rules, data=tmp_path, clock=lambda: now_ms) for _ in range(2))
    cookies = site.grant("statistics")
    old = ("cookie", next(pair for pair in cookies[1].split("; ") if pair.startswith("__Host-consent=")))
    sent = old if keeps else cookies
    other = ("user-agent", FIREFOX.replace("140", "139"))

    def granted_to(*headers: tuple[str, str]) -> Any:
        return json.loads(get(worker.collector, "/api", headers=headers).body)["granted"]

    assert granted_to(old) == ["necessary", "statistics"]
    body = b'{"act": "withdraw"}' if act == "consent" else b'{"what": "all"}'
    answer = post(site.collector, f"/_impersonal/{act}", body, [("content-type", "application/json"), sent])
    assert answer.status in (200, 303)
    assert not worker.collector.writer.is_running
    assert granted_to(old) == ["necessary"]
    assert granted_to(old, other) == ["necessary", "statistics"]
    get(worker.collector, "/product/after", headers=[old])
    get(worker.collector, "/product/other", headers=[old, other])
    assert [view.path for view in worker.views()] == ["/product/other"]
    site.grant("statistics")
    assert granted_to(old) == ["necessary", "statistics"], "a new word in the place of the last"


def test_a_choice_with_an_id_widens_no_neighbours(tmp_path: Path) -> None:
    """Who has an id narrows what was said under the day's pseudonym, and leaves it as narrow."""
    site = Site(CONSENTED, data=tmp_path, clock=lambda: 1_796_000_123_456)
    choice = ("content-type", "application/json")
    cookies, visitor = site.grant("statistics"), site.grant("advertising", "statistics")
    neighbour = (
        "cookie",
        next(pair for pair in cookies[1].split("; ") if pair.startswith("__Host-consent=")),
    )
    for body, *sent in (
        (b'{"act": "withdraw"}', neighbour),
        (b'{"act": "withdraw", "purposes": ["advertising"]}', visitor),
        (b'{"act": "grant"}', visitor),
    ):
        assert post(site.collector, "/_impersonal/consent", body, [choice, *sent]).status == 200
    site.records()
    found = [json.loads(get(site.collector, "/api", headers=[who]).body) for who in (neighbour, visitor)]
    assert [each["granted"] for each in found] == [["necessary"], ["advertising", "necessary", "statistics"]]


def test_an_old_cookie_grants_the_host_nothing_after_a_withdrawal_or_an_erasure(tmp_path: Path) -> None:
    """granted(scope) follows the visitor's latest word, within a tick of the writer thread; so does what the
    collector tells a script."""
    asked: list[frozenset[str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(granted(scope))
        await SITE(scope, receive, send)

    site = Site(app=app, data=tmp_path)
    for act, route in ((b'{"act": "withdraw"}', "consent"), (b'{"what": "all"}', "privacy/erase")):
        cookies = site.grant("statistics")
        get(site.collector, headers=[cookies])
        assert asked[-1] == {"necessary", "statistics"}
        headers = [("content-type", "application/json"), cookies]
        assert post(site.collector, f"/_impersonal/{route}", act, headers).status in (200, 303)
        site.records()  # the thread starts anew, and looks
        get(site.collector, headers=[cookies])
        time.sleep(0.3)
        get(site.collector, headers=[cookies])
        assert asked[-1] == {"necessary"}
        told = json.loads(get(site.collector, "/_impersonal/consent", headers=[cookies]).body)
        assert (told["granted"], told["ask"]) == (["necessary"], False)


def test_a_worker_that_slept_knows_of_a_withdrawal_that_another_one_took(tmp_path: Path) -> None:
    """Its writer thread looks seldom while it has nothing to do: granted(scope) looks itself."""
    site, worker = (Site(data=tmp_path) for _ in range(2))
    for _ in range(3):
        cookies = site.grant("statistics")
        get(worker.collector, headers=[cookies])
        until_s = time.monotonic() + 5
        while not worker.collector.writer._is_dozing:
            assert time.monotonic() < until_s
            time.sleep(0.01)
        body, headers = b'{"act": "withdraw"}', [("content-type", "application/json"), cookies]
        assert post(site.collector, "/_impersonal/consent", body, headers).status == 200
        answer = get(worker.collector, "/api", headers=[cookies])
        assert json.loads(answer.body)["granted"] == ["necessary"]


def test_the_granting_view_is_reported_once_with_its_source() -> None:
    """The page of the consent counts, with its referrer and campaign; a second click adds none."""
    site = Site()
    body = {"w": "ab" * 16, "u": "/product/7?utm_source=mail", "r": "https://search.example/"}
    cookies = site.grant("statistics", **body)
    post(
        site.collector,
        "/_impersonal/consent",
        json.dumps({"act": "grant", "purposes": ["statistics"], **body}).encode(),
        [("content-type", "application/json"), cookies],
    )
    (view,) = site.views()
    assert (view.path, view.referrer, view.utm_source) == ("/product/7", "search.example", "mail")


def test_the_page_that_a_consent_form_leads_back_to_is_not_counted_again() -> None:
    """Without JavaScript: one view with its source, and the next page counts as usual."""
    site = Site()
    page = "/product/7?utm_source=mail"
    body = b"act=choose&purposes=statistics&u=/product/7?utm_source=mail&r=https://search.example/"
    answer = post(site.collector, "/_impersonal/consent", body)
    assert answer.headers("location") == [page]
    cookies = cookie_header(answer)
    get(site.collector, page, headers=[cookies, ("referer", f"https://example.org{page}")])
    get(site.collector, "/", headers=[cookies, ("referer", f"https://example.org{page}")])
    assert [(view.path, view.referrer) for view in site.views()] == [
        ("/product/7", "search.example"),
        ("/", None),
    ]


def test_a_form_of_checkboxes_grants_what_is_ticked_and_nothing_else() -> None:
    """Nothing ticked is a refusal, not a grant of everything."""
    site = Site()
    ticked = post(site.collector, "/_impersonal/consent", b"act=choose&purposes=advertising")
    none = post(site.collector, "/_impersonal/consent", b"act=choose", [cookie_header(ticked)])
    assert "|advertising|" in ticked.cookies["__Host-consent"].value
    assert none.cookies["__Host-id"]["max-age"] == "0"
    assert [record.act for record in site.records()] == ["grant", "refuse"]


def test_a_view_already_counted_is_not_reported_again_by_consent() -> None:
    """Exempt statistics counted the page; granting advertising on it adds no view."""
    site = Site(EXEMPT)
    get(site.collector, "/product/7")
    site.grant("statistics", "advertising", u="/product/7")
    assert len(site.views()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "none")],
        [("origin", "https://evil.example")],
        [("referer", "https://evil.example/")],
        [("origin", "null")],
        [],
    ],
)
def test_another_site_cannot_choose_for_a_visitor(headers: list[tuple[str, str]]) -> None:
    """CSRF: no state changes unless the browser names this site as the source."""
    site = Site()
    answer = asyncio.run(
        call(site.collector, http_scope("/_impersonal/consent", "POST", headers), b"act=grant")
    )
    assert answer.status == 403 and answer.headers("set-cookie") == []
    assert site.records() == []


@pytest.mark.parametrize(
    "headers", [[("origin", "https://example.org")], [("referer", "https://example.org/a")]]
)
def test_an_older_browser_is_known_by_its_origin(headers: list[tuple[str, str]]) -> None:
    """Without Fetch Metadata, Origin or Referer of the site itself is enough."""
    site = Site()
    answer = asyncio.run(
        call(site.collector, http_scope("/_impersonal/consent", "POST", headers), b"act=refuse")
    )
    assert answer.status == 303


def test_a_get_changes_nothing() -> None:
    """The state can be read; it cannot be changed by a link."""
    site = Site()
    answer = get(site.collector, "/_impersonal/consent?act=grant")
    assert json.loads(answer.body) == {
        "ask": True,
        "granted": ["necessary"],
        "reason": "default",
        "policy": "v1",
    }
    assert answer.headers("set-cookie") == [] and site.records() == []


@pytest.mark.parametrize(
    ("back", "location"),
    [
        ("/product/7", "/product/7"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/a\r\nset-cookie: x=1", "/"),
        ("", "/"),
    ],
)
def test_a_form_leads_back_to_this_site_only(back: str, location: str) -> None:
    """No open redirect, no header injection."""
    from urllib.parse import urlencode

    body = urlencode({"act": "refuse", "back": back}).encode()
    answer = post(Site().collector, "/_impersonal/consent", body)
    assert (answer.status, answer.headers("location")) == (303, [location])


@pytest.mark.parametrize(
    "body", [b"", b"act=maybe", b"{", b"\xff", b"act=grant&purposes=spying", b"x" * 5000]
)
def test_a_broken_consent_is_refused_with_a_remedy(body: bytes) -> None:
    """400, one sentence for who wrote the script, nothing recorded."""
    site = Site()
    answer = post(site.collector, "/_impersonal/consent", body, [("content-type", "text/plain")])
    assert answer.status == 400 and json.loads(answer.body)["error"]
    assert site.records() == []


def test_the_host_can_ask_what_is_granted() -> None:
    """granted(scope) inside a handler."""
    site = Site()
    cookies = site.grant("statistics")
    assert json.loads(get(site.collector, "/api").body) == {"granted": ["necessary"]}
    assert json.loads(get(site.collector, "/api", headers=[cookies]).body) == {
        "granted": ["necessary", "statistics"]
    }
    for question in (granted, must_ask):
        with pytest.raises(ConfigurationError, match="add it"):
            question(http_scope())


def test_the_host_can_ask_whether_to_ask() -> None:
    """must_ask(scope) until a choice is made."""
    answers: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answers.append(must_ask(scope))
        await PlainTextResponse("x")(scope, receive, send)

    site = Site(app=app)
    get(site.collector)
    get(site.collector, headers=[site.grant("statistics")])
    assert answers == [True, False]


# ---- beacons -------------------------------------------------------------------------------------------


def beacon(site: Site, body: object, *headers: tuple[str, str]) -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return post(site.collector, "/_impersonal/event", raw, [("content-type", "text/plain"), *headers]).status


def test_events_pings_and_views_of_the_script_are_recorded() -> None:
    """Each kind with its own fields."""
    site = Site()
    cookies = site.grant("statistics")
    beacon(site, {"k": "event", "u": "/a", "n": "signup", "p": {"plan": "pro", "seats": 2}}, cookies)
    beacon(site, {"k": "event", "u": "/a", "n": "scrolled", "i": False}, cookies)
    beacon(site, {"k": "ping", "u": "/a", "e": 4200, "s": 80}, cookies)
    beacon(site, {"k": "view", "u": "/b?utm_source=x", "w": "ab" * 16, "r": "https://other.example"}, cookies)
    beacon(site, {"k": "outbound", "u": "/a", "t": "other.example"}, cookies)
    event, quiet, ping, view, outbound = (record for record in site.records() if record.kind != "consent")
    assert (event.kind, event.name, event.props, event.interactive) == (
        "event", "signup", '{"plan":"pro","seats":2}', True,
    )  # fmt: skip
    assert quiet.interactive is False
    assert (ping.kind, ping.engaged_ms, ping.scroll, ping.path) == ("ping", 4200, 80, "/a")
    assert (view.kind, view.path, view.utm_source, view.referrer) == ("view", "/b", "x", "other.example")
    assert (outbound.kind, outbound.name, outbound.props) == (
        "event",
        "outbound",
        '{"target":"other.example"}',
    )


def test_targets_and_properties_hold_nothing_personal() -> None:
    """Downloads by their list, targets scrubbed like pages, texts that look personal blanked."""
    site = Site()
    cookies = site.grant("statistics")
    beacon(site, {"k": "download", "u": "/a", "t": "/files/jane@example.org/report.pdf"}, cookies)
    beacon(site, {"k": "download", "u": "/a", "t": "/docs/1.0"}, cookies)
    beacon(site, {"k": "event", "u": "/a", "n": "mailed", "p": {"to": "jane@example.org", "n": 3}}, cookies)
    beacon(site, {"k": "event", "u": "/a", "n": "plain", "p": None}, cookies)
    download, mailed, plain = (record for record in site.records() if record.kind == "event")
    assert (download.name, download.props) == ("download", '{"target":"/files/{email}/report.pdf"}')
    assert (mailed.props, plain.props) == ('{"to":"{email}","n":3}', None)
    assert site.collector.writer.counters()["dropped"] == {"no_download": 1}


def test_a_view_sent_twice_has_one_id() -> None:
    """Ingest keeps one record per id."""
    site = Site()
    cookies = site.grant("statistics")
    for _ in range(2):
        beacon(site, {"k": "view", "u": "/b", "w": "ab" * 16}, cookies)
    assert len({view.id for view in site.views()}) == 1


def test_the_answer_never_tells_what_was_decided() -> None:
    """Granted, refused, malformed, oversized, foreign or too many: 204 and the same headers."""
    site = Site()
    cookies = site.grant("statistics")
    good = {"k": "event", "u": "/a", "n": "x"}
    cases: list[tuple[bytes, list[tuple[str, str]]]] = [
        (json.dumps(good).encode(), [cookies]),
        (json.dumps(good).encode(), []),
        (b"{", []),
        (b'{"k": "spy"}', []),
        (b"x" * 100_000, []),
        (json.dumps(good).encode(), [("sec-fetch-site", "cross-site")]),
        *[(json.dumps(good).encode(), [])] * 80,
    ]
    answers = [
        asyncio.run(
            call(
                site.collector,
                http_scope(
                    "/_impersonal/event",
                    "POST",
                    [("sec-fetch-site", "same-origin"), *headers]
                    if ("sec-fetch-site", "cross-site") not in headers
                    else headers,
                ),
                body,
            )
        )
        for body, headers in cases
    ]
    assert {(answer.status, str(answer.messages[0]["headers"]), answer.body) for answer in answers} == {
        (204, str(answers[0].messages[0]["headers"]), b"")
    }
    dropped = site.collector.writer.counters()["dropped"]
    assert (dropped["malformed"], dropped["body"], dropped["cross_origin"]) == (2, 1, 1)
    assert dropped["rate"] > 0
    assert len([record for record in site.records() if record.kind == "event"]) == 1


def test_the_script_is_served_once_and_revalidated() -> None:
    """200 with an ETag, then 304."""
    site = Site()
    first = get(site.collector, "/_impersonal/beacon.js")
    assert first.status == 200 and first.headers("content-type") == ["text/javascript; charset=utf-8"]
    again = get(
        site.collector, "/_impersonal/beacon.js", headers=[("if-none-match", first.headers("etag")[0])]
    )
    assert (again.status, again.body) == (304, b"")


def test_the_path_is_the_sites_choice() -> None:
    """Mounted elsewhere, the default path belongs to the host again."""
    site = Site(path="/hello")
    assert get(site.collector, "/hello/beacon.js").status == 200
    assert get(site.collector, "/_impersonal/beacon.js").status == 404
    with pytest.raises(ConfigurationError, match="slash"):
        Site(path="hello/")


def test_an_unknown_route_below_the_path_answers_404_or_405() -> None:
    """The host never sees these requests."""
    site = Site()
    assert get(site.collector, "/_impersonal/other").status == 404
    refused = get(site.collector, "/_impersonal/event")
    assert (refused.status, refused.headers("allow")) == (405, ["POST"])
    assert b"POST instead" in refused.body


def test_a_policy_with_mistakes_stops_the_site_at_start(tmp_path: Any) -> None:
    """Configuration is checked once, in the constructor, with a remedy."""
    with pytest.raises(PolicyError, match="impersonal init"):
        Collector(SITE, policy=tmp_path / "policy.toml")


# ---- passes through ------------------------------------------------------------------------------------


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/event-stream")]}
    )
    for number in range(3):
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unknown_messages(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.debug", "info": {"template": "x"}})
    await send({"type": "http.response.push", "path": "/a", "headers": []})
    await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send({"type": "http.response.pathsend", "path": "/tmp/x"})
    await send({"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False})


def answering(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


APPS: dict[str, App] = {
    "starlette": SITE,
    "streaming": streaming,
    "unknown messages": unknown_messages,
    "206": answering(206, [(b"content-range", b"bytes 0-1/9"), (b"content-type", b"text/html")], b"<!"),
    "204": answering(204, [], b""),
    "304": answering(304, [(b"etag", b'"x"')], b""),
    "compressed": answering(
        200, [(b"content-type", b"text/html"), (b"content-encoding", b"br")], b"\x00\xff"
    ),
    "no headers": answering(200, [], PAGE.encode()),
    "broken headers": answering(200, [(b"content-type", b"\xff\xfe"), (b"", b"")], PAGE.encode()),
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("name", APPS)
def test_every_message_passes_as_the_same_object(name: str, method: str) -> None:
    """With and without the collector the server sees the same messages, one by one and at once."""
    app = APPS[name]
    seen: list[Message] = []

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        async def recorded(message: Message) -> None:
            seen.append(message)
            await send(message)
            assert sent[-1] is message, "buffered"

        await app(scope, receive, recorded)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(
        Collector(recording, policy=EXEMPT, sink=MemorySink())(http_scope("/", method), receive, send)
    )
    bare = asyncio.run(call(app, http_scope("/", method)))
    assert len(sent) == len(seen) and all(one is other for one, other in zip(sent, seen, strict=True))
    assert sent == bare.messages


def test_an_exception_of_the_app_stays_the_same_object() -> None:
    """The host's error handling sees what the app raised."""
    error = RuntimeError("host's own")

    async def raising(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        get(Collector(raising, policy=EXEMPT, sink=MemorySink()))
    assert caught.value is error


def test_a_cancelled_request_is_cancelled() -> None:
    """CancelledError reaches the app and the server."""
    reached: list[str] = []

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            reached.append("app")
            raise

    async def run() -> None:
        task = asyncio.create_task(call(Collector(waiting, policy=EXEMPT, sink=MemorySink()), http_scope()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert reached == ["app"]


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "something.new"])
def test_other_scopes_pass_untouched(kind: str) -> None:
    """Websockets, lifespan and types not invented yet: same receive, same send, same messages."""
    incoming = {"type": f"{kind}.connect"}
    outgoing = {"type": f"{kind}.accept"}
    seen: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() is incoming
        await send(outgoing)

    async def receive() -> Message:
        return incoming

    async def send(message: Message) -> None:
        seen.append(message)

    asyncio.run(Collector(app, policy=EXEMPT, sink=MemorySink())({"type": kind}, receive, send))
    assert len(seen) == 1 and seen[0] is outgoing


def test_lifespan_warms_up_and_flushes() -> None:
    """What is queued at shutdown is written before the server hears that the app is done."""
    site = Site(EXEMPT)
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    written: list[int] = []

    async def receive() -> Message:
        if incoming[0]["type"] == "lifespan.shutdown":
            await call(site.collector, http_scope())
        return incoming.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "lifespan.shutdown.complete":
            written.append(site.collector.writer.counters()["written"])

    asyncio.run(site.collector({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send))
    assert written == [1]


@pytest.mark.parametrize(
    "scope",
    [
        {"headers": None},
        {"client": None},
        {"client": ("not an address", 0)},
        {"client": ["/run/site.sock", None]},
        {"raw_path": None},
        {"raw_path": b"/\xff\x00\r\n"},
        {"path": "/\udcff\u2028\r\n"},
        {"query_string": b"\xff" * 70_000},
        {"headers": [(b"user-agent", b"\xff" * 70_000), (b"cookie", b"\x00;;=;__Host-id=")]},
        {"headers": [(b"x-forwarded-for", b'fe80::1%","admin":"1')]},
    ],
)
def test_no_input_reaches_the_host_as_an_error(scope: dict[str, Any]) -> None:
    """Whatever a client sends, the page is served; the fault, if any, is counted."""
    site = Site(
        EXEMPT,
        app=answering(200, [(b"content-type", b"text/html")], PAGE.encode()),
        trusted_proxies=["10.0.0.1"],
    )
    answer = asyncio.run(call(site.collector, http_scope() | scope))
    assert (answer.status, answer.body) == (200, PAGE.encode())
    for record in site.records():
        assert not {character for character in repr(record) if ord(character) < 32 or ord(character) > 126}


def test_a_failing_clock_does_not_reach_the_host() -> None:
    """A fault inside the collector is counted by its type."""

    def broken() -> int:
        raise OSError("no clock")

    site = Site(EXEMPT)
    site.collector._clock = broken
    assert get(site.collector).status == 200
    assert site.collector.writer.counters()["errors"] == {"OSError": 1}


def test_context_variables_set_by_the_app_are_visible_upstream() -> None:
    """Pure ASGI: no task in between."""
    from contextvars import ContextVar

    seen: ContextVar[str] = ContextVar("seen", default="")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.set("by the app")
        await PlainTextResponse("x")(scope, receive, send)

    async def run() -> str:
        await call(Collector(app, policy=EXEMPT, sink=MemorySink()), http_scope())
        return seen.get()

    assert asyncio.run(run()) == "by the app"
