"""Registers that only grow: whatever is changed, taken out or moved is found, and old lines can still go."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collector.record import DAY_MS
from collector.rights import RIGHTS, Rights
from pipeline import accesses, chain
from pipeline.proofs import expire
from tests.policies import EXEMPT

SUBJECT = "ab" * 16
TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
LINES = 4


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four accesses, a day apart."""
    for n in range(LINES):
        accesses.record(tmp_path, lambda n=n: n * DAY_MS, "rights access", SUBJECT, n)  # type: ignore[misc]
    return tmp_path


def faults(data: Path) -> list[str]:
    with chain.opened(data) as database:
        return chain.faults(database, "access")


@pytest.fixture
def forger(data: Path) -> Iterator[sqlite3.Connection]:
    """The database in the hands of who removes the triggers first."""
    with closing(sqlite3.connect(data / RIGHTS, isolation_level=None)) as database:
        for (name,) in database.execute(TRIGGERS).fetchall():
            database.execute(f"DROP TRIGGER {name}")
        yield database


def test_a_line_tells_who_looked_at_whom_without_the_name(data: Path) -> None:
    """Command, system user, count and instant; the subject as its mark, never as its pseudonym."""
    with chain.opened(data) as database:
        last = chain.lines(database, "access")[-1]
    assert (last.number, last.at_ms, last.entry["command"]) == (4, 3 * DAY_MS, "rights access")
    assert (last.entry["user"], last.entry["count"]) == (chain.system_user(), 3)
    assert last.entry["subject"] == Rights(data).mark(SUBJECT).hex()
    assert SUBJECT.encode() not in (data / RIGHTS).read_bytes()
    assert faults(data) == []


@pytest.mark.parametrize("number", range(1, LINES + 1))
@pytest.mark.parametrize("column", ["at_ms", "entry", "hash"])
def test_any_line_that_was_changed_is_found(
    data: Path, forger: sqlite3.Connection, number: int, column: str
) -> None:
    """The first, the last and those between, in each of their columns."""
    forger.execute(
        f"UPDATE access SET {column} = replace({column}, '0', '1') || '1' WHERE number = ?", (number,)
    )
    assert any(f"line {number} " in fault or "ends with" in fault for fault in faults(data))


@pytest.mark.parametrize("number", range(1, LINES + 1))
def test_any_line_that_was_taken_out_is_found(data: Path, forger: sqlite3.Connection, number: int) -> None:
    """Also the last, which no later line follows, and where the rest is numbered anew."""
    forger.execute("DELETE FROM access WHERE number = ?", (number,))
    assert faults(data)
    forger.execute("UPDATE access SET number = number - 1 WHERE number > ?", (number,))
    assert faults(data)


@pytest.mark.parametrize("number", range(1, LINES))
def test_two_lines_that_changed_places_are_found(data: Path, forger: sqlite3.Connection, number: int) -> None:
    """Whichever two neighbours they are."""
    for old, new in ((number, 0), (number + 1, number), (0, number + 1)):
        forger.execute("UPDATE access SET number = ? WHERE number = ?", (new, old))
    assert any(f"line {number} " in fault for fault in faults(data))


def test_all_lines_gone_are_found(data: Path, forger: sqlite3.Connection) -> None:
    """An empty register that once had lines is no empty register, nor is one without its ends."""
    forger.execute("DELETE FROM access")
    assert faults(data) == ["the register access ends with line 0, not with line 4 as it was written"]
    forger.execute("DELETE FROM chain")
    assert "is gone" in faults(data)[0]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE access SET entry = '{}' WHERE number = 2",
        "DELETE FROM access WHERE number = 4",
        "DELETE FROM access WHERE number = 1",
        "INSERT OR REPLACE INTO access VALUES (2, 0, '{}', '')",
        "INSERT INTO access VALUES (9, 0, '{}', '')",
        "UPDATE chain SET head = 3 WHERE name = 'access'",
        "UPDATE chain SET pruned = 5 WHERE name = 'access'",
        "DELETE FROM chain",
    ],
)
def test_the_database_refuses_by_itself(data: Path, change: str) -> None:
    """Without taking the triggers off nothing can be changed, removed or put between."""
    with chain.opened(data) as database, pytest.raises(sqlite3.IntegrityError):
        database.execute(change)
    assert faults(data) == []


def test_the_oldest_lines_go_and_the_rest_still_fits(data: Path, forger: sqlite3.Connection) -> None:
    """A pruned register is whole, goes on, and still shows when the oldest kept line was taken out."""
    proof_ms = EXEMPT.controller.proof_days * DAY_MS
    assert expire(data, EXEMPT, lambda: proof_ms + 2 * DAY_MS) == 2
    accesses.record(data, lambda: 9 * DAY_MS, "rights erase", None, 0)
    with chain.opened(data) as database:
        assert [line.number for line in chain.lines(database, "access")] == [3, 4, 5]
    assert faults(data) == []
    forger.execute("DELETE FROM access WHERE number = 3")
    assert faults(data)


def test_all_lines_can_be_too_old(data: Path) -> None:
    """The next line follows the last one that went."""
    assert expire(data, EXEMPT, lambda: 9999 * DAY_MS) == LINES
    accesses.record(data, lambda: 9999 * DAY_MS, "rights access", None, 0)
    with chain.opened(data) as database:
        assert [line.number for line in chain.lines(database, "access")] == [LINES + 1]
    assert faults(data) == []


def test_a_full_disk_is_what_is_told(data: Path) -> None:
    """Not that there is nothing to roll back; what was there before stays, and the next line fits."""
    with chain.opened(data) as database:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        with (
            pytest.raises(sqlite3.OperationalError, match="database or disk is full"),
            chain.transaction(database),
        ):
            database.execute("ROLLBACK")  # as SQLite does by itself where it is the disk that is full
            chain.add(database, "access", 0, {"what": "x" * 100_000})
        database.execute("PRAGMA max_page_count = 1000000")
        with chain.transaction(database):
            chain.add(database, "access", LINES * DAY_MS, {"what": "more"})
    assert faults(data) == []
