"""95 % intervals for published cells. They cover the noise, not what the bounds cut off beforehand."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import erfc, inf, isnan, nan, sqrt
from typing import Any

import numpy as np

Estimate = tuple[float, float, float, float]
"""Value, lower, upper, σ; value and σ are NaN, and bounds as wide as can be, where noise is all there is."""

Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""

_MISSED = 0.05
PRECISION = 1e-4
"""Of bounds found by bisection, in σ."""


def plain(value: float, sigma: float) -> tuple[float, float]:
    """The interval of a cell that is published whatever its noise."""
    return value - Z * sigma, value + Z * sigma


# The long tail of a list repeats the values next to its threshold.
@lru_cache(maxsize=4096)
def truncated(value: int, sigma: float, threshold: int, least: float = 1.0) -> tuple[float, float]:
    """The interval of a cell that is shown only because its noisy value reached the threshold.

    All counts from which, in the normal distribution cut off at the threshold, 5 % or more of the values lie
    as far off as this one. Equal tails would hold 97.5 % and be wider: of a count below the threshold only
    values too large are ever shown. A private key that was released was seen at least once, so nothing below
    1 is considered; that also keeps the tails within a double's reach.
    """

    def reached(x: float, mean: float) -> float:
        # Values are whole: the step up to x begins half below it.
        return _above((x - 0.5 - mean) / sigma)

    def as_far_off(mean: float) -> float:
        distance, shown = abs(value - mean), reached(threshold, mean)
        below = shown - reached(mean - distance + 1, mean)
        return (reached(mean + distance, mean) + max(below, 0.0)) / shown

    step = sigma * PRECISION
    lower = _crossing(lambda mean: as_far_off(mean) >= _MISSED, least, value, step)
    return lower, _crossing(lambda mean: as_far_off(mean) <= _MISSED, value, value + 10 * sigma, step)


def total(values: list[float], lowers: list[float], uppers: list[float]) -> tuple[float, float]:
    """The interval of a sum of independent cells: the distances to their bounds add in squares.

    Source  Zou and Donner 2008, recovering variance estimates from intervals
    """
    value = sum(values)
    below = sum((v - lower) ** 2 for v, lower in zip(values, lowers, strict=True))
    above = sum((upper - v) ** 2 for v, upper in zip(values, uppers, strict=True))
    return value - sqrt(below), value + sqrt(above)


def difference(
    value: float, now: tuple[float, float], before: float, then: tuple[float, float]
) -> tuple[float, float]:
    """The interval of value − before from the intervals of both; where one has no value, all it can be.

    Source  Zou and Donner 2008, recovering variance estimates from intervals
    """
    if isnan(value) or isnan(before):
        return now[0] - then[1], now[1] - then[0]
    below = sqrt((value - now[0]) ** 2 + (then[1] - before) ** 2)
    above = sqrt((now[1] - value) ** 2 + (before - then[0]) ** 2)
    return value - before - below, value - before + above


def ratio(part: float, rest: float, sigma: float, rest_sigma: float | None = None) -> Estimate:
    """part ÷ (part + rest); σ of both, or of each. Values outside 0 to 1 are no ratios and are cut off.

    The interval is Fieller's: all ratios r for which part − r·(part + rest) lies within its own noise. Where
    the whole may be nothing, every ratio does.
    """
    whole, one, other = part + rest, sigma**2, (sigma if rest_sigma is None else rest_sigma) ** 2
    # r²(W² − z²w) − 2r(PW − z²p) + (P² − z²p) ≤ 0, with w the variance of the whole and p of the part
    a = whole * whole - Z * Z * (one + other)
    if whole <= 0 or a <= 0:
        return (min(max(part / whole, 0.0), 1.0) if whole > 0 else nan), 0.0, 1.0, nan
    b, c = part * whole - Z * Z * one, part * part - Z * Z * one
    root = sqrt(max(b * b - a * c, 0.0))
    value = max(part / whole, 0.0)
    spread = sqrt(one - 2 * value * one + value * value * (one + other)) / whole
    return min(value, 1.0), min(max((b - root) / a, 0.0), 1.0), min(max((b + root) / a, 0.0), 1.0), spread


def quotient(part: Estimate, whole: Estimate) -> Estimate:
    """part ÷ whole, of noise drawn apart; what is below 0 is no quotient of counts and is cut off.

    The interval follows from those of both, which need not be symmetric; where they are it is Fieller's.

    Source  Donner and Zou 2012, closed-form confidence intervals for functions of the normal mean
    """
    (p, p_lower, p_upper, p_sigma), (w, w_lower, w_upper, w_sigma) = part, whole
    if w <= 0 or w_lower <= 0:
        return (max(p / w, 0.0) if w > 0 else nan), 0.0, inf, nan

    def end(off: float, whole_off: float, sign: int) -> float:
        a, c = w * w - whole_off**2, p * p - off**2
        return (p * w + sign * sqrt(max((p * w) ** 2 - a * c, 0.0))) / a

    value = max(p / w, 0.0)
    lower = end(p - p_lower, w_upper - w, -1) if w_upper < 2 * w else 0.0
    upper = end(p_upper - p, w - w_lower, 1)
    spread = sqrt(p_sigma**2 + value * value * w_sigma**2) / w
    return value, max(lower, 0.0), max(upper, 0.0), spread


_STEPS = 1000
"""Of each bin: what a median is told apart by."""


def median(counts: Sequence[float], edges: Sequence[tuple[float, float]], sigma: float) -> Estimate:
    """The median of a histogram of durations whose bins all carry the same σ.

    Between the edges of a bin durations are taken as evenly spread on a logarithmic scale, in a bin that
    begins at 0 on a linear one: on a linear scale medians come out up to a tenth too long.

    Takes   edges: ascending, the last bin may be open above
    Gives   value: where the noisy count below first reaches half the total; in an open bin its lower edge.
            lower, upper: the ends of all m for which the noisy count below m minus half the total lies
            within its own noise. σ: as wide as the interval says
    """
    numbers, bins = np.array(counts, float), len(counts)
    half = numbers.sum() / 2
    if half <= 0 or half * half <= Z * Z * bins * sigma * sigma / 4:
        return nan, edges[0][0], edges[-1][1], nan
    passed = np.linspace(0, 1, _STEPS + 1)
    places = np.concatenate([_places(low, high, passed) for low, high in edges])
    excess = ((np.cumsum(numbers) - numbers)[:, None] + numbers[:, None] * passed - half).ravel()
    # Every bin but the one of m counts half, for or against; that one as much as it is off its middle.
    noise = Z * sigma * np.tile(np.sqrt((bins - 1) / 4 + (passed - 0.5) ** 2), bins)
    first = max(int(np.argmax(excess >= -noise)) - 1, 0)
    last = min(len(places) - int(np.argmax((excess <= noise)[::-1])), len(places) - 1)
    value, lower = (min(float(places[n]), edges[-1][0]) for n in (np.argmax(excess >= 0), first))
    upper = float(places[last])
    return value, lower, upper, (upper - lower) / (2 * Z) if upper < inf else nan


def _places(low: float, high: float, passed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where so much of a bin has been passed; in an open one, anywhere."""
    if high == inf:
        return np.where(passed > 0, inf, low)
    return low * (high / low) ** passed if low > 0 else high * passed


def _above(z: float) -> float:
    """The part of the normal distribution above z."""
    return erfc(z / sqrt(2)) / 2


def _crossing(holds: Callable[[float], bool], low: float, high: float, step: float) -> float:
    """Where a condition that is false below some point and true above it begins to hold, by bisection."""
    if holds(low):
        return low
    while high - low > step:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
