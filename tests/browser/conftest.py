"""Chromium, and a small real site on loopback that keeps what its pages' script reports."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from collector.browser import BEACON

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP elsewhere.example 127.0.0.1",
]
CSP = "default-src 'none'; script-src 'self' 'inline-speculation-rules'; connect-src 'self'"
TAG = '<script defer src="/_impersonal/beacon.js"></script>'
STUB = """
window.impersonal = window.impersonal || function () {
  (impersonal.q = impersonal.q || []).push(arguments);
};
impersonal("early", { prerendered: !!document.prerendering });
"""
# Renders the next page ahead, then goes there: with nobody attached to the browser, who would prevent it.
AHEAD = """
const rules = document.createElement("script");
rules.type = "speculationrules";
rules.textContent = '{"prerender": [{"source": "list", "urls": ["/early/"], "eagerness": "immediate"}]}';
document.head.append(rules);
setTimeout(() => { location.href = "/early/"; }, 600);
"""
# /net/ is answered through a service worker from the network, /made/ by the worker itself.
WORKER = """
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const path = new URL(event.request.url).pathname;
  if (path.startsWith("/net/")) event.respondWith(fetch(event.request));
  if (path.startsWith("/made/")) event.respondWith(
    new Response('<!doctype html><title>made</title><script defer src="/_impersonal/beacon.js"></script>',
                 { headers: { "content-type": "text/html" } }));
});
"""
SCRIPTS = {
    "/_impersonal/beacon.js": BEACON,
    "/stats/own/beacon.js": BEACON,
    "/stub.js": STUB,
    "/ahead.js": AHEAD,
    "/sw.js": WORKER,
}
HEADS = {
    "/early/": f'<script src="/stub.js"></script>{TAG}',
    "/twice/": TAG + TAG,
    "/ahead/": f'<script src="/ahead.js"></script>{TAG}',
    "/own/": '<script defer src="/stats/own/beacon.js?v=1"></script>',
}
HEADERS = {"/cached/": {"cache-control": "max-age=600"}, "/checked/": {"cache-control": "no-cache"}}


@dataclass
class Report:
    """One body that the script posted."""

    path: str
    content_type: str
    body: dict[str, Any]
    at: float
    """Seconds, monotonic."""


@dataclass
class Site:
    """What the site has seen of one test."""

    origin: str = ""
    loads: list[str] = field(default_factory=list)
    """Paths of the loads that the collector counts: documents that the browser wanted to show at once."""
    ahead: dict[str, float] = field(default_factory=dict)
    """Paths of the documents that were fetched ahead, and when."""
    reports: list[Report] = field(default_factory=list)

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """The reports of one kind, in the order of their arrival."""
        return [report.body for report in self.reports if report.body["k"] == kind]

    def shown(self, path: str) -> int:
        """How often a path counts as a page view, by server and script together."""
        told = [body["u"].partition("?")[0] for body in self.bodies("view")]
        return self.loads.count(path) + told.count(path)

    def wait_for(self, kind: str, count: int, pause: Callable[[float], None]) -> list[dict[str, Any]]:
        """The reports of one kind, once there are `count` of them; at most five seconds. `pause` takes ms."""
        deadline = time.monotonic() + 5
        while len(self.bodies(kind)) < count and time.monotonic() < deadline:
            pause(20)
        found = self.bodies(kind)
        assert len(found) == count, self.reports
        return found

    async def page(self, request: Request) -> Response:
        """Every other address is an HTML page that carries the script, under a strict policy."""
        path = request.url.path
        kind = f"/{path.split('/')[1]}/"
        headers = {"content-security-policy": CSP, "etag": '"1"', **HEADERS.get(kind, {})}
        if "sec-purpose" in request.headers:
            self.ahead[path] = time.monotonic()
        elif request.headers.get("sec-fetch-dest") == "document":
            self.loads.append(path)
        if request.headers.get("if-none-match") == '"1"':
            return Response(status_code=304, headers=headers)
        html = f"<!doctype html><title>{path}</title>{HEADS.get(kind, TAG)}<p>A page.{'<p>More.' * 99}"
        if kind == "/slow/":
            return StreamingResponse(_trickle(html), media_type="text/html", headers=headers)
        return HTMLResponse(html, headers=headers)

    async def report(self, request: Request) -> Response:
        """Keep a report."""
        body = json.loads(await request.body())
        self.reports.append(Report(request.url.path, request.headers["content-type"], body, time.monotonic()))
        return Response(status_code=204)


async def _trickle(html: str) -> AsyncIterator[str]:
    for part in (html[:200], html[200:400], html[400:]):
        yield part
        await asyncio.sleep(0.1)


async def _script(request: Request) -> Response:
    return Response(SCRIPTS[request.url.path], media_type="text/javascript")


async def _nothing(_: Request) -> Response:
    return PlainTextResponse("")


@pytest.fixture
def site() -> Iterator[Site]:
    """The site, on an origin of its own: no cache, worker or late report of another test reaches it."""
    served = Site()
    routes = [
        *(Route(path, _script) for path in SCRIPTS),
        Route("/_impersonal/event", served.report, methods=["POST"]),
        Route("/stats/own/event", served.report, methods=["POST"]),
        Route("/favicon.ico", _nothing),
        Route("/{path:path}", served.page),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    served.origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield served
    server.should_exit = server.force_exit = True
    thread.join()
    listener.close()


@contextlib.contextmanager
def running(profile: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Chromium as its users start it, with a new profile."""
    if shutil.which(CHROMIUM) is None:
        reason = "the browser tests need Chromium: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


