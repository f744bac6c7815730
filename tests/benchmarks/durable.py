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

from runlight import Runlight
from runlight.http import Request
from runlight.store import Stores

from collector import Collector
from collector.capture import picked
from tests.asgi import http_scope
from tests.benchmarks.host import CHROME, collecting, granted
from tests.benchmarks.table import Row

EVENTS = 20_000
THEIRS = 1_000  # they take as long
VIEWS_EACH = 5  # of one visitor
TURNS = 3


def rows() -> list[Row]:
    """One event, accepted and durable."""
    own_us = min(asyncio.run(own()) for _ in range(TURNS))
    their_us = min(theirs() for _ in range(TURNS))
    return [
        Row(
            "event accepted and synced, CPU",
            f"{own_us:.1f} µs",
            f"runlight's collect: {their_us:.0f} µs",
            their_us / own_us,
            at_least=25,
        )
    ]


def addresses(events: int) -> Iterator[str]:
    """Where the views come from."""
    for number in range(events):
        visitor = number // VIEWS_EACH
        yield f"193.{visitor // 62500}.{visitor // 250 % 250}.{visitor % 250 + 1}"


async def own() -> float:
    """µs of CPU an event, from the decision to the synced log."""
    with TemporaryDirectory() as data:
        async with collecting(data) as around:
            base = http_scope("/product/7", headers=[*CHROME, await granted(around)])
            scopes = [base | {"client": (address, 50000)} for address in addresses(EVENTS)]
            await synced(around, 1)
            started_s = time.process_time()
            for number, scope in enumerate(scopes):
                accept(around, scope)
                if number % 500 == 0:
                    await asyncio.sleep(0)
                    while around.writer.counters()["queued"] > 4000:
                        await asyncio.sleep(0.05)
            await synced(around, EVENTS + 1)
            return (time.process_time() - started_s) / EVENTS * 1e6


def accept(around: Collector, scope: dict[str, object]) -> None:
    """What the collector does with a request that is a page view."""
    observer = around._observer
    head = picked(scope["headers"])  # type: ignore[arg-type]
    ts_ms = observer.clock()
    decision = observer.decide(head, ts_ms)
    around.writer.put(observer.page_view(scope, "", head, decision, ts_ms))


async def synced(around: Collector, events: int) -> None:
    """Wait until so many are on disk."""
    while around.writer.counters()["synced"] < events:
        await asyncio.sleep(0.1)


def theirs() -> float:
    """µs of CPU an event, from its body to the commit."""
    with TemporaryDirectory() as data:
        site = {"name": "example.org", "hostnames": ["example.org"]}
        runlight = Runlight(store=Stores.sqlite(str(Path(data) / "runlight.db")), site=site, rate_limit=False)
        runlight.init()
        requests = [
            Request(
                "https://example.org/runlight/e",
                "POST",
                [CHROME[0], ("content-type", "text/plain"), ("accept-language", "en-GB")],
                json.dumps({"k": "pageview", "u": "https://example.org/product/7", "i": f"{number:x}"}),
                address,
            )
            for number, address in enumerate(addresses(THEIRS + VIEWS_EACH))
        ]
        for request in requests[THEIRS:]:
            runlight.collect(request)
        started_s = time.process_time()
        for request in requests[:THEIRS]:
            runlight.collect(request)
        cpu_s = time.process_time() - started_s
        assert len(runlight.store.db.all("SELECT 1 FROM rl_events")) == THEIRS + VIEWS_EACH
        runlight.store.db.close()
        return cpu_s / THEIRS * 1e6
