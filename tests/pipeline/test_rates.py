"""Rates derived from published cells: each with an interval that holds the truth as often as it says."""

import math
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from pipeline import intervals, noise
from pipeline.errors import NothingPublished
from pipeline.intervals import Estimate
from pipeline.keys import DURATIONS, edges
from pipeline.query import RATIOS, report, windows
from pipeline.rates import Cells, Rate
from tests.pipeline.private_events import DAY
from tests.pipeline.published import days, put

SIGMA = 23.6
"""Of a cell of `durations`: 0.06 of ρ = 0.015."""

DRAWS = 3000
HISTOGRAMS = {
    "a site of 1,000": [330, 60, 80, 100, 110, 130, 90, 60, 25, 15],
    "half of them bounce at once": [520, 40, 60, 60, 80, 90, 60, 40, 20, 10],
    "the median on an edge": [250, 100, 100, 50, 100, 150, 100, 80, 40, 30],
    "a site of 15,000": [4300, 800, 1200, 1500, 2200, 2400, 1500, 900, 350, 150],
    "all alike": [50] * 10,
    "a site of 150": [60, 8, 12, 14, 20, 15, 9, 6, 2, 1],
}
histograms = pytest.mark.parametrize("counts", HISTOGRAMS.values(), ids=HISTOGRAMS)


@cache
def drawn(counts: tuple[int, ...]) -> list[list[int]]:
    """The counts with the noise of DRAWS releases."""
    values = noise.gaussian(counts * DRAWS, SIGMA)
    return [values[n : n + len(counts)] for n in range(0, len(values), len(counts))]


def cell(value: float, sigma: float) -> Estimate:
    return value, *intervals.plain(value, sigma), sigma


def durations(counts: list[int], sigma: float = SIGMA) -> Cells:
    return {"durations": dict(zip(DURATIONS, (cell(count, sigma) for count in counts), strict=True))}


def single(rate: Rate, cells: Cells) -> Estimate:
    """A rate that is one number."""
    [(_, found)] = rate.rows(cells)
    return found


def coverage(found: list[Estimate], true: float) -> float:
    """How many of the intervals hold the truth."""
    return fmean(lower <= true <= upper for _, lower, upper, _ in found)


def test_a_bin_says_its_edges() -> None:
    """Edges are in seconds, the last bin is open, and each begins where the one before ends."""
    assert edges("0-3 s") == (0, 3)
    assert edges("1800+ s") == (1800, math.inf)
    bounds = [edges(key) for key in DURATIONS]
    assert all(high == low for (_, high), (low, _) in pairwise(bounds))


@histograms
def test_intervals_of_the_median_cover(counts: list[int]) -> None:
    """The interval of a noisy histogram holds its true median in 93 % of cases or more."""
    median = RATIOS["duration_median"]
    true, *_ = single(median, durations(counts, sigma=1e-9))
    found = [single(median, durations(row)) for row in drawn(tuple(counts))]
    assert coverage(found, true) >= 0.93
    if sum(counts) > 400:
        assert coverage(found, true) <= 0.975
        values = [value for value, *_ in found if not math.isnan(value)]
        assert np.median(values) == pytest.approx(true, rel=0.08)


@histograms
def test_intervals_of_the_share_over_a_minute_cover(counts: list[int]) -> None:
    """So does that of the share of first visits that lasted a minute or longer."""
    share = RATIOS["duration_over_minute"]
    found = [single(share, durations(row)) for row in drawn(tuple(counts))]
    assert 0.93 <= coverage(found, sum(counts[4:]) / sum(counts)) <= 0.99


@pytest.mark.parametrize(("pageviews", "visits"), [(22_000, 8_000), (3_100, 1_150), (900, 350), (310, 115)])
def test_intervals_of_views_per_visit_cover(pageviews: int, visits: int) -> None:
    """Fieller's interval holds where both noises differ; where visits may be nothing it has no end."""
    rate, (one, other) = RATIOS["views_per_visit"], (166.7, 51.6)
    views, stays = (noise.gaussian([n] * DRAWS, sigma) for n, sigma in ((pageviews, one), (visits, other)))
    found = [
        single(rate, {"pageviews": {None: cell(p, one)}, "visits": {None: cell(v, other)}})
        for p, v in zip(views, stays, strict=True)
    ]
    assert 0.93 <= coverage(found, pageviews / visits) <= 0.99
    assert all(0 <= lower <= upper for _, lower, upper, _ in found)


