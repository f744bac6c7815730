"""The privacy page in a real browser: the whole journey, with and without scripts, small and large."""

import csv
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collector import Collector
from collector.policy import Attribute, Service
from collector.record import Record
from collector.rights import Rights
from collector.words import languages, words
from tests.asgi import FIREFOX
from tests.faults.host import read
from tests.policies import EVERYTHING, NECESSARY, policy, purpose, version

DESK = {"width": 1200, "height": 900}
PHONE = {"width": 360, "height": 740}
RULES = policy(
    replace(
        version(
            NECESSARY,
            purpose("statistics", EVERYTHING, recipients=("A counting house",)),
            purpose("advertising", {"page": "route"}),
            services=(Service("shop", "/shop", {"visitor": "mandatory", "path": "optional"}, 30),),
        ),
        declared={
            "age_band": Attribute(
                "age_band", "choice", "statistics", 90, "How old are you?", options=("18-24", "25-34")
            ),
            "city": Attribute("city", "text", "statistics", 90, "Where do you live?", mandatory=True),
        },
    )
)


def page(request: Request) -> Response:
    """Every address is a page; /evil/ is one that attacks the site it is told of."""
    target = request.query_params.get("target", "")
    if request.url.path != "/evil/":
        return HTMLResponse('<!doctype html><html lang="en"><title>page</title><h1>A page</h1>')
    erase = f"{target}/_impersonal/privacy/erase"
    return HTMLResponse(
        f'<form method="post" action="{erase}"><button name="what" value="all">win</button></form>'
        f'<a href="{erase}?what=all">look</a>'
        f"<script>attack = () => fetch('{erase}', {{method: 'POST', mode: 'no-cors', credentials: 'include', "
        f"body: new URLSearchParams({{what: 'all'}})}}).then(() => 1, () => 0)</script>"
    )


class Served:
    """The site, and its data directory."""

    def __init__(self, data: Path, port: int) -> None:
        self.data = data
        self.rights = Rights(data)
        self.origin = f"http://localhost:{port}"
        self.evil = f"http://elsewhere.example:{port}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One real site for the module."""
    data = tmp_path_factory.mktemp("data")
    app = Starlette(routes=[Route("/{path:path}", page)])
    app.add_middleware(Collector, policy=RULES, data=data, privacy="/privacy")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield Served(data, listener.getsockname()[1])
        server.should_exit = server.force_exit = True
        thread.join()


def consents(served: Served) -> list[Record]:
    """Consents as they lie in the logs."""
    return [record for record in read(served.data)[0] if record.kind == "consent"]


def newcomer(chromium: Browser, size: dict[str, int], scripts: bool = True) -> BrowserContext:
    """A browser that has never been here, and calls itself a person's."""
    return chromium.new_context(
        viewport={"width": size["width"], "height": size["height"]},
        user_agent=FIREFOX,
        java_script_enabled=scripts,
        accept_downloads=True,
        locale="en-GB",
    )


def submit(page: Page, button: str) -> None:
    """Click, and wait for the page that answers the form."""
    with page.expect_navigation():
        page.click(button)


def downloaded(page: Page, form: str) -> str:
    """The text of a file that a link of the page gives."""
    with page.expect_download() as download:
        page.click(f"#take a:text-is('{form}')")
    return Path(download.value.path()).read_text()


@pytest.mark.parametrize(
    ("size", "scripts"), [(DESK, True), (PHONE, False)], ids=["desk", "phone, no script"]
)
def test_the_whole_journey(chromium: Browser, served: Served, size: dict[str, int], scripts: bool) -> None:
    """See, change a setting, declare, alter, publish, take along, erase a part and all, read the receipt."""
    said: list[str] = []
    with newcomer(chromium, size, scripts) as context:
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.goto(f"{served.origin}/privacy")
        assert tab.is_visible("text=You have not made a choice yet")
        assert context.cookies() == []
        tab.check("#purpose-statistics")
        submit(tab, "text=Save these settings")
        assert tab.is_visible("text=Your settings are saved")
        assert tab.is_checked("#purpose-statistics") and not tab.is_checked("#purpose-advertising")

        for path in ("/reading?utm_source=letter", "/shop/basket"):
            tab.goto(served.origin + path)
        tab.goto(f"{served.origin}/privacy")
        tab.wait_for_timeout(300)  # a view is written within 0.2 s
        tab.reload()
        table = tab.inner_text("#records table")
        assert "/reading" in table and "/shop/basket" in table and "letter" in table

        tab.select_option("#declared-age_band", "18-24")
        submit(tab, "form:has(#declared-age_band) >> text=Save")
        tab.select_option("#declared-age_band", "25-34")
        tab.check("#declared-age_band-public")
        submit(tab, "form:has(#declared-age_band) >> text=Save")
        assert tab.locator("form:has(#declared-age_band) .tag").all_inner_texts() == ["optional", "public"]
        tab.fill("#declared-city", "Алматы")
        submit(tab, "form:has(#declared-city) >> text=Save")
        assert tab.input_value("#declared-city") == "Алматы"
        assert tab.locator("form:has(#declared-city) .tag").all_inner_texts() == ["mandatory"]

        taken = json.loads(downloaded(tab, "JSON"))
        assert [value["value"] for value in taken["declared"]] == ["25-34", "Алматы"]
        assert {"/reading", "/shop/basket"} <= {record.get("path") for record in taken["records"]}
        rows = list(csv.DictReader(downloaded(tab, "CSV").splitlines()))
        assert [row["value"] for row in rows if row["kind"] == "declared"] == ["25-34", "Алматы"]

        submit(tab, "text=Gather everything")
        assert tab.is_visible("text=are being gathered since")
        assert served.rights.asked(taken["reference"]) is not None
        assert taken["reference"] not in tab.url

        submit(tab, "form:has(#declared-age_band) >> text=Erase")
        assert [value.name for value in served.rights.declared(taken["reference"])] == ["city"]
        tab.click("summary:has-text('Erase everything')")
        submit(tab, "button:has-text('Erase everything')")
        assert tab.is_visible("text=Receipt of your erasure") and tab.is_visible("text=published statistics")
        assert {cookie["name"] for cookie in context.cookies()} == {"__Host-consent", "__Host-receipt"}
        assert served.rights.standing(taken["reference"]) == "erased"
        tab.goto(f"{served.origin}/reading/again")
        tab.goto(f"{served.origin}/privacy")
        assert tab.is_visible("text=This browser has no identifier")
        assert said == []


