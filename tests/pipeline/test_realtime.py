"""Realtime: the hours of an open day, for one charge, each visitor-day in one of them at most."""

import os
import shutil
import signal
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from collector.policy import Budget, Policy
from collector.record import DAY_MS
from collector.rights import Rights, receipt_of
from pipeline import check, noise, publish
from pipeline.audit.verify import verify
from pipeline.engine import Engine
from pipeline.errors import LedgerError, NothingPublished
from pipeline.intervals import plain
from pipeline.ledger import Ledger
from pipeline.published import place
from pipeline.query import realtime, report, windows
from pipeline.rates import RATIOS, Cells
from pipeline.release import correct, release_due
from pipeline.run import run_once
from pipeline.spec import mechanism
from pipeline.statistics import STATISTICS, nano_rho
from pipeline.status import read_status
from pipeline.windows import HOUR, HOUR_MS, TIERS, Hour, Window, tier_named, window_named, window_of
from tests.forks import alone, ended, forked
from tests.pipeline import logs, private_events
from tests.pipeline.logs import DAY, NEXT_DAY
from tests.pipeline.private_events import Log, at, build_rows, row
from tests.pipeline.test_cli import impersonal
from tests.policies import CONSENTED

TODAY = date.fromisoformat(DAY)
SHARES = {"visitors": 0.1, "realtime": 0.05}
VICTIM = f"{0xE5:032x}"


def under(tier: str = "large", shares: dict[str, float] | None = None) -> Policy:
    return replace(CONSENTED, budget=Budget(tier, SHARES if shares is None else shares))


def clock_ms(hour: float, day: str = DAY) -> int:
    """So many hours into a day, and five minutes."""
    return logs.noon_ms(day) - DAY_MS // 2 + round(hour * HOUR_MS) + 300_000


def run(data: Path, hour: float, policy: Policy | None = None, day: str = DAY) -> dict[str, str]:
    """A round at so many hours and five minutes; what it did beside what was known: release → state."""
    done = run_once(data, policy or under(), lambda: clock_ms(hour, day), lambda *_: None)
    return {each.release_id: each.state for each in done.outcomes if each.state != "known"}


def come(data: Path, *hours: float, visitor: str = VICTIM, day: str = DAY) -> None:
    """Views of a visitor at these hours reach the logs."""
    start_ms = clock_ms(0, day)
    frames = [
        logs.frame(
            0, day, visitor=visitor, ts_ms=start_ms + round(hour * HOUR_MS), id=f"{visitor}{day}{hour}"
        )
        for hour in hours
    ]
    if frames:
        logs.write(data, frames, day=day)


def hours(*numbers: int, day: str = DAY) -> list[str]:
    return [f"realtime/hour/{day}T{number:02}" for number in numbers]


def files(data: Path) -> dict[str, bytes]:
    """Every published hour."""
    return {file.name: file.read_bytes() for file in (data / "published" / "realtime").glob("*")}


def exact(data: Path) -> dict[str, int]:
    """Hour → its value."""
    frame = windows(data / "published", "realtime", TODAY, TODAY)
    return dict(zip(frame["key"], frame["value"], strict=True))


@pytest.fixture
def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "gaussian", lambda counts, _sigma: list(counts))


# ---------- what counts


def seen(minutes: float, kind: str = "view", visitor: str | None = "a", **fields: Any) -> dict[str, Any]:
    return row(kind, at(minutes=minutes), visitor, **fields)


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ([seen(0)], {"00": 1}),
        ([seen(59.999), seen(60)], {"00": 1}),
        ([seen(60)], {"01": 1}),
        ([seen(1439.999)], {"23": 1}),
        ([seen(1440)], {}),
        ([seen(-1), seen(61)], {"01": 1}),
        ([seen(100), seen(400), seen(1000)], {"01": 1}),
        ([seen(100), seen(100, visitor="b"), seen(300, visitor="c")], {"01": 2, "05": 1}),
        ([seen(50, "ping", engaged_ms=9), seen(61)], {"01": 1}),
        ([seen(50, "ping", engaged_ms=9)], {}),
        ([seen(50, "event", name="signup")], {"00": 1}),
        ([seen(50, "consent", act="grant", first=True), seen(61)], {"01": 1}),
        ([seen(50, purposes=["advertising"]), seen(61)], {"01": 1}),
        ([seen(50, visitor=None)], {}),
    ],
    ids=[
        *("first instant", "to the end of an hour", "next hour", "last hour", "tomorrow", "since yesterday"),
        *("three visits", "three visitors", "a ping first", "a ping alone", "an event"),
        *("a choice", "another purpose", "nobody"),
    ],
)
def test_a_visitor_day_counts_in_the_hour_it_was_first_seen(
    engine: Engine, tmp_path: Path, log: Log, found: dict[str, int]
) -> None:
    """Once, in UTC, whatever follows; as `hours` says of the whole day."""
    build_rows(engine, tmp_path, log, Window("day", private_events.DAY))
    assert private_events.cells(engine, "realtime") == private_events.cells(engine, "hours") == found


