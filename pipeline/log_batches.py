"""A few megabytes of a log → what they say. Nothing here depends on other lines, so processes can share it.

One pattern splits the lines. What follows is done in columns: each time, agent, request, address and
referrer is read once, however often it occurs.
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import compress, count
from typing import Any, NamedTuple

import numpy as np

from collector.enrich import BOT_CATEGORIES
from collector.record import DAY_MS
from pipeline.log_lines import ASSET, OTHER, VIEW, VIEW_STATUSES, Agents, Lines, shape, split

BATCH_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
SAMPLES = 100  # malformed lines of a day that are kept; all are counted
HIT_COLUMNS = ("visitor", "browser", "place", "target", "referrer")

MALFORMED = "malformed"
OUTCOMES = (MALFORMED, ASSET, OTHER, VIEW, *(f"bot: {category}" for category in BOT_CATEGORIES))
"""What a line is."""
_CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}
BEFORE = -1
"""Instead of a day: that of the line before the batch, for malformed lines it begins with."""
_NO_TIME = -1

Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Batch(NamedTuple):
    """Some chunks of a log, each whole lines."""

    form: str
    chunks: Sequence[tuple[int, bytes]]
    """Where each begins in the log, and its bytes."""
    agents: Agents = {}  # noqa: RUF012 - never written to
    """What other processes know of agents: the costliest to read."""


class Coded(NamedTuple):
    """A column with few distinct values."""

    values: list[Any]
    codes: Numbers
    """The value of each row, by its index."""


class DayLines(NamedTuple):
    """What a batch has of one day."""

    start_ms: int
    """The day's first millisecond, or BEFORE."""
    offset: int
    """Where its first line begins in the log."""
    counts: dict[str, int]
    """Outcome → lines."""
    samples: list[tuple[int, str]]
    """Where malformed lines begin, and their shapes: the first SAMPLES."""


class Found(NamedTuple):
    """What a batch says. Addresses and agents are in it: for memory and pipes only."""

    days: list[DayLines]
    last_ms: int
    """The first millisecond of the last line's day, or BEFORE."""
    times: Numbers
    """UTC milliseconds of each page view, in the order of the log."""
    hits: tuple[Coded, ...]
    """HIT_COLUMNS of each page view; a visitor is (the day's first millisecond, address, agent)."""
    agents: Agents
    """Those that were met for the first time."""


def batches(form: str, chunks: Iterable[tuple[int, bytes]]) -> Iterator[Batch]:
    """The chunks of a log, about BATCH_BYTES at a time."""
    waiting: list[tuple[int, bytes]] = []
    for offset, chunk in chunks:
        waiting.append((offset, chunk))
        if offset + len(chunk) - waiting[0][0] >= BATCH_BYTES:
            yield Batch(form, waiting)
            waiting = []
    if waiting:
        yield Batch(form, waiting)


def read(lines: Lines, batch: Batch) -> Found:
    """Read a batch."""
    lines.exchange_agents(batch.agents)
    rows: list[tuple[bytes, ...]] = []
    ends = []  # of each chunk, in `rows`
    for _, chunk in batch.chunks:
        for piece in _pieces(chunk):
            rows += split(batch.form, piece)
        ends.append(len(rows))
    addresses, stamps, requests, statuses, referrers, agents, _ = zip(*rows, strict=True)
    times = _mapped(stamps, lambda stamp: _NO_TIME if (ts_ms := lines.time(stamp)) is None else ts_ms)
    starts_ms = _starts(times)
    outcomes = _outcomes(lines, requests, statuses, agents)
    outcomes[times == _NO_TIME] = _CODES[MALFORMED]
    is_view = outcomes == _CODES[VIEW]
    places = _Places(batch, ends)
    days = [_day(start_ms, starts_ms == start_ms, outcomes, places) for start_ms in np.unique(starts_ms)]
    hits = _hits(lines, starts_ms, is_view, (addresses, requests, referrers, agents))
    return Found(days, int(starts_ms[-1]), times[is_view], hits, lines.exchange_agents({}))


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """Whole lines, few enough that hardly any piece has a backslash in it."""
    start = 0
    while start < len(chunk):
        end = chunk.find(b"\n", start + _PIECE_BYTES) + 1 or len(chunk)
        yield chunk[start:end]
        start = end


