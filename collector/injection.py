"""The banner put into a site's own pages on their way out, where `Collector(inject=True)` asks for it.

Only a page that is shown, to a visitor who is to be asked, and whose bytes can be added to is changed: GET,
200, text/html in a character set that holds ASCII, not compressed, no attachment, no part of a page. It is
looked at as it passes: held are the start of a response until its first bytes follow, and of these what may
be the beginning of its end tag.
"""

import re
from collections.abc import Callable
from typing import Any

from collector import capture
from collector.banner import SHOWN, make
from collector.observer import Observer, Scope
from collector.pages import warm

# Every framework has types of its own for ASGI's dictionaries and none accepts another's.
App = Any
Receive = Any
Send = Any
Message = Any

_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([^\"';\s]*)", re.I)
# The banner is sent in ASCII, so a page in any of these can hold it.
_HOLDS_ASCII = re.compile(rb"utf-?8|us-ascii|iso-8859-\d{1,2}|windows-125\d|koi8-[ru]", re.I)

# What described the bytes as they were, or lets a cache show one visitor's page to others, or again.
_DROPPED = frozenset((
    b"cache-control", b"content-length", b"etag", b"last-modified", b"expires", b"accept-ranges",
    b"content-md5", b"digest", b"content-digest", b"repr-digest", b"surrogate-control", b"cdn-cache-control",
    b"cloudflare-cdn-cache-control",
))  # fmt: skip

# The end of a page: </body>, perhaps </html>, then nothing, a comment or another element. Where a script or
# an attribute holds the same tag as text, a quote or an end tag follows.
_S = rb"\s{0,50}"
_AFTER = _S + rb"(?:</html" + _S + rb">" + _S + rb")?"
_END = re.compile(rb"</body" + _S + rb">(?=" + _AFTER + rb"<[^/])", re.I)
_END_OF_ALL = re.compile(rb"</body" + _S + rb">(?=" + _AFTER + rb"(?:<[^/]|\Z))", re.I)


def _beginning(*parts: bytes) -> bytes:
    """A pattern for the first of these parts, the first two, and so on, or none of them."""
    pattern = b""
    for part in reversed(parts):
        pattern = b"(?:" + part + pattern + b")?"
    return pattern


_TAGS = (*b"/body", _S, *b">", _S, *b"</html", _S, *b">", _S)
_BEGUN = re.compile(
    b"<" + _beginning(*(bytes((part,)) if isinstance(part, int) else part for part in _TAGS)) + rb"\Z", re.I
)
"""What is not yet _END, and may become it with the bytes that follow: at most 220."""


class Injection:
    """Puts the banner before </body> in the pages of an app."""

    def __init__(self, app: App, observer: Observer, failed: Callable[[Exception], None]) -> None:
        self.app = app
        self._observer = observer
        self._failed = failed
        warm()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer with the banner in it, if that is a page that can hold it."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        response = _Response(self, scope, send)
        await self.app(scope, receive, response.send)
        await response.release()

    def is_asked(self, scope: Scope, start: Message) -> bool:
        """Whether a response is a page that can hold the banner, for a visitor who is to be asked."""
        try:
            head = capture.picked(scope["headers"])
            return (
                _can_hold(start)
                and capture.is_page_view("GET", start["status"], start["headers"], head, scope["path"])
                and self._observer.decide(head, self._observer.clock()).ask
            )
        except Exception as error:  # the page goes out as it is
            self._failed(error)
            return False

    def banner(self, scope: Scope, root_path: str) -> bytes:
        """The banner in ASCII, which every character set of a page holds; empty where there is none."""
        try:
            return make(self._observer, scope, root_path, None).encode("ascii", "xmlcharrefreplace")
        except Exception as error:  # the page goes out as it is
            self._failed(error)
            return b""


class _Response:
    """The way of one response's messages."""

    def __init__(self, injection: Injection, scope: Scope, pass_on: Send) -> None:
        self._injection = injection
        self._scope = scope
        self._root_path = scope.get("root_path", "")  # as it is before the site's own mounts
        self._pass_on = pass_on
        self._start: Message | None = None
        self._banner = b""
        self._held = b""

    async def send(self, message: Message) -> None:
        """Pass a message on, unless it is the start of a page: that waits for what follows."""
        if message["type"] == "http.response.start" and self._injection.is_asked(self._scope, message):
            self._start = message
        elif message["type"] == "http.response.body":
            await self._body(message)
        else:
            await self.release()  # a file that the server sends by itself, or what nobody knows yet
            await self._pass_on(message)

    async def release(self) -> None:
        """Pass on the start as it was, if it still waits."""
        if self._start is not None:
            start, self._start = self._start, None
            await self._pass_on(start)

    async def _body(self, message: Message) -> None:
        if self._start is not None:
            self._banner = self._injection.banner(self._scope, self._root_path)
        if not self._banner:
            await self.release()
            await self._pass_on(message)
            return
        is_last = not message.get("more_body", False)
        body = message.get("body", b"")
        changed = self._changed(body, is_last)
        if self._start is not None and not (is_last and changed == body):
            self._start = _changed_start(self._start, len(changed) if is_last else None)
        await self.release()
        await self._pass_on({**message, "body": changed})

    def _changed(self, body: bytes, is_last: bool) -> bytes:
        """What can be passed on now: with the banner once the end of the page is there."""
        body = self._held + body
        self._held = b""
        if end := (_END_OF_ALL if is_last else _END).search(body):
            banner, self._banner = self._banner, b""
            is_there = self._scope.get(SHOWN)  # by the site's own tag
            return body if is_there else body[: end.start()] + banner + body[end.start() :]
        if not is_last and (begun := _BEGUN.search(body)):
            self._held = body[begun.start() :]
            return body[: begun.start()]
        return body


def _can_hold(start: Message) -> bool:
    """Whether something can be put into a response, by its status and headers."""
    if start["status"] != 200:
        return False
    headers = {name.lower(): value for name, value in start["headers"]}
    kind, _, parameters = headers.get(b"content-type", b"").partition(b";")
    charset = _CHARSET.search(parameters)
    return (
        kind.strip().lower() == b"text/html"
        and (charset is None or _HOLDS_ASCII.fullmatch(charset[1]) is not None)
        and headers.get(b"content-encoding", b"identity").strip().lower() == b"identity"
    )


def _changed_start(start: Message, length: int | None) -> Message:
    """The start of a page that holds the banner: for one visitor, once, and of another length.

    Takes   length: of the whole body, None where it is not known yet
    """
    headers = [(name, value) for name, value in start["headers"] if name.lower() not in _DROPPED]
    before = {name.lower(): value for name, value in start["headers"]}
    is_stored = b"no-store" not in before.get(b"cache-control", b"").lower()
    headers.append((b"cache-control", b"private, no-cache" if is_stored else b"no-store"))
    if length is not None and b"content-length" in before:
        headers.append((b"content-length", str(length).encode()))
    return {**start, "headers": headers}
