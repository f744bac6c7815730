"""Event logs of a busy site, made quickly: as its workers would have written them, the same on every run."""

import multiprocessing
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import islice, product
from pathlib import Path

import numpy as np

from collector.record import DAY_MS
from collector.sinks import LocalFiles

EVENTS_PER_VISITOR = 10
WORKERS = 2
_AT_A_TIME = 512  # frames a write, as the collector's writer
_GAP_MS = 240_000  # between two events of a visitor, on average: some visits end in between
_KIND_SHARES = (0.66, 0.27, 0.07)  # views, pings, custom events
_PAGES = 900
_CAME = 24  # one view in six comes from elsewhere

_BROWSERS = ("Chrome", "Safari", "Firefox", "Edge", "Samsung Internet")
_SYSTEMS = ("Windows", "iOS", "Linux", "Mac OS X", "Android")
_COUNTRIES = ("KZ", "DE", "FR", "US", "GB", "IN", "BR", "JP")
_ROUTES = ("/product/{id}", "/blog/{slug}", "/docs/{chapter}/{page}")
_PATHS = ("/product/{}", "/blog/how-to-read-the-sky-{}", "/docs/chapter-3/page-{}")
_REFERRERS = ("google.com", "news.ycombinator.com", "bing.com", "example.org")


def write_day(data: Path, day: date, events: int, seed: int = 1) -> int:
    """Write one UTC day of logs for `tests.policies.EXEMPT`; give back their bytes."""
    share, rest = divmod(events, WORKERS)
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as workers:
        shares = [share + (worker < rest) for worker in range(WORKERS)]
        each = range(WORKERS)
        return sum(workers.map(_work, [data] * WORKERS, [day] * WORKERS, shares, each, [seed] * WORKERS))


def _work(data: Path, day: date, events: int, worker: int, seed: int) -> int:
    """What one worker writes of a day."""
    visitors = _visitors(np.random.default_rng((seed, day.toordinal())), WORKERS * events)
    random = np.random.default_rng((seed, day.toordinal(), worker))
    sink = LocalFiles(data, f"{worker:016x}")
    frames = _frames(random, visitors, day, events)
    written = 0
    while batch := "".join(islice(frames, _AT_A_TIME)).encode():
        sink.write(day.isoformat(), [batch])
        written += len(batch)
    sink.close()
    return written


def _frames(random: np.random.Generator, visitors: list[str], day: date, events: int) -> Iterator[str]:
    """Frames in order of time."""
    visitor = random.integers(len(visitors), size=events)
    start_ms = random.integers(DAY_MS, size=len(visitors))
    offset_ms = (start_ms[visitor] + random.exponential(_GAP_MS * EVENTS_PER_VISITOR / 2, events)) % DAY_MS
    order = np.argsort(offset_ms, kind="stable")
    step_ms = np.where(visitor % 2, 1000, 60_000)  # consented, exempt
    ts_ms = (day - date(1970, 1, 1)).days * DAY_MS + offset_ms.astype(np.int64) // step_ms * step_ms
    kind = random.choice(len(_KIND_SHARES), size=events, p=_KIND_SHARES)
    page = (random.pareto(1.1, size=events) * 20).astype(np.int64) % _PAGES
    end = (kind * _PAGES + page) * _CAME + random.integers(_CAME, size=events)
    prefix = random.bytes(8).hex()
    heads, ends = ("view", "ping", "event"), _ends()
    rows = zip(*(column[order].tolist() for column in (visitor, ts_ms, kind, end)), strict=True)
    for number, (who, at_ms, what, where) in enumerate(rows):
        payload = (
            f'{{"v":1,"kind":"{heads[what]}","id":"{prefix}{number:012x}","ts_ms":{at_ms},"policy":"v1",'
            f"{visitors[who]}{ends[where]}"
        )
        yield f"\x1e{zlib.crc32(payload.encode()):08x} {payload}\n"


def _visitors(random: np.random.Generator, events: int) -> list[str]:
    """What the records of each visitor say of the visitor: every other one has consented."""
    count = max(events // EVENTS_PER_VISITOR, 1)
    names = random.bytes(16 * count).hex()
    kinds = list(product(_BROWSERS, _SYSTEMS, _COUNTRIES))
    chosen = random.integers(len(kinds), size=count).tolist()
    return [
        (_consented if n % 2 else _exempt)(names[32 * n : 32 * n + 32], *kinds[kind])
        for n, kind in enumerate(chosen)
    ]


def _exempt(visitor: str, browser: str, system: str, country: str) -> str:
    return (
        f'"purposes":["necessary","statistics"],"visitor":"{visitor}",'
        f'"device":"desktop","browser":"{browser}","os":"{system}","country":"{country}"'
    )


def _consented(visitor: str, browser: str, system: str, country: str) -> str:
    return (
        '"purposes":["advertising","necessary","statistics"],"consent":"v1",'
        f'"visitor":"{visitor}","cohort":"2026-W47","device":"mobile","browser":"{browser}","os":"{system}",'
        f'"browser_major":"145","country":"{country}","network":"192.0.2.0/24"'
    )


def _ends() -> list[str]:
    """How records end, by kind, page and where the visitor came from."""
    views, pings, events = [], [], []
    for page, came in product(range(_PAGES), range(_CAME)):
        path = f'"path":"{_PATHS[page % 3].format(page)}"'
        referrer = f',"referrer":"{_REFERRERS[came]}"' if came < len(_REFERRERS) else ""
        views.append(f',"route":"{_ROUTES[page % 3]}",{path}{referrer}}}')
        pings.append(f',{path},"engaged_ms":{1000 + came * 500},"scroll":{came * 4}}}')
        events.append(f',{path},"name":"signup","props":"{{\\"plan\\":\\"pro {came}\\"}}"}}')
    return views + pings + events
