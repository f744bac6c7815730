"""What clients send, at its worst: the host answers as if the collector were not there."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from collector import Collector, MemorySink, capture, page
from collector.consent import Decision
from collector.observation import Observation
from collector.observer import Observer
from collector.policy import Policy
from collector.rate_limit import BURST, PER_S, UNKNOWN, RateLimit
from collector.record import MAX_RECORD_BYTES, frames
from collector.writer import Writer
from tests.asgi import FIREFOX, Answer, App, call, get, http_scope, post
from tests.collector.test_middleware import SITE
from tests.faults.host import Host, eventually, read
from tests.policies import CONSENTED, EXEMPT

PARSERS = ["h11", *(["httptools"] if find_spec("httptools") else [])]
K64 = 64 * 1024 - 256  # h11 takes 64 KiB of head in all
MIB = 1024 * 1024


@pytest.fixture(scope="module", params=PARSERS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One site for all the requests of this file, per HTTP parser that uvicorn has."""
    running = Host(tmp_path_factory.mktemp(request.param) / "data", request.param)
    yield running
    running.end()


# ---- requests ------------------------------------------------------------------------------------------

AGENT = b"User-Agent: " + FIREFOX.encode()
REQUESTS: dict[str, tuple[bytes, list[bytes]]] = {
    "agent of 64 KiB": (b"/a", [AGENT + b" " + b"x" * (K64 - 500)]),
    "agent of 3,500 spaces": (b"/a", [b"User-Agent: Mozilla/5.0" + b" " * 3500 + b"x"]),
    "agent not UTF-8": (b"/a", [AGENT + b"\xff\xfe\x80"]),
    "agent with ESC": (b"/a", [AGENT + b"\x1b[31m"]),
    "agent with NUL": (b"/a", [AGENT + b"\x00"]),
    "agent with a record separator": (b"/a", [AGENT + b'\x1e00000000 {"v":1}']),
    "no agent": (b"/a", []),
    "query of 60 KiB": (b"/a?utm_source=" + b"x" * 60_000, [AGENT]),
    "path of 60 KiB": (b"/" + b"x/" * 30_000, [AGENT]),
    "path of one piece": (b"/" + b"A1" * 30_000, [AGENT]),
    "path not UTF-8": (b"/%ff%fe/%80", [AGENT]),
    "path with CRLF": (b"/a%0d%0aSet-Cookie:%20x=1", [AGENT]),
    "path with NUL, ESC and U+2028": (b"/%00/%1b%5b31m/%e2%80%a8", [AGENT]),
    "path with surrogates": (b"/%ed%a0%80/%ed%b0%80", [AGENT]),
    "path with a frame": (b"/%1e00000000%20%7b%22v%22:1%7d%0a", [AGENT]),
    "absolute form": (b"http://evil.example/x", [AGENT]),
    "campaign with CRLF": (b"/a?utm_source=%0d%0aX:1&utm_campaign=%ff%fe", [AGENT]),
    "forwarded junk": (b"/a", [AGENT, b'X-Forwarded-For: fe80::1%","admin":"1', b"X-Forwarded-For: ,,,;"]),
    "cookies of 60 KiB": (b"/a", [AGENT, b"Cookie: __Host-id=" + b"a" * 60_000]),
    "cookie soup": (
        b"/a",
        [AGENT, b"Cookie: ;;=;__Host-consent=1|\xff|;__Host-id=\x80", b"Cookie: =", b"Cookie: ;"],
    ),
    "referrer junk": (b"/a", [AGENT, b"Referer: https://[::1/\xff" + b"@" * 2000]),
    "signals": (b"/a", [AGENT, b"Sec-GPC: " + b"1" * 5000, b"DNT: \xff"]),
    "a thousand cookies": (b"/a", [AGENT, *[b"Cookie: a=b"] * 1000]),
}


