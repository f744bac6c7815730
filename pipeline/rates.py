"""Rates: what is derived from published cells and answered like a statistic. One row of RATIOS each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

from pipeline import intervals
from pipeline.intervals import Estimate
from pipeline.keys import edges
from pipeline.statistics import STATISTICS

Cells = Mapping[str, Mapping[str | None, Estimate]]
"""Statistic → key → its cell."""

Rows = Iterator[tuple[str | None, Estimate]]
"""Keys, None for a single number, and what is derived for each."""


@dataclass(frozen=True)
class Rate:
    """Something that published cells say together."""

    sources: tuple[str, ...]
    """The statistics that must be published for the same windows."""
    rows: Callable[[Cells], Rows]

    @property
    def is_total(self) -> bool:
        """Whether it is a number, or a few, and no list."""
        return all(STATISTICS[name].kind == "total" for name in self.sources)


def share(statistic: str, holds: Callable[[str], bool]) -> Rate:
    """The part of a partition whose keys hold, of the whole of it."""

    def rows(found: Cells) -> Rows:
        sides: dict[bool, list[Estimate]] = {True: [], False: []}
        for key, cell in found[statistic].items():
            sides[holds(str(key))].append(cell)
        yield None, _share(sides[True], sides[False])

    return Rate((statistic,), rows)


def total(statistic: str) -> Rate:
    """All cells of a statistic together."""

    def rows(found: Cells) -> Rows:
        value, sigma = _sum(list(found[statistic].values()))
        yield None, (value, *intervals.plain(value, sigma), sigma)

    return Rate((statistic,), rows)


def quotient(part: str, whole: str, most: float = inf) -> Rate:
    """One statistic divided by another, whose noise was drawn apart: key by key, or all by one total.

    most   no such quotient is larger
    """

    def rows(found: Cells) -> Rows:
        wholes = found[whole]
        for key, cell in found[part].items():
            if of := wholes.get(key) or wholes.get(None):
                *ends, sigma = intervals.quotient(cell, of)
                value, lower, upper = (min(end, most) for end in ends)
                yield key, (value, lower, upper, sigma)

    return Rate((part, whole), rows)


def median(statistic: str) -> Rate:
    """The median of a histogram whose keys name their bins."""

    def rows(found: Cells) -> Rows:
        bins = sorted((edges(str(key)), cell) for key, cell in found[statistic].items())
        counts = [value for _, (value, *_) in bins]
        yield None, intervals.median(counts, [place for place, _ in bins], bins[0][1][3])

    return Rate((statistic,), rows)


def reached(statistic: str) -> Rate:
    """For each step of a funnel, the part of those who began it that came at least so far."""

    def rows(found: Cells) -> Rows:
        funnels: dict[str, dict[str, Estimate]] = {}
        for key, cell in found[statistic].items():
            funnels.setdefault(str(key).partition(":")[0], {})[str(key)] = cell
        for steps in funnels.values():
            keys = sorted(steps)  # by their number, which has one digit
            for n, key in enumerate(keys):
                yield key, _share([steps[each] for each in keys[n:]], [steps[each] for each in keys[:n]])

    return Rate((statistic,), rows)


RATIOS = {
    "bounce_rate": share("bounce", lambda key: key == "bounced"),
    "views_per_visit": quotient("pageviews", "visits"),
    "consent_rate": share("consents", lambda key: key == "granted"),
    "duration_median": median("durations"),
    "duration_over_minute": share("durations", lambda key: edges(key)[0] >= 60),
    "engaged_median": median("engaged"),
    "conversion_rate": quotient("goals", "visitors", most=1),
    "funnel_rate": reached("funnels"),
    "unique_visitors": total("returning"),
    "returning_rate": share("returning", lambda key: key == "returning"),
    "visitors_so_far": total("realtime"),
    "exit_rate": quotient("exit_pages", "pages", most=1),
    "time_on_page": quotient("page_seconds", "pages"),
    "scroll_depth": quotient("page_scroll", "pages", most=100),
}
"""Rates by name; the medians and time_on_page in seconds, scroll_depth in per cent."""


def _share(part: Sequence[Estimate], rest: Sequence[Estimate]) -> Estimate:
    """The first cells' part of all."""
    (value, sigma), (other, other_sigma) = _sum(part), _sum(rest)
    return intervals.ratio(value, other, sigma, other_sigma)


def _sum(cells: Sequence[Estimate]) -> tuple[float, float]:
    """Value and σ of a sum of cells, whose noise adds in squares."""
    return sum(value for value, *_ in cells), sqrt(sum(sigma**2 for *_, sigma in cells))