STORIES: dict[str, tuple[dict[int, tuple[float, ...]], int | None, int | None]] = {
    # What reaches the logs before the round at each hour; before which round the visitor asks to be erased;
    # the hour they are counted in.
    "erased once counted": ({2: (1.2,), 5: (4.5,), 6: (1.1, 5.5)}, 4, 1),
    "erased before": ({3: (2.5,), 5: (4.5,)}, 3, None),
    "erased, after the first record came last": ({4: (3.5,), 5: (0.2,), 6: (5.5,)}, 6, 3),
    "in time": ({2: (1.2, 1.5), 4: (3.1,)}, None, 1),
    "late for each of several hours": ({5: (1.2, 3.3)}, None, None),
    "late, and there again": ({5: (1.2,), 6: (5.5,)}, None, None),
    "the first record last": ({4: (3.5,), 5: (0.2,), 6: (5.5,)}, None, 3),
    "by a clock that is fast": ({3: (3.2,)}, None, 3),
}


@pytest.mark.usefixtures("noiseless")
def test_a_visitor_day_changes_one_cell_of_all_hours(tmp_path: Path) -> None:
    """Late, out of order, erased in between, however it comes: of all hourly releases one cell by one.

    Each story is lived by twice as many visitors as the one before: the sums tell who is counted where.
    """
    stories = {
        f"{1 << 16 | one:032x}": story
        for weight, story in enumerate(STORIES.values())
        for one in range(1 << weight, 2 << weight)
    }

    def day(data: Path, lived: dict[str, Any]) -> dict[str, int]:
        for hour in range(1, 8):
            come(data, hour - 0.5, visitor=f"{hour:032x}")
            for visitor, (comes, erased, _) in lived.items():
                come(data, *comes.get(hour, ()), visitor=visitor)
                if erased == hour:
                    now_ms = clock_ms(hour)
                    Rights(data).erase(visitor, receipt_of(visitor), now_ms - 1000, now_ms + DAY_MS)
            assert run(data, hour) == {hours(hour - 1)[0]: "released"}
        return exact(data)

    without, with_them = day(tmp_path / "without", {}), day(tmp_path / "with", stories)
    assert without == {f"{hour:02}": 1 for hour in range(7)}
    found = {int(key): value - without[key] for key, value in with_them.items()}
    counted = [(1 << weight, hour) for weight, (_, _, hour) in enumerate(STORIES.values())]
    assert found == {each: sum(weight for weight, hour in counted if hour == each) for each in range(7)}


# ---------- once, in order, for one charge


def test_a_day_of_hourly_runs_is_one_charge(tmp_path: Path) -> None:
    """Each hour comes out once, empty or not; the first pays for all, and the day comes as ever."""
    come(tmp_path, 9.5)
    out = 0
    for hour in (0, 1, 2, 3, 9, 10, 11, 23):  # some runs come late
        assert [name for name in run(tmp_path, hour) if DAY in name] == hours(*range(out, hour))
        out = hour
    later = partial(run, tmp_path, day=NEXT_DAY)
    assert list(later(0)) == hours(23)
    assert list(later(1)) == hours(0, day=NEXT_DAY)
    assert list(later(2)) == [f"visitors/day/{DAY}", *hours(1, day=NEXT_DAY)]
    drawn = mechanism(STATISTICS["realtime"], nano_rho(0.05, 4_000_000))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.charges(hours(0)[0])[0] == drawn.nano_rho <= 200_000
        assert ledger.spent(DAY)[0] == drawn.nano_rho + ledger.charges(f"visitors/day/{DAY}")[0] <= 600_000
        assert ledger.cap(DAY)[0] == 4_000_000
    spending = {each.day: each for each in read_status(tmp_path).spending}
    assert len(spending[DAY].releases) == 25 and spending[DAY].left == pytest.approx(0.0034)
    frame = windows(tmp_path / "published", "realtime", TODAY, TODAY)
    assert list(frame["key"]) == [f"{n:02}" for n in range(24)]
    assert set(frame["sigma"]) == {drawn.sigma} and frame["value"].dtype.kind == "i"
    assert frame["value"].nunique() > 10, "empty hours have noise"
    checked = verify(tmp_path, under(), clock_ms(3, NEXT_DAY), lambda *_: None)
    assert [mistake for each in checked for mistake in each.mistakes] == []
    assert not [why for each in checked for why in each.skipped]


