"""The analysts' API answers from published files: sums without double counting, intervals that stay right."""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipeline import publish
from pipeline.errors import NothingPublished, UnknownStatistic
from pipeline.published import place
from pipeline.query import COLUMNS, report, windows
from pipeline.spec import Mechanism, Spec
from pipeline.statistics import STATISTICS
from pipeline.windows import Window
from tests.pipeline.private_events import DAY

SUNDAY = DAY + timedelta(6)


def put(
    published: Path,
    statistic: str,
    window: Window,
    values: dict[str | None, int],
    sigma: float = 20.0,
    private: tuple[str, ...] = (),
) -> None:
    """Publish one release as the door does; intervals of thresholded cells are 30 down, 50 up."""
    cells = [
        publish.Cell(
            statistic,
            key,
            window.name,
            window.start,
            window.end,
            value,
            value - (30.0 if key in private else 1.96 * sigma),
            value + (50.0 if key in private else 1.96 * sigma),
            sigma,
            key in private,
        )
        for key, value in values.items()
    ]
    spec = Spec(STATISTICS[statistic], window, Mechanism(sigma, None, 1, 0), tuple(values))
    publish.write(place(published, spec.release_id), publish.encode(cells, spec.manifest("")))


def days(first: date, count: int) -> list[Window]:
    return [Window("day", first + timedelta(n)) for n in range(count)]


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