def _hits(
    lines: Lines, starts_ms: Numbers, is_view: Numbers, columns: Iterable[Sequence[bytes]]
) -> tuple[Coded, ...]:
    """HIT_COLUMNS of the lines that are page views."""
    views = is_view.tolist()
    addresses, requests, referrers, agents = (list(compress(column, views)) for column in columns)
    return (
        _coded(list(zip(starts_ms[is_view].tolist(), addresses, agents, strict=True)), tuple),
        _coded(agents, lambda agent: lines.agent(agent)[0]),
        _coded(addresses, lines.place),
        _coded(requests, lines.target),
        _coded(referrers, lines.referrer),
    )


def _mapped(values: Sequence[bytes], reader: Callable[[bytes], int]) -> Numbers:
    """What a reader says of each value."""
    known = {value: reader(value) for value in set(values)}
    return np.fromiter(map(known.__getitem__, values), np.int64, len(values))


def _coded(values: Sequence[Hashable], reader: Callable[[Any], object]) -> Coded:
    """What a reader says of each value, said once for equal ones."""
    numbers = dict(zip(dict.fromkeys(values), count(), strict=False))
    codes = np.fromiter(map(numbers.__getitem__, values), np.int64, len(values))
    return Coded(list(map(reader, numbers)), codes)


def _starts(times: Numbers) -> Numbers:
    """The first millisecond of each line's day; a malformed line goes with the line before it."""
    has_time = times != _NO_TIME
    line = np.maximum.accumulate(np.where(has_time, np.arange(len(times)), 0))
    return np.where(has_time, times - times % DAY_MS, BEFORE)[line]


def _outcomes(
    lines: Lines, requests: Sequence[bytes], statuses: Sequence[bytes], agents: Sequence[bytes]
) -> Numbers:
    """What each line is, if it has a time."""
    bots = _mapped(agents, lambda agent: _CODES[f"bot: {bot}"] if (bot := lines.agent(agent)[1]) else 0)
    kinds = _mapped(requests, lambda request: _CODES[lines.kind(request)])
    is_shown = np.fromiter(map(VIEW_STATUSES.__contains__, statuses), np.bool_, len(statuses))
    kinds[(kinds == _CODES[VIEW]) & ~is_shown] = _CODES[OTHER]
    return np.where(bots > 0, bots, kinds)


class _Places:
    """Where the lines of a batch are."""

    def __init__(self, batch: Batch, ends: Sequence[int]) -> None:
        """Prepare.

        ends   of each chunk, as the number of lines up to there
        """
        self._chunks = batch.chunks
        self._ends = ends
        self._cut: dict[int, list[bytes]] = {}

    def __getitem__(self, number: int) -> tuple[int, bytes]:
        """Where a line begins in the log, and the line."""
        index = bisect_right(self._ends, number)
        offset, chunk = self._chunks[index]
        if index not in self._cut:
            self._cut[index] = chunk.removesuffix(b"\n").split(b"\n")
        cut = self._cut[index]
        number -= self._ends[index] - len(cut)
        return offset + sum(len(line) + 1 for line in cut[:number]), cut[number]


def _day(start_ms: int, is_its: Numbers, outcomes: Numbers, places: _Places) -> DayLines:
    """What a batch has of one day."""
    codes, lines = np.unique(outcomes[is_its], return_counts=True)
    counts = {OUTCOMES[code]: number for code, number in zip(codes, lines.tolist(), strict=True)}
    malformed = np.flatnonzero(is_its & (outcomes == _CODES[MALFORMED]))[:SAMPLES]
    samples = [(offset, shape(line)) for offset, line in map(places.__getitem__, malformed.tolist())]
    offset, _ = places[int(np.argmax(is_its))]
    return DayLines(int(start_ms), offset, counts, samples)
