"""The operator's view: every event is accounted for, and what was lost is said."""

import fcntl
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.record import DAY_MS, REASONS
from pipeline.days import seal
from pipeline.fates import DROPS, FRAMES
from pipeline.ingest import ingest
from pipeline.metrics import as_prometheus
from pipeline.status import COUNTERS_DAYS, as_json, forget_workers, in_words, read_status
from pipeline.windows import last_closed_day
from tests.pipeline.logs import DAY, frame, noon_ms, write
from tests.pipeline.test_cli import impersonal

ROOT = Path(__file__).parents[2]
CLOSED_MS = noon_ms() + 14 * 60 * 60 * 1000


def persist(data: Path, worker: str, **counters: Any) -> None:
    """The counters of a worker as it persists them; the worker is not alive."""
    (data / "status").mkdir(exist_ok=True)
    about = {"worker": worker, "pid": 1, "started_ms": noon_ms(), "updated_ms": noon_ms()}
    (data / "status" / f"{worker}.json").write_text(json.dumps(about | counters))
    (data / "status" / f"{worker}.lock").touch()


def words(data: Path) -> str:
    return "\n".join(in_words(read_status(data)))


def test_nothing_yet_is_fine(tmp_path: Path) -> None:
    """An empty data directory has no workers, no events, and nothing was lost."""
    status = read_status(tmp_path)
    assert (status.workers, status.days, status.spending, status.lost) == ([], [], [], {})
    assert "Nothing was lost." in words(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_worker_left_is_unaccounted(tmp_path: Path) -> None:
    """Queued events of a living worker wait; those of a dead one are lost, and said so."""
    counters = {"accepted": 10, "written": 6, "synced": 5, "queued": 3, "dropped": {"bot": 1}}
    persist(tmp_path, "aa", **counters, bots={"search-engine": 1})
    lock = os.open(tmp_path / "status" / "aa.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    alive = read_status(tmp_path)
    assert (alive.workers[0].alive, alive.totals["queued"], alive.lost) == (True, 3, {})
    os.close(lock)
    dead = read_status(tmp_path)
    assert (dead.workers[0].alive, dead.totals["queued"]) == (False, 0)
    assert dead.lost == {"unaccounted": 3}
    assert "Lost:\n  3 unaccounted: were in memory" in words(tmp_path)
    assert "1 search-engine" in words(tmp_path)


def test_counters_add_up_over_workers(tmp_path: Path) -> None:
    """Totals are sums; drops that were no visitor's are no loss, a full queue is."""
    persist(tmp_path, "aa", accepted=5, written=3, dropped={"bot": 1, "queue_full": 1})
    persist(tmp_path, "bb", accepted=4, written=2, dropped={"queue_full": 1, "rate": 1})
    status = read_status(tmp_path)
    assert status.totals["accepted"] == 9
    assert status.summed("dropped") == {"bot": 1, "queue_full": 2, "rate": 1}
    assert status.lost == {"queue_full": 2}
    said = words(tmp_path)
    assert said.index("1 rate:") < said.index("Lost:") < said.index("2 queue_full:")


def test_what_was_never_taken_is_told(tmp_path: Path) -> None:
    """Fields that a service does not name and values that were not stored are counted, and no loss."""
    persist(tmp_path, "aa", unnamed={"shop.scroll": 2, "shop.country": 1}, declined={"not_granted": 4})
    persist(tmp_path, "bb", unnamed={"shop.scroll": 3})
    status = read_status(tmp_path)
    assert as_json(status)["totals"]["unnamed"] == {"shop.scroll": 5, "shop.country": 1}
    assert status.lost == {}
    assert "their service does not name them: 5 shop.scroll, 1 shop.country" in words(tmp_path)
    assert "4 not_granted" in words(tmp_path)


def test_every_frame_of_the_logs_is_told(tmp_path: Path) -> None:
    """Rows, duplicates, quarantine by reason, late frames, and bytes that still wait."""
    write(tmp_path, [frame(1), frame(1), frame(2), frame(3, v=9), b"junk\n"])
    waiting = read_status(tmp_path).days[0]
    assert (waiting.outcomes, waiting.waiting_bytes > 0, waiting.sealed) == ({}, True, False)
    ingest(tmp_path, lambda: CLOSED_MS, lambda *_: None)
    seal(tmp_path, lambda: CLOSED_MS, last_closed_day(CLOSED_MS))
    write(tmp_path, [frame(4)])
    ingest(tmp_path, lambda: CLOSED_MS, lambda *_: None)
    status = read_status(tmp_path)
    [day] = status.days
    assert day.outcomes == {"rows": 2, "duplicate": 1, "version": 1, "torn": 1, "late": 1}
    assert (day.day, day.sealed, day.waiting_bytes) == (DAY, True, 0)
    assert status.lost == {"version": 1, "torn": 1, "late": 1}
    assert "quarantine/" in words(tmp_path)


def test_damaged_counters_are_named_and_do_not_hide_the_rest(tmp_path: Path) -> None:
    """A file that is no JSON is told of; the others are read."""
    persist(tmp_path, "aa", accepted=1, written=1)
    (tmp_path / "status" / "bb.json").write_text('{"worker"')
    status = read_status(tmp_path)
    assert status.unreadable == ["bb.json"]
    assert status.totals["accepted"] == 1
    assert "bb.json cannot be read" in words(tmp_path)


@pytest.mark.parametrize("key", ["totals", "lost", "outcomes", "workers", "days", "spending"])
def test_a_program_reads_the_same(tmp_path: Path, key: str) -> None:
    """The JSON form has the sums and the single counters."""
    persist(tmp_path, "aa", accepted=2, written=1)
    made = json.loads(json.dumps(as_json(read_status(tmp_path))))
    assert key in made
    assert made["totals"]["unaccounted"] == made["lost"]["unaccounted"] == 1


def test_a_monitor_reads_the_same(tmp_path: Path) -> None:
    """The Prometheus form holds every counter with its label, and parses as Prometheus reads it."""
    counts = {"errors": {"OSError": 4}, "unnamed": {"shop.scroll": 6}, "declined": {"not_granted": 7}}
    persist(tmp_path, "aa", accepted=9, written=3, dropped={"bot": 1, "quota": 2}, **counts)
    write(tmp_path, [frame(1), frame(2, v=9)])
    ingest(tmp_path, lambda: CLOSED_MS, lambda *_: None)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(as_prometheus(read_status(tmp_path)))
        for sample in family.samples
    }
    assert found["impersonal_lost_total",] == 2 + 3 + 1
    assert found["impersonal_lost", "unaccounted"] == 3 and found["impersonal_lost", "version"] == 1
    assert found["impersonal_dropped", "quota"] == 2 and found["impersonal_faults", "OSError"] == 4
    assert (
        found["impersonal_unnamed", "shop.scroll"] == 6 and found["impersonal_declined", "not_granted"] == 7
    )
    assert found["impersonal_workers", "ended"] == 1 and found["impersonal_frames", "rows"] == 1
    assert found["impersonal_waiting_log_bytes",] == 0 and found["impersonal_open_days",] == 1


def test_counters_go_some_weeks_after_their_worker(tmp_path: Path) -> None:
    """A dead worker's counters are removed after 28 days; a living one's never."""
    persist(tmp_path, "aa", accepted=3, written=1)
    persist(tmp_path, "bb", accepted=1, written=1)
    lock = os.open(tmp_path / "status" / "bb.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    forget_workers(tmp_path, lambda: noon_ms() + COUNTERS_DAYS * DAY_MS)
    assert read_status(tmp_path).lost == {"unaccounted": 2}
    forget_workers(tmp_path, lambda: noon_ms() + COUNTERS_DAYS * DAY_MS + 1)
    assert [path.stem for path in (tmp_path / "status").glob("*")] == ["bb", "bb"]
    os.close(lock)


def test_a_reason_nobody_knows_is_a_loss(tmp_path: Path) -> None:
    """Counters of a newer collector: what it dropped is not taken for nothing."""
    persist(tmp_path, "aa", accepted=1, dropped={"eclipse": 1})
    assert read_status(tmp_path).lost == {"eclipse": 1}
    assert "eclipse: is unknown here" in words(tmp_path)


def test_every_reason_of_the_collector_has_its_words() -> None:
    """Whatever the source drops an event for is a row of the table, and no row is without its source."""
    source = "".join(path.read_text() for path in (ROOT / "collector").glob("*.py"))
    said = set(re.findall(r'(?:_refused|_dropped)\["(\w+)"\]|Dropped\("(\w+)"', source))
    beacons = (ROOT / "collector" / "beacons.py").read_text()
    said |= {(reason, "") for reason in re.findall(r'return "(\w+)"(?:  #|\n)', beacons)}
    assert {first or second for first, second in said} | {"unaccounted"} == set(DROPS)
    assert set(REASONS) | {"late", "duplicate", "erased", "expired"} == set(FRAMES)


def test_a_version_that_was_changed_after_its_first_use_is_named(tmp_path: Path) -> None:
    """In words, for programs and monitors, and by the exit status; put back, all is well again."""
    assert impersonal("init", "--data", tmp_path).returncode == 0
    assert impersonal("run", "--data", tmp_path).returncode == 0
    assert impersonal("status", "--data", tmp_path).returncode == 0
    file = tmp_path / "policy.toml"
    before = file.read_text()
    file.write_text(before.replace("retention_days = ", "retention_days = 1", 1))
    done = impersonal("status", "--data", tmp_path)
    [fault] = read_status(tmp_path).policy_faults
    assert done.returncode == 1 and f"Policy:\n  {fault}" in done.stdout
    assert fault.startswith("version 1 says something else than on") and "put it back" in fault
    assert as_json(read_status(tmp_path))["policy_faults"] == [fault]
    assert "impersonal_policy_faults 1.0" in as_prometheus(read_status(tmp_path))
    file.write_text("versions = 3")
    assert "controller is missing" in impersonal("status", "--data", tmp_path).stdout
    file.write_text(before)
    assert impersonal("status", "--data", tmp_path).returncode == 0
