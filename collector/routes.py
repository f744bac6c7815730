"""The collector's own routes, under one first-party path.

GET  beacon.js   the browser script
POST event       what the script reports; always 204, whatever was decided
GET  consent     what holds for this browser, and whether it is still to be asked
POST consent     grant, refuse or withdraw, by form or fetch; durable before the answer
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from collector import browser
from collector.beacons import Beacons, no_content
from collector.choices import Choices
from collector.identity import Pseudonyms
from collector.observer import Observer, Scope
from collector.rights import Rights
from collector.web import App, Receive, Threads
from collector.writer import Writer

EVENT = ("POST", "/event")


class Routes:
    """Answers the requests under the collector's path."""

    def __init__(self, observer: Observer, writer: Writer, rights: Rights, pseudonyms: Pseudonyms) -> None:
        self._beacons = Beacons(observer, writer)
        self._threads = Threads()
        self._choices = Choices(observer, writer, rights, pseudonyms, self._threads)
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/beacon.js"): self._script,
            ("GET", "/consent"): self._choices.show,
            ("POST", "/consent"): self._choices.take,
        }

    async def answer(self, scope: Scope, receive: Receive, route: str) -> App:
        """The response to one request; `route` is its path below the collector's own."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if (method, route) == EVENT:  # as many as page views: no time for a Request
            await self._beacons.take(scope, receive)
            return no_content
        handler = self._routes.get((method, route))
        if handler is None:
            known = [name for name, path in (*self._routes, EVENT) if path == route]
            return Response(
                status_code=405 if known else 404, headers={"allow": ", ".join(known)} if known else {}
            )
        return await handler(Request(scope, receive))

    async def _script(self, request: Request) -> Response:
        headers = {"cache-control": "public, max-age=86400", "etag": browser.BEACON_ETAG}
        if request.headers.get("if-none-match") == browser.BEACON_ETAG:
            return Response(status_code=304, headers=headers)
        return Response(browser.BEACON, media_type="text/javascript", headers=headers)
