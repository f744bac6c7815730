"""What beacon.js reports: always answered with 204, whatever was decided."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from collector.capture import Headers, is_download, picked, referrer_host
from collector.consent import Decision
from collector.observation import MAX_URL_BYTES, Observation
from collector.observer import Observer, Scope
from collector.page import page_path, personal
from collector.rate_limit import RateLimit
from collector.web import DAY_S, Receive, Send, is_same_origin, read_body
from collector.writer import Writer


class Beacon(msgspec.Struct, frozen=True):
    """What beacon.js posts. Everything in it is the visitor's word."""

    k: Literal["view", "event", "ping", "outbound", "download"]
    u: str
    """Path and query of the page."""
    w: str = ""
    """Id of the page view, 32 hex digits."""
    r: str = ""
    n: str = ""
    p: dict[str, str | int | float | bool | None] | None = None
    i: bool = True
    e: int = 0
    s: int = 0
    t: str = ""


_beacon = msgspec.json.Decoder(Beacon)


class Beacons:
    """Takes the script's reports."""

    def __init__(self, observer: Observer, writer: Writer) -> None:
        self._observer = observer
        self._writer = writer
        self._limit = RateLimit()

    async def take(self, scope: Scope, receive: Receive) -> None:
        """Queue what a beacon reports, or count why not."""
        reason = await self._take(scope, receive)
        if reason:
            self._writer.refuse(reason)

    async def _take(self, scope: Scope, receive: Receive) -> str:
        """Queue what a beacon reports; the reason where it is dropped before that."""
        if not is_same_origin(scope, self._observer.own_hosts):
            return "cross_origin"
        head = picked(scope["headers"])
        if not self._limit.allows(self._observer.address(scope, head)):
            return "rate"
        body = await read_body(receive)
        if body is None:
            return "body"
        try:
            beacon = _beacon.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "malformed"
        if beacon.k == "download" and not is_download(beacon.t):
            return "no_download"  # the script leaves the list of extensions to the server
        decision = self._observer.decide(head, self._observer.clock())
        if decision.fields:
            self._writer.put(self._observed(scope, head, decision, beacon))
        return ""

    def _observed(self, scope: Scope, head: Headers, decision: Decision, beacon: Beacon) -> Observation:
        seen = self._observer.reported(scope, head, decision, _kind(beacon), beacon.u, beacon.r)
        seen.view = beacon.w if is_view_id(beacon.w) else ""
        if seen.kind == "ping":
            seen.engaged_ms = min(max(beacon.e, 0), DAY_S * 1000)
            seen.scroll = min(max(beacon.s, 0), 100)
        elif seen.kind == "event":
            seen.name = (beacon.n or beacon.k)[:64]
            seen.interactive = beacon.i
            seen.props = _properties({"target": _target(beacon)} if beacon.t else beacon.p or {})
        return seen


async def no_content(scope: Scope, receive: Receive, send: Send) -> None:
    """204, whatever was decided."""
    headers = [(b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _kind(beacon: Beacon) -> str:
    return beacon.k if beacon.k in ("view", "ping") else "event"


def _target(beacon: Beacon) -> str | None:
    """Where a link led: of another site its host, of a file its path, nothing personal in either."""
    if beacon.k == "download":
        return page_path(None, beacon.t[:MAX_URL_BYTES])
    return referrer_host(f"https://{beacon.t}/", ())


def is_view_id(text: str) -> bool:
    """Whether a text can be the id of a page view: 32 letters and digits."""
    return len(text) == 32 and text.isascii() and text.isalnum()


def _properties(properties: Mapping[str, str | int | float | bool | None]) -> str | None:
    """At most 30 properties as a JSON object; names and texts cut, what looks personal blanked."""
    kept = {
        name[:64]: personal(value[:256]) or value[:256] if isinstance(value, str) else value
        for name, value in list(properties.items())[:30]
    }
    return msgspec.json.encode(kept).decode() if kept else None