def exchange(port: int, target: bytes, lines: list[bytes]) -> bytes:
    """The raw answer, but for its date."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = [b"GET " + target + b" HTTP/1.1", b"Host: example.org", *lines, b"Connection: close", b"", b""]
        connection.sendall(b"\r\n".join(head))
        answer = b""
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:"))


@pytest.mark.parametrize("name", REQUESTS)
def test_any_request_is_answered_as_without_the_collector(host: Host, name: str) -> None:
    """Byte for byte, whatever the parser lets through; and a page that is served is one record."""
    before = host.counters()
    with_collector = exchange(host.port, *REQUESTS[name])
    assert with_collector == exchange(host.bare_port, *REQUESTS[name]) != b""
    eventually(lambda: not host.counters()["queued"])
    after = host.counters()
    assert after["errors"] == before["errors"] == {} and "error" not in after["dropped"]
    accepted = after["accepted"] - before["accepted"]
    assert accepted == with_collector.startswith(b"HTTP/1.1 200")


def test_what_is_recorded_of_them_is_clean(host: Host) -> None:
    """No record torn, none over 8 KiB, no control character, no foreign text."""
    before = host.counters()["written"]
    for target, lines in REQUESTS.values():
        exchange(host.port, target, lines)
    eventually(lambda: not host.counters()["queued"])
    records, damaged = read(host.data)
    assert damaged == 0 and len(records) == host.counters()["written"] > before + 10
    for path in (host.data / "logs").rglob("*.log"):
        for frame in frames(path.read_bytes()):
            payload = frame.payload or b""
            assert len(payload) <= MAX_RECORD_BYTES
            assert payload.isascii() and payload.decode().isprintable()
            assert b"admin" not in payload


# ---- bodies --------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """100 MiB of zeros, gzipped."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(100)) + packer.flush()


def pour(host: Host, route: str, headers: bytes, chunks: Iterator[bytes]) -> bytes:
    """Send chunks without an end until an answer comes or the server has had enough; gives the answer."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as connection:
        connection.sendall(
            b"POST /_impersonal/" + route.encode() + b" HTTP/1.1\r\nHost: example.org\r\n"
            b"Sec-Fetch-Site: same-origin\r\nTransfer-Encoding: chunked\r\n" + headers + b"\r\n"
        )
        connection.settimeout(0.01)
        answer = b""
        with suppress(ConnectionError):
            for chunk in chunks:
                with suppress(TimeoutError):
                    connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                with suppress(TimeoutError):
                    answer += connection.recv(65536)
                if b"\r\n\r\n" in answer:
                    break
    return answer


@pytest.mark.parametrize(("route", "status"), [("event", b"204"), ("consent", b"400")])
def test_a_body_without_end_is_answered_early(host: Host, route: str, status: bytes) -> None:
    """Endless chunks and a gzip bomb: the answer comes, the rest is not read, memory stays as it was."""
    host.view()
    before = host.rss_bytes()
    endless = pour(host, route, b"", (b"x" * 60_000 for _ in range(1000)))
    packed = bomb()
    pieces = (packed[start : start + 2000] for start in range(0, len(packed), 2000))
    exploding = pour(host, route, b"Content-Encoding: gzip\r\n", pieces)
    for answer in (endless, exploding):
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:100]
    assert host.rss_bytes() - before <= 8 * MIB


def test_a_forged_origin_at_full_speed_is_limited(host: Host) -> None:
    """A client that claims to be a page of the site: what it may leave is bounded, and pages come as ever."""
    usual_s = host.view(50)
    eventually(lambda: not host.counters()["queued"])
    before = host.counters()
    connection = HTTPConnection("127.0.0.1", host.port, timeout=10)
    slowest_s, started_s = 0.0, time.monotonic()
    for number in range(2000):
        headers = {"Origin": "https://example.org", "User-Agent": FIREFOX}
        connection.request("POST", "/_impersonal/event", '{"k": "event", "u": "/a", "n": "x"}', headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (204, b"")
        if number % 50 == 0:
            slowest_s = max(slowest_s, host.view())
    taken_s = time.monotonic() - started_s
    connection.close()
    eventually(lambda: not host.counters()["queued"])
    after = host.counters()
    allowed = BURST + PER_S * taken_s + 1
    assert after["accepted"] - before["accepted"] == 2000 + 40
    assert after["written"] - before["written"] <= allowed + 40
    assert after["dropped"]["rate"] - before["dropped"].get("rate", 0) >= 2000 - allowed
    assert slowest_s < max(10 * usual_s, 0.5)


def test_consents_of_one_address_are_limited(tmp_path: Path) -> None:
    """Each is a sync of the disk: the hundredth of a second is told to wait, and another visitor is not."""
    site = Collector(SITE, policy=EXEMPT, sink=MemorySink(), data=tmp_path)

    def choose(address: str) -> int:
        kind = [("content-type", "application/json")]
        return post(site, "/_impersonal/consent", b'{"act": "refuse"}', kind, client=(address, 1)).status

    started_s = time.monotonic()
    statuses = [choose("193.0.6.139") for _ in range(100)]
    allowed = BURST + PER_S * (time.monotonic() - started_s) + 1
    assert statuses[:50] == [200] * 50 and statuses.count(429) >= 100 - allowed
    assert choose("193.0.6.140") == 200


def test_one_ipv6_network_is_one_client() -> None:
    """Who has an address has 2**64 of them: they share a bucket, and the next network has its own."""
    limit = RateLimit(burst=5, per_s=0)
    allowed = [limit.allows(f"2001:db8:0:1::{number:x}") for number in range(1, 100)]
    assert sum(allowed) == 5
    assert limit.allows("2001:db8:0:2::1") and limit.allows("192.0.2.1")


def test_who_has_no_address_shares_a_wide_limit() -> None:
    """Behind a socket without a trusted proxy all visitors do: bounded, as many clients, beside the known."""
    limit = RateLimit(burst=5, per_s=0)
    assert sum(limit.allows(None) for _ in range(1000)) == 5 * UNKNOWN == 250
    assert limit.allows("192.0.2.1")


@pytest.mark.parametrize(
    ("target", "body"),
    [("consent", b"act=refuse"), ("privacy/erase", b"what=all"), ("privacy/data.json", b"")],
)
def test_no_address_is_no_way_round_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, body: bytes
) -> None:
    """What would be too much of one client passes; what is too much of all is told to wait."""
    site = Collector(SITE, policy=EXEMPT, sink=MemorySink(), data=tmp_path)
    form = [("content-type", "application/x-www-form-urlencoded")]

    def statuses(times: int) -> list[int]:
        place = f"/_impersonal/{target}"
        asked = partial(post, site, place, body, form) if body else partial(get, site, place)
        return [asked(client=None).status for _ in range(times)]

    assert 429 not in statuses(100)
    monkeypatch.setattr("collector.rate_limit.UNKNOWN", 1.0)
    assert 429 in statuses(100)


# ---- memory --------------------------------------------------------------------------------------------

FLOOD = """
import asyncio, resource, sys, threading
from pathlib import Path
from collector import Collector, MemorySink
from tests.asgi import FIREFOX, call, http_scope
from tests.faults.test_input import plain
from tests.policies import EXEMPT

