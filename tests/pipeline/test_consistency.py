"""What is displayed agrees: nothing below zero, every partition adds up to one total, weeks to their days."""

import random
from datetime import timedelta
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.consistency import SMALL, VISITOR_DAYS, WITHHELD, Total, partition, project, total, whole
from pipeline.errors import NothingPublished
from pipeline.keys import BROWSERS, COUNTRIES, OTHER, UNKNOWN
from pipeline.query import COLUMNS, consistent, report
from pipeline.windows import Window, window_of
from tests.pipeline.private_events import DAY
from tests.pipeline.published import days, put

WEEK = Window("week", DAY)
SUNDAY = WEEK.end
NEXT_WEEK = Window("week", SUNDAY + timedelta(1))
BROWSER_KEYS = (*BROWSERS, OTHER, UNKNOWN)
COUNTRY_KEYS = (*COUNTRIES, UNKNOWN)

cells = st.lists(st.tuples(st.integers(-200, 2000), st.floats(1, 100)), min_size=1, max_size=30)


def noisy(seed: int, true: dict[str | None, int], sigma: float) -> dict[str | None, int]:
    dice = random.Random(seed)
    return {key: round(value + dice.gauss(0, sigma)) for key, value in true.items()}


def medium(published: Path, seed: int = 1, size: int = 40) -> None:
    """A week of a medium site: daily totals and bounces, weekly lists, all with noise."""
    for n, day in enumerate(days(DAY, 7)):
        put(published, "visitors", day, noisy(seed + n, {None: size}, 20), 20.0)
        put(published, "pageviews", day, noisy(seed + n, {None: 3 * size}, 166), 166.0)
        put(published, "bounce", day, noisy(seed - n, {"bounced": size // 2, "stayed": size // 2}, 26), 26.0)
    for name, keys in (("browsers", BROWSER_KEYS), ("countries", COUNTRY_KEYS)):
        true: dict[str | None, int] = dict.fromkeys(keys, 0)
        true |= {keys[3]: 4 * size, keys[5]: 2 * size, keys[7]: size}
        put(published, name, WEEK, noisy(seed, true, 22), 22.0)
    pages: dict[str | None, int] = {"/": 60, "/quiet": -11, "/a": 190}
    put(published, "entry_pages", WEEK, pages, 29.0, private=("/a",))


# ---------- the arithmetic


@given(cells, st.integers(0, 5000))
def test_a_projection_adds_up_and_is_its_own(pairs: list[tuple[int, float]], known: int) -> None:
    """Projected values are ≥ 0 and have the sum; projecting them again changes nothing."""
    values, variances = (np.array(each, float) for each in zip(*pairs, strict=True))
    once = project(values, variances, known)
    assert (once >= 0).all()
    assert once.sum() == pytest.approx(known, abs=1e-6)
    assert project(once, variances, known) == pytest.approx(once, abs=1e-6)


@given(cells, st.integers(1, 5000), st.randoms())
def test_no_other_values_are_closer(pairs: list[tuple[int, float]], known: int, dice: random.Random) -> None:
    """Of all values ≥ 0 with the sum, the projected ones are nearest in units of the noise."""
    values, variances = (np.array(each, float) for each in zip(*pairs, strict=True))
    other = np.array([dice.random() + 1e-9 for _ in values])
    other *= known / other.sum()

    def distance(chosen: np.ndarray) -> float:
        return float(((chosen - values) ** 2 / variances).sum())

    assert distance(project(values, variances, known)) <= distance(other) + 1e-6 * distance(other)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30))
def test_whole_numbers_add_up_exactly(values: list[float]) -> None:
    """Rounding moves no value by one or more and keeps the sum; whole values stay."""
    shares = np.array(values)
    known = round(float(shares.sum()))
    if not known:
        return
    shares *= known / shares.sum()
    rounded = whole(shares, known)
    assert sum(rounded) == known
    assert all(value >= 0 and abs(value - share) < 1 for value, share in zip(rounded, shares, strict=True))
    assert whole(np.array(rounded, float), known) == rounded


# ---------- published files


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [3, 40, 1000])
def test_everything_of_a_week_adds_up(tmp_path: Path, seed: int, size: int) -> None:
    """Visitors, bounces and every partition have one whole total, and no value is negative."""
    medium(tmp_path, seed, size)
    asked = {
        name: consistent(tmp_path, name, DAY, SUNDAY)
        for name in ("visitors", "bounce", "browsers", "countries", "entry_pages")
    }
    assert len({int(frame["value"].sum()) for frame in asked.values()}) == 1
    for frame in asked.values():
        assert list(frame) == COLUMNS
        assert frame["value"].dtype.kind == "i"
        assert (frame["value"] >= 0).all()
        assert ((frame["lower"] >= 0) & (frame["lower"] <= frame["value"])).all()
        assert (frame["value"] <= frame["upper"]).all()


