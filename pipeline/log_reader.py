"""Lines of a log, some megabytes at a time → counts and page views of their days.

Lines are cut, joined and counted in columns. One by one are read only the lines that may not be cut at
their quotes, and each minute, agent, request, address and referrer once. All of it stays in memory: the
database has no file, and nowhere to spill to.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from operator import itemgetter
from typing import TypeVar

import numpy as np
import pandas as pd

from collector.record import day_of
from pipeline.engine import Engine
from pipeline.log_days import HIT_COLUMNS, MALFORMED, TAKEN, LogDay, LogDays
from pipeline.log_frames import FLAG, NUMBER, TEXT, relate, relate_read
from pipeline.log_lines import PATTERNS, VIEW_STATUSES, Lines

BATCH_BYTES = 32 * 1024 * 1024  # about 150,000 lines; four times as much in memory

Item = TypeVar("Item")

_FIELDS = ("address", "minute", "second", "zone", "request", "status", "referrer", "agent")


class Batch:
    """Whole lines of one log, as text of one character for each byte."""

    def __init__(self, name: str, place: str) -> None:
        """Begin.

        name    what the log is known as
        place   what people call it
        """
        self.name = name
        self.place = place
        self.lines: list[str] = []
        self.size = 0
        """Bytes."""
        self.end = 0
        """Where its last line ends in the log."""
        self._chunks: list[tuple[int, int]] = []
        """The number of each chunk's first line, and where that begins in the log."""

    def add(self, offset: int, chunk: bytes) -> None:
        """Add the lines of a chunk, which begins at an offset in the log."""
        self._chunks.append((len(self.lines), offset))
        self.lines += chunk.decode("latin-1").removesuffix("\n").split("\n")
        self.size += len(chunk)
        self.end = offset + len(chunk)

    def offset(self, number: int) -> int:
        """Where a line begins in the log."""
        first, offset = self._chunks[bisect_right(self._chunks, number, key=itemgetter(0)) - 1]
        return offset + sum(len(line) + 1 for line in self.lines[first:number])


def batches(name: str, place: str, chunks: Iterable[tuple[int, bytes]]) -> Iterator[Batch]:
    """The lines of a log, about BATCH_BYTES at a time."""
    batch = Batch(name, place)
    for offset, chunk in chunks:
        batch.add(offset, chunk)
        if batch.size >= BATCH_BYTES:
            yield batch
            batch = Batch(name, place)
    if batch.lines:
        yield batch


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, each made by another thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


