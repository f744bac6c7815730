"""95 % intervals for published cells. They cover the noise, not what the bounds cut off beforehand."""

from collections.abc import Callable
from functools import lru_cache
from math import erfc, nan, sqrt

Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""

_TAIL = 0.025


def plain(value: float, sigma: float) -> tuple[float, float]:
    """The interval of a cell that is published whatever its noise."""
    return value - Z * sigma, value + Z * sigma


# The long tail of a list repeats the values next to its threshold.
@lru_cache(maxsize=4096)
def truncated(value: int, sigma: float, threshold: int) -> tuple[float, float]:
    """The interval of a cell that is published only because its noisy value reached the threshold.

    Equal-tailed in the normal distribution cut off at the threshold. A key that was released was seen at
    least once, so nothing below 1 is considered; that also keeps the tails within a double's reach.
    """

    def reached(x: float, mean: float) -> float:
        # Values are whole: the step up to x begins half below it.
        return _above((x - 0.5 - mean) / sigma)

    def at_least(mean: float) -> float:
        return reached(value, mean) / reached(threshold, mean)

    def at_most(mean: float) -> float:
        return 1 - reached(value + 1, mean) / reached(threshold, mean)

    ceiling = value + 10 * sigma
    lower = _crossing(lambda mean: at_least(mean) >= _TAIL, 1.0, ceiling)
    upper = _crossing(lambda mean: at_most(mean) <= _TAIL, lower, ceiling)
    # At the threshold itself the interval ends a fraction below the value; a bar never has a negative length.
    return lower, max(upper, float(value))


def total(values: list[float], lowers: list[float], uppers: list[float]) -> tuple[float, float]:
    """The interval of a sum of independent cells: the distances to their bounds add in squares.

    Source  Zou and Donner 2008, recovering variance estimates from intervals
    """
    value = sum(values)
    below = sum((v - lower) ** 2 for v, lower in zip(values, lowers, strict=True))
    above = sum((upper - v) ** 2 for v, upper in zip(values, uppers, strict=True))
    return value - sqrt(below), value + sqrt(above)


def ratio(part: float, rest: float, sigma: float) -> tuple[float, float, float, float]:
    """part ÷ (part + rest) of two cells with the same σ: value, lower, upper, σ.

    The interval is Fieller's: all ratios r for which part − r·(part + rest) lies within its own noise. Where
    the whole may be nothing, every ratio does. Values outside 0 to 1 are no ratios and are cut off.
    """
    whole, margin = part + rest, Z * Z * sigma * sigma
    if whole * whole <= 2 * margin:
        return (_unit(part / whole) if whole > 0 else nan), 0.0, 1.0, nan
    # r²(W² − 2m) − 2r(PW − m) + (P² − m) ≤ 0
    a, b, c = whole * whole - 2 * margin, part * whole - margin, part * part - margin
    root = sqrt(max(b * b - a * c, 0.0))
    value = _unit(part / whole)
    spread = sigma * sqrt(1 - 2 * value + 2 * value * value) / abs(whole)
    return value, _unit((b - root) / a), _unit((b + root) / a), spread


def _unit(x: float) -> float:
    return min(max(x, 0.0), 1.0)


def _above(z: float) -> float:
    """The part of the normal distribution above z."""
    return erfc(z / sqrt(2)) / 2


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a condition that is false below some point and true above it begins to hold, by bisection."""
    if holds(low):
        return low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
