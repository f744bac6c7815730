"""The one door, from private events to published files and the ledger."""

import contextlib
import os
import random
import shutil
import signal
import stat
import time
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from collector.policy import Budget, Policy, Version
from pipeline.audit.verify import verify
from pipeline.commitment import commitment, contents
from pipeline.engine import Engine
from pipeline.errors import BudgetExhausted, LedgerError, StoreError
from pipeline.ledger import Ledger
from pipeline.published import HEAD, START, head_of, manifest_of, place
from pipeline.query import RATIOS, report, windows
from pipeline.release import Door, correct, release_due
from pipeline.retention import expire
from pipeline.spec import mechanism
from pipeline.statistics import DEFAULT, STATISTICS, nano_rho
from pipeline.store import SEALED, Manifest, batch_files, commit_batch, events_of, write_aside
from pipeline.windows import Window, last_closed_day, tier_of, window_of
from tests.forks import alone, ended, forked
from tests.pipeline.private_events import DAY, POLICY, Row, at, closed, reader, row, store
from tests.policies import EVERYTHING, purpose, version

TOTALS = {name for name in DEFAULT if STATISTICS[name].kind == "total"}


def under(
    tier: str = "medium", shares: dict[str, float] | None = None, pages: tuple[str, ...] = ()
) -> Policy:
    return Policy(POLICY.controller, POLICY.versions, Budget(tier, shares or {}, pages))


def release(data: Path, policy: Policy, last_day: date, first_day: date = DAY) -> dict[str, str]:
    """Release what is due when a day has just closed: release → state."""
    outcomes = release_due(data, policy, lambda: closed(last_day), first_day)
    assert len({outcome.release_id for outcome in outcomes}) == len(outcomes)
    return {outcome.release_id: outcome.state for outcome in outcomes}


def published(data: Path) -> dict[str, bytes]:
    """Every published file."""
    root = data / "published"
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def cells(data: Path, release_id: str) -> list[dict[str, Any]]:
    """The rows of one published file."""
    with duckdb.connect() as database:
        frame = database.read_parquet(str(place(data / "published", release_id))).df()
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows


def crowd(visitors: int, day: date = DAY, **fields: Any) -> list[Row]:
    """So many visitors with one view each."""
    return [row(ts_ms=at(day), visitor=f"{n:032x}", **fields) for n in range(visitors)]


# ---------- what is published


def test_a_day_is_published_with_noise_and_intervals(tmp_path: Path) -> None:
    """A closed day's totals are published near the truth, each with σ and its 95 % interval."""
    store(tmp_path, crowd(500))
    assert set(release(tmp_path, under(), DAY)) == {f"{name}/day/{DAY}" for name in TOTALS}
    (visitors,) = cells(tmp_path, f"visitors/day/{DAY}")
    assert visitors["sigma"] == pytest.approx(20.41, abs=0.01)
    assert abs(visitors["value"] - 500) < 7 * 20.41  # 1 in 10¹¹ is further off
    assert visitors["upper"] - visitors["value"] == pytest.approx(1.96 * 20.41, abs=0.01)
    assert {key: visitors[key] for key in ("statistic", "window", "thresholded")} == {
        "statistic": "visitors",
        "window": "day",
        "thresholded": False,
    }


def test_everything_on_request_is_released_verified_and_corrected(tmp_path: Path) -> None:
    """What a policy adds to the default set comes out like the rest, under the keys that it names."""
    asked = [name for name, row in STATISTICS.items() if not row.share and row.kind != "realtime"]
    shares = dict.fromkeys([*asked, "visitors", "pages", "exit_pages"], 0.05)
    policy = replace(POLICY, budget=replace(POLICY.budget, shares=shares))
    last = DAY + timedelta(6)
    store(tmp_path, [*crowd(4000, cohort="2026-W48"), *reader("r")])
    done = release(tmp_path, policy, last)
    daily = {name for name in asked if f"{name}/day/{DAY}" in done}
    assert daily == {"engaged", "goals", "funnels"}
    assert all(f"{name}/week/{DAY}" in done for name in asked if name not in daily)
    keys = {cell["key"] for cell in cells(tmp_path, f"goals/day/{DAY}")}
    assert keys == set(POLICY.budget.goals)
    (new, _) = cells(tmp_path, f"returning/week/{DAY}")
    assert new["key"] == "new" and abs(new["value"] - 4000) < 7 * new["sigma"]
    checked = verify(tmp_path, policy, closed(last), lambda *_: None)
    assert [mistake for each in checked for mistake in each.mistakes] == []
    again = correct(tmp_path, policy, lambda: closed(last), f"goals/day/{DAY}", "a goal was misspelt")
    assert {cell["key"] for cell in cells(tmp_path, again.release_id)} == keys
    for name, rate in RATIOS.items():
        if set(rate.sources) <= set(shares):
            assert len(report(tmp_path / "published", name, DAY, last)), name


