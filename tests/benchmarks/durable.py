"""What it costs until an event is safe on disk, against another first-party tool: runlight, with its SQLite.

Both take the same page views of the same visitors, without a network, in turns: runlight's `collect`, which
returns when its database has committed; here all that follows the start of a response, from whether it is a
page view to the synced log. CPU time of all threads, system calls included, because one side waits for its
commit and the other for its next turn. SQLite commits to its journal without a sync, as runlight sets it; the
log is synced each second.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from runlight import Runlight
from runlight.http import Request
from runlight.store import Stores

from collector import Collector
from tests.asgi import http_scope
from tests.benchmarks.host import CHROME, collecting, granted
from tests.benchmarks.table import Row

EVENTS = 2000  # a turn
THEIRS = 100  # they take as long
VIEWS_EACH = 5  # of one visitor
TURNS = 80  # of which the best counts: the others were disturbed
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"37"), (b"content-type", b"text/html; charset=utf-8")],
}


def rows() -> list[Row]:
    """One event, accepted and durable."""
    own_us, their_us = asyncio.run(measured())
    return [
        Row(
            "event accepted and synced, CPU",
            f"{own_us:.1f} µs",
            f"runlight's collect: {their_us:.0f} µs",
            their_us / own_us,
            at_least=25,
        )
    ]


async def measured() -> tuple[float, float]:
    """µs of CPU an event, ours and theirs."""
    own_s = their_s = float("inf")
    with TemporaryDirectory() as data, database(Path(data) / "runlight.db") as runlight:
        async with collecting(Path(data) / "own") as around:
            headers = [*CHROME, await granted(around)]
            for turn in range(TURNS):
                own_s = min(own_s, await own(around, headers, turn))
                their_s = min(their_s, theirs(runlight, turn))
        assert len(runlight.store.db.all("SELECT 1 FROM rl_events")) == TURNS * THEIRS
    return own_s / EVENTS * 1e6, their_s / THEIRS * 1e6


def addresses(turn: int, events: int) -> Iterator[str]:
    """Where the views of one turn come from."""
    for number in range(events):
        visitor = number // VIEWS_EACH
        yield f"193.{turn}.{visitor // 250}.{visitor % 250 + 1}"


async def own(around: Collector, headers: list[tuple[str, str]], turn: int) -> float:
    """Seconds of CPU from the starts of the responses to the synced log."""
    base = http_scope("/product/7", headers=headers)
    scopes = [base | {"client": (address, 50000)} for address in addresses(turn, EVENTS)]
    await synced(around)
    started_s = time.process_time()
    for scope in scopes:
        around._observe(scope, "", START)
    await synced(around)
    return time.process_time() - started_s


async def synced(around: Collector) -> None:
    """Wait until all that was accepted is on disk."""
    while (counters := around.writer.counters())["synced"] < counters["accepted"]:
        await asyncio.sleep(0.5)  # looking costs as much as ten events


@contextmanager
def database(path: Path) -> Iterator[Runlight]:
    """Their collector with a database of its own."""
    site = {"name": "example.org", "hostnames": ["example.org"]}
    runlight = Runlight(store=Stores.sqlite(str(path)), site=site, rate_limit=False)
    yield runlight
    runlight.store.db.close()


def theirs(runlight: Runlight, turn: int) -> float:
    """Seconds of CPU from the bodies to the commits."""
    requests = [reported(turn, *view) for view in enumerate(addresses(turn, THEIRS))]
    started_s = time.process_time()
    for request in requests:
        runlight.collect(request)
    return time.process_time() - started_s


def reported(turn: int, number: int, address: str) -> Request:
    """A page view as runlight's script sends it."""
    body = {"k": "pageview", "u": "https://example.org/product/7", "i": f"{turn:x}a{number:x}"}
    headers = [CHROME[0], ("content-type", "text/plain"), ("accept-language", "en-GB")]
    return Request("https://example.org/runlight/e", "POST", headers, json.dumps(body), address)
