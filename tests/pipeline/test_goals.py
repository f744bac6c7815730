"""Goals, conversion, funnels; new, returning and retained visitors: by their definitions."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import PolicyError
from collector.policy import Budget, Policy
from pipeline import check
from pipeline.engine import Engine
from pipeline.keys import AGES
from pipeline.rates import RATIOS, Cells
from pipeline.statistics import STATISTICS, enabled, rows
from pipeline.windows import TIERS, Tier, Window
from tests.pipeline.private_events import DAY, POLICY, Log, Row, at, build_rows, cells, row
from tests.policies import EVERYTHING, policy, purpose, version


def view(page: str, minute: float, visitor: str = "a") -> Row:
    return row(ts_ms=at(minutes=minute), visitor=visitor, path=page)


def event(name: str | None, minute: float, visitor: str = "a") -> Row:
    return row("event", at(minutes=minute), visitor, name=name, path="/")


def test_a_goal_is_a_page_or_an_event(engine: Engine, tmp_path: Path) -> None:
    """Each once per visitor-day; a page's trailing * stands for anything; names are not pages."""
    log = [
        *(event("signup", 0), event("signup", 1), event("signup", 0, "b"), event(None, 2)),
        *(view("/1", 3), view("/12", 4), view("/12/more", 0, "c"), view("/3", 0, "d")),
        *(event("/1", 0, "e"), view("signup", 0, "f")),
    ]
    build_rows(engine, tmp_path, log)
    assert cells(engine, "goals") == {"signup": 2, "read on": 2}


def test_three_goals_of_a_visitor_day_count(engine: Engine, tmp_path: Path) -> None:
    """Which, is decided by the visitor's own rows: the same each time, and not the same for everybody."""
    names = ("signup", "order", "share")
    log = [
        each
        for visitor in "abcdefgh"
        for each in (*(event(name, 0, visitor) for name in names), view("/1", 1, visitor))
    ]
    build_rows(engine, tmp_path, log)
    found = cells(engine, "goals")
    assert sum(found.values()) == 3 * 8
    assert all(0 < value < 8 for value in found.values())
    build_rows(engine, tmp_path, log[::-1])
    assert cells(engine, "goals") == found


def test_fewer_goals_need_less_noise() -> None:
    """One goal is one cell to change, and so is one funnel, whatever its steps."""

    def cells_of(name: str, budget: Budget) -> int:
        row = rows(replace(POLICY, budget=replace(budget, shares={name: 0.1})))[name]
        assert row.l2 == pytest.approx(row.l0**0.5)
        return row.l0

    assert cells_of("goals", Budget(goals={"one": "/"})) == 1
    assert cells_of("goals", Budget(goals=dict.fromkeys("abcde", "/"))) == 3
    assert cells_of("funnels", Budget(funnels={"one": ("/", "/1", "/2")})) == 1
    assert cells_of("funnels", POLICY.budget) == 3


@pytest.mark.parametrize(
    ("log", "furthest"),
    [
        ([view("/", 0)], 1),
        ([view("/", 0), view("/1", 1)], 2),
        ([view("/", 0), view("/1", 1), event("signup", 2)], 3),
        ([view("/1", 0), view("/", 1)], 1),
        ([view("/1", 0), view("/", 1), event("signup", 2), view("/1", 3)], 2),
        ([view("/", 0), event("signup", 1)], 1),
        ([view("/", 0), view("/3", 1), view("/1", 2), view("/", 3), event("signup", 4)], 3),
        ([view("/1", 0), event("signup", 1)], None),
        ([view("/", 1439), view("/1", 1441)], 1),
    ],
    ids=[
        *("begun", "two", "all", "backwards", "again in order", "one left out"),
        *("with a detour", "never begun", "over midnight"),
    ],
)
def test_a_visitor_day_counts_at_its_furthest_step(
    engine: Engine, tmp_path: Path, log: Log, furthest: int | None
) -> None:
    """Steps count in their order, whatever lies between; once per visitor-day."""
    build_rows(engine, tmp_path, log, Window("day", DAY))
    keys = ["signing up: 1 /", "signing up: 2 /1", "signing up: 3 signup"]
    found = {key: value for key, value in cells(engine, "funnels").items() if key in keys}
    assert found == ({keys[furthest - 1]: 1} if furthest else {})


def furthest_of(log: Log, steps: tuple[str, ...]) -> int:
    """The furthest step of one visitor-day, one event after the other."""
    done = 0
    for each in sorted(log, key=lambda known: known["ts_ms"]):
        act = each["path"] if each["kind"] == "view" else each["name"]
        if done < len(steps) and act == steps[done]:
            done += 1
    return done


@given(acts=st.lists(st.sampled_from(["/", "/1", "/2", "signup", "order"]), max_size=12))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_funnels_are_as_in_python(engine: Engine, tmp_path: Path, acts: list[str]) -> None:
    """Whatever a visitor does: the step that one event after the other comes to."""
    log = [view(act, n) if act[0] == "/" else event(act, n) for n, act in enumerate(acts)]
    build_rows(engine, tmp_path, log)
    found = cells(engine, "funnels")
    for funnel in ("signing up", "ordering"):
        came = furthest_of(log, POLICY.budget.funnels[funnel])
        reached = [str(key) for key in found if str(key).startswith(f"{funnel}:")]
        assert [int(key.split(":")[1].split()[0]) for key in reached] == ([came] if came else [])