def test_public_keys_are_published_empty_or_not(tmp_path: Path) -> None:
    """Every public key has a cell, with noise around zero where nothing was seen."""
    release(tmp_path, under("large", pages=("/", "/about")), DAY)
    for name in DEFAULT:
        found = cells(tmp_path, f"{name}/day/{DAY}")
        statistic = STATISTICS[name]
        keys = [None] if statistic.keys == (None,) else list(statistic.keys or ("/", "/about"))
        assert len(found) == len(keys)
        assert keys == [None] or [cell["key"] for cell in found] == keys
    values = [cell["value"] for cell in cells(tmp_path, f"countries/day/{DAY}")]
    assert len(set(values)) > 50


def test_private_pages_need_a_crowd(tmp_path: Path) -> None:
    """A page the policy does not declare is named when hundreds saw it, never when one did."""
    store(tmp_path, [*crowd(1000, path="/popular"), row(path="/only-mine", visitor="f")])
    release(tmp_path, under("medium", pages=("/declared",)), DAY + timedelta(6))
    for name in ("pages", "entry_pages"):
        found = {cell["key"]: cell["thresholded"] for cell in cells(tmp_path, f"{name}/week/{DAY}")}
        assert found == {"/declared": False, "/popular": True}


def test_every_cell_of_a_file_is_a_whole_number(tmp_path: Path) -> None:
    """Values are integers, so that no low-order bits of a float can tell what they were made from."""
    release(tmp_path, under("large"), DAY)
    with duckdb.connect() as database:
        files = str(tmp_path / "published" / "*" / "*.parquet")
        kinds = dict(
            zip(*(getattr(database.read_parquet(files), name) for name in ("columns", "types")), strict=True)
        )
    assert str(kinds["value"]) == "BIGINT"
    assert [str(kinds[name]) for name in ("start", "end")] == ["DATE", "DATE"]


# ---------- when


def test_only_closed_days_are_released(tmp_path: Path) -> None:
    """A day can be released from two hours after its end on, not a millisecond earlier."""
    store(tmp_path, crowd(3))
    assert release_due(tmp_path, under(), lambda: closed(DAY) - 1, DAY) == []
    assert not (tmp_path / "published").exists()
    assert len(release_due(tmp_path, under(), lambda: closed(DAY), DAY)) == len(TOTALS)


def test_empty_days_are_released(tmp_path: Path) -> None:
    """Days on which nothing happened are released like all others: a gap would say so exactly."""
    states = release(tmp_path, under(shares={"visitors": 0.1}), DAY + timedelta(2))
    assert list(states) == [f"visitors/day/{DAY + timedelta(n)}" for n in range(3)]


WINDOWS = {
    "tiny": ({"28-days"}, set[str]()),
    "small": ({"week"}, {"week"}),
    "medium": ({"day"}, {"week"}),
    "large": ({"day"}, {"day"}),
}