@pytest.mark.parametrize("name", ["visitors", "pageviews", "bounce"])
def test_days_add_up_to_their_week(tmp_path: Path, name: str) -> None:
    """The totals of days, asked for one by one, two by two or at once, add up to that of the week."""
    medium(tmp_path, size=5)
    of_week = consistent(tmp_path, name, DAY, SUNDAY)["value"].sum()
    each = consistent(tmp_path, name, DAY, SUNDAY, each=True)
    assert len(each.groupby("start")) == 7
    assert each["value"].sum() == of_week
    halves = [(DAY, DAY + timedelta(2)), (DAY + timedelta(3), SUNDAY)]
    assert sum(consistent(tmp_path, name, *half)["value"].sum() for half in halves) == of_week


def test_raw_numbers_stay_as_they_are(tmp_path: Path) -> None:
    """Asking for what agrees changes no file and no raw answer, and asking again gives the same."""
    medium(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.parquet")}
    raw = report(tmp_path, "countries", DAY, SUNDAY)
    once = consistent(tmp_path, "countries", DAY, SUNDAY)
    assert (raw["value"] < 0).any()
    assert report(tmp_path, "countries", DAY, SUNDAY).equals(raw)
    assert consistent(tmp_path, "countries", DAY, SUNDAY).equals(once)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.parquet")} == before


def test_the_total_is_weighted_by_precision(tmp_path: Path) -> None:
    """The total of a week is the mean of all releases of it, each with the weight of its variance."""
    put(tmp_path, "visitors", WEEK, {None: 700}, 20.0)
    put(tmp_path, "bounce", WEEK, {"bounced": 400, "stayed": 380}, 20.0)
    found = total(tmp_path, VISITOR_DAYS, [WEEK])
    assert found.value == round((700 / 400 + 780 / 800) / (1 / 400 + 1 / 800))
    assert found.variance == pytest.approx(1 / (1 / 400 + 1 / 800))


def test_a_weekly_list_moves_its_days(tmp_path: Path) -> None:
    """What a week's list says more than its days is spread over them, and their noise shrinks."""
    for day in days(DAY, 7):
        put(tmp_path, "visitors", day, {None: 100}, 20.0)
    put(tmp_path, "devices", WEEK, {"mobile": 500, "desktop": 270}, 10.0)
    week, monday = total(tmp_path, VISITOR_DAYS, [WEEK]), total(tmp_path, VISITOR_DAYS, [days(DAY, 1)[0]])
    assert week.value == round((700 / 2800 + 770 / 200) / (1 / 2800 + 1 / 200))
    assert monday.value in (109, 110)
    assert monday.variance < 400


def test_a_week_of_which_only_some_days_are_released(tmp_path: Path) -> None:
    """What the week holds beyond its released days is a part of its own, and never negative."""
    for day in days(DAY + timedelta(4), 3):
        put(tmp_path, "visitors", day, {None: 100}, 20.0)
    put(tmp_path, "devices", WEEK, {"mobile": 150, "desktop": 120}, 10.0)
    week = consistent(tmp_path, "devices", DAY, SUNDAY)["value"].sum()
    assert consistent(tmp_path, "visitors", DAY, SUNDAY)["value"].sum() == week == 270
    with pytest.raises(
        NothingPublished, match=r"no total of 2026-11-23 is published .* without --consistent"
    ):
        total(tmp_path, VISITOR_DAYS, days(DAY, 1))


def test_a_correction_overtakes_what_counted_the_same_days(tmp_path: Path) -> None:
    """No estimate mixes records that were wrong with those that replaced them; other weeks stay."""
    for week in (WEEK, NEXT_WEEK):
        for day in week.inside("day"):
            put(tmp_path, "visitors", day, {None: 700}, 20.0)
        put(tmp_path, "devices", week, {"mobile": 2900, "desktop": 2000}, 10.0)
    put(tmp_path, "visitors", days(DAY, 1)[0], {None: 100}, 40.0, why="bots were counted")
    monday = consistent(tmp_path, "visitors", DAY, DAY)
    assert monday["value"].item() == 100 and monday["sigma"].item() == pytest.approx(40.0)
    assert consistent(tmp_path, "visitors", DAY, SUNDAY)["value"].item() == 6 * 700 + 100
    following = consistent(tmp_path, "visitors", NEXT_WEEK.start, NEXT_WEEK.end)
    assert following["value"].item() == pytest.approx(4900, abs=1)
    assert following["sigma"].item() < 20.0
    said = "visitors of 2026-11-23 to 2026-11-23 corrected: bots were counted"
    assert said in monday.attrs["caveats"]
    lists = consistent(tmp_path, "devices", DAY, SUNDAY).attrs["caveats"]
    assert f"{said}; not so devices, which counts other records" in lists


def test_a_block_of_28_days_holds_its_weeks(tmp_path: Path) -> None:
    """Where totals are out for 28 days and lists for weeks, the weeks add up to the 28 days."""
    block = window_of("28-days", DAY)
    put(tmp_path, "visitors", block, {None: 2000}, 20.0)
    weeks = list(block.inside("week"))
    for week in weeks:
        put(tmp_path, "devices", week, {"mobile": 300, "desktop": 250}, 20.0)
    found = [consistent(tmp_path, "devices", week.start, week.end)["value"].sum() for week in weeks]
    assert sum(found) == consistent(tmp_path, "visitors", block.start, block.end)["value"].sum()


def test_small_cells_share_a_row(tmp_path: Path) -> None:
    """Keys below 3 σ are one row at the end, which takes what the total leaves to it."""
    put(tmp_path, "visitors", WEEK, {None: 1000}, 1.0)
    true: dict[str | None, int] = {**dict.fromkeys(COUNTRY_KEYS, 2), "PT": 400, "DE": 66, "FR": 65}
    put(tmp_path, "countries", WEEK, true, 22.0)
    found = consistent(tmp_path, "countries", DAY, SUNDAY)
    assert found["key"].tolist() == ["PT", "DE", SMALL]
    assert found["value"].sum() == 1000
    # Of the 25 too many, each row gives as its variance is: nearly all is taken from the 248 cells.
    assert found["value"].tolist()[:2] == pytest.approx([400, 66], abs=3)


def test_withheld_takes_what_no_key_was_published_for(tmp_path: Path) -> None:
    """The rest of a list with a threshold has a row, with the noise of the total and of every cell."""
    put(tmp_path, "visitors", WEEK, {None: 1000}, 20.0)
    put(tmp_path, "entry_pages", WEEK, {"/": 300, "/a": 250}, 30.0, private=("/a",))
    found = consistent(tmp_path, "entry_pages", DAY, SUNDAY).set_index("key")
    assert found["value"].to_dict() == {"/": 300, "/a": 250, WITHHELD: 450}
    assert found["sigma"][WITHHELD] == pytest.approx((20**2 + 2 * 30**2) ** 0.5)
    # Distances add in squares: a thresholded cell may be 50 too low, a plain one 1.96 σ.
    assert found["lower"][WITHHELD] == pytest.approx(
        450 - ((1.96 * 20) ** 2 + (1.96 * 30) ** 2 + 50**2) ** 0.5, abs=0.1
    )


def test_a_list_in_which_nothing_reached_the_threshold_is_withheld(tmp_path: Path) -> None:
    """Its one row holds the total, in a sum as in single windows."""
    put(tmp_path, "visitors", WEEK, {None: 1000}, 20.0)
    put(tmp_path, "entry_pages", WEEK, {}, 30.0)
    for each in (False, True):
        (row,) = consistent(tmp_path, "entry_pages", DAY, SUNDAY, each=each).to_dict("records")
        assert (row["statistic"], row["key"], row["value"], row["sigma"]) == (
            "entry_pages",
            WITHHELD,
            1000,
            20,
        )
        assert (row["start"].date(), row["end"].date()) == (DAY, SUNDAY)


def test_lists_that_add_up_to_nothing_are_cut_off_at_zero(tmp_path: Path) -> None:
    """Pages are seen by the same visitors: their cells stay, but for those below zero; rates stay too."""
    put(tmp_path, "pages", WEEK, {"/": 300, "/a": -20}, 30.0)
    put(tmp_path, "bounce", WEEK, {"bounced": 400, "stayed": 380}, 20.0)
    found = consistent(tmp_path, "pages", DAY, SUNDAY)
    assert found["value"].tolist() == [300, 0]
    assert found["lower"].tolist() == pytest.approx([300 - 1.96 * 30, 0])
    assert consistent(tmp_path, "bounce_rate", DAY, SUNDAY).equals(
        report(tmp_path, "bounce_rate", DAY, SUNDAY)
    )


# ---------- how good it is


def simulated(size: int, sigma: float, seed: int) -> tuple[pd.DataFrame, Total, np.ndarray]:
    """Noisy countries of a site, its total as two releases tell it, and the truth."""
    dice = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 21) ** 1.3
    true = np.zeros(len(COUNTRY_KEYS))
    true[:20] = np.round(size * weights / weights.sum())
    drawn = np.round(true + dice.normal(0, sigma, len(true))).astype(int)
    variances = np.array([50.0**2, len(true) * sigma**2])
    sums = np.array([true.sum() + dice.normal(0, 50), drawn.sum()])
    known = Total(round((sums / variances).sum() / (1 / variances).sum()), 1 / (1 / variances).sum())
    margin = 1.96 * sigma
    raw = pd.DataFrame(
        {"key": COUNTRY_KEYS, "value": drawn, "lower": drawn - margin, "upper": drawn + margin}
    )
    return raw.assign(sigma=sigma), known, true


