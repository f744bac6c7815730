"""The analysts' API: published statistics as DataFrames, every number with its 95 % interval.

Opens published files only. The same question always gets the same answer, for free.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from pipeline import intervals
from pipeline.engine import connect
from pipeline.errors import NothingPublished, UnknownStatistic
from pipeline.statistics import STATISTICS
from pipeline.windows import Window

COLUMNS = ["statistic", "key", "start", "end", "value", "lower", "upper", "sigma"]
"""key: None for a single number; start, end: first and last UTC day; sigma: of the noise."""


@dataclass(frozen=True)
class Ratio:
    """A rate derived from two cells of one statistic."""

    statistic: str
    part: str
    rest: str


RATIOS = {"bounce_rate": Ratio("bounce", "bounced", "stayed")}
"""Rates, answered like statistics."""


def windows(published: Path, statistic: str, start: date, end: date) -> pd.DataFrame:
    """Every released window that lies inside a range of days: one row per (window, key), in COLUMNS.

    Raises  UnknownStatistic; NothingPublished, naming the ranges that are
    """
    source = _source(statistic)
    frame = _read(_inside(published, source, start, end))
    return (frame if source == statistic else _rates(statistic, frame))[COLUMNS]


def report(published: Path, statistic: str, start: date, end: date) -> pd.DataFrame:
    """A statistic over a range of days: one row per key, in COLUMNS, largest first.

    Sums the released windows inside the range, none twice. start and end are what they cover. A key that
    was above its threshold in some of the windows only is left out: a sum over those would be too low.
    attrs["notes"] says in sentences what is missing.

    Raises  UnknownStatistic; NothingPublished, naming the ranges that are
    """
    source = _source(statistic)
    released = _disjoint(_inside(published, source, start, end))
    frame, left_out = _sum(_read(released), list(released))
    notes = _gaps(list(released), start, end)
    if left_out:
        notes.append(f"{left_out} keys reached the threshold in some of the windows only and are left out")
    if source != statistic:
        frame = _rates(statistic, frame)
    frame = frame.sort_values(["value", "key"], ascending=[False, True], ignore_index=True)
    frame.attrs["notes"] = notes
    return frame


def _source(statistic: str) -> str:
    """The published statistic that answers for a name."""
    source = RATIOS[statistic].statistic if statistic in RATIOS else statistic
    if source not in STATISTICS:
        known = ", ".join([*STATISTICS, *RATIOS])
        raise UnknownStatistic(f"there is no statistic {statistic!r}: ask for one of {known}")
    return source


def _inside(published: Path, statistic: str, start: date, end: date) -> dict[Window, Path]:
    """The released windows inside a range, in order of time. A window may hold no cell at all."""
    files = {}
    for file in (published / statistic).glob("*-????-??-??.parquet"):
        name, day = file.stem[:-11], file.stem[-10:]
        files[Window(name, date.fromisoformat(day))] = file
    ordered = sorted(files, key=lambda window: (window.start, window.length))
    inside = {window: files[window] for window in ordered if start <= window.start and window.end <= end}
    if not inside:
        raise NothingPublished(_nothing(statistic, start, end, ordered))
    return inside


def _nothing(statistic: str, start: date, end: date, released: list[Window]) -> str:
    said = f"no window of {statistic} lies inside {start} to {end}"
    if not released:
        return f"{said}: nothing of it is published yet; `impersonal run` releases what is due"
    ranges: list[list[date]] = []
    for window in released:
        if ranges and window.start <= ranges[-1][1] + timedelta(1):
            ranges[-1][1] = max(ranges[-1][1], window.end)
        else:
            ranges.append([window.start, window.end])
    listed = ", ".join(f"{first} to {last}" for first, last in ranges)
    shortest = min(window.length for window in released)
    return f"{said}: ask within {listed}, in windows of {shortest} days or more"


def _read(files: dict[Window, Path]) -> pd.DataFrame:
    """The cells of some windows, window by window as published."""
    with connect() as database:
        frame = database.read_parquet([str(file) for file in files.values()]).df()
    # None, not NaN: what has no key must not get one on its way to JSON.
    frame["key"] = frame["key"].astype(object).where(frame["key"].notna(), None)
    return frame.sort_values(["start", "end"], kind="stable", ignore_index=True)


def _disjoint(released: dict[Window, Path]) -> dict[Window, Path]:
    """The windows to sum: where two overlap, the longer one, which holds less noise."""
    chosen: list[Window] = []
    for window in sorted(released, key=lambda window: -window.length):
        if all(window.end < other.start or window.start > other.end for other in chosen):
            chosen.append(window)
    return {window: file for window, file in released.items() if window in chosen}


def _gaps(released: list[Window], start: date, end: date) -> list[str]:
    """Days of the range asked that no window covers, as sentences."""
    day = timedelta(1)
    ends = [start - day, *(window.end for window in released)]
    starts = [*(window.start for window in released), end + day]
    return [
        f"{before + day} to {after - day} is not released in windows inside the range"
        for before, after in zip(ends, starts, strict=True)
        if after - before > day
    ]


def _sum(cells: pd.DataFrame, released: list[Window]) -> tuple[pd.DataFrame, int]:
    """One row per key that every window has, and how many keys that leaves out."""
    rows, left_out = [], 0
    for (statistic, key), found in cells.groupby(["statistic", "key"], dropna=False, sort=False):
        if len(found) < len(released):
            left_out += 1
            continue
        lower, upper = intervals.total(*(list(found[name]) for name in ("value", "lower", "upper")))
        rows.append(
            {
                "statistic": statistic,
                "key": key if isinstance(key, str) else None,
                "start": pd.Timestamp(released[0].start),
                "end": pd.Timestamp(released[-1].end),
                "value": found["value"].sum(),
                "lower": lower,
                "upper": upper,
                "sigma": float((found["sigma"] ** 2).sum() ** 0.5),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"key": object}), left_out


def _rates(name: str, cells: pd.DataFrame) -> pd.DataFrame:
    """A rate for each window of its statistic."""
    row = RATIOS[name]
    rates = []
    for (start, end), window in cells.groupby(["start", "end"]):
        value = window.set_index("key")["value"]
        sigma = float(window["sigma"].iloc[0])
        rate, lower, upper, spread = intervals.ratio(value[row.part], value[row.rest], sigma)
        rates.append((name, None, start, end, rate, lower, upper, spread))
    return pd.DataFrame(rates, columns=COLUMNS).astype({"key": object})
