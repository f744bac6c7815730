"""The rows of `impersonal report`: which statistic a word means, and its cells as plain values."""

from collections.abc import Callable
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import query
from pipeline.consistency import SHOWN_FROM, SMALL, WITHHELD
from pipeline.errors import NothingPublished, UnknownStatistic
from pipeline.statistics import STATISTICS

TOTALS = (
    *("visitors", "pageviews", "visits", "goals"),
    *(name for name, rate in query.RATIOS.items() if rate.is_total),
)
"""What is reported where nothing is asked for by name, as far as it is published."""

_OTHER_NAMES = {
    **{"entry": "entry_pages", "exit": "exit_pages", "os": "operating_systems", "page_views": "pageviews"},
    **{"source": "utm_sources", "medium": "utm_mediums", "campaign": "utm_campaigns"},
    **{"median_duration": "duration_median", "median": "duration_median"},
    **{"over_a_minute": "duration_over_minute", "page_views_per_visit": "views_per_visit"},
}


def statistic_named(word: str) -> str:
    """The statistic that a singular or plural word means: page, entry page, countries.

    Raises  UnknownStatistic
    """
    name = word.strip().lower().replace(" ", "_").replace("-", "_")
    name = _OTHER_NAMES.get(name, name)
    known = (*STATISTICS, *query.RATIOS)
    for candidate in (name, f"{name}s", f"{name.removesuffix('y')}ies", name.removesuffix("s")):
        if candidate in known:
            return candidate
        if candidate in _OTHER_NAMES:
            return _OTHER_NAMES[candidate]
    raise UnknownStatistic(f"{word} is no statistic: use one of {', '.join(known)}")


def is_of_today(by: str | None) -> bool:
    """Whether what is asked for is released while its day is open.

    Raises  UnknownStatistic
    """
    return by is not None and statistic_named(by) in (query.REALTIME, "visitors_so_far")


def rows(
    published: Path,
    by: str | None,
    start: date,
    end: date,
    *,
    each: bool = False,
    consistent: bool = False,
    against: date | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows {statistic, key, start, end, value, lower, upper, sigma}, and notes on how to read them.

    Takes   each: every released window by itself instead of their sum; consistent: as query.consistent;
            against: the first day of an earlier period to compare with: rows as query.COMPARED, with the
            verdict in words as `change`
    Raises  UnknownStatistic, NothingPublished, NotComparable
    """

    def ask(name: str) -> pd.DataFrame:
        if name == query.REALTIME and start == end and not (each or consistent or against):
            return query.realtime(published, end)
        if against is not None:
            return query.compare(published, name, start, end, against).pipe(_in_words)
        if consistent:
            return query.consistent(published, name, start, end, each=each)
        return (query.windows if each else query.report)(published, name, start, end)

    frames = [ask(statistic_named(by))] if by is not None else _published(ask)
    notes = [note for frame in frames for name in ("notes", "caveats") for note in frame.attrs.get(name, ())]
    return [row for frame in frames for row in _plain(frame)], list(dict.fromkeys(notes))


def distinct(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """For people: without what is mostly noise, counts below 3 σ above all, and a sentence that tells of it.

    Rows that say themselves that they hold what is small or withheld stay, and so do rates of the whole site.
    """
    shown = [row for row in found if not _is_mostly_noise(row)]
    hidden = len(found) - len(shown)
    said = f"{hidden} of {len(found)} numbers are mostly noise and not shown: --format csv has them"
    return shown, [said] if hidden else []


def _is_mostly_noise(row: dict[str, Any]) -> bool:
    if row["statistic"] in STATISTICS:
        is_cell = row["key"] not in (SMALL, WITHHELD)
        return is_cell and row["value"] < SHOWN_FROM * row["sigma"]
    return row["key"] is not None and row["sigma"] is None


def _published(ask: Callable[[str], pd.DataFrame]) -> list[pd.DataFrame]:
    """The totals that are published: a policy may leave some out."""
    frames, missing = [], None
    for name in TOTALS:
        try:
            frames.append(ask(name))
        except NothingPublished as error:
            missing = missing or error
    if not frames and missing:
        raise missing
    return frames


def _in_words(compared: pd.DataFrame) -> pd.DataFrame:
    """With what the difference means."""
    more = compared["difference"] > 0
    change = more.map({True: "more", False: "less"}).where(compared["distinguishable"], "within the noise")
    return compared.assign(change=change)


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame with Python's own values: None for what is unknown, dates as text."""
    days = {name: frame[name].dt.strftime("%Y-%m-%d") for name in frame if name.endswith(("start", "end"))}
    table = frame.assign(**days)
    columns = [[_known(value) for value in table[name].astype(object)] for name in table]
    return [dict(zip(table, values, strict=True)) for values in zip(*columns, strict=True)]


def _known(value: Any) -> Any:
    """None, which JSON has, for NaN and infinity, which it has not."""
    return None if isinstance(value, float) and not isfinite(value) else value
