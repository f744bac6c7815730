"""The analysts' API answers from published files: sums without double counting, intervals that stay right."""

from datetime import date, timedelta
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest

from pipeline import intervals, noise
from pipeline.errors import NotComparable, NothingPublished, UnknownStatistic
from pipeline.query import COLUMNS, COMPARED, compare, report, windows
from pipeline.windows import Window, window_of
from tests.pipeline.private_events import DAY
from tests.pipeline.published import days, put

SUNDAY = DAY + timedelta(6)


def test_days_add_up(tmp_path: Path) -> None:
    """Released days are summed, their noise in squares, and a row is what JSON needs."""
    for day in days(DAY, 4):
        put(tmp_path, "visitors", day, {None: 100})
    found = report(tmp_path, "visitors", DAY, DAY + timedelta(3))
    assert list(found) == COLUMNS
    (line,) = found.to_dict("records")
    assert (line["statistic"], line["key"], line["value"], line["sigma"]) == ("visitors", None, 400, 40.0)
    assert (line["lower"], line["upper"]) == pytest.approx((400 - 1.96 * 40, 400 + 1.96 * 40))
    assert (line["start"].date(), line["end"].date()) == (DAY, DAY + timedelta(3))
    assert found.attrs["notes"] == []
    assert isinstance(line["value"], int)


def test_windows_are_given_one_by_one(tmp_path: Path) -> None:
    """Every window inside the range is a row with its own interval; windows across its edge are not."""
    put(tmp_path, "visitors", Window("week", DAY), {None: 700})
    for day in days(SUNDAY + timedelta(1), 3):
        put(tmp_path, "visitors", day, {None: 100})
    found = windows(tmp_path, "visitors", DAY, SUNDAY + timedelta(2))
    assert list(found) == COLUMNS
    assert found["value"].tolist() == [700, 100, 100]
    assert found["end"].dt.date.tolist() == [SUNDAY, SUNDAY + timedelta(1), SUNDAY + timedelta(2)]
    assert windows(tmp_path, "visitors", DAY + timedelta(1), SUNDAY + timedelta(1))["value"].tolist() == [100]


def test_nothing_is_counted_twice(tmp_path: Path) -> None:
    """Where a week and some of its days are both released, the week is summed, and not the days."""
    put(tmp_path, "visitors", Window("week", DAY), {None: 700})
    for day in days(DAY + timedelta(4), 5):
        put(tmp_path, "visitors", day, {None: 100})
    assert report(tmp_path, "visitors", DAY, SUNDAY + timedelta(2))["value"].tolist() == [900]
    # Without the whole week only the days are inside.
    assert report(tmp_path, "visitors", DAY + timedelta(1), SUNDAY)["value"].tolist() == [300]


def test_gaps_are_said(tmp_path: Path) -> None:
    """start and end are what the sum covers, and days that are missing are named."""
    for day in [*days(DAY + timedelta(1), 1), *days(DAY + timedelta(4), 1)]:
        put(tmp_path, "visitors", day, {None: 100})
    found = report(tmp_path, "visitors", DAY, SUNDAY)
    assert (found["start"][0].date(), found["end"][0].date()) == (DAY + timedelta(1), DAY + timedelta(4))
    said = "is not released in windows inside the range"
    assert found.attrs["notes"] == [
        f"2026-11-23 to 2026-11-23 {said}",
        f"2026-11-25 to 2026-11-26 {said}",
        f"2026-11-28 to 2026-11-29 {said}",
    ]


def test_keys_below_the_threshold_in_a_window_are_left_out(tmp_path: Path) -> None:
    """A private key is summed only where every window has it; how many that leaves out is said."""
    first, second = days(DAY, 2)
    put(tmp_path, "pages", first, {"/": 50, "/a": 300, "/b": 280}, private=("/a", "/b"))
    put(tmp_path, "pages", second, {"/": 60, "/a": 400, "/c": 290}, private=("/a", "/c"))
    found = report(tmp_path, "pages", DAY, DAY + timedelta(1))
    assert found["key"].tolist() == ["/a", "/"]
    assert found["value"].tolist() == [700, 110]
    # Uneven intervals stay uneven: 700 − √(30² + 30²), 700 + √(50² + 50²).
    assert found["lower"][0] == pytest.approx(700 - 30 * 2**0.5)
    assert found["upper"][0] == pytest.approx(700 + 50 * 2**0.5)
    assert found.attrs["notes"] == [
        "2 keys reached the threshold in some of the windows only and are left out"
    ]


