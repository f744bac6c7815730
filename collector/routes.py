"""The collector's own routes, under one first-party path.

GET  beacon.js   the browser script; banner.js and banner.css what the banner loads
GET  banner      the banner as HTML, for pages from a cache; 204 where nothing is to be asked
POST event       what the script reports; always 204, whatever was decided
GET  consent     what holds for this browser, and whether it is still to be asked
POST consent     grant, refuse or withdraw, by form or fetch; durable before the answer
GET  privacy     the privacy page, its data and its acts: see privacy.py
GET  policy      the policy in force and its history
GET  gpc.json    that Global Privacy Control is honoured; browsers look for it under /.well-known
"""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from collector import browser
from collector.beacons import Beacons, no_content
from collector.choices import Choices
from collector.declarations import Declarations
from collector.fragments import Fragments
from collector.observer import Observer, Scope
from collector.policy import Policy
from collector.policy_page import PolicyPage
from collector.privacy import Privacy
from collector.rights import Rights
from collector.subjects import Subjects
from collector.visitor_pages import Places
from collector.web import App, Receive, refusal
from collector.writer import Writer

EVENT = ("POST", "/event")


class Routes:
    """Answers the requests under the collector's path."""

    def __init__(
        self,
        policy: Policy,
        observer: Observer,
        writer: Writer,
        rights: Rights,
        subjects: Subjects,
        declarations: Declarations,
        path: str,
        privacy: str,
    ) -> None:
        """Prepare for requests.

        path      below which the routes lie
        privacy   where visitors are shown the privacy page
        """
        places = Places(path, privacy, policy.controller)
        self._beacons = Beacons(observer, writer)
        choices = Choices(observer, writer, rights, subjects, places)
        policies = PolicyPage(policy, observer.clock, places)
        page = Privacy(policy, observer, writer, rights, subjects, declarations, places)
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            **{("GET", f"/{name}"): partial(_serve, file) for name, file in browser.FILES.items()},
            ("GET", "/banner"): Fragments(observer).show,
            ("GET", "/consent"): choices.show,
            ("POST", "/consent"): choices.take,
            ("GET", "/policy"): policies.show,
            ("GET", "/gpc.json"): policies.gpc,
            ("GET", "/privacy"): page.show,
            ("GET", "/privacy/data.json"): page.json,
            ("GET", "/privacy/data.csv"): page.csv,
            ("POST", "/privacy/request"): page.request,
            ("POST", "/privacy/declared"): page.declared,
            ("POST", "/privacy/erase"): page.erase,
        }

    async def answer(self, scope: Scope, receive: Receive, route: str) -> App:
        """The response to one request; `route` is its path below the collector's own."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if (method, route) == EVENT:  # as many as page views: no time for a Request
            await self._beacons.take(scope, receive)
            return no_content
        handler = self._routes.get((method, route))
        if handler is None:
            return self._unknown(route)
        return await handler(Request(scope, receive))

    def _unknown(self, route: str) -> Response:
        methods = ", ".join(name for name, path in (*self._routes, EVENT) if path == route)
        if not methods:
            return refusal(404, "the collector has nothing at this address")
        response = refusal(405, f"send this address {methods} instead")
        response.headers["allow"] = methods
        return response


async def _serve(file: browser.File, request: Request) -> Response:
    headers = {"cache-control": "public, max-age=86400", "etag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
