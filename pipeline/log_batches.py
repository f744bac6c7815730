"""A few megabytes of a log → what they say. Nothing here depends on other lines, so processes can share it.

All is done in columns: each agent, request, address and referrer is read when it is met first; when it is
met again, only its number is looked up.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress, islice
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from collector.enrich import BOT_CATEGORIES, MAX_AGENT
from collector.record import DAY_MS
from pipeline.log_lines import (
    ASSET,
    NO_TIME,
    OTHER,
    REMEMBERED,
    VIEW,
    VIEW_STATUSES,
    Known,
    Lines,
    Numbers,
    shape,
)
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
Learned = Mapping[str, Mapping[bytes, Any]]
"""What texts say that a process met first, by what they are: the others need not read them again."""


class Batch(NamedTuple):
    """Some chunks of a log, each whole lines."""

    form: str
    chunks: Sequence[tuple[int, bytes]]
    """Where each begins in the log, and its bytes."""
    learned: Learned = MappingProxyType({})
    """What other processes have read."""


class NewRows(NamedTuple):
    """Rows of a process that it met since it last told of some."""

    first: int
    """The number of the first of them. Those from there on that it told of before, it has forgotten."""
    rows: list[Row]


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
    hits: Numbers
    """HIT_COLUMNS of each page view (n × 4) but for the visitor, as numbers of rows."""
    process: int
    """Which has read it. Each numbers rows as it meets them."""
    rows: list[NewRows]
    """Of each of the columns."""
    learned: Learned


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


class _Numbers(dict[Any, int]):
    """Distinct rows or texts, numbered as they are met."""

    def __missing__(self, row: Any) -> int:
        number = self[row] = len(self)
        return number


class _Bots:
    """Which agents are bots: numbered as they are met, and read together when a batch was.

    One by one, between other things, an agent takes three times as long: what is asked of it is no longer in
    the processor's cache.
    """

    def __init__(self, read: Callable[[Iterable[bytes]], Iterable[str | None]]) -> None:
        self._read = read
        self._numbers = _Numbers()
        self._codes = np.array([], np.uint8)
        self.met: dict[bytes, int] = {}
        """The codes of those that were read here since the last batch."""

    def numbers(self, agents: Iterable[bytes]) -> Numbers:
        """The number of each agent."""
        return np.fromiter(map(self._numbers.__getitem__, agents), np.int64)

    def codes(self) -> Codes:
        """By the number of an agent: the outcome that its lines have; 0 where it is none's."""
        new = list(islice(self._numbers, len(self._codes), None))
        self.met = dict(
            zip(new, (_CODES[f"bot: {bot}"] if bot else 0 for bot in self._read(new)), strict=True)
        )
        self._append(self.met.values())
        return self._codes

    def learn(self, codes: Mapping[bytes, int]) -> None:
        """Know what some agents are; between two batches."""
        new = {agent: code for agent, code in codes.items() if agent not in self._numbers}
        self.numbers(new)
        self._append(new.values())

    def _append(self, codes: Iterable[int]) -> None:
        self._codes = np.concatenate([self._codes, np.frombuffer(bytes(codes), np.uint8)])

    def forget_some(self) -> None:
        """Forget every agent, where they became too many."""
        if len(self._numbers) > REMEMBERED:
            self._numbers.clear()
            self._codes = self._codes[:0]


class _Table:
    """What the texts of a column say, as numbered rows: forty agents are one browser."""

    def __init__(self, read: Callable[[Iterable[bytes]], Iterable[Row]]) -> None:
        self._read = read
        self._rows = _Numbers()
        self._known: dict[bytes, int] = {}
        self._told = 0  # so many rows
        self.met: dict[bytes, Row] = {}
        """Those that were read here since the last batch."""

    def numbers(self, texts: Sequence[bytes]) -> Numbers:
        """The number of each text's row."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        self.met = dict(zip(new, self._read(new), strict=True))
        self.learn(self.met)
        return np.fromiter(map(self._known.__getitem__, texts), np.int64)

    def learn(self, rows: Mapping[bytes, Row]) -> None:
        """Know what some texts say."""
        self._known.update(zip(rows, map(self._rows.__getitem__, rows.values()), strict=True))

    def new_rows(self) -> NewRows:
        """The rows that were not told yet."""
        first, self._told = self._told, len(self._rows)
        return NewRows(first, list(islice(self._rows, first, None)))

    def forget_some(self) -> None:
        """Forget every text and row, where they became too many."""
        if len(self._known) > REMEMBERED:
            self._known.clear()
            self._rows.clear()
            self._told = 0


class _Said:
    """What the lines of a batch said so far."""

    def __init__(self) -> None:
        self.times: list[Numbers] = []
        self.outcomes: list[Codes] = []
        """Of each line, as if nobody were a bot."""
        self.agents: list[Numbers] = []
        self.visitors = _Numbers()
        self.visits: list[int] = []
        """The visitor of each page view, bots' among them."""
        self.requests: list[bytes] = []
        self.referrers: list[bytes] = []


