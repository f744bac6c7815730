"""What one page view costs the host: the same app bare and with the collector, in one run."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from tempfile import TemporaryDirectory

from collector import Collector
from tests.asgi import App, http_scope
from tests.benchmarks.host import CHROME, SITE, collecting, drained, granted, loop_us, receive, send
from tests.benchmarks.table import Row

VIEWS = 500
TURNS = 40
Case = Callable[[int], Awaitable[None]]


def rows() -> list[Row]:
    """The cost of a view without consent and with full consent."""
    return asyncio.run(measured())


async def measured() -> list[Row]:
    """Event loop first, then all threads."""
    with TemporaryDirectory() as data:
        async with collecting(data) as around:
            consented = [*CHROME, await granted(around)]
            cases = {
                "bare": views(SITE, CHROME),
                "refused": views(around, CHROME),
                "granted": views(around, consented),
            }
            best = await loop_us(cases)
            all_us = await cpu_us(around, cases)
    bare = best["bare"]
    return [
        Row(
            f"page view {what}, event loop",
            f"{best[name]:.1f} µs",
            "bare Starlette app",
            best[name] / bare,
            top,
        )
        for name, what, top in (("refused", "without consent", 1.5), ("granted", "with full consent", 2.0))
    ] + [Row("CPU per consented view, all threads (target ≤ 25 µs)", f"{all_us:.1f} µs")]


def views(app: App, headers: Sequence[tuple[str, str]]) -> Case:
    """Page views of one browser."""
    scope = http_scope("/product/7", headers=headers)

    async def case(times: int) -> None:
        for _ in range(times):
            await app(dict(scope), receive, send)

    return case


async def cpu_us(around: Collector, cases: dict[str, Case]) -> float:
    """µs of CPU that a consented view adds, over all threads, until it is written; the best turn of each."""
    best = dict.fromkeys(("bare", "granted"), float("inf"))
    for _ in range(TURNS):
        for name in best:
            started_s = time.process_time()
            await cases[name](VIEWS)
            await drained(around)
            best[name] = min(best[name], (time.process_time() - started_s) / VIEWS * 1e6)
    return best["granted"] - best["bare"]