@pytest.mark.parametrize("tier", WINDOWS)
def test_tiers_choose_windows(tmp_path: Path, tier: str) -> None:
    """Each tier releases totals and lists over its own windows, and the first window holds the first day."""
    shares = {"visitors": 0.1, "devices": 0.1}
    block = window_of("28-days", DAY)
    states = release(tmp_path, under(tier, shares), block.end, first_day=DAY + timedelta(2))
    totals, lists = WINDOWS[tier]
    windows = {(name, window) for name, window, _ in (each.split("/") for each in states)}
    assert windows == {("visitors", name) for name in totals} | {("devices", name) for name in lists}
    starts = [date.fromisoformat(each.split("/")[2]) for each in states if each.startswith("visitors")]
    assert min(starts) == window_of(next(iter(totals)), DAY + timedelta(2)).start


def test_windows_are_aligned() -> None:
    """Weeks begin on Mondays, a 28-day block is four of them, and all fit into one another."""
    assert window_of("week", date(2026, 11, 29)) == Window("week", DAY)
    block = window_of("28-days", DAY)
    assert block.start <= DAY <= block.end
    assert (block.start - date(1970, 1, 5)).days % 28 == 0
    assert [week.start.isoweekday() for week in block.inside("week")] == [1] * 4
    assert [day for week in block.inside("week") for day in week.days] == list(block.days)
    assert last_closed_day(closed(DAY)) == DAY
    assert last_closed_day(closed(DAY) - 1) == DAY - timedelta(1)


@pytest.mark.parametrize(("visitors", "tier"), [(-5, "tiny"), (49, "tiny"), (50, "small"), (10_000, "large")])
def test_tiers_by_published_size(visitors: float, tier: str) -> None:
    """A site's tier follows from the visitors it has published."""
    assert tier_of(visitors).name == tier


def test_auto_follows_what_was_published_the_block_before(tmp_path: Path) -> None:
    """A new site starts small; from the next block on its tier follows its published visitors."""
    first = window_of("28-days", DAY)
    then = window_of("28-days", first.end + timedelta(1))
    # 1,200 a day on each of the first week's days, of which the week releases the sum.
    store(tmp_path, [each for n in range(7) for each in crowd(1200, DAY + timedelta(n))])
    start = window_of("week", first.end).start
    assert start >= DAY
    store(tmp_path, [each for n in range(7) for each in crowd(1200, start + timedelta(n))])
    states = release(tmp_path, under("auto", {"visitors": 0.5}), then.start, first_day=start)
    assert list(states) == [f"visitors/week/{start}", f"visitors/day/{then.start}"]


# ---------- once


def test_releasing_again_changes_nothing(tmp_path: Path) -> None:
    """However often releases are asked for, files and charges stay, whatever happened to the events."""
    store(tmp_path, crowd(100))
    first = release(tmp_path, under(), DAY + timedelta(6))
    before = published(tmp_path)
    store(tmp_path, crowd(900))
    for _ in range(20):
        assert set(release(tmp_path, under(), DAY + timedelta(6)).values()) == {"known"}
    assert published(tmp_path) == before
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert set(ledger.releases()) == set(first)
        assert {place(Path(), name): ledger.output(name) for name in first} == {
            Path(name): content for name, content in before.items() if name != HEAD
        }
        # Each day pays for its own totals and for the lists of its week, 0.98 of ρ = 0.015 in all.
        for day in Window("week", DAY).days:
            rho, delta = ledger.spent(day)
            assert rho == 14_700_000
            assert 0 < delta <= 1_000_000


def test_another_tier_does_not_release_a_day_twice(tmp_path: Path) -> None:
    """Days whose totals are out as days are not released again as weeks, nor is what was passed by."""
    shares = {"visitors": 0.1}
    release(tmp_path, under("medium", shares), DAY + timedelta(1))
    later = release(tmp_path, under("small", {**shares, "visits": 0.1}), DAY + timedelta(13))
    made = {name for name, state in later.items() if state == "released"}
    second = DAY + timedelta(7)
    assert made == {f"visits/week/{DAY}", f"visits/week/{second}", f"visitors/week/{second}"}
    everything = release(tmp_path, under("small", {"visitors": 0.1, "devices": 0.1}), DAY + timedelta(20))
    assert [name for name in everything if name.startswith("devices")] == [
        f"devices/week/{second}",
        f"devices/week/{second + timedelta(7)}",
    ]


