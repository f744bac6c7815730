"""Attack by low bits: a float carries in its last digits what it was made from; a whole number cannot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit import sampler
from pipeline.audit.result import Point, Result, proportion
from pipeline.audit.site import DAY, Effort, Site
from pipeline.release import noisy_cells
from pipeline.windows import Window

_UNIT = 2.0**53
_WINDOW = Window("day", DAY)
_FLOATS = 10_000
"""Draws of the control: they cost next to nothing, and with few of them it is missed by chance."""


def low_bits(site: Site, effort: Effort) -> Result:
    """Tell a count of 0 from a count of 1 by the last bits of what is published."""
    points, odd = [], []
    for row in site.rows:
        drawn = site.mechanism(row, site.tier)
        values: list[list[Any]] = []
        for count in (0, 1):
            truth: dict[str | None, int] = {str(n): count for n in range(effort.guesses // 2)}
            values.append([cell.value for cell in noisy_cells(row, _WINDOW, drawn, (truth, {}))])
        odd += [row.name] if any(type(value) is not int for each in values for value in each) else []
        points.append(_told(row.name, *(np.array(each, dtype=float) for each in values)))
    control = _told("numpy", *(sampler.floats(count, _FLOATS) for count in (0, 1)))
    said = f"not whole: {', '.join(odd)}" if odd else "every number is whole"
    return Result(
        f"{said}; the last bits are right in {max(point.value for point in points):.0%} of guesses",
        not odd and all(point.is_held for point in points),
        f"numpy's Laplace noise: {control.value:.0%}",
        not control.is_held,
        tuple(points),
    )


def _told(name: str, nothing: NDArray[np.float64], one: NDArray[np.float64]) -> Point:
    """How often a guesser is right who takes multiples of 2⁻⁵³ for a count of 1."""
    hits = [np.mod(values * _UNIT, 1) == 0 for values in (nothing, one)]
    return proportion(name, float((~hits[0]).sum() + hits[1].sum()), len(nothing) + len(one), 0.5)