def test_withdrawing_is_as_easy_as_granting(chromium: Browser, served: Served) -> None:
    """One click each, on buttons of one size and look; the id goes with the withdrawal."""
    with newcomer(chromium, DESK) as context:
        tab = context.new_page()
        tab.goto(f"{served.origin}/privacy")
        buttons = [tab.locator(f"button[value={act}]") for act in ("grant", "withdraw")]
        looks = (
            "e => [e.offsetWidth, e.offsetHeight, ...['color', 'backgroundColor', 'fontSize', 'fontWeight']"
            ".map(name => getComputedStyle(e)[name])]"
        )
        assert buttons[0].evaluate(looks) == buttons[1].evaluate(looks)
        submit(tab, "button[value=grant]")
        assert tab.is_checked("#purpose-advertising")
        assert "__Host-id" in {cookie["name"] for cookie in context.cookies()}
        submit(tab, "button[value=withdraw]")
        assert not tab.is_checked("#purpose-advertising")
        assert "__Host-id" not in {cookie["name"] for cookie in context.cookies()}


def test_a_page_of_another_site_changes_nothing(chromium: Browser, served: Served) -> None:
    """A form, a fetch with credentials and a link of another origin erase nobody."""
    with newcomer(chromium, DESK) as context:
        tab = context.new_page()
        tab.goto(f"{served.origin}/privacy")
        submit(tab, "text=Allow all")
        reference = tab.inner_text(".facts code")
        before = context.cookies(served.origin)
        for attack, status in (("text=win", 403), ("text=look", 405), ("fetch", 403)):
            tab = context.new_page()  # the browser may still be showing its own page for the last refusal
            tab.goto(f"{served.evil}/evil/?target={served.origin}")
            with tab.expect_response("**/privacy/erase*") as answer:
                tab.evaluate("attack()") if attack == "fetch" else tab.click(attack)
            assert answer.value.status == status
            assert served.rights.standing(reference) is None
            assert context.cookies(served.origin) == before


@pytest.mark.parametrize(("scheme", "size"), [("light", PHONE), ("dark", DESK)], ids=["light", "dark"])
def test_nothing_stands_in_anybodys_way(
    chromium: Browser, served: Served, scheme: Literal["light", "dark"], size: dict[str, int]
) -> None:
    """axe finds no fault, in any language, with everything open; nothing is wider than a phone."""
    with newcomer(chromium, size) as context:
        tab = context.new_page()
        tab.emulate_media(color_scheme=scheme)
        tab.goto(f"{served.origin}/privacy")
        submit(tab, "text=Allow all")
        tab.goto(f"{served.origin}/shop/basket")
        tab.wait_for_timeout(300)
        for place, language in (*(("privacy", each) for each in languages()), ("_impersonal/policy", "kk")):
            tab.goto(f"{served.origin}/{place}?lang={language}")
            assert tab.get_attribute("html", "lang") == language
            assert tab.is_visible(f"text={words(language)('privacy.nav_policy')}")
            tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (place, language)
            found = Axe().run(tab)
            assert found.violations_count == 0, found.generate_report()


def test_the_keyboard_reaches_every_switch(chromium: Browser, served: Served) -> None:
    """Tab goes through the page in its order, the space bar switches, and what has the focus is marked."""
    with newcomer(chromium, DESK) as context:
        tab = context.new_page()
        tab.goto(f"{served.origin}/privacy")
        reached = []
        for _ in range(16):
            tab.keyboard.press("Tab")
            place = tab.evaluate("document.activeElement.id || document.activeElement.value || ''")
            outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", place
            reached.append(place)
            if place == "purpose-statistics":
                tab.keyboard.press("Space")
        switches = ["purpose-statistics", "choose", "grant", "withdraw"]
        assert [place for place in reached if place in switches] == switches
        tab.focus("button[value=choose]")
        with tab.expect_navigation():
            tab.keyboard.press("Enter")
        tab.wait_for_selector("text=Your settings are saved")
        assert tab.is_checked("#purpose-statistics")


def test_settings_sent_twice_are_saved_once(chromium: Browser, served: Served) -> None:
    """Without a script: a double click sends the form as often as the browser likes, and makes one id."""
    with newcomer(chromium, DESK, scripts=False) as context:
        tab = context.new_page()
        tab.goto(f"{served.origin}/privacy")
        once = tab.locator("[name=once]").first.get_attribute("value") or ""
        form = {"act": "grant", "by": "page", "once": once}
        sender = {"origin": served.origin, "user-agent": FIREFOX}
        before = consents(served)
        # The form as this page would have sent it, with an answer that the browser never saw.
        urlopen(UrlRequest(f"{served.origin}/_impersonal/consent", urlencode(form).encode(), sender)).close()
        tab.dblclick("button[value=grant]")
        tab.wait_for_selector("text=Your settings are saved")
        reference = tab.inner_text(".facts code")
        made = [record for record in consents(served) if record not in before]
        assert {record.visitor for record in made} == {reference}
        assert len({record.id for record in made}) == 1