def test_over_budget_is_an_outcome(tmp_path: Path) -> None:
    """A release that a day cannot bear is refused with the reason, and the rest goes on."""
    release(tmp_path, under(shares={"visitors": 0.9}), DAY)
    outcomes = release_due(tmp_path, under(shares={"visits": 0.2, "bounce": 0.1}), lambda: closed(DAY), DAY)
    by_id = {outcome.release_id: outcome for outcome in outcomes}
    refused = by_id[f"visits/day/{DAY}"]
    assert refused.state == "refused"
    assert "needs ρ = 0.003, 2026-11-23 has 0.0015 left" in refused.reason
    assert by_id[f"bounce/day/{DAY}"].state == "released"
    assert not place(tmp_path / "published", refused.release_id).exists()


def test_a_rewound_ledger_is_refused(tmp_path: Path) -> None:
    """A ledger older than what is published would pay for the same days twice: nothing is released."""
    release(tmp_path, under(), DAY)
    backup = (tmp_path / "ledger.sqlite").read_bytes()
    release(tmp_path, under(), DAY + timedelta(1))
    (tmp_path / "ledger.sqlite").write_bytes(backup)
    before = published(tmp_path)
    with pytest.raises(LedgerError, match=r"put the newest ledger\.sqlite back"):
        release(tmp_path, under(), DAY + timedelta(2))
    assert published(tmp_path) == before


def test_a_directory_put_back_as_a_whole_but_for_the_head_is_refused(tmp_path: Path) -> None:
    """Ledger and files of yesterday together: the head of the chain, kept elsewhere, tells."""
    release(tmp_path, under(), DAY)
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    release(tmp_path, under(), DAY + timedelta(1))
    head = (tmp_path / "published" / "head.json").read_bytes()
    copy = tmp_path.with_name("copy")
    (copy / "published" / "head.json").write_bytes(head)
    with pytest.raises(LedgerError, match=r"knows of 14 releases that ledger\.sqlite does not have"):
        release(copy, under(), DAY + timedelta(1))
    (copy / "published" / "head.json").unlink()
    assert "released" in release(copy, under(), DAY + timedelta(1)).values(), "without it nobody can tell"
    assert head_of(copy / "published") != head_of(tmp_path / "published")


def test_a_correction_is_a_second_charge_and_a_second_file(tmp_path: Path) -> None:
    """It spends what is left, says why, leaves the first file as it was, and answers from then on."""
    store(tmp_path, crowd(500))
    release(tmp_path, under(), DAY)
    first, before = f"visitors/day/{DAY}", published(tmp_path)
    store(tmp_path, crowd(300))
    outcome = correct(tmp_path, under(), lambda: closed(DAY), first, "bots were counted")
    assert outcome.release_id == f"{first}/2" and outcome.state == "released"
    assert before.items() <= {**published(tmp_path), "head.json": before["head.json"]}.items()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent(str(DAY))[0] <= ledger.cap(str(DAY))[0] == 15_000_000
        assert ledger.charges(outcome.release_id)[0] == ledger.charges(first)[0]
        assert len(ledger.in_order()) == ledger.head().number
    about = manifest_of(place(tmp_path / "published", outcome.release_id))
    assert (about.why, about.release) == ("bots were counted", outcome.release_id)
    [value] = windows(tmp_path / "published", "visitors", DAY, DAY)["value"]
    assert abs(value - 300) < 6 * about.sigma
    assert set(release(tmp_path, under(), DAY).values()) == {"known"}
    for _ in range(20):
        with contextlib.suppress(BudgetExhausted):
            correct(tmp_path, under(), lambda: closed(DAY), first, "again")
    with pytest.raises(BudgetExhausted, match="have spent their whole budget"):
        correct(tmp_path, under(), lambda: closed(DAY), first, "again")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent(str(DAY))[0] == 15_000_000


