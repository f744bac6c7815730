"""The noise is as large as it says, costs what it says, and its intervals cover what they say."""

import inspect
import math
from statistics import NormalDist, fmean

import numpy as np
import pytest
from scipy import stats

from pipeline import intervals, noise
from pipeline.release import noisy_cells
from pipeline.spec import Mechanism, mechanism
from pipeline.statistics import ATTO_DELTA_PER_DAY, DEFAULT, STATISTICS, Statistic, nano_rho
from pipeline.windows import Window
from tests.pipeline.private_events import DAY

ALL = [STATISTICS[name] for name in DEFAULT]
DAY_NANO_RHO = 15_000_000
WINDOW = Window("day", DAY)

# 5,000 cells put a correct program (true coverage 94.8 to 95.3 %, noise being whole) at least 5.7 standard
# errors from the ends of 93 to 97 %: it fails less than once in 10⁷ runs.
CELLS = 5_000


def name_of(statistic: Statistic) -> str:
    return statistic.name


def drawn(statistic: Statistic) -> Mechanism:
    return mechanism(statistic, nano_rho(statistic.share, DAY_NANO_RHO))


@pytest.mark.parametrize("statistic", ALL, ids=name_of)
def test_noise_costs_no_more_than_its_share(statistic: Statistic) -> None:
    """σ is the textbook's to a millionth, and what it costs is within the share."""
    budget = nano_rho(statistic.share, DAY_NANO_RHO)
    found = drawn(statistic)
    theory = statistic.l2 / math.sqrt(2 * statistic.share * 0.015)
    assert found.sigma == pytest.approx(theory, rel=1e-6)
    assert budget - 1 <= found.nano_rho <= budget


def test_thresholds_spend_a_day_of_delta_at_most() -> None:
    """All thresholded lists of a day together let a lone visitor's key pass with probability ≤ 1e-12."""
    private = [drawn(statistic) for statistic in ALL if statistic.is_private]
    assert private
    assert sum(each.atto_delta for each in private) <= ATTO_DELTA_PER_DAY
    for statistic, found in zip((each for each in ALL if each.is_private), private, strict=True):
        assert found.threshold is not None
        # One lower would cost too much, and the textbook's tail agrees with the map.
        bounds = (statistic.l0, statistic.l2, statistic.linf, found.sigma)
        assert noise.atto_delta(*bounds, found.threshold - 1) > statistic.atto_delta
        tail = stats.norm.sf((found.threshold - 0.5 - statistic.linf) / found.sigma)
        assert found.atto_delta / 1e18 == pytest.approx(statistic.l0 * tail, rel=0.1)


def test_keys_of_one_visitor_are_not_released() -> None:
    """Of 20,000 pages that one visitor-day each has seen, none is named."""
    found = drawn(STATISTICS["pages"])
    assert found.threshold is not None
    lone = {f"/{n}": 1 for n in range(20_000)}
    assert noise.gaussian_threshold(lone, found.sigma, found.threshold) == {}


def test_keys_survive_whatever_they_spell() -> None:
    """Keys that C strings would cut short or mix up come back as they went in."""
    odd = dict.fromkeys(("/a\x00b", "/a\x00c", "/é", "/\U0001f600", ""), 10_000)
    assert set(noise.gaussian_threshold(odd, 1.0, 10)) == set(odd)


def test_noise_is_a_discrete_gaussian() -> None:
    """20,000 draws fit the discrete Gaussian of the same σ (χ², p > 1e-7), and are whole numbers."""
    sigma = 4.0
    draws = noise.gaussian([0] * 20_000, sigma)
    assert all(type(draw) is int for draw in draws)
    weights = {x: math.exp(-x * x / (2 * sigma * sigma)) for x in range(-60, 61)}
    edges = [(-60, -9), *((x, x) for x in range(-8, 9)), (9, 60)]
    observed = [sum(low <= draw <= high for draw in draws) for low, high in edges]
    expected = [sum(weights[x] for x in range(low, high + 1)) for low, high in edges]
    expected = [20_000 * each / sum(expected) for each in expected]
    assert stats.chisquare(observed, expected).pvalue > 1e-7


def test_noise_takes_no_seed() -> None:
    """Nothing in noise can be told which noise to draw, and two draws of it differ."""
    for _, function in inspect.getmembers(noise, inspect.isfunction):
        assert not {"seed", "rng", "random", "state"} & set(inspect.signature(function).parameters)
    assert noise.gaussian([0] * 100, 20.0) != noise.gaussian([0] * 100, 20.0)


