"""The analysts' API: published statistics as DataFrames, every number with its 95 % interval.

Opens published files only. The same question always gets the same answer, for free.
"""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import consistency, intervals, released
from pipeline.caveats import caveats
from pipeline.errors import NotComparable, NothingPublished, UnknownStatistic
from pipeline.intervals import Estimate
from pipeline.rates import RATIOS
from pipeline.released import COLUMNS
from pipeline.statistics import STATISTICS, Statistic
from pipeline.windows import TIERS, Window

__all__ = ["COLUMNS", "COMPARED", "RATIOS", "compare", "consistent", "realtime", "report", "windows"]

COMPARED = [
    *("statistic", "key", "start", "end", "before_start", "before_end"),
    *("value", "before", "difference", "lower", "upper", "distinguishable"),
]
"""lower, upper: of the difference; distinguishable: whether zero lies outside of them."""

REALTIME = "realtime"
"""The statistic whose windows are hours of a day that may still be open."""

_MANY = 20
"""Differences, from which on chance alone is likely to make one of them stand out."""


def windows(published: Path, statistic: str, start: date, end: date) -> pd.DataFrame:
    """Every released window that lies inside a range of days: one row per (window, key), in COLUMNS.

    attrs["caveats"] as report.

    Raises  UnknownStatistic; NothingPublished, naming the ranges that are
    """
    frame = released.read(released.inside(published, _sources(statistic), start, end).values())
    frame = (_rates(statistic, frame) if statistic in RATIOS else frame)[COLUMNS]
    frame.attrs = {"caveats": caveats(published, statistic, start, end)}
    return frame


def report(published: Path, statistic: str, start: date, end: date) -> pd.DataFrame:
    """A statistic over a range of days: one row per key, in COLUMNS, largest first.

    Sums the released windows inside the range, none twice. start and end are what they cover. A key that
    was above its threshold in some of the windows only is left out: a sum over those would be too low. Hours
    of days that were open are not summed: each has its row, in order of time.
    attrs["notes"] says in sentences what is missing, attrs["caveats"] what windows there are and what the
    intervals do not cover.

    Raises  UnknownStatistic; NothingPublished, naming the ranges that are
    """
    found = released.disjoint(released.inside(published, _sources(statistic), start, end))
    if REALTIME in _sources(statistic):
        frame = windows(published, statistic, start, end)
        frame.attrs["notes"] = released.gaps(list(found), start, end)
        return frame
    frame, left_out = released.summed(released.read(found.values()), list(found))
    notes = released.gaps(list(found), start, end)
    if left_out:
        notes.append(f"{left_out} keys reached the threshold in some of the windows only and are left out")
    if statistic in RATIOS:
        frame = _rates(statistic, frame)
    frame = frame.sort_values(["value", "key"], ascending=[False, True], ignore_index=True)
    frame.attrs = {"notes": notes, "caveats": caveats(published, statistic, start, end)}
    return frame


def realtime(published: Path, day: date) -> pd.DataFrame:
    """The visitors of a day that may still be open: one row per hour that is released, then all so far.

    Where no hour of it is, the visitors of the last released window, in COLUMNS as well; attrs["notes"] says
    so. attrs["caveats"] as report.

    Raises  NothingPublished where there is no such window either
    """
    try:
        hours = report(published, REALTIME, day, day)
    except NothingPublished:
        return _last_released(published, day)
    frame = pd.concat([hours, report(published, "visitors_so_far", day, day)], ignore_index=True)
    frame.attrs = dict(hours.attrs)
    return frame


def _last_released(published: Path, day: date) -> pd.DataFrame:
    """The visitors of the last window that is released, and why it is not today's."""
    known = released.inside(published, ("visitors",), date.min, day)
    last = max(known, key=lambda window: (window.end, -window.length))
    frame = report(published, "visitors", last.start, last.end)
    least = next(tier.visitors_per_day for tier in TIERS if tier.realtime)
    frame.attrs["notes"] = [
        f"No hour of {day} is released: only sites that publish {least:,} visitors a day or more, and whose "
        f"policy gives {REALTIME} a share, release them, each a minute after its end. These are the visitors "
        f"of {last.start if last.length == 1 else f'{last.start} to {last.end}'}, which was released last"
    ]
    return frame


def consistent(
    published: Path, statistic: str, start: date, end: date, *, each: bool = False
) -> pd.DataFrame:
    """What report gives, for display: values that are not negative and agree with each other.

    Visitor-days are one estimate from every release that counts them; each partition's cells are whole
    numbers that add up to exactly that, those below 3 σ in one row "(small)". Lists with a threshold get a
    row "(withheld)" for the rest. Totals of days add up to those of weeks; cells are made to agree for the
    range as a whole. Rates are as report gives them. attrs as report.

    Takes   each: what windows gives instead, window by window
    Raises  as report; NothingPublished also where there is no total for the days of a list
    """
    if each:
        found = released.inside(published, _sources(statistic), start, end)
        spans = dict.fromkeys((window.start, window.end) for window in found)
        frame = pd.concat([consistent(published, statistic, *span) for span in spans])
        frame.attrs = {"caveats": caveats(published, statistic, start, end)}
        return frame.reset_index(drop=True)
    raw = report(published, statistic, start, end)
    if statistic in RATIOS:
        return raw
    row = STATISTICS[statistic]
    if not (row.keys == (None,) or row.is_partition):
        frame = consistency.cut(raw)
    else:
        covered = list(released.disjoint(released.inside(published, (statistic,), start, end)))
        frame = _agreeing(published, row, raw, covered)
    frame.attrs = dict(raw.attrs)
    return frame