def test_a_corrected_list_counts_under_the_keys_that_are_published(tmp_path: Path) -> None:
    """It costs no δ, which its days have spent: no key is learnt, those of before are known."""
    last, first = DAY + timedelta(6), f"pages/week/{DAY}"
    policy = under("medium", pages=("/declared",))
    store(tmp_path, crowd(4000, path="/popular"))
    release(tmp_path, policy, last)
    store(tmp_path, [*crowd(3000, path="/popular"), *crowd(3000, path="/never-named")])
    outcome = correct(tmp_path, policy, lambda: closed(last), first, "a worker's log was missing")
    found = {cell["key"]: cell for cell in cells(tmp_path, outcome.release_id)}
    assert {key: cell["thresholded"] for key, cell in found.items()} == {
        "/declared": False,
        "/popular": False,
    }
    about = manifest_of(place(tmp_path / "published", outcome.release_id))
    assert (about.threshold, about.atto_delta, about.public_keys) == (None, 0, ["/declared", "/popular"])
    assert abs(found["/popular"]["value"] - 3000) < 6 * about.sigma


def test_a_list_that_named_nothing_is_not_corrected(tmp_path: Path) -> None:
    """There is no key to count under, and nothing is charged."""
    release(tmp_path, under("large"), DAY)
    before = published(tmp_path)
    with pytest.raises(LedgerError, match="names no key"):
        correct(tmp_path, under("large"), lambda: closed(DAY), f"pages/day/{DAY}", "why")
    assert published(tmp_path) == before


def test_a_correction_leaves_the_tier_of_the_next_block_as_it_was(tmp_path: Path) -> None:
    """Windows of a block that has begun stay what they are, or some of its days would never come out."""
    policy = under("auto", {"visitors": 0.5})
    last = window_of("28-days", DAY).end
    week = window_of("week", last)
    store(tmp_path, [each for n in range(7) for each in crowd(1200, week.start + timedelta(n))])
    release(tmp_path, policy, last, week.start)

    def tier() -> str:
        with Ledger(tmp_path / "ledger.sqlite") as ledger, Engine() as engine:
            following = window_of("28-days", last + timedelta(1))
            return Door(tmp_path, policy, ledger, engine).tier(following).name

    assert tier() == "medium"
    store(tmp_path, crowd(1, last))
    shutil.rmtree(events_of(tmp_path, str(week.start)))
    correct(tmp_path, policy, lambda: closed(last), f"visitors/week/{week.start}", "they were bots")
    assert tier() == "medium"


def test_what_cannot_be_corrected_says_why(tmp_path: Path) -> None:
    """A release nobody made, and one whose records are gone: refused, and nothing is charged."""
    release(tmp_path, under(), DAY)
    before = published(tmp_path)
    with pytest.raises(LedgerError, match="was never released: name one like"):
        correct(tmp_path, under(), lambda: closed(DAY), "visitors/day/2020-01-01", "why")
    with pytest.raises(StoreError, match="over their retention"):
        correct(tmp_path, under(), lambda: closed(DAY + timedelta(200)), f"visitors/day/{DAY}", "why")
    store(tmp_path, crowd(3))
    batch = events_of(tmp_path, str(DAY)) / "000001.parquet"
    with duckdb.connect() as database:
        some_are_gone = Manifest(0, [], 3, 0, removed={"expired": 2})
        commit_batch(write_aside(database, batch, f"FROM read_parquet('{batch}')", some_are_gone), batch)
    with pytest.raises(StoreError, match="not all is left to count"):
        correct(tmp_path, under(), lambda: closed(DAY), f"visitors/day/{DAY}", "why")
    assert published(tmp_path) == before


def test_where_one_purpose_ended_what_it_counted_is_not_corrected(tmp_path: Path) -> None:
    """Rows stay for another purpose and are no visitors any more: refused by age, and by what was cut."""
    both = [
        purpose(name, EVERYTHING, retention_days=days) for name, days in (("statistics", 30), ("ads", 90))
    ]
    policy = Policy(POLICY.controller, (version(*both),), Budget("medium", {}, ()))
    store(tmp_path, crowd(300, purposes=["ads", "statistics"]))
    (events_of(tmp_path, str(DAY)) / SEALED).touch()
    release(tmp_path, policy, DAY)
    first = f"visitors/day/{DAY}"
    with pytest.raises(StoreError, match="over their retention"):
        correct(tmp_path, policy, lambda: closed(DAY + timedelta(31)), first, "why")
    found = expire(tmp_path, policy, lambda: closed(DAY + timedelta(31)))
    assert (found.rows, found.cut) == (0, 300)
    with pytest.raises(StoreError, match="over their retention"):
        correct(tmp_path, policy, lambda: closed(DAY), first, "why")
    checked = verify(tmp_path, policy, closed(DAY + timedelta(31)), lambda *_: None)
    assert not [mistake for each in checked for mistake in each.mistakes]
    [inputs] = [each for each in checked if each.check.key == "inputs"]
    assert [*inputs.skipped] == ["whose inputs differ: rows were cut since"]


