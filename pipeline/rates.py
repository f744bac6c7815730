"""Rates: what is derived from published cells and answered like a statistic. One row of RATIOS each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, sqrt

from pipeline import intervals
from pipeline.intervals import Estimate

Cells = Mapping[str, Mapping[str | None, tuple[float, float]]]
"""Statistic → key → value, σ."""


@dataclass(frozen=True)
class Share:
    """The part of a partition whose keys hold, of the whole of it."""

    statistic: str
    holds: Callable[[str], bool]

    @property
    def sources(self) -> tuple[str, ...]:
        """The statistics that must be published for the same windows."""
        return (self.statistic,)

    def of(self, found: Cells) -> Estimate:
        """Value, lower, upper, σ."""
        sides: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for key, cell in found[self.statistic].items():
            sides[self.holds(str(key))].append(cell)
        (part, part_sigma), (rest, rest_sigma) = _sum(sides[True]), _sum(sides[False])
        return intervals.ratio(part, rest, part_sigma, rest_sigma)


@dataclass(frozen=True)
class Quotient:
    """One total divided by another, whose noise was drawn apart."""

    part: str
    whole: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The statistics that must be published for the same windows."""
        return self.part, self.whole

    def of(self, found: Cells) -> Estimate:
        """Value, lower, upper, σ."""
        part, whole = (found[name][None] for name in self.sources)
        return intervals.quotient(*part, *whole)


@dataclass(frozen=True)
class Median:
    """The median of a histogram whose keys name their bins."""

    statistic: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The statistics that must be published for the same windows."""
        return (self.statistic,)

    def of(self, found: Cells) -> Estimate:
        """Value, lower, upper, σ."""
        bins = sorted((edges(str(key)), cell) for key, cell in found[self.statistic].items())
        counts = [value for _, (value, _) in bins]
        return intervals.median(counts, [place for place, _ in bins], bins[0][1][1])


RATIOS: dict[str, Share | Quotient | Median] = {
    "bounce_rate": Share("bounce", lambda key: key == "bounced"),
    "views_per_visit": Quotient("pageviews", "visits"),
    "consent_rate": Share("consents", lambda key: key == "granted"),
    "duration_median": Median("durations"),
    "duration_over_minute": Share("durations", lambda key: edges(key)[0] >= 60),
}
"""Rates by name; duration_median in seconds."""


def edges(key: str) -> tuple[float, float]:
    """The bounds of a bin in seconds, closed below, open above: "3-10 s", "1800+ s"."""
    low, _, high = key.removesuffix(" s").removesuffix("+").partition("-")
    return float(low), float(high or inf)


def _sum(cells: list[tuple[float, float]]) -> tuple[float, float]:
    """Value and σ of a sum of cells, whose noise adds in squares."""
    return sum(value for value, _ in cells), sqrt(sum(sigma**2 for _, sigma in cells))
