"""What the collector's own routes share: where a request came from, its body, and how it is answered."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from collector.observer import Scope

MAX_BODY_BYTES = 4096
BODY_S = 5.0  # a body that takes longer is not waited for
DAY_S = 24 * 60 * 60

Receive = Any
Send = Any
App = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")

NO_STORE = {"cache-control": "no-store"}


def is_same_origin(scope: Scope, own_hosts: frozenset[str]) -> bool:
    """Whether the browser says that a page of this site sent the request (Fetch Metadata, or Origin)."""
    for name, value in scope["headers"]:
        if name == b"sec-fetch-site":
            return bool(value == b"same-origin")
    request = Request(scope)
    host = _host(request.headers.get("origin") or request.headers.get("referer") or "")
    return host is not None and (host == request.headers.get("host") or host in own_hosts)


def is_json(request: Request) -> bool:
    """Whether a body came by fetch rather than from a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    return kind in ("application/json", "text/plain")


async def read_body(receive: Receive) -> bytes | None:
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


def read_form(request: Request, body: bytes, kind: type[T], lists: tuple[str, ...] = ()) -> T | None:
    """The fields of a JSON object or of a form as a struct; None where they do not fit.

    Takes   lists: the fields of which a form may send several
    """
    try:
        if is_json(request):
            return msgspec.json.decode(body, type=kind)
        fields = parse_qs(body.decode(), max_num_fields=64)
        single = {name: values[0] for name, values in fields.items() if name not in lists}
        return msgspec.convert(single | {name: fields.get(name, []) for name in lists}, kind)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def refusal(status: int, remedy: str) -> Response:
    """An error in a line that says what to do."""
    return JSONResponse({"error": remedy}, status_code=status, headers=NO_STORE)


def lead_back(target: str) -> Response:
    """Where a form leads after it was taken; never to another site."""
    return RedirectResponse(target if _LOCAL.fullmatch(target) else "/", status_code=303, headers=NO_STORE)


def set_cookie(response: Response, name: str, value: str, days: int) -> None:
    """A first-party cookie that no script reads and no other site sends along."""
    response.set_cookie(
        name, value, max_age=days * DAY_S, path="/", secure=True, httponly=True, samesite="lax"
    )


def referring_page(request: Request) -> str:
    """The page a plain form was sent from: path and query of a same-origin referrer."""
    try:
        parts = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII, no backslash, not //host


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).netloc or None
    except ValueError:
        return None