def test_a_window_in_which_nothing_reached_the_threshold_counts(tmp_path: Path) -> None:
    """A released window without a cell is no gap: what other windows hold is left out for it."""
    first, second = days(DAY, 2)
    put(tmp_path, "pages", first, {})
    assert list(report(tmp_path, "pages", DAY, DAY)) == COLUMNS
    assert windows(tmp_path, "pages", DAY, DAY).empty
    put(tmp_path, "pages", second, {"/a": 300}, private=("/a",))
    found = report(tmp_path, "pages", DAY, DAY + timedelta(1))
    assert found.empty
    assert found.attrs["notes"] == [
        "1 keys reached the threshold in some of the windows only and are left out"
    ]


def test_the_bounce_rate_is_a_ratio_with_an_interval(tmp_path: Path) -> None:
    """Bounces over first visits, of the sum and by window, with Fieller's interval."""
    for day in days(DAY, 2):
        put(tmp_path, "bounce", day, {"bounced": 480, "stayed": 520}, sigma=26.0)
    found = report(tmp_path, "bounce_rate", DAY, DAY + timedelta(1))
    (line,) = found.to_dict("records")
    assert (line["statistic"], line["key"], line["value"]) == ("bounce_rate", None, pytest.approx(0.48))
    # By the delta method, which agrees where the noise is small.
    sigma = 26 * 2**0.5 * (0.48**2 + 0.52**2) ** 0.5 / 2000
    assert line["sigma"] == pytest.approx(sigma)
    assert (line["lower"], line["upper"]) == pytest.approx(
        (0.48 - 1.96 * sigma, 0.48 + 1.96 * sigma), abs=0.001
    )
    each = windows(tmp_path, "bounce_rate", DAY, SUNDAY)
    assert each["value"].tolist() == pytest.approx([0.48, 0.48])
    assert list(each) == COLUMNS


def test_lists_come_largest_first(tmp_path: Path) -> None:
    """Keys are ordered by value, equal ones by name; negative values stay, for sums to stay unbiased."""
    put(tmp_path, "devices", days(DAY, 1)[0], {"tablet": -12, "mobile": 80, "desktop": 80})
    assert report(tmp_path, "devices", DAY, DAY)["key"].tolist() == ["desktop", "mobile", "tablet"]


def test_an_unknown_statistic_is_refused(tmp_path: Path) -> None:
    """The error names what can be asked for."""
    for ask in (report, windows):
        with pytest.raises(UnknownStatistic, match=r"'clicks': ask for one of visitors, .*, bounce_rate"):
            ask(tmp_path, "clicks", DAY, DAY)


def test_an_empty_range_is_refused(tmp_path: Path) -> None:
    """The error names the ranges that are published, or says how to publish."""
    with pytest.raises(NothingPublished, match="nothing of it is published yet; `impersonal run`"):
        report(tmp_path, "visitors", DAY, DAY)
    for day in [*days(DAY, 3), *days(DAY + timedelta(5), 1)]:
        put(tmp_path, "visitors", day, {None: 100})
    with pytest.raises(
        NothingPublished,
        match="ask within 2026-11-23 to 2026-11-25, 2026-11-28 to 2026-11-28, in windows of 1 days or more",
    ):
        windows(tmp_path, "visitors", SUNDAY, SUNDAY)


def test_a_file_half_written_is_not_read(tmp_path: Path) -> None:
    """What a killed run left aside is no published file."""
    put(tmp_path, "visitors", days(DAY, 1)[0], {None: 100})
    (tmp_path / "visitors" / ".day-2026-11-24.parquet.1.tmp").write_bytes(b"PAR1")
    assert len(windows(tmp_path, "visitors", DAY, SUNDAY)) == 1


def test_dates_stay_dates(tmp_path: Path) -> None:
    """start and end are timestamps at midnight, ready for plotting."""
    put(tmp_path, "visitors", days(DAY, 1)[0], {None: 100})
    found = windows(tmp_path, "visitors", DAY, DAY)
    assert found["start"][0] == pd.Timestamp(DAY)


# ---------- two periods

MONDAY = DAY - timedelta(7)


def test_two_weeks_are_compared(tmp_path: Path) -> None:
    """The difference has the interval that both values make; it is no noise where zero is outside."""
    for n, day in enumerate(days(MONDAY, 14)):
        put(tmp_path, "visitors", day, {None: 100 if n < 7 else 130}, sigma=20.0)
    found = compare(tmp_path, "visitors", DAY, SUNDAY, MONDAY)
    assert list(found) == COMPARED
    (line,) = found.to_dict("records")
    assert (line["value"], line["before"], line["difference"]) == (910, 700, 210)
    half = 1.96 * 20 * 14**0.5
    assert (line["lower"], line["upper"]) == pytest.approx((210 - half, 210 + half))
    assert line["distinguishable"] is True
    assert (line["before_start"].date(), line["before_end"].date()) == (MONDAY, DAY - timedelta(1))
    assert (line["start"].date(), line["end"].date()) == (DAY, SUNDAY)
    assert found.attrs["notes"] == []
    one = compare(tmp_path, "visitors", DAY, DAY, MONDAY)
    assert one["distinguishable"].tolist() == [False]


