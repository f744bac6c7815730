"""Published numbers made to agree for display: none below zero, every partition of a window adding up to one
total, weeks to their days.

Works on what is published alone, so it costs no privacy and changes no file. What is displayed like this is
not for adding up further: a value cut off at zero is too high on average, a raw one is not.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from math import ceil, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import intervals, released
from pipeline.errors import NothingPublished
from pipeline.published import is_correction
from pipeline.statistics import STATISTICS
from pipeline.windows import BLOCK, Window, window_of

SMALL = "(small)"
"""The one row of all keys whose value is below SHOWN_FROM σ."""

WITHHELD = "(withheld)"
"""The row of what has no published key."""

SHOWN_FROM = 3
"""σ from which a key has a row of its own: mostly empty cells would pull the large ones down."""

VISITOR_DAYS = (
    "visitors",
    *(name for name, row in STATISTICS.items() if row.is_partition and not row.is_private),
)
"""The statistics whose cells add up to the visitor-days of a window."""

Array = np.ndarray[Any, np.dtype[np.float64]]


def project(values: Array, variances: Array, total: float) -> Array:
    """The x ≥ 0 with Σx = total for which Σ (x − value)² ÷ variance is least.

    Takes   total: ≥ 0
    """
    if total <= 0:
        return np.zeros_like(values)
    # x = value − λ·variance where that is positive: those with the largest value ÷ variance.
    ratios = values / variances
    order = np.argsort(-ratios, kind="stable")
    excess = (np.cumsum(values[order]) - total) / np.cumsum(variances[order])
    price = excess[np.flatnonzero(ratios[order] > excess)[-1]]
    found: Array = np.maximum(values - price * variances, 0.0)
    return found


def whole(values: Array, total: int) -> list[int]:
    """Values ≥ 0 that add up to a whole total, as whole numbers that do so exactly.

    Each is rounded down, and the largest remainders up.
    """
    floors = np.floor(values + 1e-9)
    missing = total - int(floors.sum())
    order = np.argsort(floors - values, kind="stable")
    floors[order[:missing]] += 1
    return [int(value) for value in floors]


@dataclass(frozen=True)
class _Block:
    """The best estimate of one ISO week, or 28-day block, in the finest parts that releases tell apart."""

    parts: Sequence[frozenset[date]]
    values: Sequence[int]
    covariance: Array


@dataclass(frozen=True)
class Total:
    """A whole number ≥ 0 and the variance of its estimate."""

    value: int
    variance: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, cut off at zero."""
        lower, upper = intervals.plain(self.value, sqrt(self.variance))
        return max(lower, 0.0), max(upper, 0.0)


def total(published: Path, statistics: Sequence[str], windows: Sequence[Window]) -> Total:
    """What some windows hold together, from every release of statistics that count the same.

    The same day has the same part in every total that is asked for, whatever the range: totals of days add
    up to that of their week. Until the week is released whole, its days may still move within their noise.

    Raises  NothingPublished where a day of the windows is in no release
    """
    days = released.days_of(windows)
    value, variance = 0, 0.0
    for block in _blocks(published, statistics, days):
        chosen = np.array([part <= days for part in block.parts], float)
        days -= {day for part, taken in zip(block.parts, chosen, strict=True) if taken for day in part}
        value += sum(number for number, taken in zip(block.values, chosen, strict=True) if taken)
        variance += float(chosen @ block.covariance @ chosen)
    if days:
        raise NothingPublished(
            f"no total of {min(days)} is published to make cells agree with: ask without --consistent"
        )
    return Total(value, variance)


def _blocks(published: Path, statistics: Sequence[str], days: set[date]) -> list[_Block]:
    """The estimates of the blocks that hold some days."""
    start, end = window_of(BLOCK, min(days)).start, window_of(BLOCK, max(days)).end
    files: dict[Window, list[Path]] = {}
    for name in statistics:
        with suppress(NothingPublished):
            for window, found in released.inside(published, (name,), start, end).items():
                files.setdefault(window, []).extend(found)
    long = {window for window in files if window.name == BLOCK}
    roots: dict[Window, dict[Window, list[Path]]] = {}
    for window, found in files.items():
        block = window_of(BLOCK, window.start)
        root = block if block in long else window_of("week", window.start)
        if days & released.days_of([root]):
            roots.setdefault(root, {})[window] = found
    return [_solve(_measured(_overtaken(inside))) for inside in roots.values()]


def _overtaken(files: Mapping[Window, list[Path]]) -> dict[Window, list[Path]]:
    """Where some statistic is corrected, only what counts the same days with the correction."""
    again = {window: [file for file in found if is_correction(file)] for window, found in files.items()}
    days = released.days_of(window for window, found in again.items() if found)
    kept = {
        window: again[window] if days & released.days_of([window]) else found
        for window, found in files.items()
    }
    return {window: found for window, found in kept.items() if found}


