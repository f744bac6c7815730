"""A few megabytes of a log → what they say. Nothing here depends on other lines, so processes can share it.

All is done in columns: each agent, request, address and referrer is read when it is met first; when it is
met again, only its number is looked up.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from collector.enrich import BOT_CATEGORIES, MAX_AGENT
from collector.record import DAY_MS
from pipeline.log_lines import ASSET, NO_TIME, OTHER, REMEMBERED, VIEW, VIEW_STATUSES, Lines, Numbers, shape
from pipeline.log_split import Fields, split

BATCH_BYTES = 8 * 1024 * 1024
SAMPLES = 100  # malformed lines of a day that are kept; all are counted
HIT_COLUMNS = ("visitor", "browser", "place", "target", "referrer")

MALFORMED = "malformed"
OUTCOMES = (MALFORMED, ASSET, OTHER, VIEW, *(f"bot: {category}" for category in BOT_CATEGORIES))
"""What a line is."""
_CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}
BEFORE = -1
"""Instead of a day: that of the line before the batch, for malformed lines it begins with."""

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Codes = np.ndarray[Any, np.dtype[np.uint8]]
Row = tuple[str | None, ...]
"""What a text says."""


class Batch(NamedTuple):
    """Some chunks of a log, each whole lines."""

    form: str
    chunks: Sequence[tuple[int, bytes]]
    """Where each begins in the log, and its bytes."""
    browsers: Mapping[bytes, Row] = {}
    """What other processes have read of agents, the costliest to read."""


class Coded(NamedTuple):
    """A column with few distinct values."""

    values: list[Any]
    codes: Numbers
    """The value of each row, by its index."""


class Visitors(NamedTuple):
    """The visitor-days of a batch's page views."""

    starts_ms: list[int]
    """The day's first millisecond of each."""
    names: bytes
    """The `visitor_name` of each, a line each: ten thousand texts take ten times as long to send."""
    codes: Numbers
    """The visitor-day of each page view, by its index."""


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
    visitors: Visitors
    hits: tuple[Coded, ...]
    """HIT_COLUMNS of each page view, but for the visitor."""
    browsers: Mapping[bytes, Row]
    """Those of agents that were met for the first time."""


def visitor_name(address: bytes, agent: bytes) -> bytes:
    """What visitors of one day are told apart by."""
    return b"%b\0%b" % (address, agent[:MAX_AGENT])


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


class _Known(dict[bytes, int]):
    """What a reader says of each text. Asked again it answers in C, in a third of an lru_cache's time."""

    def __init__(self, read: Callable[[bytes], int]) -> None:
        self._read = read

    def __missing__(self, text: bytes) -> int:
        said = self[text] = self._read(text)
        return said


class _Numbers(dict[tuple[Any, ...], int]):
    """Distinct rows, numbered as they are met."""

    def __missing__(self, row: tuple[Any, ...]) -> int:
        number = self[row] = len(self)
        return number


class _Table:
    """What the texts of a column say, as numbered rows: forty agents are one browser."""

    def __init__(self, read: Callable[[Iterable[bytes]], Iterable[Row]]) -> None:
        self._read = read
        self._rows = _Numbers()
        self._known: dict[bytes, int] = {}

    def read(self, texts: Iterable[bytes]) -> Mapping[bytes, Row]:
        """Read those of the texts that were not met before."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        rows = dict(zip(new, self._read(new), strict=True))
        self.learn(rows)
        return rows

    def learn(self, rows: Mapping[bytes, Row]) -> None:
        """Know what some texts say."""
        self._known.update(zip(rows, map(self._rows.__getitem__, rows.values()), strict=True))

    def numbers(self, texts: Iterable[bytes]) -> Numbers:
        """The number of each text's row, all of them read."""
        return np.fromiter(map(self._known.__getitem__, texts), np.int64)

    def coded(self, numbers: Numbers) -> Coded:
        """The rows of some page views: few, where the table may be long."""
        rows = list(self._rows)
        used, codes = np.unique(numbers, return_inverse=True)
        return Coded([rows[number] for number in used.tolist()], codes)

    def forget_some(self) -> None:
        """Forget every text and row, where they became too many."""
        if len(self._known) > REMEMBERED:
            self._known.clear()
            self._rows.clear()


class _Said:
    """What the lines of a batch said so far."""

    def __init__(self) -> None:
        self.times: list[Numbers] = []
        self.outcomes: list[Codes] = []
        self.visitors = _Numbers()
        self.visits: list[int] = []
        """The visitor of each page view."""
        self.requests: list[bytes] = []
        self.referrers: list[bytes] = []