def above(threshold: int, true: int, sigma: float) -> dict[str | None, Estimate]:
    """Cells of a count that reached a threshold, of twice as many as DRAWS."""
    shown = noise.gaussian_threshold({str(n): true for n in range(2 * DRAWS)}, sigma, threshold)
    return {
        key: (value, *intervals.truncated(value, sigma, threshold), sigma) for key, value in shown.items()
    }


@pytest.mark.parametrize(("exits", "seen"), [(2_000, 5_000), (500, 520), (490, 2_000)])
def test_intervals_of_an_exit_rate_cover_beside_thresholds(exits: int, seen: int) -> None:
    """Of lists that show only what reached a threshold, the rate's interval knows as well."""
    lists = {"exit_pages": above(490, exits, 66.7), "pages": above(463, seen, 63.2)}
    found = [estimate for _, estimate in RATIOS["exit_rate"].rows(lists)]
    assert len(found) > DRAWS / 2
    assert 0.93 <= coverage(found, exits / seen) <= 0.99


@pytest.mark.parametrize(
    ("counts", "median"),
    [
        ([0, 0, 0, 900, 0, 0, 0, 0, 0, 0], math.sqrt(30 * 60)),
        ([900, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1.5),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 900], 1800),
        ([0, 0, 450, 450, 0, 0, 0, 0, 0, 0], 30),
    ],
)
def test_a_median_lies_inside_its_bin(counts: list[int], median: float) -> None:
    """On a log scale, in the bin from 0 on a linear one, in the open bin at its lower edge."""
    value, lower, upper, _ = single(RATIOS["duration_median"], durations(counts, sigma=1.0))
    assert value == pytest.approx(median, rel=0.01)
    assert lower <= value <= upper


def test_a_median_of_nothing_may_be_anything() -> None:
    """Where the whole is within its own noise there is no value, and the interval is everything."""
    value, lower, upper, sigma = intervals.median([3, -8] * 5, [edges(key) for key in DURATIONS], SIGMA)
    assert (lower, upper) == (0, math.inf)
    assert math.isnan(value)
    assert math.isnan(sigma)


def test_durations_are_answered_like_statistics(tmp_path: Path) -> None:
    """Days are summed before the median is taken; windows have one each."""
    counts = HISTOGRAMS["a site of 15,000"]
    for day in days(DAY, 2):
        put(tmp_path, "durations", day, dict(zip(DURATIONS, counts, strict=True)), sigma=SIGMA)
    (both,) = report(tmp_path, "duration_median", DAY, DAY + timedelta(1)).to_dict("records")
    each = windows(tmp_path, "duration_median", DAY, DAY + timedelta(1))
    assert each["value"].tolist() == [both["value"]] * 2 == pytest.approx([56.3, 56.3], abs=0.5)
    assert (both["statistic"], both["key"], both["end"].date()) == (
        "duration_median",
        None,
        DAY + timedelta(1),
    )
    # Twice the visits, √2 of the noise.
    width = each["upper"][0] - each["lower"][0]
    assert both["upper"] - both["lower"] == pytest.approx(width / 2**0.5, rel=0.05)
    (share,) = report(tmp_path, "duration_over_minute", DAY, DAY)["value"]
    assert share == pytest.approx(sum(counts[4:]) / sum(counts))


def test_a_rate_of_two_statistics_takes_the_windows_of_both(tmp_path: Path) -> None:
    """Views of days of which the visits are not published are left out, and that is said."""
    for n, day in enumerate(days(DAY, 3)):
        put(tmp_path, "pageviews", day, {None: 3000 + n})
        if n:
            put(tmp_path, "visits", day, {None: 1000})
    found = report(tmp_path, "views_per_visit", DAY, DAY + timedelta(2))
    assert found["value"][0] == pytest.approx(6003 / 2000)
    assert found.attrs["notes"] == [f"{DAY} to {DAY} is not released in windows inside the range"]
    with pytest.raises(NothingPublished, match="no window of pageviews and visits"):
        report(tmp_path, "views_per_visit", DAY, DAY)