# ---------- coverage, by releases of a fixed truth

# Noise is drawn and intervals are made alike for statistics of one bound, with a threshold or without.
DISTINCT = {(each.l2, each.is_private): each for each in reversed(ALL)}.values()


def coverage(cells: list[tuple[int, float, float]]) -> float:
    """How many of the intervals hold the truth."""
    return fmean(lower <= true <= upper for true, lower, upper in cells)


@pytest.mark.parametrize("statistic", DISTINCT, ids=name_of)
@pytest.mark.parametrize("true", [800, 0])
def test_intervals_cover(statistic: Statistic, true: int) -> None:
    """93 to 97 % of intervals hold the truth and are as narrow as theory allows; so do those of zeros."""
    truth: dict[str | None, int] = {f"/{n}": true for n in range(CELLS // 200)}
    cells = [
        (true, cell.lower, cell.upper)
        for _ in range(200)
        for cell in noisy_cells(statistic, WINDOW, drawn(statistic), (truth, {}))
    ]
    assert len(cells) == CELLS
    assert 0.93 <= coverage(cells) <= 0.97
    half_width = fmean((upper - lower) / 2 for _, lower, upper in cells)
    assert half_width <= 1.05 * 1.96 * statistic.l2 / math.sqrt(2 * statistic.share * 0.015)


@pytest.mark.parametrize("statistic", [each for each in DISTINCT if each.is_private], ids=name_of)
@pytest.mark.parametrize("sigmas_above", [-1, 0, 2])
def test_intervals_cover_above_a_threshold(statistic: Statistic, sigmas_above: int) -> None:
    """Among cells that reached the threshold, 93 to 97 % of intervals hold the truth."""
    found = drawn(statistic)
    assert found.threshold is not None
    true = round(found.threshold + sigmas_above * found.sigma)
    shown = NormalDist().cdf(sigmas_above)
    private = {f"/{n}": true for n in range(round(CELLS / shown))}
    cells = noisy_cells(statistic, WINDOW, found, ({}, private))
    assert all(cell.thresholded and cell.value >= found.threshold for cell in cells)
    covered = [(true, cell.lower, cell.upper) for cell in cells]
    assert len(covered) > 0.9 * CELLS
    assert 0.93 <= coverage(covered) <= 0.97


@pytest.mark.parametrize("sigma", [5.0, 12.0, 40.0])
@pytest.mark.parametrize("sigmas_above", [-4, -2, -1, -0.5, 0, 0.5, 1, 2, 4])
def test_intervals_cover_wherever_the_truth_lies(sigma: float, sigmas_above: float) -> None:
    """By the probability of every value, 94.9 to 97.5 % hold a truth far below a threshold or far above."""
    threshold = round(7 * sigma)
    true = round(threshold + sigmas_above * sigma)
    values = np.arange(threshold, true + 10 * sigma)
    shares = stats.norm.sf((values - 0.5 - true) / sigma) - stats.norm.sf((values + 0.5 - true) / sigma)
    bounds = [intervals.truncated(int(value), sigma, threshold) for value in values]
    covered = [lower <= true <= upper for lower, upper in bounds]
    assert 0.949 <= shares[covered].sum() / shares.sum() <= 0.975


@pytest.mark.parametrize(("part", "rest", "sigma"), [(300, 500, 26.0), (20, 100, 26.0), (0, 400, 26.0)])
def test_intervals_of_rates_cover(part: int, rest: int, sigma: float) -> None:
    """Fieller's interval holds the true rate in 93 % of cases or more, with little in its denominator too."""
    draws = zip(noise.gaussian([part] * CELLS, sigma), noise.gaussian([rest] * CELLS, sigma), strict=True)
    found = [intervals.ratio(noisy_part, noisy_rest, sigma) for noisy_part, noisy_rest in draws]
    true = part / (part + rest)
    assert all(0 <= lower <= upper <= 1 for _, lower, upper, _ in found)
    # Cut off at 0, small rates are missed less often.
    assert 0.93 <= fmean(lower <= true <= upper for _, lower, upper, _ in found) <= 0.99


def test_a_rate_of_nothing_may_be_anything() -> None:
    """Where the whole is within its own noise of zero, the interval is 0 to 1 and σ is unknown."""
    value, lower, upper, sigma = intervals.ratio(-3, 2, 26.0)
    assert (lower, upper) == (0, 1)
    assert math.isnan(value)
    assert math.isnan(sigma)