def _measured(files: Mapping[Window, list[Path]]) -> dict[Window, Array]:
    """Window → (n, 2): value and variance of each statistic's sum."""
    cells = released.read(files.values()).assign(variance=lambda frame: frame["sigma"] ** 2)
    sums = cells.groupby(["start", "end", "statistic"])[["value", "variance"]].sum()
    return {
        window: sums.loc[(pd.Timestamp(window.start), pd.Timestamp(window.end))].to_numpy(float)
        for window in files
    }


def _solve(measured: Mapping[Window, Array]) -> _Block:
    """Generalised least squares for the parts of a block, then its total and its parts made whole and ≥ 0."""
    days = sorted(released.days_of(measured))
    covers = [[window.start <= day <= window.end for day in days] for window in measured]
    by_day = np.repeat(np.array(covers, float), [len(numbers) for numbers in measured.values()], axis=0)
    design, part_of = np.unique(by_day, axis=1, return_inverse=True)
    parts = [frozenset(np.array(days)[part_of == n]) for n in range(design.shape[1])]
    values, variances = np.concatenate(list(measured.values())).T
    covariance = np.linalg.inv(design.T / variances @ design)
    estimate = covariance @ (design.T / variances @ values)
    known = max(round(float(estimate.sum())), 0)
    return _Block(parts, whole(project(estimate, np.diag(covariance), known), known), covariance)


def single(raw: pd.DataFrame, known: Total) -> pd.DataFrame:
    """The row of a single number, with its total as the value."""
    lower, upper = known.interval
    return raw.assign(value=known.value, lower=lower, upper=upper, sigma=sqrt(known.variance))


def cut(raw: pd.DataFrame) -> pd.DataFrame:
    """Cells that add up to no total: cut off at zero, nothing else."""
    return raw.assign(**{name: raw[name].clip(lower=0) for name in ("value", "lower", "upper")})


def partition(raw: pd.DataFrame, known: Total, is_complete: bool) -> pd.DataFrame:
    """Cells, those below the noise in one row, made to add up to a total.

    Takes   raw: in released.COLUMNS; is_complete: every visitor-day has a published key, otherwise a row
            WITHHELD takes what is missing
    Gives   key, value, lower, upper, sigma: values whole, ≥ 0 and with known.value as their sum
    """
    cells = _pooled(raw[["key", "value", "lower", "upper", "sigma"]])
    if not is_complete:
        left, sigma = known.value - cells["value"].sum(), sqrt(known.variance + (cells["sigma"] ** 2).sum())
        row = {"key": WITHHELD, "value": left, "lower": nan, "upper": nan, "sigma": sigma}
        cells = pd.concat([cells, pd.DataFrame([row])], ignore_index=True)
    variances = cells["sigma"].to_numpy(float) ** 2
    parts, kept = variances / variances.sum(), variances
    if is_complete:
        # Of a cell, the noise that remains once the total is known.
        kept = variances * (1 - parts) + parts**2 * known.variance
    drawn = cells["value"] + parts * (known.value - cells["value"].sum())
    values = whole(project(drawn.to_numpy(float), variances, known.value), known.value)
    lower, upper = _bounds(cells, drawn, np.sqrt(kept / variances), known)
    lower, upper = np.minimum(lower, values), np.maximum(upper, values)
    found = cells.assign(value=values, lower=lower, upper=upper, sigma=np.sqrt(kept))
    return found.astype({"key": object})


def _bounds(cells: pd.DataFrame, drawn: pd.Series, narrower: Array, known: Total) -> tuple[Array, Array]:
    """The intervals of cells moved to where the total draws them, and of the row that takes the rest."""
    lower = np.array(drawn - (cells["value"] - cells["lower"]) * narrower)
    upper = np.array(drawn + (cells["upper"] - cells["value"]) * narrower)
    lower[cells["lower"].to_numpy(float) <= 0] = 0.0
    if cells["key"].iloc[-1] in (SMALL, WITHHELD):
        # Chosen for being small, or for not being published: told by the total and the others alone.
        others = [list(cells[name])[:-1] for name in ("value", "lower", "upper")]
        total_bounds = intervals.plain(known.value, sqrt(known.variance))
        lower[-1], upper[-1] = intervals.difference(
            known.value, total_bounds, sum(others[0]), intervals.total(*others)
        )
    return np.maximum(lower, 0.0), np.maximum(upper, 0.0)


def _pooled(raw: pd.DataFrame) -> pd.DataFrame:
    """The cells that stand out of the noise, the rest as one; the intervals know of the choice."""
    is_shown = raw["value"] >= SHOWN_FROM * raw["sigma"]
    shown, small = raw[is_shown], raw[~is_shown]
    least = [
        intervals.truncated(row.value, row.sigma, ceil(SHOWN_FROM * row.sigma), least=0.0)[0]
        for row in shown.itertuples()
    ]
    shown = shown.assign(lower=np.minimum(shown["lower"], np.array(least, float)))
    if small.empty:
        return shown.reset_index(drop=True)
    value, sigma = small["value"].sum(), float((small["sigma"] ** 2).sum() ** 0.5)
    lower, upper = intervals.plain(value, sigma)
    rest = small.head(1).assign(key=SMALL, value=value, lower=lower, upper=upper, sigma=sigma)
    return pd.concat([shown, rest], ignore_index=True)
