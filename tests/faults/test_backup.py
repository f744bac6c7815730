"""A back-up of the data directory put back: nothing is counted or paid for twice, and workers go on."""

import shutil
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from collector.record import DAY_MS
from pipeline.engine import connect
from pipeline.ledger import Ledger
from pipeline.run import Round, Unfinished, run_once
from tests.faults.host import Host, eventually, read
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms, write
from tests.policies import EVERYTHING, NECESSARY, measured, policy, version
from tests.serve import RULES

KEPT = policy(version(NECESSARY, measured(EVERYTHING), effective=date.fromisoformat(DAY)))


def run(data: Path, days_later: float = 0) -> Round:
    """One round, so many days after the noon of the second day."""
    now_ms = noon_ms(NEXT_DAY) + int(days_later * DAY_MS)
    return run_once(data, KEPT, lambda: now_ms, lambda what, done, total: None)


def rows(data: Path) -> list[str]:
    """The id of every private event."""
    with connect() as database:
        files = [str(path) for path in data.glob("events/*/*.parquet")]
        return [row[0] for row in database.execute("SELECT id FROM read_parquet(?)", [files]).fetchall()]


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.parquet")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A day that is sealed and released, and one that is open."""
    data = tmp_path / "data"
    write(data, [frame(number) for number in range(100)])
    write(data, [frame(number, NEXT_DAY) for number in range(50)], day=NEXT_DAY)
    run(data)
    return data


def test_logs_that_were_read_are_not_read_again(data: Path, tmp_path: Path) -> None:
    """Segments of an open and of a sealed day come back from a copy: the bytes are known, they go again."""
    write(data, [frame(number, NEXT_DAY) for number in range(50, 80)], "bb", NEXT_DAY)
    shutil.copytree(data / "logs", tmp_path / "copy")
    run(data)
    run(data, 1)
    before = rows(data)
    shutil.copytree(tmp_path / "copy", data / "logs", dirs_exist_ok=True)
    done = run(data, 1)
    assert not done.ingested
    assert len(before) == len(set(before)) == 180 and sorted(rows(data)) == sorted(before)
    assert not list((data / "logs").rglob("*.log"))


def test_an_older_directory_with_the_newest_ledger_pays_for_no_day_twice(data: Path, tmp_path: Path) -> None:
    """Events and logs of yesterday beside today's ledger: what is published stays, to the byte."""
    shutil.copytree(data, tmp_path / "copy")
    run(data, 1)
    published = contents(data / "published")
    with Ledger(data / "ledger.sqlite") as ledger:
        spent = {day: ledger.spent(day) for day in (DAY, NEXT_DAY)}
    for kept in ("events", "logs"):
        shutil.rmtree(data / kept, ignore_errors=True)
        shutil.copytree(tmp_path / "copy" / kept, data / kept)
    done = run(data, 1)
    assert {outcome.state for outcome in done.outcomes} == {"known"}
    assert contents(data / "published") == published
    with Ledger(data / "ledger.sqlite") as ledger:
        assert {day: ledger.spent(day) for day in spent} == spent
    assert len(rows(data)) == len(set(rows(data))) == 150


def test_an_older_ledger_beside_newer_statistics_is_refused(data: Path, tmp_path: Path) -> None:
    """It would pay for the same days again: nothing is released before it is put right."""
    shutil.copy(data / "ledger.sqlite", tmp_path)
    run(data, 1)
    published = contents(data / "published")
    shutil.copy(tmp_path / "ledger.sqlite", data)
    with pytest.raises(Unfinished, match=r"put the newest ledger\.sqlite back"):
        run(data, 2)
    assert contents(data / "published") == published


def test_workers_go_on_in_a_directory_that_was_put_back(serve: Callable[..., Host], tmp_path: Path) -> None:
    """Replaced under a running worker: it notices within seconds, and each later view is counted once."""
    host = serve()
    host.view(20)
    eventually(lambda: host.counters()["synced"] == 20)
    shutil.copytree(host.data, tmp_path / "copy")
    host.view(20)
    eventually(lambda: host.counters()["synced"] == 40)
    shutil.rmtree(host.data)
    shutil.copytree(tmp_path / "copy", host.data)
    host.view()
    time.sleep(2)  # until it looks at its segment and its keys again
    first = len(host.paths)
    host.view(30)
    assert host.consent() == 200
    eventually(lambda: host.counters()["queued"] == 0)
    host.end()
    records, damaged = read(host.data)
    later = [record for record in records if record.path in host.paths[first:]]
    assert damaged == 0 and len(later) == 30
    assert len({record.visitor for record in later}) == 1
    now_ms = records[0].ts_ms + int(timedelta(hours=1) / timedelta(milliseconds=1))
    done = run_once(host.data, RULES, lambda: now_ms, lambda what, done, total: None)
    assert done.ingested == {"rows": len(records)}