def test_hours_come_a_minute_after_their_end(tmp_path: Path) -> None:
    """Not a millisecond earlier, and as many as a late run missed; none once the day is closed."""
    due = Hour(HOUR, TODAY, 2).closes_ms
    for now_ms, names in ((due - 1, hours(0, 1)), (due, hours(2))):
        found = release_due(tmp_path, under(), lambda now_ms=now_ms: now_ms, TODAY)  # type: ignore[misc]
        assert [each.release_id for each in found if each.state == "released"] == names
    end_ms, known = Window("day", TODAY).closes_ms, [*hours(0, 1, 2), *hours(0, day=NEXT_DAY)]
    assert len(release_due(tmp_path, under(), lambda: end_ms, TODAY + timedelta(1))) == 3 + 1
    assert set(files(tmp_path)) == {place(Path(), name).name for name in known}


def test_hours_once_released_stay(tmp_path: Path) -> None:
    """Asked again, with more records, by a clock put back: the same bytes, and nothing out of order."""
    come(tmp_path, 0.5)
    assert list(run(tmp_path, 3)) == hours(0, 1, 2)
    before, head = files(tmp_path), (tmp_path / "published" / "head.json").read_bytes()
    come(tmp_path, *range(3), visitor="ab" * 16)
    for again in (3, 3.5, 1, 0):
        assert run(tmp_path, again) == {}
    assert (files(tmp_path), (tmp_path / "published" / "head.json").read_bytes()) == (before, head)
    assert list(run(tmp_path, 5)) == hours(3, 4)
    assert before.items() <= files(tmp_path).items()
    with pytest.raises(LedgerError, match="was of an open day"):
        correct(tmp_path, under(), lambda: clock_ms(5), hours(1)[0], "a bot")


