"""The banner in a real browser, on a real site around which the real collector stands."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from playwright.sync_api import Route as Routed
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from collector import Collector, MemorySink, banner
from collector.consent import COOKIE, Choice
from collector.identity import Pseudonyms
from collector.policy import Policy
from collector.record import Record, decode, frames
from tests.asgi import FIREFOX
from tests.browser.site import Site
from tests.browser.visitor import Visitor
from tests.policies import EVERYTHING, NECESSARY, policy, purpose, version

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
STYLE = """
html { overflow-y: scroll; }
body { margin: 0 auto; max-width: 40em; padding: 1em; font: 16px/1.5 sans-serif; }
:root[data-theme=own] { --impersonal-accent: rgb(120, 20, 60); }
button { display: none; font-size: 40px; }
label, p { text-transform: uppercase; }
"""
TEXTS = {
    "statistics": {
        "en": "We count visits to learn which pages are read. What we publish says nothing about you.",
        "ru": "Мы считаем визиты, чтобы знать, какие страницы читают. В опубликованном нет ничего о вас.",
        "kk": "Қай беттер оқылатынын білу үшін сапарларды санаймыз. Жарияланғаны сіз туралы емес.",
    },
    "advertising": {
        "en": "We form groups of readers with like interests for our advertising.",
        "ru": "Мы объединяем читателей с похожими интересами в группы для нашей рекламы.",
        "kk": "Жарнамамыз үшін қызығушылығы ұқсас оқырмандарды топтастырамыз.",
    },
}
RULES = policy(
    version(
        replace(NECESSARY, text="We take and fulfil your order."),
        *(
            replace(purpose(name, EVERYTHING, recipients=recipients), text=said["en"], texts=said)
            for (name, said), recipients in zip(TEXTS.items(), ((), ("Adverts Ltd",)), strict=True)
        ),
    )
)

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
ZOOMED = {"width": 320, "height": 256}
"""A window of 1280 by 1024 at 400 %."""

SHIFTS = """
window.shifted = [];
new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  if (!entry.hadRecentInput) window.shifted.push({
    value: entry.value, at: entry.startTime, input: entry.lastInputTime,
    moved: entry.sources.map(({ node, previousRect, currentRect }) =>
      [node && (node.className || node.nodeName), previousRect.toJSON(), currentRect.toJSON()]),
  });
})).observe({ type: "layout-shift", buffered: true });
"""
SHOWN = "#impersonal-banner"


def page(request: Request) -> Response:
    """Every address is a page; /plain/ leaves the banner to injection; /cached/, without end, to a script."""
    kind = request.url.path.split("/")[1]
    text = "".join(f'<p>Line {number}. <a href="#{number}">more</a></p>' for number in range(20))
    end = "</body></html>"
    if kind == "cached":
        end = '<script defer src="/_impersonal/banner.js?language=ru"></script>'
    elif kind != "plain":
        end = banner(request.scope) + end
    direction = "rtl" if kind == "rtl" else "ltr"
    theme = ' data-theme="own"' if kind == "themed" else ""
    html = (
        f'<!doctype html><html lang="en" dir="{direction}"{theme}><head><title>{kind}</title>'
        '<meta name="viewport" content="width=device-width">'
        '<link rel="stylesheet" href="/style.css"><script defer src="/_impersonal/beacon.js"></script></head>'
        f"<body><main><h1>A page</h1>{text}</main>{end}"
    )
    headers = {"content-security-policy": CSP}
    if kind == "slow":
        return StreamingResponse(in_two(html), media_type="text/html", headers=headers)
    return HTMLResponse(html, headers=headers)


async def in_two(html: str) -> AsyncIterator[str]:
    """A page of which the connection carries the rest later: from the middle of the banner on."""
    before, button, rest = html.partition("<button")
    yield before
    await asyncio.sleep(0.5)
    yield button + rest


@dataclass
class Mounted:
    """The site, and what its collector has recorded."""

    origin: str
    collector: Collector
    sink: MemorySink

    def records(self, kind: str, path: str | None = None) -> list[Record]:
        """Records of one kind so far, of one page perhaps."""
        found = [
            decode(frame.payload)
            for day in list(self.sink.frames.values())
            for written in list(day)
            for frame in frames(written)
            if frame.payload
        ]
        return [record for record in found if record.kind == kind and path in (None, record.path)]

    def wait_for_view(self, path: str) -> Record:
        """The one view of a page, once it is written; by its id, as it is counted."""
        ends_s = time.monotonic() + 10
        while not (found := self.records("view", path)) and time.monotonic() < ends_s:
            time.sleep(0.02)
        (view,) = {record.id: record for record in found}.values()
        return view


@contextmanager
def serving(rules: Policy) -> Iterator[Mounted]:
    """A site under a policy, while it is needed."""
    sink = MemorySink()
    app = Starlette(
        routes=[
            Route("/style.css", lambda _: Response(STYLE, media_type="text/css")),
            Route("/favicon.ico", lambda _: Response(status_code=204)),
            Route("/{path:path}", page),
        ]
    )
    mounted = Collector(app, policy=rules, sink=sink, inject=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(mounted, log_level="critical", ws="none", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Mounted(f"http://banner.localhost:{listener.getsockname()[1]}", mounted, sink)
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture(scope="module")
def mounted() -> Iterator[Mounted]:
    """One site for the tests of this module; each visits pages of its own."""
    with serving(RULES) as site:
        yield site


Arrive = Callable[..., Visitor]


@pytest.fixture
def arrive(chromium: Browser, mounted: Mounted) -> Iterator[Arrive]:
    """Makes visitors with fresh profiles; nothing may move, fail or speak while they are there."""
    people: list[Visitor] = []

    def come(language: str = "en", site: Mounted = mounted, **options: Any) -> Visitor:
        options = {"viewport": DESKTOP, "reduced_motion": "reduce", "user_agent": FIREFOX} | options
        headers = {"accept-language": language} | options.pop("extra_http_headers", {})
        context = chromium.new_context(extra_http_headers=headers, **options)
        context.add_init_script(SHIFTS)
        people.append(Visitor(context, Site(site.origin)))
        return people[-1]

    yield come
    for person in people:
        person.context.close()
        assert person.noise == []


def cookies(visitor: Visitor) -> set[str]:
    return {str(cookie.get("name")) for cookie in visitor.context.cookies()}


def press(page: Page, *words: str) -> None:
    """Click on what says these words, one after another."""
    for said in words:
        page.locator(f"{SHOWN} :is(button, summary, label)").filter(has_text=said).first.click()


def stored(page: Page) -> int:
    """What lies in the storage of the page."""
    return int(page.evaluate("localStorage.length + sessionStorage.length"))


def look(page: Page, selector: str) -> dict[str, Any]:
    """How an element is painted, and where."""
    found: dict[str, Any] = page.locator(selector).evaluate(
        """(element) => {
          const style = getComputedStyle(element), box = element.getBoundingClientRect();
          const read = ["color", "backgroundColor", "borderColor", "borderWidth", "fontSize", "fontWeight",
            "fontFamily", "opacity", "padding", "textTransform", "cursor", "display"];
          return { ...Object.fromEntries(read.map((name) => [name, style[name]])),
            tag: element.tagName, width: Math.round(box.width), height: box.height, top: box.top };
        }"""
    )
    return found


# ---- the visitor's journey -----------------------------------------------------------------------------


def test_whoever_ignores_it_leaves_nothing(arrive: Arrive, mounted: Mounted) -> None:
    """Pages are read and links followed with the banner there: no cookie, no storage, no record, no shift."""
    visitor = arrive()
    for path in ("/ignored/1", "/ignored/2"):
        visitor.open(path)
        assert visitor.page.is_visible(SHOWN)
        visitor.page.click("text=more >> nth=0")
        visitor.page.keyboard.press("Escape")
        assert visitor.page.is_visible(SHOWN)
        assert (cookies(visitor), stored(visitor.page), visitor.page.evaluate("shifted")) == (set(), 0, [])
    assert mounted.records("view", "/ignored/1") == []


@pytest.mark.parametrize(
    ("language", "size", "choose", "granted"),
    [
        ("en", DESKTOP, ("Accept all",), ("advertising", "necessary", "statistics")),
        ("en", PHONE, ("Reject all",), ("necessary",)),
        ("ru", PHONE, ("Принять всё",), ("advertising", "necessary", "statistics")),
        ("ru", DESKTOP, ("Настроить", "Статистика", "Сохранить выбор"), ("necessary", "statistics")),
        ("kk", PHONE, ("Баптау", "Жарнама", "Таңдауды сақтау"), ("advertising", "necessary")),
        ("kk", DESKTOP, ("Бәрінен бас тарту",), ("necessary",)),
    ],
)
def test_a_choice_is_made_without_a_reload(
    arrive: Arrive,
    mounted: Mounted,
    language: str,
    size: dict[str, int],
    choose: tuple[str, ...],
    granted: tuple[str, ...],
) -> None:
    """One click accepts or rejects, one more opens the choices; the outcome is said, and no more asked."""
    visitor = arrive(language, viewport=size)
    path = f"/journey/{language}/{size['width']}/{len(choose)}"
    page = visitor.page
    visitor.open(path, "https://search.example/find?q=secret")
    before = len(mounted.records("consent"))
    assert page.locator(SHOWN).get_attribute("lang") == language
    press(page, *choose)
    page.wait_for_selector(f"{SHOWN} [role=status]:not(:empty)")
    assert page.locator(f"{SHOWN} button").count() == 0
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1

    (choice,) = mounted.records("consent")[before:]
    assert (choice.purposes, choice.via, choice.first) == (granted, "banner", True)
    if "statistics" in granted or "advertising" in granted:
        view = mounted.wait_for_view(path)
        assert view.referrer == "search.example"
        assert cookies(visitor) == {"__Host-consent", "__Host-id"}
    else:
        assert cookies(visitor) == {"__Host-consent"}
    assert (stored(page), page.evaluate("shifted")) == (0, [])
    visitor.open(path + "/next")
    assert page.locator(SHOWN).count() == 0
    if granted == ("necessary",):
        assert mounted.records("view", path) == []


@pytest.mark.parametrize("choose", [("Reject all",), ("Choose", "Statistics", "Save my choice")])
def test_it_works_without_javascript(arrive: Arrive, mounted: Mounted, choose: tuple[str, ...]) -> None:
    """A plain form: the choices open, the choice is taken, and it leads back to the page it was made on."""
    visitor = arrive(java_script_enabled=False, viewport=PHONE)
    path = f"/scriptless/{len(choose)}?a=b"
    visitor.open(path, "https://search.example/")
    before = len(mounted.records("consent"))
    press(visitor.page, *choose[:-1])
    with visitor.page.expect_navigation():
        press(visitor.page, choose[-1])
    assert visitor.page.url == mounted.origin + path
    assert visitor.page.locator(SHOWN).count() == 0
    (choice,) = mounted.records("consent")[before:]
    assert choice.via == "banner"
    if len(choose) == 1:
        assert cookies(visitor) == {"__Host-consent"}
    else:
        assert choice.purposes == ("necessary", "statistics")
        assert mounted.wait_for_view("/scriptless/3").referrer == "search.example"


def test_a_signal_of_the_browser_is_honoured_on_screen(arrive: Arrive, mounted: Mounted) -> None:
    """With Sec-GPC the banner says so; to keep it so and to choose are buttons alike; one click ends it."""
    visitor = arrive(extra_http_headers={"sec-gpc": "1"})
    for size in (DESKTOP, PHONE):
        visitor.page.set_viewport_size({"width": size["width"], "height": size["height"]})
        visitor.open("/signal")
        assert "Sec-GPC" in visitor.page.inner_text(SHOWN)
        keep, choose = (look(visitor.page, f"{SHOWN} >> {part}") for part in ("text=Keep it off", "summary"))
        for one in (keep, choose):
            del one["tag"], one["display"], one["top"]
        assert keep == choose
    before = len(mounted.records("consent"))
    press(visitor.page, "Keep it off")
    visitor.page.wait_for_selector("text=Your choice is stored.")
    (choice,) = mounted.records("consent")[before:]
    assert (choice.act, choice.via, choice.purposes) == ("refuse", "signal", ("necessary",))
    visitor.open("/signal")
    assert visitor.page.locator(SHOWN).count() == 0


def test_a_choice_that_cannot_be_stored_is_said_and_can_be_made_again(arrive: Arrive) -> None:
    """Without a connection the banner stays and says that nothing was stored; the next click succeeds."""
    visitor = arrive()
    visitor.open("/offline")
    visitor.context.set_offline(True)
    press(visitor.page, "Reject all")
    visitor.page.wait_for_selector("text=could not be stored")
    assert visitor.page.is_visible("text=Reject all")
    assert cookies(visitor) == set()
    visitor.context.set_offline(False)
    press(visitor.page, "Reject all")
    visitor.page.wait_for_selector("text=Your choice is stored.")
    assert [text for text in visitor.noise if "ERR_INTERNET_DISCONNECTED" not in text] == []
    visitor.noise.clear()


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_late_answer_moves_nothing(arrive: Arrive, size: dict[str, int]) -> None:
    """After half a second what moves counts as unexpected: neither page nor banner does, text and buttons
    stay where they are when something goes wrong."""
    visitor = arrive(viewport=size)
    visitor.open("/late")
    places = [f"{SHOWN} {part}" for part in (".impersonal-banner-text", "button[value=grant]", "summary")]

    def late(route: Routed) -> None:
        time.sleep(0.7)
        route.fulfill(status=503) if next(failing) else route.continue_()

    failing = iter((True, False))
    visitor.page.route("**/_impersonal/consent", late)
    before = [look(visitor.page, place)["top"] for place in places]
    press(visitor.page, "Accept all")
    visitor.page.wait_for_selector("text=could not be stored")
    assert [look(visitor.page, place)["top"] for place in places] == before
    visitor.noise.clear()  # the browser's own, of the status

    visitor.open("/late")
    press(visitor.page, "Reject all")
    visitor.page.wait_for_selector("text=Your choice is stored.")
    visitor.page.wait_for_timeout(100)
    assert visitor.page.evaluate("shifted") == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_slow_connection_moves_nothing(arrive: Arrive, size: dict[str, int]) -> None:
    """A banner that arrives in two parts is shown when all of it is there."""
    visitor = arrive(viewport=size)
    visitor.open("/slow/")
    assert visitor.page.locator(SHOWN).is_visible()
    assert visitor.page.evaluate("shifted") == []


def test_a_double_click_is_one_choice(arrive: Arrive, mounted: Mounted) -> None:
    """The script sends it once."""
    visitor = arrive()
    visitor.open("/double")
    before = len(mounted.records("consent"))
    visitor.page.locator(f"{SHOWN} button[value=grant]").dblclick()
    visitor.page.wait_for_selector("text=Your choice is stored.")
    (choice,) = mounted.records("consent")[before:]
    assert (choice.act, choice.first) == ("grant", True)


@pytest.mark.parametrize("choose", [("Accept all",), ("Choose", "Statistics", "Save my choice")])
def test_a_choice_whose_answer_was_lost_is_made_once(
    arrive: Arrive, mounted: Mounted, choose: tuple[str, ...]
) -> None:
    """The site has stored it, the browser knows nothing of it; the next click sends the same choice."""
    visitor = arrive()
    path = f"/lost/{'/'.join('a' for _ in choose)}"
    visitor.open(path)
    before, bodies = len(mounted.records("consent")), []

    def lose(route: Routed) -> None:
        """Hand the request on, and its answer to nobody."""
        host = mounted.origin.removeprefix("http://")  # a name that the browser alone resolves
        connection = HTTPConnection("127.0.0.1", int(host.partition(":")[2]), timeout=10)
        headers = {**route.request.headers, "host": host}
        connection.request("POST", "/_impersonal/consent", route.request.post_data, headers)
        assert connection.getresponse().status == 200
        connection.close()
        route.abort("connectionreset")

    visitor.page.on("request", lambda request: bodies.append(request.post_data))
    visitor.page.route("**/_impersonal/consent", lose, times=1)
    press(visitor.page, *choose)
    visitor.page.wait_for_selector("text=could not be stored")
    assert cookies(visitor) == set()
    press(visitor.page, choose[-1])
    visitor.page.wait_for_selector("text=Your choice is stored.")
    assert len({body for body in bodies if body and '"once"' in body}) == 1

    first, second = mounted.records("consent")[before:]
    assert (first.id, first.visitor, first.first) == (second.id, second.visitor, True)
    assert mounted.wait_for_view(path).visitor == first.visitor
    (cookie,) = (each for each in visitor.context.cookies() if each.get("name") == "__Host-id")
    bits = str(cookie.get("value")).partition(".")[0]
    assert Pseudonyms(Path("data")).of_id(bits) == first.visitor
    assert [text for text in visitor.noise if "ERR_CONNECTION_RESET" not in text] == []
    visitor.noise.clear()


def test_another_choice_after_a_lost_answer_has_a_value_of_its_own(arrive: Arrive) -> None:
    """Who accepted, heard nothing and now rejects is not repeating anything."""
    visitor = arrive()
    visitor.open("/changed")
    values: list[str] = []

    def note(route: Routed) -> None:
        values.append(json.loads(route.request.post_data or "")["once"])
        route.fulfill(status=409 if len(values) == 3 else 503)

    visitor.page.route("**/_impersonal/consent", note)
    for number, words in enumerate(("Accept all", "Reject all", "Reject all", "Reject all")):
        press(visitor.page, words)
        visitor.page.wait_for_selector("text=could not be stored")
        assert len(values) == number + 1
    assert values[1] == values[2] and len(set(values)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
    visitor.noise.clear()  # the browser's own, of the statuses


def test_pages_from_a_cache_and_pages_without_a_tag(arrive: Arrive) -> None:
    """The script alone fetches the banner, in its own language; injection puts it into a page without any."""
    visitor = arrive("kk")
    for path, language in (("/cached/", "ru"), ("/plain/", "kk")):
        visitor.open(path)
        visitor.page.wait_for_selector(SHOWN)
        assert visitor.page.locator(SHOWN).get_attribute("lang") == language
        assert look(visitor.page, SHOWN)["display"] == "flex"
        assert visitor.page.evaluate("shifted") == []
    press(visitor.page, "Бәрінен бас тарту")
    visitor.page.wait_for_selector(f"{SHOWN} [role=status]:not(:empty)")
    visitor.run("history.back()")
    visitor.page.wait_for_function(f"location.pathname == '/cached/' && !document.querySelector('{SHOWN}')")
    with visitor.page.expect_response("**/_impersonal/banner?language=ru") as answer:
        visitor.open("/cached/")
    assert answer.value.status == 204
    visitor.open("/plain/")
    assert visitor.page.locator(SHOWN).count() == 0


# ---- everybody can use it ------------------------------------------------------------------------------


def test_the_keyboard_alone_is_enough(arrive: Arrive, mounted: Mounted) -> None:
    """Tab reaches everything in its order and goes on; Escape is no choice; focus returns where it was."""
    visitor = arrive()
    visitor.open("/keyboard")
    page, key = visitor.page, visitor.page.keyboard.press
    focused = "() => [document.activeElement.tagName, document.activeElement.textContent.trim()]"
    page.focus("main p:last-child a")
    reached = []
    for _ in range(5):
        key("Tab")
        reached.append(page.evaluate(focused))
    assert reached == [
        ["A", "Your data and settings"],
        ["A", "Privacy policy of 2026-01-01"],
        ["BUTTON", "Accept all"],
        ["BUTTON", "Reject all"],
        ["SUMMARY", "Choose"],
    ]
    key("Tab")
    assert page.evaluate(f"document.querySelector('{SHOWN}').matches(':focus-within')") is False
    key("Shift+Tab")
    key("Enter")
    key("Tab")
    key("Space")
    key("Escape")
    assert page.is_checked("input[value=statistics]")
    assert not page.is_checked("input[value=advertising]")
    for _ in range(2):
        key("Tab")
        assert look(page, ":focus")["top"] < DESKTOP["height"]
    assert page.evaluate(focused) == ["BUTTON", "Save my choice"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    key("Enter")
    page.wait_for_selector("text=Your choice is stored.")
    assert page.evaluate(focused) == ["A", "more"]
    assert mounted.records("consent")[-1].purposes == ("necessary", "statistics")


def test_what_has_the_focus_is_not_behind_the_banner(arrive: Arrive) -> None:
    """Whichever link of the page the keyboard reaches, it is above the banner, the last one too."""
    visitor = arrive(viewport=PHONE)
    visitor.open("/obscured")
    top = look(visitor.page, SHOWN)["top"]
    for _ in range(20):
        visitor.page.keyboard.press("Tab")
        box = look(visitor.page, ":focus")
        assert box["top"] >= 0
        assert box["top"] + box["height"] <= top


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(arrive: Arrive, scheme: str) -> None:
    """No violation with the choices open, on both sizes of screen, after a signal and after a choice."""
    visitor = arrive(color_scheme=scheme)
    visitor.open("/axe")
    visitor.page.click(f"{SHOWN} summary")
    assert Axe().run(visitor.page).response["violations"] == []
    visitor.context.set_extra_http_headers({"sec-gpc": "1"})
    visitor.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    visitor.open("/axe")
    visitor.page.click(f"{SHOWN} summary")
    assert Axe().run(visitor.page, SHOWN).response["violations"] == []
    press(visitor.page, "Keep it off")
    visitor.page.wait_for_selector("text=Your choice is stored.")
    assert Axe().run(visitor.page, SHOWN).response["violations"] == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_what_widened_and_cannot_be_refused_is_told_once(arrive: Arrive, size: dict[str, int]) -> None:
    """One button keeps what was chosen before, the other opens the choices; axe finds nothing in either."""
    [before] = RULES.versions
    today = datetime.now(UTC).date()
    wider = replace(before.purposes["necessary"], recipients=("Couriers",))
    rest = [row for name, row in before.purposes.items() if name != "necessary"]
    choice = Choice(before.id, today - timedelta(9), frozenset(("statistics",)))
    with serving(policy(before, version(wider, *rest, version_id="v2", effective=today))) as site:
        visitor = arrive(site=site, viewport=size)
        cookie = {
            "name": COOKIE,
            "value": choice.cookie(),
            "url": site.origin.replace("http", "https"),
            "secure": True,
        }
        visitor.context.add_cookies([cookie])  # type: ignore[list-item]
        visitor.open("/told")
        equal = [look(visitor.page, f"{SHOWN} {part}") for part in ("button[value=keep]", "summary")]
        assert len({(each["width"], each["fontSize"], each["backgroundColor"]) for each in equal}) == 1
        visitor.page.click(f"{SHOWN} summary")
        assert Axe().run(visitor.page, SHOWN).response["violations"] == []
        visitor.page.click(f"{SHOWN} summary")
        press(visitor.page, "Keep my choice")
        visitor.page.wait_for_selector("text=Your choice is stored.")
        assert Axe().run(visitor.page, SHOWN).response["violations"] == []
        visitor.open("/told")
        assert visitor.page.locator(SHOWN).count() == 0
        [kept] = [each["value"] for each in visitor.context.cookies() if each["name"] == COOKIE]
        assert kept.startswith(f"1|v2|{today}|statistics|")


def test_accept_and_reject_look_the_same(arrive: Arrive) -> None:
    """In every language and on every screen: one size, one colour, one weight, side by side."""
    for language in ("en", "ru", "kk"):
        visitor = arrive(language)
        visitor.open("/alike")
        for size in (DESKTOP, PHONE, ZOOMED):
            visitor.page.set_viewport_size({"width": size["width"], "height": size["height"]})
            accept, reject = (
                look(visitor.page, f"{SHOWN} button[value={act}]") for act in ("grant", "refuse")
            )
            assert accept == reject, (language, size)


@pytest.mark.parametrize("path", ["/small", "/rtl/"])
def test_it_fits_a_small_window_and_every_target_is_large(arrive: Arrive, path: str) -> None:
    """At 320 pixels and 400 % zoom nothing is cut off sideways, and no target is lower than 44 pixels."""
    visitor = arrive("ru", viewport=ZOOMED)
    visitor.open(path)
    visitor.page.click(f"{SHOWN} summary")
    page, box = visitor.page, look(visitor.page, SHOWN)
    assert box["top"] >= 0 and box["top"] + box["height"] <= ZOOMED["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= ZOOMED["width"]
    assert page.locator(SHOWN).evaluate("(element) => element.scrollWidth - element.clientWidth") <= 0
    for target in page.locator(f"{SHOWN} :is(button, summary, label)").all():
        target.scroll_into_view_if_needed()
        bounds = target.bounding_box()
        assert bounds and bounds["height"] >= 44
        assert bounds["x"] >= 0 and bounds["x"] + bounds["width"] <= ZOOMED["width"]
    for link in page.locator(f"{SHOWN} a").all():
        bounds = link.bounding_box()
        assert bounds and bounds["height"] >= 24


def test_the_sites_own_style_themes_it_and_does_not_break_it(arrive: Arrive) -> None:
    """A property of the site's colours the buttons; what the site says of every button does not reach in."""
    visitor = arrive()
    visitor.open("/themed/")
    accept = look(visitor.page, f"{SHOWN} button[value=grant]")
    assert accept["backgroundColor"] == "rgb(120, 20, 60)"
    assert (accept["fontSize"], accept["textTransform"]) == ("16px", "none")
