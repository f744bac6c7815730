"""Event logs of a busy site, made quickly: as its workers would have written them, the same on every run."""

import zlib
from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np

from collector.record import DAY_MS
from collector.sinks import LocalFiles

EVENTS_PER_VISITOR = 10
WORKERS = 2
_AT_A_TIME = 512  # frames a write, as the collector's writer
_GAP_MS = 240_000  # between two events of a visitor, on average: some visits end in between
_KINDS = (b"view", b"ping", b"event")
_KIND_SHARES = (0.66, 0.27, 0.07)

_BROWSERS = (b"Chrome", b"Safari", b"Firefox", b"Edge", b"Samsung Internet")
_SYSTEMS = (b"Windows", b"iOS", b"Linux", b"Mac OS X", b"Android")
_COUNTRIES = (b"KZ", b"DE", b"FR", b"US", b"GB", b"IN", b"BR", b"JP")
_ROUTES = (b"/product/{id}", b"/blog/{slug}", b"/docs/{chapter}/{page}")
_PATHS = (b"/product/%d", b"/blog/how-to-read-the-sky-%d", b"/docs/chapter-3/page-%d")
_REFERRERS = (b"google.com", b"news.ycombinator.com", b"bing.com", b"example.org")
_PAGES = 900

# Without asking, by the minute and the day's pseudonym; and after consent, precise.
_EXEMPT = (
    b'"purposes":["necessary","statistics"],"visitor":"%b",'
    b'"device":"%b","browser":"%b","os":"%b","country":"%b"'
)
_CONSENTED = (
    b'"purposes":["advertising","necessary","statistics"],"consent":"v1","visitor":"%b","cohort":"2026-W47",'
    b'"device":"%b","browser":"%b","os":"%b","browser_major":"145","country":"%b","network":"192.0.2.0/24"'
)


def write_day(data: Path, day: date, events: int, seed: int = 1) -> int:
    """Write one UTC day of logs for `tests.policies.EXEMPT`; give back their bytes."""
    random = np.random.default_rng((seed, day.toordinal()))
    sinks = [LocalFiles(data, f"{worker:016x}") for worker in range(WORKERS)]
    batch: list[bytes] = []
    written = 0
    for number, frame in enumerate(_frames(random, day, events), 1):
        batch.append(frame)
        if len(batch) == _AT_A_TIME or number == events:
            sinks[number // _AT_A_TIME % WORKERS].write(day.isoformat(), batch)
            written += sum(map(len, batch))
            batch = []
    for sink in sinks:
        sink.close()
    return written


def _frames(random: np.random.Generator, day: date, events: int) -> Iterator[bytes]:
    """Frames in order of time."""
    visitors = _visitors(random, max(events // EVENTS_PER_VISITOR, 1))
    visitor = random.integers(len(visitors), size=events)
    start_ms = random.integers(DAY_MS, size=len(visitors))
    offset_ms = (start_ms[visitor] + random.exponential(_GAP_MS * EVENTS_PER_VISITOR / 2, events)) % DAY_MS
    order = np.argsort(offset_ms, kind="stable")
    is_exempt = visitor % 2 == 0
    step_ms = np.where(is_exempt, 60_000, 1000)
    ts_ms = (day - date(1970, 1, 1)).days * DAY_MS + offset_ms.astype(np.int64) // step_ms * step_ms
    kind = random.choice(len(_KINDS), size=events, p=_KIND_SHARES)
    page = (random.pareto(1.1, size=events) * 20).astype(np.int64) % _PAGES
    came = random.integers(24, size=events)  # from elsewhere: one view in six
    prefix = random.bytes(8).hex().encode()
    tails = _tails()
    crc32 = zlib.crc32
    rows = (column[order].tolist() for column in (visitor, ts_ms, kind, page, came))
    for number, (who, at_ms, what, where, source) in enumerate(zip(*rows, strict=True)):
        payload = b'{"v":1,"kind":"%b","id":"%b%012x","ts_ms":%d,"policy":"v1",%b%b}' % (
            _KINDS[what],
            prefix,
            number,
            at_ms,
            visitors[who],
            tails[what, where, source],
        )
        yield b"\x1e%08x %b\n" % (crc32(payload), payload)


def _visitors(random: np.random.Generator, count: int) -> list[bytes]:
    """What each visitor's records say of the visitor."""
    names = random.bytes(16 * count).hex().encode()
    kinds = [
        (b"mobile" if system in (b"iOS", b"Android") else b"desktop", browser, system, country)
        for browser, system, country in product(_BROWSERS, _SYSTEMS, _COUNTRIES)
    ]
    chosen = random.integers(len(kinds), size=count).tolist()
    return [
        (_CONSENTED if n % 2 else _EXEMPT) % (names[32 * n : 32 * n + 32], *kinds[kind])
        for n, kind in enumerate(chosen)
    ]


def _tails() -> dict[tuple[int, int, int], bytes]:
    """What each kind of record says of its page."""
    tails = {}
    for page, came in product(range(_PAGES), range(24)):
        path = b'"path":"%b"' % (_PATHS[page % len(_PATHS)] % page)
        view = b',"route":"%b",%b' % (_ROUTES[page % len(_ROUTES)], path)
        if came < len(_REFERRERS):
            view += b',"referrer":"%b"' % _REFERRERS[came]
        tails[0, page, came] = view
        tails[1, page, came] = b',%b,"engaged_ms":%d,"scroll":%d' % (path, 1000 + came * 500, came * 4)
        tails[2, page, came] = b',%b,"name":"signup","props":"{\\"plan\\":\\"pro %d\\"}"' % (path, came)
    return tails
