"""Published files, window by window: which there are inside a range of days, their cells and their sums."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from pipeline import intervals
from pipeline.engine import shared
from pipeline.errors import NothingPublished
from pipeline.published import newest
from pipeline.statistics import STATISTICS
from pipeline.windows import BLOCK, Window

COLUMNS = ["statistic", "key", "start", "end", "value", "lower", "upper", "sigma"]
"""key: None for a single number; start, end: first and last UTC day; sigma: of the noise."""


def inside(published: Path, statistics: Sequence[str], start: date, end: date) -> dict[Window, list[Path]]:
    """The windows inside a range that are released of every statistic, in order of time.

    Gives   window → one file of each; a file may hold no cell at all
    Raises  NothingPublished, naming the ranges that are released
    """
    files: dict[Window, list[Path]] = {}
    for statistic in statistics:
        for window, file in newest(published, statistic).items():
            files.setdefault(window, []).append(file)
    whole = [window for window, found in files.items() if len(found) == len(statistics)]
    ordered = sorted(whole, key=lambda window: (window.span_ms[0], window.length))
    found = {window: files[window] for window in ordered if start <= window.start and window.end <= end}
    if not found:
        raise NothingPublished(_nothing(published, statistics, start, end, ordered))
    return found


def _nothing(
    published: Path, statistics: Sequence[str], start: date, end: date, released: list[Window]
) -> str:
    names = " and ".join(statistics)
    said = f"no window of {names} lies inside {start} to {end}"
    if not released:
        lists = any(name in STATISTICS and STATISTICS[name].kind == "list" for name in statistics)
        if lists and next(published.glob(f"*/{BLOCK}-*.parquet"), None):
            return (
                f"{said}: as for a very small site, only totals over 28 days are released; ask for visitors"
            )
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


def disjoint(released: dict[Window, list[Path]]) -> dict[Window, list[Path]]:
    """The windows to sum: where two overlap, the longer one, which holds less noise."""
    chosen: list[Window] = []
    for window in sorted(released, key=lambda window: -window.length):
        (start_ms, end_ms), others = window.span_ms, [other.span_ms for other in chosen]
        if all(end_ms <= since_ms or start_ms >= until_ms for since_ms, until_ms in others):
            chosen.append(window)
    return {window: files for window, files in released.items() if window in chosen}


def days_of(windows: Iterable[Window]) -> set[date]:
    """The days that some windows cover."""
    return {window.start + timedelta(n) for window in windows for n in range(window.length)}


def read(files: Iterable[list[Path]]) -> pd.DataFrame:
    """The cells of some windows, window by window as published."""
    with shared().cursor() as database:
        frame = database.read_parquet([str(file) for window in files for file in window]).df()
    return _keyed(frame).sort_values(["start", "end"], kind="stable", ignore_index=True)


def _keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """With None, not NaN, as the key of a single number: it must not get one on its way to JSON."""
    return frame.assign(key=frame["key"].astype(object).where(frame["key"].notna(), None))


def summed(cells: pd.DataFrame, windows: Sequence[Window]) -> tuple[pd.DataFrame, int]:
    """One row per key that every window has, in COLUMNS, and how many keys that leaves out."""
    rows, left_out = [], 0
    for (statistic, key), found in cells.groupby(["statistic", "key"], dropna=False, sort=False):
        if len(found) < len(windows):
            left_out += 1
            continue
        lower, upper = intervals.total(*(list(found[name]) for name in ("value", "lower", "upper")))
        rows.append(
            {
                "statistic": statistic,
                "key": key if isinstance(key, str) else None,
                "start": pd.Timestamp(windows[0].start),
                "end": pd.Timestamp(windows[-1].end),
                "value": found["value"].sum(),
                "lower": lower,
                "upper": upper,
                "sigma": float((found["sigma"] ** 2).sum() ** 0.5),
            }
        )
    days = {"start": "datetime64[us]", "end": "datetime64[us]"}
    return _keyed(pd.DataFrame(rows, columns=COLUMNS).astype(days)), left_out


def gaps(windows: Sequence[Window], start: date, end: date) -> list[str]:
    """Days of the range asked that no window covers, as sentences."""
    day = timedelta(1)
    ends = [start - day, *(window.end for window in windows)]
    starts = [*(window.start for window in windows), end + day]
    return [
        f"{before + day} to {after - day} is not released in windows inside the range"
        for before, after in zip(ends, starts, strict=True)
        if after - before > day
    ]
