"""Noise and what it costs: OpenDP's discrete Gaussian, and nothing else. No files, no seeds, no state.

Privacy is counted in zero-concentrated differential privacy (Bun and Steinke 2016): ρ in billionths,
rounded up from OpenDP's own map of the very mechanism that is run, and δ in units of 1e-18.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil

import opendp.prelude as dp

dp.enable_features("contrib")

_NUMBERS = dp.vector_domain(dp.atom_domain(T="i64"))
_BY_KEY = dp.map_domain(dp.atom_domain(T="i32"), dp.atom_domain(T="i64"))
# Real-valued distances: with integers √6 would count as 3.
_L2 = dp.l2_distance(T="f64")
_L02INF = dp.l02inf_distance(dp.absolute_distance(T="f64"))


def gaussian(counts: Sequence[int], sigma: float) -> list[int]:
    """Each count with its own draw of noise."""
    return list(_gaussian(sigma)(list(counts)))


def gaussian_threshold(counts: Mapping[str, int], sigma: float, threshold: int) -> dict[str, int]:
    """Each count with its own draw of noise, without those that end below the threshold."""
    # By number: OpenDP takes texts as C strings, which end at a NUL.
    keys = list(counts)
    released = _gaussian_threshold(sigma, threshold)(dict(enumerate(counts.values())))
    return {keys[number]: value for number, value in released.items()}


def nano_rho(l2: float, sigma: float) -> int:
    """What noise of this σ costs for counts that one unit changes by at most `l2`."""
    rho: float = _gaussian(sigma).map(float(l2))  # type: ignore[no-untyped-call]
    return ceil(Fraction(rho) * 10**9)


def atto_delta(l0: int, l2: float, linf: int, sigma: float, threshold: int) -> int:
    """The chance that a threshold lets a key pass which one unit alone has, in units of 1e-18."""
    distance = (l0, float(l2), float(linf))
    _, delta = _gaussian_threshold(sigma, threshold).map(distance)  # type: ignore[no-untyped-call]
    return ceil(Fraction(delta) * 10**18)


def sigma_within(l2: float, budget_nano_rho: int) -> float:
    """The smallest σ that costs no more than the budget."""
    if budget_nano_rho < 1:
        raise ValueError("a budget below one billionth of ρ buys no noise")
    sigma: float = l2 / (2 * budget_nano_rho * 1e-9) ** 0.5
    nudge = 1e-12
    # OpenDP rounds its map up; a hair more noise brings it under the budget.
    while nano_rho(l2, sigma) > budget_nano_rho:
        sigma *= 1 + nudge
        nudge *= 2
    return sigma


def threshold_within(l0: int, l2: float, linf: int, sigma: float, budget_atto_delta: int) -> int:
    """The lowest threshold that stays within the budget of δ."""
    low, high = linf, linf + 1
    while atto_delta(l0, l2, linf, sigma, high) > budget_atto_delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if atto_delta(l0, l2, linf, sigma, middle) > budget_atto_delta:
            low = middle
        else:
            high = middle
    return high


def _gaussian(sigma: float) -> dp.Measurement:
    return dp.m.make_gaussian(_NUMBERS, _L2, scale=sigma)


def _gaussian_threshold(sigma: float, threshold: int) -> dp.Measurement:
    return dp.m.make_gaussian_threshold(_BY_KEY, _L02INF, scale=sigma, threshold=threshold)