def test_keys_of_one_period_only_are_left_out(tmp_path: Path) -> None:
    """A list is compared key by key, with uneven intervals, and what is left out is said."""
    put(tmp_path, "pages", Window("week", MONDAY), {"/": 50, "/a": 300, "/b": 280}, private=("/a", "/b"))
    put(tmp_path, "pages", Window("week", DAY), {"/": 60, "/a": 400, "/c": 290}, private=("/a", "/c"))
    found = compare(tmp_path, "pages", DAY, SUNDAY, MONDAY)
    assert found["key"].tolist() == ["/a", "/"]
    assert found["difference"].tolist() == [100, 10]
    # Down: 30 of the one, 50 of the other.
    assert found["lower"][0] == pytest.approx(100 - (30**2 + 50**2) ** 0.5)
    assert found.attrs["notes"] == ["2 keys are published for one of the periods only and are left out"]


def test_rates_are_compared(tmp_path: Path) -> None:
    """The difference of two ratios has an interval; where one may be anything, so may the difference."""
    put(tmp_path, "bounce", Window("week", MONDAY), {"bounced": 480, "stayed": 520}, sigma=26.0)
    put(tmp_path, "bounce", Window("week", DAY), {"bounced": 300, "stayed": 700}, sigma=26.0)
    (line,) = compare(tmp_path, "bounce_rate", DAY, SUNDAY, MONDAY).to_dict("records")
    assert line["difference"] == pytest.approx(-0.18)
    assert line["lower"] < -0.18 < line["upper"] < 0
    assert line["distinguishable"] is True
    put(tmp_path, "bounce", Window("week", DAY), {"bounced": 3, "stayed": -2}, sigma=26.0)
    (line,) = compare(tmp_path, "bounce_rate", DAY, SUNDAY, MONDAY).to_dict("records")
    assert line["upper"] - line["lower"] > 1
    assert line["distinguishable"] is False


def test_chance_is_said_where_many_are_compared(tmp_path: Path) -> None:
    """Of forty differences two are expected outside of their intervals with nothing behind them."""
    keys: dict[str | None, int] = {f"/{n}": 100 for n in range(40)}
    for week in (MONDAY, DAY):
        put(tmp_path, "pages", Window("week", week), keys)
    assert compare(tmp_path, "pages", DAY, SUNDAY, MONDAY).attrs["notes"] == [
        "Of 40 differences, about 2 would leave the noise by chance"
    ]


def test_intervals_of_differences_cover() -> None:
    """In 93 to 97 % of cases the interval of a difference holds the true one."""
    values, before = noise.gaussian([700] * 4000, 54.0), noise.gaussian([620] * 4000, 20.0)
    found = [
        intervals.difference(v, intervals.plain(v, 54.0), b, intervals.plain(b, 20.0))
        for v, b in zip(values, before, strict=True)
    ]
    assert 0.93 <= fmean(lower <= 80 <= upper for lower, upper in found) <= 0.97


@pytest.mark.parametrize("against", [DAY - timedelta(6), DAY, DAY + timedelta(30)])
def test_periods_that_overlap_are_refused(tmp_path: Path, against: date) -> None:
    """The line says when the earlier period has to begin."""
    with pytest.raises(NotComparable, match="begin it on 2026-11-16 or before"):
        compare(tmp_path, "visitors", DAY, SUNDAY, against)


def test_periods_of_which_other_days_are_released_are_refused(tmp_path: Path) -> None:
    """Six days are not compared with seven; a week is compared with its days."""
    for day in days(MONDAY, 6):
        put(tmp_path, "visitors", day, {None: 100})
    put(tmp_path, "visitors", Window("week", DAY), {None: 700})
    with pytest.raises(
        NotComparable,
        match=r"2026-11-23 to 2026-11-29 \(7 days\) and, .* 2026-11-16 to 2026-11-21 \(6 days\): choose",
    ):
        compare(tmp_path, "visitors", DAY, SUNDAY, MONDAY)
    put(tmp_path, "visitors", Window("day", DAY - timedelta(1)), {None: 100})
    assert compare(tmp_path, "visitors", DAY, SUNDAY, MONDAY)["difference"].tolist() == [0]