def test_what_a_shorter_term_ended_is_not_corrected(tmp_path: Path) -> None:
    """A later version's term was over and the day's records went: also when another version keeps longer."""

    def then(version_id: str, effective: date, days: int) -> Version:
        told = purpose("statistics", EVERYTHING, retention_days=days)
        return version(told, version_id=version_id, effective=effective)

    first = then("v1", date(2026, 1, 1), 90)
    shorter, longer = (then("v2", DAY + timedelta(31), 28), then("v3", DAY + timedelta(40), 90))
    policy = Policy(POLICY.controller, (first, shorter, longer), Budget("medium", {}, ()))
    store(tmp_path, crowd(300))
    (events_of(tmp_path, str(DAY)) / SEALED).touch()
    release(tmp_path, policy, DAY)
    assert expire(tmp_path, policy, lambda: closed(DAY + timedelta(29))).days == []
    assert expire(tmp_path, policy, lambda: closed(DAY + timedelta(31))).days == [str(DAY)]
    for today in (DAY + timedelta(31), DAY + timedelta(41)):
        with pytest.raises(StoreError, match="over their retention"):
            correct(tmp_path, policy, partial(closed, today), f"visitors/day/{DAY}", "why")
        checked = verify(tmp_path, policy, closed(today), lambda *_: None)
        assert not [mistake for each in checked for mistake in each.mistakes]


def test_the_head_chains_every_release(tmp_path: Path) -> None:
    """Recomputed from the first release on, it is the one that is published; another byte gives another."""
    release(tmp_path, under(), DAY + timedelta(2))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        chained, other = START, START
        for name in ledger.in_order():
            content = ledger.output(name) or b""
            chained, other = chained.after(name, content), other.after(name, content + b" ")
        assert chained == ledger.head() == head_of(tmp_path / "published") != other
        assert chained.number == len(ledger.releases())


def test_a_release_says_how_it_was_made(tmp_path: Path) -> None:
    """Bounds, noise, cost, keys and hashes stand in the file itself; of the data a keyed commitment only."""
    store(tmp_path, crowd(30))
    release(tmp_path, under("large", pages=("/",)), DAY)
    pages = manifest_of(place(tmp_path / "published", f"pages/day/{DAY}"))
    row, drawn = STATISTICS["pages"], mechanism(STATISTICS["pages"], nano_rho(0.2, 4_000_000))
    assert (pages.l0, pages.linf, pages.l2) == (row.l0, row.linf, row.l2)
    assert (pages.sigma, pages.threshold) == (drawn.sigma, drawn.threshold)
    assert (pages.nano_rho, pages.atto_delta) == (drawn.nano_rho, drawn.atto_delta)
    assert pages.days == [str(DAY)] and pages.public_keys == ["/"]
    assert pages.keys == f"known beforehand; others from traffic, at {drawn.threshold} or more"
    held = contents(batch_files(events_of(tmp_path, str(DAY))))
    assert pages.inputs == commitment(tmp_path, pages.release, held)
    key = tmp_path / "keys" / "commitment.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    assert commitment(tmp_path, pages.release, held) != pages.inputs, "without the key nobody tries contents"


