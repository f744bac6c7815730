"""The banner in a site's own pages: which responses are changed, how, and that no other is touched."""

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, HTMLResponse, StreamingResponse
from starlette.routing import Route

from collector import Collector, MemorySink, banner
from collector.consent import COOKIE, Choice
from collector.injection import _BEGUN
from tests.asgi import Answer, Message, call, http_scope
from tests.policies import CONSENTED

HTML = [("content-type", "text/html; charset=utf-8")]
PAGE = b"<!doctype html><title>A page</title><p>Text.</p></body></html>"
NOW_MS = 1_796_000_000_000  # November 2026
MARK = b'id="impersonal-banner"'


class Host:
    """An app that answers with the messages it is given."""

    def __init__(self, *messages: Message) -> None:
        self.messages = messages

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send them, whatever was asked."""
        for message in self.messages:
            await send(message)


class Switch:
    """The app of the one collector of these tests: whichever a test asks."""

    app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the test's app answer."""
        await self.app(scope, receive, send)


SWITCH = Switch()
COLLECTOR = Collector(SWITCH, policy=CONSENTED, sink=MemorySink(), inject=True)


def start(headers: Iterable[tuple[str, str]] = HTML, status: int = 200) -> Message:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def body(*chunks: bytes) -> list[Message]:
    last = len(chunks) - 1
    return [
        {"type": "http.response.body", "body": chunk, "more_body": number < last}
        for number, chunk in enumerate(chunks)
    ]


def ask(app: Any, method: str = "GET", headers: Iterable[tuple[str, str]] = (), target: str = "/") -> Answer:
    SWITCH.app = app
    return asyncio.run(call(COLLECTOR, http_scope(target, method, headers)))


def without_banner(sent: bytes) -> bytes:
    """What remains of a page when the banner is cut out of it."""
    before, found, rest = sent.partition(b'<link rel="stylesheet" href="/_impersonal/banner.css">')
    assert found and MARK in rest
    return before + rest.partition(b"</section>")[2]


# ---- what is changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "text/html; charset=utf-8", 'Text/HTML; Charset="UTF-8"', "text/html;charset=windows-1251"],
)
def test_a_page_carries_the_banner_before_its_end(content_type: str) -> None:
    """Once, directly before </body>, in plain ASCII, and Content-Length counts it."""
    headers = [("Content-Type", content_type), ("Content-Length", str(len(PAGE)))]
    answer = ask(Host(start(headers), *body(PAGE)), headers=[("accept-language", "kk")])
    assert answer.body.count(MARK) == 1
    assert without_banner(answer.body) == PAGE
    assert answer.body.endswith(b"</section></body></html>")
    assert answer.headers("content-length") == [str(len(answer.body))]
    assert answer.body.isascii()
    assert b'lang="kk"' in answer.body


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "end", [b"</body></html>", b"</BODY >\n\n</Html>\n", b"</body>", b"</body><!-- 3 ms -->"]
)
def test_an_end_split_over_chunks_is_found(size: int, end: bytes) -> None:
    """However a page is cut, the banner stands in the same place and every other byte is there."""
    page = b"<p>a < b, </b>, </bo</body" * 3 + end
    chunks = [page[at : at + size] for at in range(0, len(page), size)]
    answer = ask(Host(start(), *body(*chunks)))
    assert without_banner(answer.body) == page
    assert answer.body.endswith(b"</section>" + end)


def test_what_is_held_back_is_little_and_short() -> None:
    """A chunk is passed on as it comes; only what may be the beginning of the end waits for the next one."""
    sent = ask(Host(start(), *body(b"<p>one</p>", b"<p>two</p></bo", b"<p>three</p>", b"</body>"))).messages
    assert [message["body"] for message in sent[1:-1]] == [b"<p>one</p>", b"<p>two</p>", b"</bo<p>three</p>"]
    longest = b"</body" + b" " * 50 + b">" + b" " * 50 + b"</html" + b" " * 50 + b">" + b" " * 50
    assert _BEGUN.search(longest) and len(longest) < 220
    assert not _BEGUN.search(longest + b" ")