class Columns:
    """Reads batches, and remembers from one to the next what the texts in them say."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._bots = _Known(lambda text: _CODES[f"bot: {bot}"] if (bot := lines.bot(text)) else 0)
        self._kinds = _Known(lambda text: _CODES[lines.kind(text)])
        self._browsers = _Table(lines.browsers)
        self._places = _Table(partial(map, lines.place))
        self._targets = _Table(partial(map, lines.target))
        self._referrers = _Table(partial(map, lines.referrer))

    def read(self, batch: Batch) -> Found:
        """Read a batch."""
        self._forget_some()
        self._browsers.learn(batch.browsers)
        said = _Said()
        ends = []  # of each chunk, in lines
        lines = 0
        for _, chunk in batch.chunks:
            for fields in split(batch.form, chunk, self._lines):
                self._take(fields, said)
                lines += len(fields.times)
            ends.append(lines)
        times, outcomes = np.concatenate(said.times), np.concatenate(said.outcomes)
        starts_ms = _starts(times)
        places = _Places(batch, ends)
        days = [_day(start_ms, starts_ms == start_ms, outcomes, places) for start_ms in np.unique(starts_ms)]
        seen = times[outcomes == _CODES[VIEW]]
        # An address and an agent are a visitor's, and visitors are a third as many as page views.
        starts, addresses, agents = ([who[n] for who in said.visitors] for n in range(3))
        browsers = self._browsers.read(agents)
        self._places.read(addresses)
        self._targets.read(said.requests)
        self._referrers.read(said.referrers)
        visits = np.array(said.visits, dtype=np.int64)
        visitors = Visitors(starts, b"\n".join(map(visitor_name, addresses, agents)), visits)
        hits = (
            self._browsers.coded(self._browsers.numbers(agents)[visits]),
            self._places.coded(self._places.numbers(addresses)[visits]),
            self._targets.coded(self._targets.numbers(said.requests)),
            self._referrers.coded(self._referrers.numbers(said.referrers)),
        )
        return Found(days, int(starts_ms[-1]), seen, visitors, hits, browsers)

    def _take(self, fields: Fields, said: _Said) -> None:
        """Read some lines of a batch, and keep their page views."""
        bots = _codes(map(self._bots.__getitem__, fields.agents))
        kinds = _codes(map(self._kinds.__getitem__, fields.requests))
        is_hidden = _codes(map(VIEW_STATUSES.__contains__, fields.statuses)) == 0
        kinds[(kinds == _CODES[VIEW]) & is_hidden] = _CODES[OTHER]
        outcomes = np.where(bots > 0, bots, kinds)
        outcomes[fields.times == NO_TIME] = _CODES[MALFORMED]
        said.times.append(fields.times)
        said.outcomes.append(outcomes)
        is_view = outcomes == _CODES[VIEW]
        starts_ms = (fields.times[is_view] // DAY_MS * DAY_MS).tolist()
        views = is_view.tobytes()
        addresses, agents = compress(fields.addresses, views), compress(fields.agents, views)
        said.visits.extend(map(said.visitors.__getitem__, zip(starts_ms, addresses, agents, strict=True)))
        said.requests.extend(compress(fields.requests, views))
        said.referrers.extend(compress(fields.referrers, views))

    def _forget_some(self) -> None:
        """Forget what became too much to remember."""
        for known in (self._bots, self._kinds):
            if len(known) > REMEMBERED:
                known.clear()
        for table in (self._browsers, self._places, self._targets, self._referrers):
            table.forget_some()


def _codes(codes: Iterable[int]) -> Codes:
    """Small numbers in a column."""
    return np.frombuffer(bytearray(codes), np.uint8)


def _starts(times: Numbers) -> Numbers:
    """The first millisecond of each line's day; a malformed line goes with the line before it."""
    has_time = times != NO_TIME
    line = np.maximum.accumulate(np.where(has_time, np.arange(len(times)), 0))
    return np.where(has_time, times - times % DAY_MS, BEFORE)[line]


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


def _day(start_ms: int, is_its: Bools, outcomes: Codes, places: _Places) -> DayLines:
    """What a batch has of one day."""
    codes, lines = np.unique(outcomes[is_its], return_counts=True)
    counts = {OUTCOMES[code]: number for code, number in zip(codes, lines.tolist(), strict=True)}
    malformed = np.flatnonzero(is_its & (outcomes == _CODES[MALFORMED]))[:SAMPLES]
    samples = [(offset, shape(line)) for offset, line in map(places.__getitem__, malformed.tolist())]
    offset, _ = places[int(np.argmax(is_its))]
    return DayLines(int(start_ms), offset, counts, samples)
