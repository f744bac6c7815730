"""A few megabytes of a log → what they say. Nothing here depends on other lines, so processes can share it.

One pattern splits the lines. What follows is done in columns: each time, agent, request, address and
referrer is read once, however often it occurs.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import compress, count
from typing import Any, NamedTuple

import numpy as np

from collector.enrich import BOT_CATEGORIES
from collector.record import DAY_MS
from pipeline.log_lines import ASSET, OTHER, PATTERNS, VIEW, VIEW_STATUSES, Lines, shape

BATCH_BYTES = 8 * 1024 * 1024
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

    @property
    def end(self) -> int:
        """Where the last line ends in the log."""
        offset, chunk = self.chunks[-1]
        return offset + len(chunk)


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
    split = [PATTERNS[batch.form].findall(chunk, 0, _length(chunk)) for _, chunk in batch.chunks]
    columns = zip(*(row for rows in split for row in rows), strict=True)
    addresses, stamps, requests, statuses, referrers, agents, _ = columns
    times = _mapped(stamps, lambda stamp: _NO_TIME if (ts_ms := lines.time(stamp)) is None else ts_ms)
    starts_ms = _starts(times)
    outcomes = _outcomes(lines, requests, statuses, agents)
    outcomes[times == _NO_TIME] = _CODES[MALFORMED]
    is_view = outcomes == _CODES[VIEW]
    hits = (
        _coded(is_view, zip(starts_ms.tolist(), addresses, agents, strict=True), tuple),
        _coded(is_view, agents, lambda agent: lines.agent(agent)[0]),
        _coded(is_view, addresses, lines.place),
        _coded(is_view, requests, lines.target),
        _coded(is_view, referrers, lines.referrer),
    )
    places = _Places(batch, [len(rows) for rows in split])
    days = [_day(start_ms, starts_ms == start_ms, outcomes, places) for start_ms in np.unique(starts_ms)]
    return Found(days, int(starts_ms[-1]), times[is_view], hits)


def _length(chunk: bytes) -> int:
    """Bytes up to a last newline: behind it there is no line."""
    return len(chunk) - chunk.endswith(b"\n")


def _mapped(values: Sequence[bytes], reader: Callable[[bytes], int]) -> Numbers:
    """What a reader says of each value."""
    known = {value: reader(value) for value in set(values)}
    return np.fromiter(map(known.__getitem__, values), np.int64, len(values))


def _coded(is_chosen: Numbers, values: Iterable[Hashable], reader: Callable[[Any], object]) -> Coded:
    """What a reader says of the chosen values, said once for equal ones."""
    chosen = list(compress(values, is_chosen.tolist()))
    numbers = dict(zip(dict.fromkeys(chosen), count(), strict=False))
    codes = np.fromiter(map(numbers.__getitem__, chosen), np.int64, len(chosen))
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

    def __init__(self, batch: Batch, lines: Sequence[int]) -> None:
        """Prepare.

        lines   in each chunk, how many
        """
        self._chunks = batch.chunks
        self._ends = np.cumsum(lines)
        self._cut: dict[int, list[bytes]] = {}

    def __getitem__(self, number: int) -> tuple[int, bytes]:
        """Where a line begins in the log, and the line."""
        index = int(np.searchsorted(self._ends, number, side="right"))
        offset, chunk = self._chunks[index]
        if index not in self._cut:
            self._cut[index] = chunk[: _length(chunk)].split(b"\n")
        cut = self._cut[index]
        number -= int(self._ends[index]) - len(cut)
        return offset + sum(len(line) + 1 for line in cut[:number]), cut[number]


def _day(start_ms: int, is_its: Numbers, outcomes: Numbers, places: _Places) -> DayLines:
    """What a batch has of one day."""
    codes, lines = np.unique(outcomes[is_its], return_counts=True)
    counts = {OUTCOMES[code]: number for code, number in zip(codes, lines.tolist(), strict=True)}
    malformed = np.flatnonzero(is_its & (outcomes == _CODES[MALFORMED]))[:SAMPLES]
    samples = [(offset, shape(line)) for offset, line in map(places.__getitem__, malformed.tolist())]
    offset, _ = places[int(np.argmax(is_its))]
    return DayLines(int(start_ms), offset, counts, samples)