def killed(data: str, step: str) -> None:
    """Run at five, and die before a step."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def act() -> None:
        setattr({"write": publish, "encode": publish, "gaussian": noise}[step], step, die)
        run(Path(data), 5)

    assert ended(forked(act)) == -signal.SIGKILL


@pytest.mark.parametrize(("step", "is_paid"), [("gaussian", False), ("encode", False), ("write", True)])
def test_killed_between_charge_and_publication(tmp_path: Path, step: str, is_paid: bool) -> None:
    """Nothing was charged, or all is stored: the next run makes it, or publishes those very bytes."""
    come(tmp_path, 0.5)
    run(tmp_path, 2)
    alone(killed, tmp_path, step)
    assert len(files(tmp_path)) == 2
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        stored = {name: ledger.output(name) for name in hours(*range(5))}
    assert [content is not None for content in stored.values()] == [True] * 2 + [is_paid] * 3
    assert list(run(tmp_path, 5)) == ([] if is_paid else hours(2, 3, 4))
    assert len(files(tmp_path)) == 5
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert all(content in (None, ledger.output(name)) for name, content in stored.items())
        assert ledger.spent(DAY)[0] == ledger.charges(hours(0)[0])[0]


def raced(data: str) -> None:
    """Four processes at once, by clocks that differ."""
    children = [forked(partial(run, Path(data), hour)) for hour in (3, 5, 4, 5)]
    assert [ended(child) for child in children] == [0] * 4


def test_processes_together_release_each_hour_once(tmp_path: Path) -> None:
    """One charge, one chain, and every file is what the ledger holds."""
    come(tmp_path, 0.5)
    run(tmp_path, 0)
    alone(raced, tmp_path)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.in_order() == hours(*range(5))
        stored = {place(Path(), name).name: ledger.output(name) for name in ledger.in_order()}
        assert ledger.spent(DAY)[0] == ledger.charges(hours(0)[0])[0]
    assert files(tmp_path) == stored


def test_records_put_back_end_the_hours_of_the_day(tmp_path: Path) -> None:
    """Who was counted could be counted again: no more hours until tomorrow. An erasure does not end them."""
    come(tmp_path, 0.5, 1.5)
    come(tmp_path, 0.6, visitor="ab" * 16)
    run(tmp_path, 2)
    Rights(tmp_path).erase("ab" * 16, receipt_of("number"), clock_ms(2), clock_ms(30))
    come(tmp_path, 2.5, visitor="cd" * 16)
    shutil.copytree(tmp_path / "events", tmp_path / "copy")
    assert list(run(tmp_path, 3)) == hours(2)
    shutil.rmtree(tmp_path / "events")
    (tmp_path / "copy").rename(tmp_path / "events")
    shutil.rmtree(tmp_path / "logs")
    come(tmp_path, 3.5, visitor="cd" * 16)
    done = run_once(tmp_path, under(), lambda: clock_ms(4), lambda *_: None)
    [refused] = [each for each in done.outcomes if each.state == "refused"]
    assert refused.release_id == hours(3)[0] and "put back from a copy" in refused.reason
    assert run(tmp_path, 1, day=NEXT_DAY) == {
        hours(3)[0]: "refused",
        hours(0, day=NEXT_DAY)[0]: "released",
    }
    assert run(tmp_path, 2, day=NEXT_DAY)[f"visitors/day/{DAY}"] == "released"


def test_other_shares_hold_from_tomorrow_on(tmp_path: Path) -> None:
    """A charge pays for hours that are drawn alike."""
    run(tmp_path, 0)
    come(tmp_path, 0.5)
    assert list(run(tmp_path, 1)) == hours(0)
    other = under(shares={"visitors": 0.1, "realtime": 0.1})
    assert run(tmp_path, 2, other) == {hours(1)[0]: "refused"}
    assert run(tmp_path, 1, other, NEXT_DAY)[hours(0, day=NEXT_DAY)[0]] == "released"


# ---------- where, and what is answered


@pytest.mark.parametrize("tier", [tier.name for tier in TIERS if tier.name != "large"])
def test_a_smaller_site_releases_no_hours(tmp_path: Path, tier: str) -> None:
    """Whatever its policy says, which is told so; and nothing that anybody visited decides it."""
    come(tmp_path, 0.5)
    assert run(tmp_path, 5, under(tier)) == {}
    said = f"budget.shares.realtime buys nothing: a {tier} site does not publish realtime"
    assert said in list(check.remarks(under(tier)))
    assert not [each for each in check.remarks(under("auto")) if "buys nothing" in each]


def test_a_smaller_site_is_answered_with_its_last_day(tmp_path: Path) -> None:
    """The last released window of visitors, said in words; nothing where there is none."""
    published = tmp_path / "published"
    with pytest.raises(NothingPublished):
        realtime(published, TODAY)
    come(tmp_path, 0.5)
    run(tmp_path, 5, under("medium"))
    run(tmp_path, 5, under("medium"), NEXT_DAY)
    frame = realtime(published, TODAY + timedelta(1))
    assert list(frame["statistic"]) == ["visitors"] and frame["start"][0].date() == TODAY
    assert f"No hour of {NEXT_DAY} is released: only sites that publish 10,000" in frame.attrs["notes"][0]
    assert f"the visitors of {DAY}, which was released last" in frame.attrs["notes"][0]


def test_today_is_answered_hour_by_hour_with_its_sum(tmp_path: Path) -> None:
    """Every hour in order, then all so far with the σ of a sum; what is not in it is said."""
    come(tmp_path, 0.5)
    run(tmp_path, 9)
    frame = realtime(tmp_path / "published", TODAY)
    *cells, so_far = frame.to_dict("records")
    assert [cell["key"] for cell in cells] == [f"{n:02}" for n in range(9)]
    assert so_far["statistic"] == "visitors_so_far" and so_far["key"] is None
    assert so_far["value"] == sum(cell["value"] for cell in cells)
    assert so_far["sigma"] == pytest.approx(3 * cells[0]["sigma"])
    assert (so_far["lower"], so_far["upper"]) == pytest.approx(plain(so_far["value"], so_far["sigma"]))
    assert f"Of {DAY} the hours until 09:00 UTC are released" in frame.attrs["caveats"]
    assert any("is in none" in each for each in frame.attrs["caveats"])
    alone_ = report(tmp_path / "published", "visitors_so_far", TODAY, TODAY)
    assert list(alone_["value"]) == [so_far["value"]]


def test_the_command_prints_today_or_the_last_day(tmp_path: Path) -> None:
    """Hours with their sum, and else what was released last: both with what to know of them, and exit 0."""
    come(tmp_path, 0.5)
    run(tmp_path, 9)
    run(tmp_path, 3, day=NEXT_DAY)

    def asked(day: str, *more: str) -> tuple[list[str], str]:
        done = impersonal(
            "report", "--by", "realtime", "--format", "csv", *more, "--data", tmp_path, "--to", day
        )
        assert done.returncode == 0, done.stderr
        return [line.split(",")[0] for line in done.stdout.splitlines()[1:]], done.stderr

    rows, said = asked(DAY)
    assert rows == ["realtime"] * 9 + ["visitors_so_far"]
    assert "hours until 09:00 UTC" in said
    assert asked(DAY, "--each")[0] == asked(DAY, "--consistent", "--each")[0] == ["realtime"] * 9
    assert asked(DAY, "--from", "2026-11-01")[0] == ["realtime"] * 9
    rows, said = asked("2026-11-26")
    assert rows == ["visitors"] and f"the visitors of {DAY}, which was released last" in said
    assert asked(NEXT_DAY, "--against", DAY)[0] == ["realtime"] * 3


def test_the_intervals_of_hours_and_of_their_sum_cover() -> None:
    """95 % of them hold the truth, by the real mechanism at the share of a large site."""
    drawn = mechanism(STATISTICS["realtime"], nano_rho(0.05, tier_named("large").nano_rho))
    truths = [400, 20, 0] * 8
    held = [0, 0]
    for _ in range(1000):
        values = noise.gaussian(truths, drawn.sigma)
        cells: Cells = {
            "realtime": {
                f"{n:02}": (value, *plain(value, drawn.sigma), drawn.sigma) for n, value in enumerate(values)
            }
        }
        _, lower, upper, _ = cells["realtime"]["00"]
        held[0] += lower <= truths[0] <= upper
        [(_, (_, lower, upper, _))] = RATIOS["visitors_so_far"].rows(cells)
        held[1] += lower <= sum(truths) <= upper
    assert all(925 <= each <= 975 for each in held)


def test_a_block_s_first_hours_wait_for_its_tier(tmp_path: Path) -> None:
    """The tier follows from what was published of the block before, of which the last day is out at 02:00."""
    first = window_of("28-days", TODAY).start
    day = first.isoformat()

    def released_at(hour: int) -> list[str]:
        now_ms = clock_ms(hour, day)
        found = release_due(tmp_path, under(shares={"realtime": 0.05}), lambda: now_ms, first)
        return [each.release_id for each in found if each.state == "released"]

    assert released_at(1) == []
    assert released_at(2) == hours(0, 1, day=day)


@pytest.mark.parametrize("label", ["2026-11-24T5", "2026-11-24", "2026-11-24T0٥", "2026-11-24Tx", "x", ""])
def test_a_name_that_is_no_hour_is_none(label: str) -> None:
    """What lies among the published files under another name is no release."""
    assert window_named(HOUR, label) is None
    assert window_named(HOUR, "2026-11-24T05") == Hour(HOUR, TODAY, 5)


def test_two_files_have_no_time_or_commitment_alike(tmp_path: Path) -> None:
    """A file is as old as its hour's due release, whenever it was made, and sealed under its own name."""
    run(tmp_path, 4)
    found = sorted((tmp_path / "published" / "realtime").iterdir())
    assert [round(each.stat().st_mtime * 1000) for each in found] == [
        Hour(HOUR, TODAY, n).closes_ms for n in range(4)
    ]
    with duckdb.connect() as database:
        query = "SELECT DISTINCT value FROM parquet_kv_metadata(?)"
        assert len(database.execute(query, [[str(each) for each in found]]).fetchall()) == 4
