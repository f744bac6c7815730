"""The best guesser there is: knows all but one visitor-day, sees the release, and weighs the likelihoods."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, erfc, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.removal import Pairs, differing
from pipeline.audit.result import Point, proportion
from pipeline.audit.site import Site
from pipeline.counting import Counts, bounded_counts, build
from pipeline.engine import Engine
from pipeline.release import noisy_cells
from pipeline.spec import Mechanism
from pipeline.statistics import Statistic
from pipeline.windows import Tier, Window

Scores = NDArray[np.float64]
"""One log-likelihood ratio per release; above 0 the visitor-day is more likely in than out."""


@dataclass(frozen=True)
class Clue:
    """What one release says about a visitor-day: the cells in which its two possible truths differ."""

    statistic: Statistic
    window: Window
    mechanism: Mechanism
    public: Pairs = ()
    private: Pairs = ()


def clue(row: Statistic, window: Window, drawn: Mechanism, present: Counts, absent: Counts) -> Clue:
    """The cells in which two neighbours differ."""
    return Clue(row, window, drawn, *differing(present, absent))


def clues(
    site: Site, tier: Tier, present: Sequence[Path], absent: Sequence[Path], rows: Iterable[str] | None = None
) -> list[Clue]:
    """What all releases of a tier together say, through the real SQL; `rows` limits them."""
    released = [(row, window) for row, window in site.released(tier) if rows is None or row.name in rows]
    counted: list[dict[Statistic, Counts]] = []
    with Engine() as engine:
        for files in (present, absent):
            counts: dict[Statistic, Counts] = {}
            for length in dict.fromkeys(window for _, window in released):
                build(engine, list(files), site.finest, length)
                for row, window in released:
                    if window == length:
                        counts[row] = bounded_counts(engine, row, site.finest)
            counted.append(counts)
    with_it, without = counted
    return [
        clue(row, window, site.mechanism(row, tier), with_it[row], without[row]) for row, window in released
    ]


def guess(name: str, known: Sequence[Clue], trials: int, bound: float) -> Point:
    """How often the guesser is right, of so many releases of either truth."""
    inside, outside = (_scores(known, truth, trials) for truth in (0, 1))
    # Where nothing speaks for either side the guesser tosses a coin.
    hits = (inside > 0).sum() + (outside < 0).sum() + ((inside == 0).sum() + (outside == 0).sum()) / 2
    return proportion(name, float(hits), 2 * trials, bound)


def louder(known: Sequence[Clue], times: float) -> list[Clue]:
    """The same releases with so many times less noise: what a guesser must be able to tell."""

    def drawn(each: Mechanism) -> Mechanism:
        # The threshold comes nearer too: as unlikely to be reached by one visitor as before.
        threshold = None if each.threshold is None else 1 + ceil((each.threshold - 1) / times)
        return replace(each, sigma=each.sigma / times, threshold=threshold)

    return [replace(each, mechanism=drawn(each.mechanism)) for each in known]


def cost(known: Iterable[Clue]) -> int:
    """What these releases charge together, in billionths of ρ."""
    return sum(each.mechanism.nano_rho for each in known)


def _scores(known: Sequence[Clue], truth: int, trials: int) -> Scores:
    total = np.zeros(trials)
    for each in known:
        if each.public or (each.private and each.mechanism.threshold is not None):
            total += _of_release(each, truth, trials)
    return total


def _of_release(each: Clue, truth: int, trials: int) -> Scores:
    """The scores of so many releases, drawn as one so that OpenDP is called once."""
    public: dict[str | None, int] = dict(_truths(each.public, truth, trials))
    private = dict(_truths(each.private, truth, trials))
    cells = noisy_cells(each.statistic, each.window, each.mechanism, (public, private))
    score = np.zeros(trials)
    if each.public:
        values = np.array([cell.value for cell in cells if not cell.thresholded]).reshape(trials, -1)
        score += _evidence(values, np.array(each.public).T, cells[0].sigma).sum(axis=1)
    if each.private:
        released = np.full((trials, len(each.private)), np.nan)
        for cell in cells:
            if cell.thresholded:
                trial, _, n = str(cell.key).partition("/")
                released[int(trial), int(n)] = cell.value
        told = _evidence(released, np.array(each.private).T, each.mechanism.sigma)
        withheld = [_withheld(pair, each.mechanism) for pair in each.private]
        score += np.where(np.isnan(released), withheld, told).sum(axis=1)
    return score


def _truths(pairs: Pairs, truth: int, trials: int) -> Iterator[tuple[str, int]]:
    return ((f"{trial}/{n}", pair[truth]) for trial in range(trials) for n, pair in enumerate(pairs))


def _evidence(values: NDArray[Any], counts: NDArray[np.int64], sigma: float) -> Scores:
    """log of how much likelier values are with the visitor-day than without."""
    present, absent = counts
    found: Scores = ((values - absent) ** 2 - (values - present) ** 2) / (2 * sigma * sigma)
    return found


def _withheld(pair: tuple[int, int], drawn: Mechanism) -> float:
    """The same of a key that was not published."""
    present, absent = (_below(drawn, count) for count in pair)
    return log(present / absent)


def _below(drawn: Mechanism, count: int) -> float:
    """The chance that a key of this count stays below the threshold; never 0, for its logarithm."""
    if drawn.threshold is None:
        return 1.0
    reach = (drawn.threshold - 0.5 - count) / drawn.sigma
    return max(erfc(-reach / sqrt(2)) / 2, 1e-300)
