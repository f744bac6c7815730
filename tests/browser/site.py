"""A small real site on loopback that keeps what its pages' script reports."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from collector.browser import FILES

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
    "/_impersonal/beacon.js": FILES["beacon.js"].content,
    "/stats/own/beacon.js": FILES["beacon.js"].content,
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

    def page(self, request: Request) -> Response:
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


class Sites:
    """Many sites on one port, told apart by host name: no cache, worker or late report is shared."""

    def __init__(self) -> None:
        self.by_host: dict[str, Site] = {}
        self.app = Starlette(
            routes=[
                *(Route(path, self._script) for path in SCRIPTS),
                Route("/_impersonal/event", self._report, methods=["POST"]),
                Route("/stats/own/event", self._report, methods=["POST"]),
                Route("/favicon.ico", self._nothing),
                Route("/{path:path}", self._page),
            ]
        )

    def _of(self, request: Request) -> Site:
        return self.by_host.setdefault(request.headers["host"], Site())

    async def _script(self, request: Request) -> Response:
        return Response(SCRIPTS[request.url.path], media_type="text/javascript")

    async def _nothing(self, _: Request) -> Response:
        return Response(status_code=204)

    async def _report(self, request: Request) -> Response:
        return await self._of(request).report(request)

    async def _page(self, request: Request) -> Response:
        return self._of(request).page(request)
