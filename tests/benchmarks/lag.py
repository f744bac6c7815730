"""How late the event loop is while browsers never seen before arrive: the writer thread has to read each.

An event loop serves requests at a steady pace, each with an agent string of its own, and next to them sleeps
again and again for a few milliseconds: what it wakes up too late is its lag. The app takes its turns bare and
with the collector, in one process; the figure is the middle one of the differences, so that what else the
machine does is in both or in neither.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from itertools import count
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from tests.asgi import App, http_scope
from tests.benchmarks.host import CHROME, SITE, collecting, drained, granted, receive, send
from tests.benchmarks.table import Row

PER_S = 2000
BURST = 4  # requests at once, every 2 ms
TURN_S = 2.0
TURNS = 7  # of each
PROBE_S = 0.001
# Versions vary where they vary in browsers of today.
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{major}.0.{number}.{minor} Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14; SM-S{minor}B Build/UP1A.{number}) AppleWebKit/537.36 "
    "(KHTML, like Gecko) Chrome/{major}.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{minor} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.{minor} Mobile/15E{number} Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:{major}.{number}) Gecko/20100101 "
    "Firefox/{major}.{minor}",
)


def rows() -> list[Row]:
    """The lag that the collector adds."""
    return asyncio.run(measured())


async def measured() -> list[Row]:
    """Turns of the bare app and of the collector around it."""
    numbers = count()
    with TemporaryDirectory() as data:
        async with collecting(data) as around:
            headers = [*CHROME[1:], await granted(around)]
            lags: dict[str, list[float]] = {"bare": [], "collecting": []}
            for _ in range(TURNS):
                for name, app in (("bare", SITE), ("collecting", around)):
                    lags[name].append(await lag_ms(app, headers, numbers))
                    await drained(around)
    added = median(with_it - bare for bare, with_it in zip(*lags.values(), strict=True))
    return [
        Row(
            f"event-loop lag under {PER_S} new agents a second, p99 added (target ≤ 1 ms)",
            f"{added:.2f} ms",
            f"bare Starlette app: {median(lags['bare']):.2f} ms",
        )
    ]


async def lag_ms(app: App, headers: list[tuple[str, str]], numbers: Iterator[int]) -> float:
    """The 99th percentile of the loop's lag in one turn."""
    gc.collect()
    late: list[float] = []
    probe = asyncio.create_task(probed(late))
    await flood(app, headers, numbers)
    probe.cancel()
    return quantiles(late, n=100)[98] * 1000


async def flood(app: App, headers: list[tuple[str, str]], numbers: Iterator[int]) -> None:
    """Requests at a steady pace, each from a browser of its own."""
    base: dict[str, Any] = http_scope("/product/7", headers=headers)
    start_s = time.perf_counter()
    for turn in range(int(TURN_S * PER_S / BURST)):
        for number in (next(numbers) for _ in range(BURST)):
            agent = (b"user-agent", new_agent(number).encode())
            await app(base | {"headers": [agent, *base["headers"]]}, receive, send)
        await asyncio.sleep(max(0.0, start_s + turn * BURST / PER_S - time.perf_counter()))


async def probed(late: list[float]) -> None:
    """Sleep, and note how much longer it took."""
    while True:
        start_s = time.perf_counter()
        await asyncio.sleep(PROBE_S)
        late.append(time.perf_counter() - start_s - PROBE_S)


def new_agent(number: int) -> str:
    """An agent string of a browser of today, no two alike."""
    template = AGENTS[number % len(AGENTS)]
    return template.format(major=120 + number % 24, number=1000 + number // 100, minor=number % 100)
