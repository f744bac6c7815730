"""The lines of one call, batch by batch, into their days."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from collector.record import day_of
from pipeline.log_batches import BEFORE, Found, Row
from pipeline.log_days import TAKEN, LogDay, LogDays
from pipeline.log_lines import Browser, Numbers, Place, Referrer, Target


class Table:
    """Distinct rows, each with a number."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self._numbers: dict[Row, int] = {}

    def numbers(self, rows: Iterable[Row]) -> Numbers:
        """The number of each row, its own for ever."""
        known = self._numbers
        return np.array([known.setdefault(row, len(known)) for row in rows], dtype=np.int64)

    def rows(self) -> list[Row]:
        """The rows by their numbers."""
        return list(self._numbers)


class Reader:
    """Tells days apart, and page views by numbers. Addresses and agents are not kept."""

    def __init__(self, days: LogDays) -> None:
        self._days = days
        self.tables = {
            "browsers": Table(Browser._fields),
            "places": Table(Place._fields),
            "targets": Table(Target._fields),
            "referrers": Table(Referrer._fields),
        }
        """What the numbers of a page view stand for, in the order of HIT_COLUMNS."""
        none = np.array([], dtype=np.int64)
        self._rows = defaultdict[int, list[Numbers]](lambda: [none] * len(self.tables))
        """Of each process and table: the numbers of the rows that the process numbers from 0 on."""

    def take(self, found: Found, name: str, place: str, before: LogDay) -> LogDay:
        """Count the lines of a batch and keep its page views; give back the last line's day.

        name     what the log is known as
        place    what people call it
        before   the day of the line before the batch
        """
        days = {each.start_ms: self._day(each.start_ms, before) for each in found.days}
        for each in found.days:
            day = days[each.start_ms]
            day.begin(name, each.offset)
            day.keep_samples(place, each.samples)
            for outcome, lines in each.counts.items():
                day.count(outcome, lines)
        taken = {day.start_ms: day for day in days.values() if day.state == TAKEN}
        visitors = found.visitors
        named = zip(visitors.starts_ms, visitors.names.split(b"\n"), strict=False)  # no line of none is one
        known = [taken[start].visitor(name) if start in taken else -1 for start, name in named]
        numbers = [np.array(known, dtype=np.int64)[visitors.codes]]
        rows = self._rows[found.process]
        for n, (table, new) in enumerate(zip(self.tables.values(), found.rows, strict=True)):
            rows[n] = np.concatenate([rows[n][: new.first], table.numbers(new.rows)])
            numbers.append(rows[n][found.hits[:, n]])
        hits = np.column_stack(numbers)
        for day in taken.values():
            is_its = (found.times >= day.start_ms) & (found.times < day.end_ms)
            day.add(found.times[is_its], hits[is_its])
        return days[found.last_ms]

    def _day(self, start_ms: int, before: LogDay) -> LogDay:
        return before if start_ms == BEFORE else self._days[day_of(start_ms)]