go_on = threading.Event()

class Sink(MemorySink):
    def write(self, day, frames):
        go_on.wait()
        return len(frames)

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

async def flood(site, requests, size):
    for number in range(requests):
        mark = f"{number:08}"
        long = mark + "x" * size
        headers = [("user-agent", FIREFOX + long), ("referer", "https://" + long)]
        headers += [("cookie", "__Host-id=" + long), ("host", long)]
        scope = http_scope("/product/" + long, headers=headers)
        scope["query_string"] = b"utm_source=" + long.encode()
        await call(site, scope)
        while not stalled and number % 500 == 0 and site.writer.counters()["queued"]:
            await asyncio.sleep(0.001)  # each is to be read, none dropped

site = Collector(plain, policy=EXEMPT, sink=Sink())
stalled = False
go_on.set()
asyncio.run(flood(site, 500, 10))
site.writer.stop()
if stalled := sys.argv[1] == "stalled":
    go_on.clear()
before = rss()
asyncio.run(flood(site, 1500, 50_000))
# 200 is about what weighs most in a queue that has no room for long ones.
asyncio.run(flood(site, 20_000 if stalled else 5000, 200))
print(rss() - before, site.writer.counters()["queued"])
go_on.set()
site.writer.stop()
print(site.writer.counters()["written"])
"""


@pytest.mark.parametrize("store", ["stalled", "working"])
def test_a_flood_of_long_and_distinct_requests_is_bounded_in_memory(store: str) -> None:
    """Every header at its longest, no two alike, the store hanging or not: at most 64 MiB more.

    Kept of each long request, one header would be 72 MiB.
    """
    run = subprocess.run([sys.executable, "-c", FLOOD, store], check=True, capture_output=True, text=True)
    grown, queued, written = map(int, run.stdout.split())
    assert grown < 64 * MIB
    assert queued <= 16_384 + 512 + 1
    assert queued > 10_000 if store == "stalled" else written == 500 + 1500 + 5000


def test_no_event_makes_a_record_over_8_kib(tmp_path: Path) -> None:
    """Bodies of 4 KiB whose text grows when it is quoted: dropped and counted where it grows too long."""
    sink = MemorySink()
    site = Collector(SITE, policy=EXEMPT, sink=sink, data=tmp_path)
    sent = 0
    for text in ('"', "\\", "\x01", "\u2028", "\U0001f600", "é", "<", "x"):
        for properties in (1, 8, 30):
            each = (
                (4096 - 45 - 8 * properties)
                // properties
                // len(json.dumps(text, ensure_ascii=False)[1:-1].encode())
            )
            content = {f"{number:02}": text * each for number in range(properties)}
            event = {"k": "event", "u": "/", "n": "n", "p": content}
            body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
            assert 3500 < len(body) <= 4096
            site._routes._beacons._limit = RateLimit()
            assert post(site, "/_impersonal/event", body, [("content-type", "text/plain")]).status == 204
            sent += 1
    site.writer.stop()
    counters = site.writer.counters()
    assert counters["errors"] == {} and counters["accepted"] == sent
    kept = [frame for frames in sink.frames.values() for frame in frames]
    assert len(kept) == counters["written"] == sent - counters["dropped"].get("too_long", 0)
    assert max(map(len, kept)) <= MAX_RECORD_BYTES
    assert counters["dropped"]["too_long"] >= 1 and len(kept) >= 15


# ---- every call inside ---------------------------------------------------------------------------------


class FaultError(Exception):
    """Raised where nothing should raise."""


def raising(*arguments: Any, **named: Any) -> Any:
    raise FaultError


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """A host that needs no thread."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{kind}"
            await send({"type": f"lifespan.{kind}.complete"})
        return
    headers = [(b"content-type", b"text/html"), (b"x-path", scope["path"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html>", "more_body": True})
    await send({"type": "http.response.body", "body": b"<title>page</title>"})


def through(app: App) -> list[Answer]:
    """What a host answers from its start to its stop."""
    told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    lifespan = Answer()

    async def receive() -> Any:
        return told.pop(0)

    async def send(message: Any) -> None:
        lifespan.messages.append(message)

    async def run() -> list[Answer]:
        pages = [await call(app, http_scope(f"/product/{number}")) for number in range(3)]
        await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
        return [lifespan, *pages, await call(app, http_scope("/", "POST"))]

    return asyncio.run(run())


CALLS: dict[str, tuple[Any, str, Any]] = {
    "picked": (capture, "picked", raising),
    "is_page_view": (capture, "is_page_view", raising),
    "is_prefetch": (capture, "is_prefetch", raising),
    "decide": (Observer, "decide", raising),
    "fields": (Decision, "fields", property(raising)),
    "page_view": (Observer, "page_view", raising),
    "routed": (page, "routed", raising),
    "put": (Writer, "put", raising),
    "is_long": (Observation, "is_long", property(raising)),
    "glance": (Writer, "glance", raising),
    "start": (Writer, "start", raising),
    "thread": (threading.Thread, "start", raising),
    "warmed": (Writer, "warmed", raising),
    "stopped": (Writer, "stopped", raising),
}


@pytest.mark.parametrize("rules", [EXEMPT, CONSENTED], ids=["granted", "not granted"])
@pytest.mark.parametrize("name", [*CALLS, "clock"])
def test_no_fault_inside_reaches_the_host(monkeypatch: pytest.MonkeyPatch, name: str, rules: Policy) -> None:
    """Each call on a request's way made to raise, one at a time: the host's messages stay the same."""
    expected = through(plain)
    site = Collector(plain, policy=rules, sink=MemorySink())
    monkeypatch.setattr("collector.writer.LONG_LIMIT", 0)
    if name == "clock":
        site._clock = raising
    else:
        monkeypatch.setattr(*CALLS[name])
    assert through(site) == expected
    monkeypatch.undo()
    elsewhere = ("page_view", "routed", "put", "is_long") if rules is CONSENTED else ("glance",)
    assert (site.writer.counters()["errors"].get("FaultError", 0) == 0) == (name in elsewhere)
