"""What it costs until an event is safe on disk, against another first-party tool: runlight, with its SQLite.

Both take the same page views of the same visitors, without a network: runlight's `collect`, which returns
when its database has committed; here what follows a request that is a page view, until the log is synced.
CPU time of all threads, system calls included, because one side waits for its commit and the other for its
next turn. SQLite commits to its journal without a sync, as runlight sets it; the log is synced each second.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runlight import Runlight
from runlight.http import Request
from runlight.store import Stores

from collector import Collector
from collector.capture import picked
from tests.asgi import http_scope
from tests.benchmarks.host import CHROME, collecting, granted
from tests.benchmarks.table import Row

EVENTS = 2000  # a turn
THEIRS = 100  # they take as long
VIEWS_EACH = 5  # of one visitor
TURNS = 12  # of which the best counts: the others were disturbed


def rows() -> list[Row]:
    """One event, accepted and durable."""
    own_us, their_us = asyncio.run(own()), theirs()
    return [
        Row(
            "event accepted and synced, CPU",
            f"{own_us:.1f} µs",
            f"runlight's collect: {their_us:.0f} µs",
            their_us / own_us,
            at_least=25,
        )
    ]


def addresses(turn: int, events: int) -> Iterator[str]:
    """Where the views of one turn come from."""
    for number in range(events):
        visitor = number // VIEWS_EACH
        yield f"193.{turn}.{visitor // 250}.{visitor % 250 + 1}"


async def own() -> float:
    """µs of CPU an event, from the decision to the synced log."""
    best_s = float("inf")
    with TemporaryDirectory() as data:
        async with collecting(data) as around:
            base = http_scope("/product/7", headers=[*CHROME, await granted(around)])
            for turn in range(TURNS):
                scopes = [base | {"client": (address, 50000)} for address in addresses(turn, EVENTS)]
                await synced(around)
                started_s = time.process_time()
                for scope in scopes:
                    accept(around, scope)
                await synced(around)
                best_s = min(best_s, time.process_time() - started_s)
    return best_s / EVENTS * 1e6


def accept(around: Collector, scope: dict[str, Any]) -> None:
    """What the collector does with a request that is a page view."""
    observer = around._observer
    head = picked(scope["headers"])
    ts_ms = observer.clock()
    decision = observer.decide(head, ts_ms)
    around.writer.put(observer.page_view(scope, "", head, decision, ts_ms))


async def synced(around: Collector) -> None:
    """Wait until all that was accepted is on disk."""
    while (counters := around.writer.counters())["synced"] < counters["accepted"]:
        await asyncio.sleep(0.1)


def theirs() -> float:
    """µs of CPU an event, from its body to the commit."""
    best_s = float("inf")
    with TemporaryDirectory() as data:
        site = {"name": "example.org", "hostnames": ["example.org"]}
        runlight = Runlight(store=Stores.sqlite(str(Path(data) / "runlight.db")), site=site, rate_limit=False)
        for turn in range(TURNS):
            requests = [reported(turn, *view) for view in enumerate(addresses(turn, THEIRS))]
            started_s = time.process_time()
            for request in requests:
                runlight.collect(request)
            best_s = min(best_s, time.process_time() - started_s)
        assert len(runlight.store.db.all("SELECT 1 FROM rl_events")) == TURNS * THEIRS
        runlight.store.db.close()
    return best_s / THEIRS * 1e6


def reported(turn: int, number: int, address: str) -> Request:
    """A page view as runlight's script sends it."""
    body = {"k": "pageview", "u": "https://example.org/product/7", "i": f"{turn:x}a{number:x}"}
    headers = [CHROME[0], ("content-type", "text/plain"), ("accept-language", "en-GB")]
    return Request("https://example.org/runlight/e", "POST", headers, json.dumps(body), address)