# One per package: Playwright keeps an event loop running in the thread, which other tests cannot share.
@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One real browser. Playwright's own way to start one switches off what is tested here.

    Pages of its default context are hidden and lose the focus as a person's do; those of a new context are
    always visible and focused.
    """
    with running(tmp_path_factory.mktemp("profile"), "--remote-debugging-port=0") as process:
        assert process.stderr is not None
        address = next(found[0] for line in process.stderr if (found := re.search(r"ws://\S+", line)))
        threading.Thread(target=process.stderr.read).start()
        with sync_playwright() as playwright:
            yield playwright.chromium.connect_over_cdp(address, no_defaults=True)


class Visitor:
    """A fresh profile with one tab; the page must neither fail nor say a word on the console."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context = context
        self.site = site
        self.noise: list[str] = []
        context.on("weberror", lambda error: self.noise.append(str(error.error)))
        context.on("console", self._heard)
        self.page = context.new_page()

    def _heard(self, message: ConsoleMessage) -> None:
        self.noise.append(message.text)

    def open(self, path: str, page: Page | None = None, **options: Any) -> None:
        """Load a page as by a click on a link somewhere else."""
        (page or self.page).goto(self.site.origin + path, **options)

    def run(self, script: str) -> Any:
        """Run a script in the page; None where the page is left meanwhile."""
        try:
            return self.page.evaluate(script)
        except Error as error:
            if "context was destroyed" not in error.message:
                raise
            return None

    def reports(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The reports of one kind, once there are `count` of them."""
        return self.site.wait_for(kind, count, self.page.wait_for_timeout)

    def settle(self) -> None:
        """Wait until what the page has reported so far has arrived: a report of our own comes after it."""
        count = len(self.site.bodies("event"))
        self.run("impersonal('settled')")
        self.reports("event", count + 1)
        self.page.wait_for_timeout(60)


@pytest.fixture
def visitor(chromium: Browser, site: Site) -> Iterator[Visitor]:
    """A visitor of the site; at the end the page must have been silent."""
    context = chromium.new_context(viewport={"width": 800, "height": 600})
    person = Visitor(context, site)
    yield person
    context.close()
    assert person.noise == []


@pytest.fixture
def tab(chromium: Browser, site: Site) -> Iterator[Visitor]:
    """The same with a tab of the browser's own window, which other tabs can hide."""
    person = Visitor(chromium.contexts[0], site)
    yield person
    for page in person.context.pages:
        page.close()
    assert person.noise == []
