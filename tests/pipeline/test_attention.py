"""Engaged time, time on a page, scrolling and exits, by their definitions."""

from pathlib import Path

import pytest

from pipeline.engine import Engine
from pipeline.rates import RATIOS
from tests.pipeline.private_events import POLICY, Log, Row, at, build_rows, cells, row
from tests.policies import EVERYTHING, policy, purpose, version


def view(page: str, minute: float, visitor: str = "a") -> Row:
    return row(ts_ms=at(minutes=minute), visitor=visitor, path=page)


def ping(page: str, minute: float, seconds: float | None = None, scroll: int | None = None) -> Row:
    engaged_ms = None if seconds is None else round(seconds * 1000)
    return row("ping", at(minutes=minute), path=page, engaged_ms=engaged_ms, scroll=scroll)


@pytest.mark.parametrize(
    ("log", "bin_"),
    [
        ([view("/", 0)], "0-3 s"),
        ([view("/", 0), ping("/", 1, 2.999)], "0-3 s"),
        ([view("/", 0), ping("/", 1, 3)], "3-10 s"),
        ([view("/", 0), ping("/", 1, 5), view("/1", 2), ping("/1", 20, 30)], "30-60 s"),
        ([view("/", 0), ping("/", 1, 5), ping("/", 32, 500)], "3-10 s"),
        ([view("/", 0), ping("/", 1, 5), view("/", 60), ping("/", 61, 500)], "3-10 s"),
        ([ping("/", 0, 500), view("/", 1)], "0-3 s"),
        ([view("/", 0), ping("/", 1, 9_999_999)], "1800+ s"),
    ],
    ids=[
        *("no ping", "just below 3 s", "3 s", "pages add up", "a late ping is dropped"),
        *("a later visit is another", "before the first view", "no end"),
    ],
)
def test_engaged_time_is_that_of_the_first_visit(engine: Engine, tmp_path: Path, log: Log, bin_: str) -> None:
    """Visible and focused time of all pages of a visit, as pings report it."""
    build_rows(engine, tmp_path, log)
    assert cells(engine, "engaged") == {bin_: 1}


def test_time_on_a_page_is_summed_and_bounded(engine: Engine, tmp_path: Path) -> None:
    """All pings of a page together, whole seconds, at most 120; views alone take no time."""
    log = [
        *(view("/", 0), ping("/", 1, 3.4), view("/1", 2), ping("/", 3, 3.4)),
        *(ping("/1", 4, 119), ping("/1", 5, 119), view("/2", 6), view("/other", 7), ping("/other", 8, 50)),
        ping("/never seen", 9, 50),
    ]
    build_rows(engine, tmp_path, log)
    assert cells(engine, "page_seconds") == {"/": 6, "/1": 120}
    assert cells(engine, "pages") == {"/": 1, "/1": 1, "/2": 1, "/other": 1}


def test_scrolling_is_the_deepest_of_a_page(engine: Engine, tmp_path: Path) -> None:
    """The maximum per page and visitor-day, at most 100 per cent, summed over visitor-days."""
    log = [
        *(view("/", 0), ping("/", 1, scroll=40), ping("/", 2, scroll=70), ping("/", 3, scroll=10)),
        *(view("/1", 4), ping("/1", 5, scroll=104)),
        *(view("/", 0, "b"), row("ping", at(minutes=1), "b", path="/", scroll=20)),
    ]
    build_rows(engine, tmp_path, log)
    assert cells(engine, "page_scroll") == {"/": 90, "/1": 100}


def test_only_six_pages_are_looked_at(engine: Engine, tmp_path: Path) -> None:
    """Of who saw more, the pages that `pages` counts are those of which time and scrolling count."""
    pages = [f"/{n}" for n in range(1, 6)] + ["/", "/x", "/y", "/z"]
    log = [each for n, page in enumerate(pages) for each in (view(page, n), ping(page, n, 5, 50))]
    build_rows(engine, tmp_path, log)
    declared = {key for key in cells(engine, "pages") if key in POLICY.budget.pages}
    assert len(cells(engine, "pages")) == 6 and declared
    assert cells(engine, "page_seconds") == dict.fromkeys(declared, 5)
    assert cells(engine, "page_scroll") == dict.fromkeys(declared, 50)


def test_the_exit_rate_is_of_who_saw_the_page(engine: Engine, tmp_path: Path) -> None:
    """/a, /b, /a leaves by /a, which is seen once: 1 of 1; of /b 0 of 1; who only sees /b leaves by it."""
    log = [*(view(page, n) for n, page in enumerate(("/a", "/b", "/a"))), view("/b", 0, "b")]
    build_rows(engine, tmp_path, log)
    exact = {
        name: {key: (value, value, value, 1e-9) for key, value in cells(engine, name).items()}
        for name in ("exit_pages", "pages")
    }
    assert {key: value for key, (value, *_) in RATIOS["exit_rate"].rows(exact)} == {"/a": 1, "/b": 0.5}


def test_without_the_page_nothing_is_known_of_attention(engine: Engine, tmp_path: Path) -> None:
    """A purpose that may not see pages sees neither time nor scrolling, whatever was recorded for others."""
    coarse = {"cookie": "daily", "time": "second"}
    under = policy(version(purpose("statistics", coarse), purpose("advertising", EVERYTHING)))
    build_rows(engine, tmp_path, [view("/", 0), ping("/", 1, 50, 80)], under=under)
    assert cells(engine, "engaged") == {"0-3 s": 1}
    assert cells(engine, "page_seconds") == cells(engine, "page_scroll") == {}