def test_no_two_commitments_are_alike(tmp_path: Path) -> None:
    """Not those of days without anybody, nor of one day: nobody learns that two inputs are the same."""
    store(tmp_path, crowd(1, DAY + timedelta(1)))
    release(tmp_path, under("large"), DAY + timedelta(3))
    correct(tmp_path, under("large"), lambda: closed(DAY + timedelta(3)), f"visitors/day/{DAY}", "again")
    files = [*(tmp_path / "published").glob("*/*.parquet")]
    assert len({manifest_of(file).inputs for file in files}) == len(files) > 70


def test_times_of_files_tell_no_work(tmp_path: Path) -> None:
    """A release is as old as its window's end, whenever it was made; so is its directory."""
    store(tmp_path, crowd(2000))
    release(tmp_path, under("large"), DAY + timedelta(1))
    places = [path for path in (tmp_path / "published").glob("*/*") if path.is_file()]
    days = {path: date.fromisoformat(path.stem.removeprefix("day-")) for path in places}
    assert {closed(day) - path.stat().st_mtime * 1000 for path, day in days.items()} == {0}
    assert {path.parent.stat().st_mtime * 1000 for path in places} == {closed(DAY + timedelta(1))}
    assert (tmp_path / "published" / "head.json").stat().st_mtime % 60 == 0


def test_a_lost_file_is_published_again_as_it_was(tmp_path: Path) -> None:
    """What a run stored but had no time to publish appears with the same bytes, for free."""
    release(tmp_path, under(), DAY)
    before = published(tmp_path)
    place(tmp_path / "published", f"visits/day/{DAY}").unlink()
    assert set(release(tmp_path, under(), DAY).values()) == {"known"}
    assert published(tmp_path) == before


KILLS = 4
"""Each within 0.2 s of the first file of a run; together they meet some of its 133 releases, not all."""


def release_to_death(directory: str) -> None:
    """Begin KILLS times to release a week, each killed soon after its first file; nothing kept is lost."""
    data, last_day, dice = Path(directory), DAY + timedelta(6), random.Random()
    kept: dict[str, bytes] = {}
    for _ in range(KILLS):
        child = forked(partial(release, data, under("large"), last_day))
        until = time.monotonic() + 60
        while len(published(data)) <= len(kept) and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(dice.random() / 5)
        os.kill(child, signal.SIGKILL)
        ended(child)
        with Ledger(data / "ledger.sqlite") as ledger:
            stored = {str(place(Path(), name)): ledger.output(name) for name in ledger.releases()}
        files = {name: content for name, content in published(data).items() if name.endswith(".parquet")}
        assert None not in stored.values()
        assert files.items() <= stored.items()
        assert kept.items() <= files.items()
        kept = files


def test_killed_at_any_moment_a_run_leaves_charges_with_bytes(tmp_path: Path) -> None:
    """Killed at random while releasing: each charge has its bytes, each file is what the ledger holds."""
    store(tmp_path, [each for n in range(7) for each in crowd(20, DAY + timedelta(n))])
    alone(release_to_death, tmp_path)
    release(tmp_path, under("large"), DAY + timedelta(6))
    assert len([name for name in published(tmp_path) if name.endswith(".parquet")]) == 7 * len(DEFAULT)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert {ledger.spent(day)[0] for day in Window("week", DAY).days} == {3_920_000}


# ---------- what it leaves on the disk, and what it says of itself


def test_the_ledger_is_private_and_nothing_else_is_left(tmp_path: Path) -> None:
    """The ledger is 0600; beside it and the published files a run leaves nothing."""
    store(tmp_path, crowd(10))
    release(tmp_path, under(), DAY)
    assert stat.S_IMODE((tmp_path / "ledger.sqlite").stat().st_mode) == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {"events", "keys", "ledger.sqlite", "published"}
    assert all(name.endswith(".parquet") or name == HEAD for name in published(tmp_path))


def test_progress_counts_days(tmp_path: Path) -> None:
    """Progress goes from 0 to the days there are, and never back."""
    said: list[tuple[str, int, int]] = []
    release_due(
        tmp_path, under(), lambda: closed(DAY + timedelta(6)), DAY, lambda *report: said.append(report)
    )
    done = [each for _, each, _ in said]
    assert done == sorted(done)
    assert (done[0], said[-1]) == (0, ("releasing statistics", 7, 7))
