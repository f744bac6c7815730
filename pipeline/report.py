"""The rows of `impersonal report`: which statistic a word means, and its cells as plain values."""

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import query
from pipeline.errors import NothingPublished, UnknownStatistic
from pipeline.statistics import STATISTICS

TOTALS = ("visitors", "pageviews", "visits", "bounce_rate")
"""What is reported where nothing is asked for by name."""

_OTHER_NAMES = {"entry": "entry_pages", "pageviews": "pageviews", "page_views": "pageviews"}


def statistic_named(word: str) -> str:
    """The statistic that a singular or plural word means: page, entry page, countries.

    Raises  UnknownStatistic
    """
    name = word.strip().lower().replace(" ", "_").replace("-", "_")
    name = _OTHER_NAMES.get(name, name)
    known = (*STATISTICS, *query.RATIOS)
    for candidate in (name, f"{name}s", f"{name.removesuffix('y')}ies"):
        if candidate in known:
            return candidate
        if candidate in _OTHER_NAMES:
            return _OTHER_NAMES[candidate]
    raise UnknownStatistic(f"{word} is no statistic: use one of {', '.join(known)}")


def rows(
    published: Path, by: str | None, start: date, end: date, each: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows {statistic, key, start, end, value, lower, upper, sigma}, and notes on what is left out.

    Takes   each: every released window by itself instead of their sum
    Raises  UnknownStatistic, NothingPublished
    """
    ask = query.windows if each else query.report
    if by is not None:
        frames = [ask(published, statistic_named(by), start, end)]
    else:
        frames = _totals(published, start, end, each)
    found = [row for frame in frames for row in _plain(frame)]
    notes = dict.fromkeys(note for frame in frames for note in frame.attrs.get("notes", ()))
    return found, list(notes)


def _totals(published: Path, start: date, end: date, each: bool) -> list[pd.DataFrame]:
    """The totals that are published: a policy may leave some out."""
    ask = query.windows if each else query.report
    frames, missing = [], None
    for name in TOTALS:
        try:
            frames.append(ask(published, name, start, end))
        except NothingPublished as error:
            missing = missing or error
    if not frames and missing:
        raise missing
    return frames


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame with Python's own values: None, int, float and dates as text."""
    table = frame.assign(
        start=frame["start"].dt.strftime("%Y-%m-%d"), end=frame["end"].dt.strftime("%Y-%m-%d")
    )
    columns = [table[name].astype(object).tolist() for name in query.COLUMNS]
    return [dict(zip(query.COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]