def _agreeing(published: Path, row: Statistic, raw: pd.DataFrame, covered: list[Window]) -> pd.DataFrame:
    """A total, or the cells of a partition, as all releases of the same windows have it together."""
    is_of_visitors = row.is_partition or row.name in consistency.VISITOR_DAYS
    family = consistency.VISITOR_DAYS if is_of_visitors else (row.name,)
    known = consistency.total(published, family, covered)
    if not row.is_partition:
        return consistency.single(raw, known)
    frame = consistency.partition(raw, known, is_complete=not row.is_private)
    first, last = pd.Timestamp(covered[0].start), pd.Timestamp(covered[-1].end)
    return frame.assign(statistic=row.name, start=first, end=last)[COLUMNS]


def compare(published: Path, statistic: str, start: date, end: date, against: date) -> pd.DataFrame:
    """A statistic over a range of days beside as many days from `against` on: one row per key, in COMPARED.

    Keys that one of the periods does not have are left out. attrs["notes"] says how many, and how many rows
    would be distinguishable by chance alone; attrs["caveats"] as report.

    Raises  as report; NotComparable where the periods overlap or what is released of them covers other days
    """
    until = against + (end - start)
    if until >= start:
        raise NotComparable(
            f"the earlier period would be {against} to {until}, which is not over by {start}: "
            f"begin it on {start - (end - start) - timedelta(1)} or before"
        )
    now, then = report(published, statistic, start, end), report(published, statistic, against, until)
    _check_alike(published, statistic, (start, end), (against, until))
    both = now.merge(then, on=["statistic", "key"], suffixes=("", "_before"))
    rows = [_compared(row) for row in both.to_dict("records")]
    days = dict.fromkeys(("start", "end", "before_start", "before_end"), "datetime64[us]")
    frame = pd.DataFrame(rows, columns=COMPARED).astype({"key": object, "distinguishable": bool} | days)
    frame.attrs = {"notes": _said(now, then, frame), "caveats": now.attrs["caveats"]}
    return frame


def _check_alike(published: Path, statistic: str, now: tuple[date, date], then: tuple[date, date]) -> None:
    """Refuse periods of which different days are released."""
    shift = now[0] - then[0]
    days = [
        released.days_of(released.inside(published, _sources(statistic), *period)) for period in (now, then)
    ]
    if days[0] != {day + shift for day in days[1]}:
        covered = [f"{min(each)} to {max(each)} ({len(each)} days)" for each in days]
        raise NotComparable(
            f"{statistic} is released for {covered[0]} and, of the earlier period, for {covered[1]}: "
            "choose periods that are released alike, such as whole ISO weeks"
        )


def _compared(row: dict[str, Any]) -> dict[str, Any]:
    """A row of COMPARED."""
    value, before = row["value"], row["value_before"]
    lower, upper = intervals.difference(
        value, (row["lower"], row["upper"]), before, (row["lower_before"], row["upper_before"])
    )
    return {
        **{name: row[name] for name in ("statistic", "key", "start", "end", "value")},
        "before_start": row["start_before"],
        "before_end": row["end_before"],
        "before": before,
        "difference": value - before,
        "lower": lower,
        "upper": upper,
        "distinguishable": lower > 0 or upper < 0,
    }


def _said(now: pd.DataFrame, then: pd.DataFrame, both: pd.DataFrame) -> list[str]:
    """What a comparison leaves out, and what chance alone would make of it."""
    notes = list(dict.fromkeys([*now.attrs["notes"], *then.attrs["notes"]]))
    if left_out := len(now) + len(then) - 2 * len(both):
        notes.append(f"{left_out} keys are published for one of the periods only and are left out")
    if len(both) >= _MANY:
        notes.append(
            f"Of {len(both)} differences, about {len(both) / 20:.0f} would leave the noise by chance"
        )
    return notes


def _sources(statistic: str) -> tuple[str, ...]:
    """The published statistics that answer for a name."""
    if statistic in RATIOS:
        return RATIOS[statistic].sources
    if statistic not in STATISTICS:
        known = ", ".join([*STATISTICS, *RATIOS])
        raise UnknownStatistic(f"there is no statistic {statistic!r}: ask for one of {known}")
    return (statistic,)


def _rates(name: str, cells: pd.DataFrame) -> pd.DataFrame:
    """A rate for each window of its statistics."""
    rates = []
    for (start, end), window in cells.groupby(["start", "end"]):
        found: dict[str, dict[str | None, Estimate]] = {}
        for cell in window.itertuples():
            estimate = (cell.value, cell.lower, cell.upper, cell.sigma)
            found.setdefault(cell.statistic, {})[cell.key] = estimate
        if all(each in found for each in RATIOS[name].sources):
            rates += [(name, key, start, end, *estimate) for key, estimate in RATIOS[name].rows(found)]
    return pd.DataFrame(rates, columns=COLUMNS).astype({"key": object})
