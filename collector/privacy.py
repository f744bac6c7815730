"""The collector's own routes, under one first-party path: the script, its events, and consent.

GET  beacon.js   the browser script
POST event       what the script reports; always 204, whatever was decided
GET  consent     what holds for this browser, and whether it is still to be asked
POST consent     grant, refuse or withdraw, by form or fetch; durable before the answer
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from collector import browser, consent, identity
from collector.capture import Headers, is_download, picked, referrer_host
from collector.consent import Choice, Decision
from collector.observation import MAX_URL_BYTES, Observation
from collector.observer import Observer, Scope
from collector.page import page_path, personal
from collector.policy import Version
from collector.rate_limit import RateLimit
from collector.record import LEVELS, date_of
from collector.writer import Writer

MAX_BODY_BYTES = 4096
BODY_S = 5.0  # a body that takes longer is not waited for
DAY_S = 24 * 60 * 60

EVENT = ("POST", "/event")
Receive = Any
Send = Any
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NO_STORE = {"cache-control": "no-store"}


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


class ConsentForm(msgspec.Struct, frozen=True):
    """What a form or a fetch posts to `consent`."""

    act: Literal["grant", "refuse", "withdraw", "choose"]
    purposes: list[str] = []
    """grant: these hold from now on, or all; withdraw: these end, or all; choose: exactly these hold."""
    w: str = ""
    u: str = ""
    r: str = ""
    back: str = ""
    """Where a form leads afterwards: a path of this site."""


_beacon = msgspec.json.Decoder(Beacon)
_consent_json = msgspec.json.Decoder(ConsentForm)


class Routes:
    """Answers the requests under the collector's path."""

    def __init__(self, observer: Observer, writer: Writer) -> None:
        self._observer = observer
        self._writer = writer
        self._events = RateLimit()
        self._choices = RateLimit()  # each is a sync of the disk
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/beacon.js"): self._script,
            ("GET", "/consent"): self._state,
            ("POST", "/consent"): self._consent,
        }

    async def answer(self, scope: Scope, receive: Receive, route: str) -> App:
        """The response to one request; `route` is its path below the collector's own."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if (method, route) == EVENT:  # as many as page views: no time for a Request
            await self._event(scope, receive)
            return _no_content
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

    # ---- events ---------------------------------------------------------------------------------------

    async def _event(self, scope: Scope, receive: Receive) -> None:
        reason = await self._take_event(scope, receive)
        if reason:
            self._writer.refuse(reason)

    async def _take_event(self, scope: Scope, receive: Receive) -> str:
        """Queue what a beacon reports; the reason where it is dropped before that."""
        if not self._same_origin(scope):
            return "cross_origin"
        head = picked(scope["headers"])
        if not self._events.allows(self._observer.address(scope, head)):
            return "rate"
        body = await _body(receive)
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
        seen.view = beacon.w if _is_view_id(beacon.w) else ""
        if seen.kind == "ping":
            seen.engaged_ms = min(max(beacon.e, 0), DAY_S * 1000)
            seen.scroll = min(max(beacon.s, 0), 100)
        elif seen.kind == "event":
            seen.name = (beacon.n or beacon.k)[:64]
            seen.interactive = beacon.i
            seen.props = _properties({"target": _target(beacon)} if beacon.t else beacon.p or {})
        return seen

    # ---- consent --------------------------------------------------------------------------------------

    async def _state(self, request: Request) -> Response:
        decision = self._observer.decide(picked(request.scope["headers"]), self._observer.clock())
        return JSONResponse(_state(decision), headers=NO_STORE)

    async def _consent(self, request: Request) -> Response:
        if not self._same_origin(request.scope):
            return _refusal(403, "this request came from another site: choose on the site's own page")
        head = picked(request.scope["headers"])
        address = self._observer.address(request.scope, head)
        if address and not self._choices.allows(address):  # the unknown are many: no choice is lost for them
            return _refusal(429, "too many choices from this address: please wait a moment and try again")
        body = await _body(request.receive)
        form = _read_form(request, body) if body is not None else None
        if form is None:
            return _refusal(400, "send act=grant, refuse, withdraw or choose, and the purposes it is about")
        before = self._observer.decide(head, self._observer.clock())
        if before.version is None:
            return _refusal(409, "no version of the policy is in force yet: nothing is collected")
        unknown = set(form.purposes) - consent.refusable(before.version)
        if unknown:
            return _refusal(
                400, "a purpose is not one of " + ", ".join(sorted(consent.refusable(before.version)))
            )
        return await self._choose(request, head, form, before, before.version)

    async def _choose(
        self, request: Request, head: Headers, form: ConsentForm, before: Decision, version: Version
    ) -> Response:
        now_ms = self._observer.clock()
        today = date_of(now_ms)
        via = "fetch" if _is_json(request) else "form"
        choice = _choice(form, via, before, version, today)
        after = Decision(version, _granted(version, choice), consent.Reason.CHOICE, choice, version)
        held = self._observer.visitor_id(head, now_ms)
        wanted = LEVELS["cookie"][after.levels["cookie"]] == "long-lived"
        visitor = (held or identity.new_id(today)) if wanted else held
        page = form.u or _referer_page(request)

        record = self._observer.reported(request.scope, head, after, "consent", page)
        record.id_cookie = visitor.cookie().encode() if visitor else None
        record.act, record.via = _act(form, choice), via
        record.first = True if before.choice is None and held is None else None
        if not await self._writer.durable(record):
            return _refusal(503, "your choice could not be stored and nothing has changed: please try again")
        if page and after.fields and not before.fields:
            self._report_granting_view(request, head, after, record.id_cookie, page, form)

        response = _answer(after, via, form.back or page)
        _set_cookie(response, consent.COOKIE, choice.cookie(), choice.lifetime_days)
        if wanted and visitor and held is None:
            _set_cookie(response, identity.COOKIE, visitor.cookie(), consent.GRANT_DAYS)
        elif not wanted and identity.COOKIE in request.cookies:
            _set_cookie(response, identity.COOKIE, "", 0)
        return response

    def _report_granting_view(
        self,
        request: Request,
        head: Headers,
        after: Decision,
        id_cookie: bytes | None,
        page: str,
        form: ConsentForm,
    ) -> None:
        """The page on which consent was given was shown before it could be counted: count it now, once.

        Where some purpose already held, the server has counted it.
        """
        view = self._observer.reported(request.scope, head, after, "view", page, form.r)
        view.id_cookie = id_cookie
        view.view = form.w if _is_view_id(form.w) else ""
        self._writer.put(view)

    def _same_origin(self, scope: Scope) -> bool:
        """Whether the browser says that a page of this site sent the request (Fetch Metadata, or Origin)."""
        for name, value in scope["headers"]:
            if name == b"sec-fetch-site":
                return bool(value == b"same-origin")
        request = Request(scope)
        source = request.headers.get("origin") or request.headers.get("referer") or ""
        host = _host(source)
        return host is not None and (host == request.headers.get("host") or host in self._observer.own_hosts)


def _granted(version: Version, choice: Choice) -> tuple[str, ...]:
    required = set(version.purposes) - consent.refusable(version)
    return tuple(sorted(choice.granted | required))


def _choice(form: ConsentForm, via: str, before: Decision, version: Version, today: date) -> Choice:
    refusable = consent.refusable(version)
    named = frozenset(form.purposes) or refusable
    granted: frozenset[str] = frozenset()
    if form.act == "grant":
        granted = named
    elif form.act == "choose":
        granted = frozenset(form.purposes)
    elif form.act == "withdraw":
        granted = (frozenset(before.granted) & refusable) - named
    return Choice(version.id, today, granted, identity.began(before, today), via)


def _act(form: ConsentForm, choice: Choice) -> str:
    """What a record says was done; a form of checkboxes grants or refuses by what is ticked."""
    if form.act != "choose":
        return form.act
    return "grant" if choice.granted else "refuse"


def _state(decision: Decision) -> dict[str, object]:
    return {
        "ask": decision.ask,
        "granted": decision.granted,
        "reason": decision.reason,
        "policy": decision.version.id if decision.version else None,
    }


def _answer(decision: Decision, via: str, back: str) -> Response:
    if via == "fetch":
        return JSONResponse(_state(decision), headers=NO_STORE)
    return RedirectResponse(_local_path(back), status_code=303, headers=NO_STORE)


def _refusal(status: int, remedy: str) -> Response:
    return JSONResponse({"error": remedy}, status_code=status, headers=NO_STORE)


def _set_cookie(response: Response, name: str, value: str, days: int) -> None:
    response.set_cookie(
        name, value, max_age=days * DAY_S, path="/", secure=True, httponly=True, samesite="lax"
    )


async def _body(receive: Receive) -> bytes | None:
    """The body; None where it is too long, too slow or cut short."""
    body = b""
    with anyio.move_on_after(BODY_S):
        while len(body) <= MAX_BODY_BYTES:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return body if len(body) <= MAX_BODY_BYTES else None
    return None


async def _no_content(scope: Scope, receive: Receive, send: Send) -> None:
    """204, whatever was decided."""
    headers = [(b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip() in (
        "application/json",
        "text/plain",
    )


def _read_form(request: Request, body: bytes) -> ConsentForm | None:
    try:
        if _is_json(request):
            return _consent_json.decode(body)
        fields = parse_qs(body.decode(), max_num_fields=32)
        single = {name: values[0] for name, values in fields.items() if name != "purposes"}
        return msgspec.convert(single | {"purposes": fields.get("purposes", [])}, ConsentForm)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _kind(beacon: Beacon) -> str:
    return beacon.k if beacon.k in ("view", "ping") else "event"


def _target(beacon: Beacon) -> str | None:
    """Where a link led: of another site its host, of a file its path, nothing personal in either."""
    if beacon.k == "download":
        return page_path(None, beacon.t[:MAX_URL_BYTES])
    return referrer_host(f"https://{beacon.t}/", ())


def _is_view_id(text: str) -> bool:
    return len(text) == 32 and text.isascii() and text.isalnum()


def _properties(properties: Mapping[str, str | int | float | bool | None]) -> str | None:
    """At most 30 properties as a JSON object; names and texts cut, what looks personal blanked."""
    kept = {
        name[:64]: personal(value[:256]) or value[:256] if isinstance(value, str) else value
        for name, value in list(properties.items())[:30]
    }
    return msgspec.json.encode(kept).decode() if kept else None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).netloc or None
    except ValueError:
        return None


def _referer_page(request: Request) -> str:
    """The page a plain form was sent from: path and query of a same-origin referrer."""
    try:
        parts = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII, no backslash, not //host


def _local_path(target: str) -> str:
    """Where a form leads back to; never to another site."""
    return target if _LOCAL.fullmatch(target) else "/"