class Reader:
    """Sorts the lines of one call into their days."""

    def __init__(self, lines: Lines, days: LogDays) -> None:
        self._lines = lines
        self._days = days

    def read(self, form: str, lines: Iterable[Batch], day: LogDay) -> Iterator[int]:
        """Count the lines of a log and keep its page views; give where in the log each batch ends.

        day   of a malformed first line
        """
        # Without a place to spill to: agents and addresses stay in memory.
        with Engine() as one, Engine() as other:
            cut = (_cut(engine, batch, form) for engine, batch in zip(cycle((one, other)), lines))
            for engine, batch in ahead(cut):
                self._tell(engine)
                days, day = self._sort(engine, batch, day)
                self._keep_views(engine, {each.start_ms: each for each in days if each.state == TAKEN})
                yield batch.end

    def _tell(self, engine: Engine) -> None:
        """Make the relation `outcomes`: what becomes of each line that fits the format and has a time."""
        lines, shown = self._lines, [status.decode() for status in VIEW_STATUSES]
        relate(engine, "statuses", {"status": TEXT}, [shown])
        relate_read(engine, "minutes", {"ts_ms": NUMBER}, lines.minute, "fields", ("minute", "zone"))
        relate_read(engine, "seconds", {"ms": NUMBER}, lines.second, "fields", ("second",))
        relate_read(engine, "agents", {"browser": NUMBER, "bot": TEXT}, lines.agent, "fields", ("agent",))
        relate_read(engine, "requests", {"kind": TEXT}, lines.kind, "fields", ("request",))
        engine.step("access_log.outcomes", into="outcomes")

    def _sort(self, engine: Engine, batch: Batch, before: LogDay) -> tuple[Iterable[LogDay], LogDay]:
        """Tell the days what they have of a batch; give back these days, and the last line's."""
        outcomes = engine.database.table("outcomes").select("number", "day_ms").fetchnumpy()
        known = pd.Series(outcomes["day_ms"], index=outcomes["number"]).reindex(range(len(batch.lines)))
        # A malformed line goes with the day of the line before it.
        starts_ms = known.ffill().fillna(before.start_ms).astype("int64").to_numpy()
        found = {start_ms: self._days[day_of(start_ms)] for start_ms in np.unique(starts_ms).tolist()}
        for start_ms, day in found.items():
            day.begin(batch.name, batch.offset(int(np.argmax(starts_ms == start_ms))))
        for number in np.flatnonzero(known.isna()).tolist():
            day = found[int(starts_ms[number])]
            day.count(MALFORMED, "", 1)
            if day.has_room:
                day.keep_sample(batch.place, batch.offset(number), batch.lines[number].encode("latin-1"))
        for day_ms, outcome, bot, lines in engine.rows("access_log.counts"):
            found[day_ms].count(outcome, bot, lines)
        return found.values(), found[int(starts_ms[-1])]

    def _keep_views(self, engine: Engine, days: dict[int, LogDay]) -> None:
        """Keep the page views of the days that are taken, by their first milliseconds, as numbers."""

        def visitor(day_ms: int, address: bytes, agent: bytes) -> int:
            return days[day_ms].visitor(address, agent)

        lines = self._lines
        relate(engine, "taken", {"day_ms": NUMBER}, [list(days)])
        engine.step("access_log.views", into="views")
        visitors = ("day_ms", "address", "agent")
        relate_read(engine, "visitors", {"visitor": NUMBER}, visitor, "views", visitors)
        relate_read(engine, "places", {"place": NUMBER}, lines.place, "views", ("address",))
        relate_read(engine, "targets", {"target": NUMBER}, lines.target, "views", ("request",))
        relate_read(engine, "referrers", {"number": NUMBER}, lines.referrer, "views", ("referrer",))
        engine.step("access_log.hits", into="hits")
        hits = engine.database.table("hits").order("number").fetchnumpy()
        numbers = np.column_stack([hits[column] for column in HIT_COLUMNS])
        for start_ms, day in days.items():
            is_its = hits["day_ms"] == start_ms
            day.add(hits["ts_ms"][is_its], numbers[is_its])


def _cut(engine: Engine, batch: Batch, form: str) -> tuple[Engine, Batch]:
    """Make the relation `fields`: those of every line that fits the format."""
    relate(engine, "lines", {"number": NUMBER, "line": TEXT}, [range(len(batch.lines)), batch.lines])
    relate(engine, "form", {"is_combined": FLAG}, [[form == "combined"]])
    engine.step("access_log.fields", into="fields")
    is_cut = np.zeros(len(batch.lines), dtype=bool)
    is_cut[engine.database.table("fields").select("number").fetchnumpy()["number"]] = True
    rows = []
    for number in np.flatnonzero(~is_cut).tolist():
        match = PATTERNS[form].match(batch.lines[number].encode("latin-1"))
        if match and match[2]:
            address, time, *rest = (text.decode("latin-1") for text in match.groups()[:6])
            rows.append((number, address, time[:17], time[17:20], time[20:], *rest))
    if rows:
        columns = {"number": NUMBER, **dict.fromkeys(_FIELDS, TEXT)}
        relate(engine, "matched", columns, zip(*rows, strict=True))
        engine.database.execute("INSERT INTO fields BY NAME FROM matched")
    return engine, batch