def test_the_start_says_what_became_of_the_page() -> None:
    """No validator, no sum and no cache remains that would bring the banner back, or to anybody else."""
    headers = [
        *HTML, ("ETag", '"1"'), ("last-modified", "Mon, 23 Nov 2026 10:00:00 GMT"), ("expires", "0"),
        ("cache-control", "public, max-age=600"), ("CDN-Cache-Control", "max-age=600"), ("digest", "x"),
        ("accept-ranges", "bytes"), ("x-own", "kept"), ("set-cookie", "a=1"), ("set-cookie", "b=2"),
        ("content-length", str(len(PAGE))),
    ]  # fmt: skip
    answer = ask(Host(start(headers), *body(PAGE[:20], PAGE[20:])))
    assert answer.messages[0]["headers"] == [
        (b"content-type", b"text/html; charset=utf-8"), (b"x-own", b"kept"), (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"), (b"cache-control", b"private, no-cache"),
    ]  # fmt: skip
    strict = ask(Host(start([*HTML, ("cache-control", "no-store")]), *body(PAGE)))
    assert strict.headers("cache-control") == ["no-store"]


def test_messages_of_the_host_are_not_written_into() -> None:
    """A host may send the same message objects twice: they stay what they were."""
    host = Host(start([*HTML, ("content-length", str(len(PAGE)))]), *body(PAGE))
    assert ask(host).messages == ask(host).messages
    assert host.messages[1]["body"] == PAGE


# ---- what is not ---------------------------------------------------------------------------------------

UNCHANGED: dict[str, tuple[Message, dict[str, Any]]] = {
    "JSON": (start([("content-type", "application/json")]), {}),
    "XHTML": (start([("content-type", "application/xhtml+xml")]), {}),
    "events": (start([("content-type", "text/event-stream")]), {}),
    "no type": (start([]), {}),
    "gzip": (start([*HTML, ("content-encoding", "gzip")]), {}),
    "brotli": (start([*HTML, ("Content-Encoding", "br")]), {}),
    "UTF-16": (start([("content-type", "text/html; charset=utf-16")]), {}),
    "attachment": (start([*HTML, ("content-disposition", "attachment; filename=a.html")]), {}),
    "201": (start(status=201), {}),
    "204": (start(status=204), {}),
    "205": (start(status=205), {}),
    "206": (start([*HTML, ("content-range", "bytes 0-61/62")], 206), {}),
    "304": (start(status=304), {}),
    "404": (start(status=404), {}),
    "500": (start(status=500), {}),
    "HEAD": (start(), {"method": "HEAD"}),
    "POST": (start(), {"method": "POST"}),
    "fetch": (start(), {"headers": [("sec-fetch-dest", "empty")]}),
    "frame": (start(), {"headers": [("sec-fetch-dest", "iframe")]}),
    "htmx": (start(), {"headers": [("hx-request", "true")]}),
    "XMLHttpRequest": (start(), {"headers": [("x-requested-with", "XMLHttpRequest")]}),
    "static": (start(), {"target": "/report.pdf"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCHANGED)
def test_other_responses_pass_as_they_are(name: str) -> None:
    """The same messages, the same headers, the same bytes."""
    first, request = UNCHANGED[name]
    messages = [first, *body(PAGE[:30], PAGE[30:])]
    assert ask(Host(*messages), **request).messages == messages


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<p>no end",
        b"<script>const page = '<body></body></html>'; print(page)</script>",
        b'<iframe srcdoc="<body>x</body></html>"></iframe>',
        b"<script type=text/template><body>x</body>\n</html>\n</script>",
        b"<p>cut short</bod",
    ],
)
@pytest.mark.parametrize("size", [4, 1000])
def test_a_page_without_an_end_keeps_its_bytes(page: bytes, size: int) -> None:
    """Where no </body> closes the page nothing is put in, and a tag inside a script is none."""
    chunks = [page[at : at + size] for at in range(0, max(len(page), 1), size)]
    answer = ask(Host(start([*HTML, ("etag", '"1"')]), *body(*chunks)))
    assert answer.body == page
    assert answer.headers("etag") == ([] if len(chunks) > 1 else ['"1"'])


def test_who_has_chosen_gets_the_page_as_it_is() -> None:
    """After a choice not a byte is changed, and the page may be cached again."""
    messages = [start([*HTML, ("etag", '"1"')]), *body(PAGE)]
    refused = Choice("v1", datetime.now(UTC).date(), frozenset()).cookie()
    assert ask(Host(*messages), headers=[("cookie", f"{COOKIE}={refused}")]).messages == messages


def test_without_inject_nothing_is_changed() -> None:
    """The default leaves the page alone."""
    messages = [start(), *body(PAGE)]
    collector = Collector(Host(*messages), policy=CONSENTED, sink=MemorySink())
    assert asyncio.run(call(collector, http_scope(headers=[("dnt", "1")]))).messages == messages


def test_a_page_with_the_tag_gets_no_second_banner() -> None:
    """A template that carries the banner already is not given another one."""

    async def host(scope: Any, receive: Any, send: Any) -> None:
        for message in (start(), *body(banner(scope).encode() + PAGE)):
            await send(message)

    assert ask(host).body.count(MARK) == 1


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend", "of tomorrow"])
def test_what_nobody_knows_passes_untouched(kind: str) -> None:
    """A body that goes past us, and messages of a later standard, arrive in their order and as they were."""
    messages = [
        {"type": "http.response.debug", "info": {}},
        start([*HTML, ("content-length", "62")]),
        {"type": kind, "path": "/tmp/page.html"},
    ]
    assert ask(Host(*messages)).messages == messages
    trailers = {"type": "http.response.trailers", "headers": []}
    assert ask(Host(start(), *body(PAGE), trailers)).messages[-1] is trailers


def test_a_start_without_a_body_is_still_sent() -> None:
    """An app that ends after its start ends as it would without us."""
    assert ask(Host(start())).messages == [start()]


@pytest.mark.parametrize("fault_at", [1, 2])
def test_a_fault_leaves_the_page_whole(fault_at: int) -> None:
    """Where the banner cannot be decided on or made, the page goes out as it is and the fault is counted."""
    messages = [start([*HTML, ("content-length", str(len(PAGE)))]), *body(PAGE)]
    asked = itertools.count(1)

    def clock() -> int:
        if next(asked) == fault_at:
            raise OSError("the clock has stopped")
        return NOW_MS

    collector = Collector(Host(*messages), policy=CONSENTED, sink=MemorySink(), inject=True, clock=clock)
    assert asyncio.run(call(collector, http_scope(headers=[("dnt", "1")]))).messages == messages
    assert collector.writer.counters()["errors"] == {"OSError": 1}


# ---- in real frameworks --------------------------------------------------------------------------------


def starlette(page: Path) -> Any:
    async def trickle() -> AsyncIterator[bytes]:
        for at in range(0, len(PAGE), 10):
            yield PAGE[at : at + 10]

    routes = [
        Route("/", lambda _: HTMLResponse(PAGE)),
        Route("/stream", lambda _: StreamingResponse(trickle(), media_type="text/html")),
        Route("/file", lambda _: FileResponse(page)),
    ]
    return Starlette(routes=routes)


def quart() -> Any:
    app = Quart("injected")
    app.add_url_rule("/", "home", PAGE.decode)
    return app


def test_real_frameworks_send_pages_that_can_hold_it(tmp_path: Path) -> None:
    """Whole, streamed and from a file; of what a compressing middleware inside has packed nothing changes."""
    (tmp_path / "page.html").write_bytes(PAGE)
    app = starlette(tmp_path / "page.html")
    for target in ("/", "/stream", "/file"):
        assert without_banner(ask(app, target=target).body) == PAGE, target
    assert without_banner(ask(quart()).body) == PAGE
    offered = [("accept-encoding", "gzip")]
    packed = ask(GZipMiddleware(app, minimum_size=1), headers=offered)
    assert gzip.decompress(packed.body) == PAGE
    SWITCH.app = app
    outside = GZipMiddleware(COLLECTOR, minimum_size=1)
    answer = asyncio.run(call(outside, http_scope(headers=offered)))
    assert without_banner(gzip.decompress(answer.body)) == PAGE