class Columns:
    """Reads batches, and remembers from one to the next what the texts in them say."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._bots = _Bots(lines.bots)
        self._kinds = Known(lambda request: _CODES[lines.kind(request)])
        self._tables = {
            "browsers": _Table(lines.browsers),
            "places": _Table(partial(map, lines.place)),
            "targets": _Table(partial(map, lines.target)),
            "referrers": _Table(partial(map, lines.referrer)),
        }
        """In the order of HIT_COLUMNS."""

    def read(self, batch: Batch) -> Found:
        """Read a batch."""
        self._kinds.forget_some()
        self._bots.forget_some()
        for table in self._tables.values():
            table.forget_some()
        for name, said_of in batch.learned.items():
            self._shared[name].learn(said_of)
        said = _Said()
        ends = []  # of each chunk, in lines
        lines = 0
        for _, chunk in batch.chunks:
            for fields in split(batch.form, chunk, self._lines):
                self._take(fields, said)
                lines += len(fields.times)
            ends.append(lines)
        times, outcomes = np.concatenate(said.times), np.concatenate(said.outcomes)
        bots = self._bots.codes()[np.concatenate(said.agents)]
        is_person = (bots == 0)[outcomes == _CODES[VIEW]]
        outcomes = np.where((bots > 0) & (outcomes != _CODES[MALFORMED]), bots, outcomes)
        starts_ms = _starts(times)
        places = _Places(batch, ends)
        days = [_day(start_ms, starts_ms == start_ms, outcomes, places) for start_ms in np.unique(starts_ms)]
        seen = times[outcomes == _CODES[VIEW]]
        visitors, hits = self._views(said, is_person)
        rows = [table.new_rows() for table in self._tables.values()]
        learned = {name: column.met for name, column in self._shared.items()}
        return Found(days, int(starts_ms[-1]), seen, visitors, hits, os.getpid(), rows, learned)

    @property
    def _shared(self) -> Mapping[str, _Bots | _Table]:
        """What is told to other processes: where an address lies is read sooner than told."""
        return {
            "bots": self._bots,
            **{name: self._tables[name] for name in ("browsers", "targets", "referrers")},
        }

    def _take(self, fields: Fields, said: _Said) -> None:
        """Read some lines of a batch, and keep their page views."""
        kinds = _codes(map(self._kinds.__getitem__, fields.requests))
        is_hidden = _codes(map(VIEW_STATUSES.__contains__, fields.statuses)) == 0
        kinds[(kinds == _CODES[VIEW]) & is_hidden] = _CODES[OTHER]
        kinds[fields.times == NO_TIME] = _CODES[MALFORMED]
        said.times.append(fields.times)
        said.outcomes.append(kinds)
        said.agents.append(self._bots.numbers(fields.agents))
        is_view = kinds == _CODES[VIEW]
        starts_ms = (fields.times[is_view] // DAY_MS * DAY_MS).tolist()
        views = is_view.tobytes()
        addresses, agents = compress(fields.addresses, views), compress(fields.agents, views)
        said.visits.extend(map(said.visitors.__getitem__, zip(starts_ms, addresses, agents, strict=True)))
        said.requests.extend(compress(fields.requests, views))
        said.referrers.extend(compress(fields.referrers, views))

    def _views(self, said: _Said, is_person: Bools) -> tuple[Visitors, Numbers]:
        """The page views of people: their visitors, and what they are as numbers of rows."""
        # An address and an agent are a visitor's, and visitors are a third as many as page views.
        used, visits = np.unique(np.array(said.visits, np.int64)[is_person], return_inverse=True)
        everybody = list(said.visitors)
        people = [everybody[number] for number in used.tolist()]
        starts, addresses, agents = ([who[n] for who in people] for n in range(3))
        views = is_person.tobytes()
        browsers, places, targets, referrers = self._tables.values()
        numbers = (
            browsers.numbers(agents)[visits],
            places.numbers(addresses)[visits],
            targets.numbers(list(compress(said.requests, views))),
            referrers.numbers(list(compress(said.referrers, views))),
        )
        names = b"\n".join(map(visitor_name, addresses, agents))
        return Visitors(starts, names, visits), np.column_stack(numbers)


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