@pytest.mark.parametrize("size", [7_000, 20_000])
def test_the_largest_cells_are_not_pulled_down(size: int) -> None:
    """Top five: within 6 of the truth on average, where projecting every cell loses more than 15 of each.

    Cutting off at zero leaves them alone and adds up to some 2,000 visitors too many.
    """
    off: dict[str, list[float]] = {"agreeing": [], "all cells projected": [], "total of cut": []}
    held: list[bool] = []
    for seed in range(150):
        raw, known, true = simulated(size, 21.8, seed)
        found = partition(raw, known, is_complete=True).set_index("key")
        assert found["value"].sum() == known.value
        off["agreeing"].append(fmean(found["value"].reindex(COUNTRY_KEYS[:5]) - true[:5]))
        projected = project(raw["value"].to_numpy(float), np.full(len(true), 21.8**2), known.value)
        off["all cells projected"].append(fmean(projected[:5] - true[:5]))
        off["total of cut"].append(raw["value"].clip(lower=0).sum() - true.sum())
        exact = dict(zip(COUNTRY_KEYS, true, strict=True))
        exact[SMALL] = true.sum() - sum(exact[key] for key in found.index if key != SMALL)
        held += [row.lower <= exact[key] <= row.upper for key, row in found.iterrows()]
    assert abs(fmean(off["agreeing"])) < 6
    assert fmean(off["all cells projected"]) < -15
    assert fmean(off["total of cut"]) > 1500
    assert 0.93 <= fmean(held) <= 0.98
