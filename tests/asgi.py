"""Driving an ASGI app directly: every message in, every message out."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
ADDRESS = "193.0.6.139"  # a published address of the RIPE NCC, Netherlands


def http_scope(
    target: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    client: tuple[str, int] | None = (ADDRESS, 50000),
    root_path: str = "",
) -> dict[str, Any]:
    """A scope as a server makes it from a browser's navigation."""
    path, _, query = target.partition("?")
    given = {name.lower() for name, _ in headers}
    usual = [("host", "example.org"), ("user-agent", FIREFOX), ("accept", "text/html")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": root_path,
        "headers": [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in [*(pair for pair in usual if pair[0] not in given), *headers]
        ],
        "client": client,
        "server": ("example.org", 443),
        "extensions": {},
    }


@dataclass
class Answer:
    """The messages one request was answered with."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    def headers(self, name: str) -> list[str]:
        """Every value of a header."""
        wanted = name.encode()
        return [value.decode() for key, value in self.messages[0]["headers"] if key.lower() == wanted]

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies it sets."""
        jar = SimpleCookie()
        for line in self.headers("set-cookie"):
            jar.load(line)
        return jar


async def call(app: App, scope: dict[str, Any], *bodies: bytes) -> Answer:
    """Run one request through an app."""
    answer = Answer()
    chunks = list(bodies) or [b""]

    async def receive() -> Message:
        if chunks:
            body = chunks.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(chunks)}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(scope, receive, send)
    return answer


def get(app: App, target: str = "/", **options: Any) -> Answer:
    """GET a page."""
    return asyncio.run(call(app, http_scope(target, **options)))


def post(
    app: App, target: str, body: bytes, headers: Iterable[tuple[str, str]] = (), **options: Any
) -> Answer:
    """POST from a page of the site itself."""
    sent = [("sec-fetch-site", "same-origin"), *headers]
    return asyncio.run(call(app, http_scope(target, "POST", sent, **options), body))


def cookie_header(*answers: Answer) -> tuple[str, str]:
    """The Cookie header of a browser that received these answers."""
    jar = {name: morsel.value for answer in answers for name, morsel in answer.cookies.items()}
    return ("cookie", "; ".join(f"{name}={value}" for name, value in jar.items() if value))
