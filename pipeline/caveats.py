"""What to know when reading a statistic, in sentences, judged from published files alone."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from math import isnan
from pathlib import Path

from pipeline import intervals, released
from pipeline.errors import NothingPublished
from pipeline.keys import HOURS
from pipeline.published import is_correction, manifest_of
from pipeline.rates import RATIOS
from pipeline.statistics import STATISTICS
from pipeline.windows import BLOCK, Window

CLIPPED = "clipped"
"""The statistic that counts visitor-days of which page views were cut off."""

_VERY_SMALL = "Released as for a very small site: totals over 28 days, no lists; less would be mostly noise"
_SMALL = "Released as for a small site: weekly figures, as those of a day would be mostly noise"
_MEDIUM = "Released as for a medium site: daily totals, weekly lists, as those of a day would be mostly noise"
_VAGUE = 0.5  # width of an interval from which on a rate says nothing
_FIRST_VISIT = "Of each visitor-day the first visit is counted, no later one"
_GRANTED = "Only visitors who granted a long-lived pseudonym are told apart over days"
_BOUNDS = {
    "visits": "Visits above 2 of a visitor-day are not counted, which no interval covers",
    "bounce": _FIRST_VISIT,
    "durations": _FIRST_VISIT,
    "engaged": f"{_FIRST_VISIT}; a browser without the script reports no time, which counts as none",
    "goals": "At most 3 goals of a visitor-day are counted, which no interval covers",
    "funnels": "Steps count in their order and on one day",
    "pages": "At most 6 pages of a visitor-day are counted, which no interval covers",
    "page_seconds": "At most 120 s of a page count; a browser without the script reports none",
    "page_scroll": "A browser without the script reports no scrolling, which counts as none",
    "returning": _GRANTED,
    "retention": _GRANTED,
    "realtime": (
        "A visitor-day counts in the UTC hour it was first seen in; who was not known when that hour "
        "was released is in none, which no interval covers: the day's own release has them"
    ),
}
"""What no interval covers, by statistic."""
_CUT = "Page views above 10 of a visitor-day are not counted, which no interval covers"


def caveats(published: Path, statistic: str, start: date, end: date) -> list[str]:
    """Which windows are released and why, and what the bounds cut off, which no interval covers."""
    sources = RATIOS[statistic].sources if statistic in RATIOS else (statistic,)
    found = _windows(published, sources, start, end)
    is_part = statistic in STATISTICS and STATISTICS[statistic].is_partition
    found += _corrected(published, (*sources, "visitors") if is_part else sources, start, end)
    if "pageviews" in sources:
        found.append(_cut(published, start, end))
    if "visitors" in sources:
        found += _coverage(published, start, end)
    if "realtime" in sources:
        found += _until(published, start, end)
    return found + list(dict.fromkeys(_BOUNDS[name] for name in sources if name in _BOUNDS))


def _windows(published: Path, sources: tuple[str, ...], start: date, end: date) -> list[str]:
    """Where windows are longer than a day: for which size of site that is."""
    names = _names(published, sources, start, end)
    if BLOCK in names:
        return [_VERY_SMALL]
    if "week" not in names or all(STATISTICS[name].shortest == "week" for name in sources):
        return []  # of a day, or of a week for every site
    is_list = any(name in STATISTICS and STATISTICS[name].kind == "list" for name in sources)
    return [_MEDIUM if is_list and "day" in _names(published, ("visitors",), start, end) else _SMALL]


def _corrected(published: Path, names: tuple[str, ...], start: date, end: date) -> Iterator[str]:
    """Which windows were counted once more, why, and what was not counted with them."""
    found: dict[Window, dict[str, Path]] = {}
    for name in names:
        with suppress(NothingPublished):
            for window, [file] in released.inside(published, (name,), start, end).items():
                if is_correction(file):
                    found.setdefault(window, {})[name] = file
    for window, files in found.items():
        why = "; ".join(dict.fromkeys(manifest_of(file).why for file in files.values()))
        others = [name for name in names if name not in files]
        yield (
            f"{' and '.join(files)} of {window.start} to {window.end} corrected: {why}"
            + (f"; not so {' and '.join(others)}, which counts other records" if others else "")
        )


def _names(published: Path, sources: tuple[str, ...], start: date, end: date) -> set[str]:
    try:
        return {window.name for window in released.inside(published, sources, start, end)}
    except NothingPublished:
        return set()


def _until(published: Path, start: date, end: date) -> Iterator[str]:
    """Of which days how many hours are released, where not all are."""
    hours = Counter(window.start for window in released.inside(published, ("realtime",), start, end))
    for day, count in hours.items():
        if count < len(HOURS):
            yield f"Of {day} the hours until {count:02}:00 UTC are released"


def _coverage(published: Path, start: date, end: date) -> list[str]:
    """How many browsers agreed to be counted, where that is published and more than noise."""
    try:
        chosen = released.disjoint(released.inside(published, ("consents",), start, end))
    except NothingPublished:
        return []
    cells, _ = released.summed(released.read(chosen.values()), list(chosen))
    (granted, sigma), (refused, _) = (
        tuple(cells[cells["key"] == key][["value", "sigma"]].iloc[0]) for key in ("granted", "refused")
    )
    rate, lower, upper, _ = intervals.ratio(granted, refused, sigma)
    if isnan(rate) or upper - lower > _VAGUE:
        return []
    return [
        f"Of browsers that chose for the first time {rate:.0%} ({lower:.0%} … {upper:.0%}) granted "
        "something; where counting waits for consent, all others are in no number"
    ]


def _cut(published: Path, start: date, end: date) -> str:
    """The share of visitor-days of which page views were cut off, where that is published."""
    try:
        both = released.disjoint(released.inside(published, (CLIPPED, "visitors"), start, end))
        views = released.disjoint(released.inside(published, ("pageviews",), start, end))
    except NothingPublished:
        return f"{_CUT}; how many is not published"
    if both.keys() != views.keys():
        return f"{_CUT}; how many is not published for the same days"
    cells, _ = released.summed(released.read(both.values()), list(both))
    clipped, visitors = (
        tuple(cells[cells["statistic"] == name][["value", "lower", "upper", "sigma"]].iloc[0])
        for name in (CLIPPED, "visitors")
    )
    cut, least, most, _ = clipped
    share, lower, upper, _ = intervals.quotient(clipped, visitors)
    if isnan(share) or upper > 1:
        return f"{_CUT}; how many is lost in the noise"
    return (
        f"{_CUT}: {share:.1%} of visitor-days ({lower:.1%} … {upper:.1%}) had more, so at least "
        f"{max(cut, 0):,.0f} page views ({max(least, 0):,.0f} … {max(most, 0):,.0f}) are missing"
    )