def test_steps_are_cumulated() -> None:
    """Of 100 who began, 60 came to the second step or further and 20 to the third."""
    counts = {"x: 1 /": 40, "x: 2 /1": 40, "x: 3 signup": 20, "y: 1 /": 5, "y: 2 /1": 5}
    exact: Cells = {"funnels": {key: (value, value, value, 1e-9) for key, value in counts.items()}}
    found = {key: value for key, (value, *_) in RATIOS["funnel_rate"].rows(exact)}
    assert found == pytest.approx(
        {"x: 1 /": 1, "x: 2 /1": 0.6, "x: 3 signup": 0.2, "y: 1 /": 1, "y: 2 /1": 0.5}
    )


def test_conversion_is_of_all_visitor_days(engine: Engine, tmp_path: Path) -> None:
    """Visitor-days with the goal ÷ visitor-days."""
    build_rows(engine, tmp_path, [*(view("/", 0, each) for each in "abcd"), event("order", 1, "a")])
    exact = {
        name: {key: (value, value, value, 1e-9) for key, value in cells(engine, name).items()}
        for name in ("goals", "visitors")
    }
    assert {key: value for key, (value, *_) in RATIOS["conversion_rate"].rows(exact)} == {"order": 0.25}


def known(visitor: str, cohort: str | None, *days: int) -> Log:
    """Views of a visitor with a long-lived pseudonym, some days into the week."""
    return [row(ts_ms=at(minutes=day * 1440), visitor=visitor, cohort=cohort) for day in days]


def test_new_and_returning_visitors_are_told_by_their_cookie(engine: Engine, tmp_path: Path) -> None:
    """Each once per week, by the week of consent; who has a pseudonym of the day is neither."""
    log = [
        *(*known("a", "2026-W48", 0, 1, 5), *known("b", "2026-W47", 3), *known("c", "2025-W02", 0, 6)),
        *(*known("d", None, 0), *known("e", "2026-W48", 7)),
    ]
    build_rows(engine, tmp_path, log)
    assert cells(engine, "returning") == {"new": 1, "returning": 2}
    assert cells(engine, "retention") == {"0": 1, "1": 1, "12+": 1}
    assert cells(engine, "visitors") == {None: 7}


@pytest.mark.parametrize("name", ["returning", "retention"])
def test_all_days_of_a_visitor_are_one_cell(engine: Engine, tmp_path: Path, name: str) -> None:
    """Who comes on seven days of a week changes one cell by one, and nothing while a day of theirs stays."""
    others = [*known("b", "2026-W48", 0, 2), *known("c", "2026-W40", 6)]
    counted = []
    for days in (range(7), range(1), ()):
        build_rows(engine, tmp_path, [*others, *known("a", "2026-W47", *days)])
        counted.append(cells(engine, name))
    whole, one_day, none = counted
    assert whole == one_day
    assert sum(whole.values()) == sum(none.values()) + 1
    assert len(whole.items() - none.items()) == 1


def test_in_a_longer_window_its_own_weeks_are_new(engine: Engine, tmp_path: Path) -> None:
    """In 28 days, whoever consented in one of their weeks."""
    block = Window("28-days", date(2026, 10, 26))
    log = [*known("a", "2026-W44", 0), *known("b", "2026-W47", 0), *known("c", "2026-W43", 0)]
    build_rows(engine, tmp_path, log, replace(block, start=date(2026, 11, 2)))
    assert cells(engine, "returning") == {"new": 1, "returning": 2}


@pytest.mark.parametrize(("weeks", "age"), [(0, "0"), (1, "1"), (11, "11"), (12, "12+"), (60, "12+")])
def test_retention_counts_whole_weeks(engine: Engine, tmp_path: Path, weeks: int, age: str) -> None:
    """Over the turn of a year, too."""
    start = date(2027, 1, 11)
    year, week, _ = date.fromordinal(start.toordinal() - 7 * weeks).isocalendar()
    log = [row(ts_ms=at(start), cohort=f"{year}-W{week:02}")]
    build_rows(engine, tmp_path, log, Window("week", start))
    assert cells(engine, "retention") == {age: 1}
    assert age in AGES


def test_a_daily_pseudonym_shows_no_cohort(engine: Engine, tmp_path: Path) -> None:
    """Where statistics may see the day's pseudonym only, nobody is told apart over days."""
    daily = purpose("statistics", EVERYTHING | {"cookie": "daily"})
    under = policy(version(daily, purpose("advertising", EVERYTHING)))
    build_rows(engine, tmp_path, known("a", "2026-W48", 0), under=under)
    assert cells(engine, "returning") == cells(engine, "retention") == {}


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_visitors_are_told_apart_over_weeks_only(tier: Tier) -> None:
    """No tier publishes who returned on a day; the smallest has 28 days and no list."""
    found = {name: STATISTICS[name].window(tier) for name in ("returning", "retention")}
    is_tiny = tier.name == "tiny"
    assert found == {"returning": "28-days" if is_tiny else "week", "retention": None if is_tiny else "week"}


def shared(**shares: float) -> Policy:
    """A policy that declares nothing to count."""
    return replace(POLICY, budget=Budget(shares=shares))


@pytest.mark.parametrize(
    ("name", "table"), [("goals", "goals"), ("funnels", "funnels"), ("page_seconds", "pages")]
)
def test_what_counts_nothing_is_a_mistake(name: str, table: str) -> None:
    """A share for goals that nobody named is refused with its remedy."""
    mistake = f"budget.shares.{name} counts nothing: name what it is to count in budget.{table}"
    with pytest.raises(PolicyError, match=mistake):
        enabled(shared(**{name: 0.1}))
    assert check.mistakes(shared(**{name: 0.1})) == [mistake]