# ---------- what an interval does not say


def test_windows_tell_for_which_size_they_are(tmp_path: Path) -> None:
    """Weekly totals, weekly lists beside daily totals, and 28 days are explained."""

    def said(site: str, statistic: str, window: Window) -> str:
        (caveat,) = report(tmp_path / site, statistic, window.start, window.end).attrs["caveats"]
        return str(caveat)

    week, block = Window("week", DAY), window_of("28-days", DAY)
    put(tmp_path / "small", "visitors", week, {None: 700})
    put(tmp_path / "small", "devices", week, {"mobile": 700})
    put(tmp_path / "medium", "visitors", Window("day", DAY), {None: 700})
    put(tmp_path / "medium", "devices", week, {"mobile": 700})
    put(tmp_path / "tiny", "visitors", block, {None: 700})
    assert said("small", "visitors", week).startswith("Released as for a small site: weekly figures")
    assert said("small", "devices", week) == said("small", "visitors", week)
    assert said("medium", "devices", week).startswith("Released as for a medium site: daily totals, weekly")
    assert said("tiny", "visitors", block).startswith(
        "Released as for a very small site: totals over 28 days"
    )
    assert report(tmp_path / "medium", "visitors", DAY, DAY).attrs["caveats"] == []
    # Who returns is told by the week on every site: that says nothing of its size.
    put(tmp_path / "medium", "returning", week, {"new": 700, "returning": 90})
    assert said("medium", "unique_visitors", week).startswith("Only visitors who granted")
    with pytest.raises(NothingPublished, match="only totals over 28 days are released; ask for visitors"):
        report(tmp_path / "tiny", "devices", block.start, block.end)


def test_views_that_were_cut_off_are_estimated(tmp_path: Path) -> None:
    """Where the clipped are published for the same days, page views come with how many are missing."""
    cut = "Page views above 10 of a visitor-day are not counted, which no interval covers"
    for day in days(DAY, 2):
        put(tmp_path, "pageviews", day, {None: 3000}, sigma=166.0)
        put(tmp_path, "visitors", day, {None: 1000}, sigma=10.0)

    def said(end: date = DAY) -> str:
        return str(report(tmp_path, "pageviews", DAY, end).attrs["caveats"][0])

    assert said() == f"{cut}; how many is not published"
    put(tmp_path, "clipped", days(DAY, 1)[0], {None: 60}, sigma=10.0)
    assert said() == (
        f"{cut}: 6.0% of visitor-days (4.0% … 8.0%) had more, so at least 60 page views (40 … 80) are missing"
    )
    assert said(DAY + timedelta(1)) == f"{cut}; how many is not published for the same days"
    put(tmp_path, "visitors", days(DAY, 1)[0], {None: 3}, sigma=10.0)
    assert said() == f"{cut}; how many is lost in the noise"


def test_bounds_are_said_where_they_cut(tmp_path: Path) -> None:
    """Pages, visits, and rates made of them, say what is not counted."""
    for name in ("pageviews", "visits"):
        put(tmp_path, name, Window("day", DAY), {None: 3000})
    put(tmp_path, "pages", Window("day", DAY), {"/": 300})
    assert report(tmp_path, "pages", DAY, DAY).attrs["caveats"] == [
        "At most 6 pages of a visitor-day are counted, which no interval covers"
    ]
    caveats = windows(tmp_path, "views_per_visit", DAY, DAY).attrs["caveats"]
    assert [caveat.split()[:3] for caveat in caveats] == [
        ["Page", "views", "above"],
        ["Visits", "above", "2"],
    ]


def test_who_is_not_in_the_numbers_is_said(tmp_path: Path) -> None:
    """Beside visitors stands the consent rate with its interval, where it is published and says something."""
    put(tmp_path, "visitors", Window("day", DAY), {None: 100})
    assert report(tmp_path, "visitors", DAY, DAY).attrs["caveats"] == []
    put(tmp_path, "consents", Window("day", DAY), {"granted": 620, "refused": 380})
    (caveat,) = report(tmp_path, "visitors", DAY, DAY).attrs["caveats"]
    assert caveat.startswith("Of browsers that chose for the first time 62% (59% … 65%) granted something")
    (rate,) = report(tmp_path, "consent_rate", DAY, DAY)["value"]
    assert rate == pytest.approx(0.62)
    put(tmp_path, "visitors", Window("day", SUNDAY), {None: 100})
    put(tmp_path, "consents", Window("day", SUNDAY), {"granted": 12, "refused": -9})
    assert report(tmp_path, "visitors", SUNDAY, SUNDAY).attrs["caveats"] == []
