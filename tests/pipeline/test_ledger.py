"""The ledger: charged once, never over a day's cap, never changed, whole after any interruption."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import BudgetExhausted, LedgerError
from pipeline.ledger import Charge, Ledger
from tests.forks import alone, ended, forked

DAYS = ("2026-11-23", "2026-11-24")
CAP = 15_000_000


def charge(nano_rho: int = 1_000_000, days: tuple[str, ...] = DAYS, atto_delta: int = 0) -> Charge:
    return Charge(days, nano_rho, atto_delta, CAP, 1_000_000, "spec", "0.1.0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def run(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Another process that knows the ledger."""
    head = "import os, signal, sys\nfrom pathlib import Path\nfrom pipeline.ledger import Charge, Ledger\n"
    command = [sys.executable, "-c", head + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_release_is_made_once(path: Path) -> None:
    """Asked 1,000 times across 100 openings, a release has the same bytes and one charge per day."""
    made: list[int] = []

    def make() -> bytes:
        made.append(len(made))
        return bytes(made)

    answers = set()
    for _ in range(100):
        with Ledger(path) as ledger:
            answers |= {ledger.once("visitors/day/2026-11-23", charge(), make) for _ in range(10)}
    assert answers == {b"\x00"}
    with Ledger(path) as ledger:
        assert [ledger.spent(day) for day in DAYS] == [(1_000_000, 0)] * 2
        assert ledger.releases() == {"visitors/day/2026-11-23": list(DAYS)}


def test_a_day_over_its_cap_refuses_before_anything_is_made(path: Path) -> None:
    """A charge that one of its days cannot bear charges no day, makes nothing and names the remedy."""
    with Ledger(path) as ledger:
        ledger.once("a", charge(CAP - 1, days=DAYS[1:]), lambda: b"a")
        with pytest.raises(BudgetExhausted, match=r"2026-11-24 has 1e-09 left: .* lower \[budget.shares\]"):
            ledger.once("b", charge(2), pytest.fail)
        assert ledger.spent(DAYS[0]) == (0, 0)
        assert ledger.output("b") is None
        assert ledger.once("c", charge(1), lambda: b"c") == b"c"


def test_delta_is_capped_too(path: Path) -> None:
    """A day's δ is used up like its ρ."""
    with Ledger(path) as ledger:
        ledger.once("a", charge(atto_delta=600_000), lambda: b"a")
        with pytest.raises(BudgetExhausted):
            ledger.once("b", charge(atto_delta=400_001), pytest.fail)
        ledger.once("c", charge(atto_delta=400_000), lambda: b"c")


def test_the_first_release_sets_a_day_s_cap_for_good(path: Path) -> None:
    """A later release cannot raise the cap of a day, whatever it asks for."""
    low = Charge(DAYS, 1_000_000, 0, 4_000_000, 0, "spec", "0.1.0")
    with Ledger(path) as ledger:
        ledger.once("a", low, lambda: b"a")
        with pytest.raises(BudgetExhausted):
            ledger.once("b", charge(3_000_001), pytest.fail)


def test_a_failure_in_the_middle_leaves_nothing(path: Path) -> None:
    """Where making a release fails, its charge goes too, and it can be made later."""

    def fail() -> bytes:
        raise ZeroDivisionError

    with Ledger(path) as ledger:
        with pytest.raises(ZeroDivisionError):
            ledger.once("a", charge(), fail)
        assert ledger.spent(DAYS[0]) == (0, 0)
        assert ledger.once("a", charge(), lambda: b"a") == b"a"


def test_releases_made_together_are_charged_one_by_one(path: Path) -> None:
    """What is known is not made again, what a day cannot bear charges none, and a failure takes all back."""
    charges = {"known": charge(), "over": charge(CAP), "new": charge(), "last": charge()}
    with Ledger(path) as ledger:
        ledger.once("known", charges["known"], lambda: b"before")
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            ledger.each_once(charges, lambda names: [b"one of two"])
        assert ledger.releases() == {"known": list(DAYS)}
        found = ledger.each_once(charges, lambda names: [f"{name} made".encode() for name in names])
        assert isinstance(found.pop("over"), BudgetExhausted)
        assert found == {"known": b"before", "new": b"new made", "last": b"last made"}
        assert ledger.in_order() == ["known", "new", "last"]
        assert [ledger.spent(day) for day in DAYS] == [(3_000_000, 0)] * 2
        assert ledger.head().number == 3


CHEATS: dict[str, str] = {
    "an unknown day": "INSERT INTO charge VALUES ('b', '2030-01-01', 1, 0)",
    "over the cap": "INSERT INTO charge VALUES ('b', '2026-11-23', 14000001, 0)",
    "a negative charge": "INSERT INTO charge VALUES ('b', '2026-11-23', -1, 0)",
    "a cap beyond the guarantee": "INSERT INTO cap VALUES ('2030-01-01', 15000001, 0)",
    "a release without a charge": "INSERT INTO release VALUES ('b', '', '', x'00', 'b', 2, '')",
    "a release that another pays for": "INSERT INTO release VALUES ('b', '', '', x'00', 'paid', 2, '')",
    "a release out of its order": "INSERT INTO release VALUES ('paid', '', '', x'00', 'paid', 3, '')",
    "a second cap": "INSERT INTO cap VALUES ('2026-11-23', 15000000, 0)",
    "a replaced cap": "INSERT OR REPLACE INTO cap VALUES ('2026-11-23', 15000000, 0)",
    "a replaced charge": "INSERT OR REPLACE INTO charge VALUES ('a', '2026-11-23', 1, 0)",
    "a replaced release": "REPLACE INTO release VALUES ('a', '', '', x'00', 'a', 2, '')",
    "an upserted charge": """
        INSERT INTO charge VALUES ('a', '2026-11-23', 1, 0) ON CONFLICT DO UPDATE SET nano_rho = 1
    """,
    "an updated cap": "UPDATE cap SET nano_rho = 15000000",
    "an updated charge": "UPDATE charge SET nano_rho = 1",
    "an updated release": "UPDATE OR REPLACE release SET output = x'00'",
    "a deleted cap": "DELETE FROM cap",
    "a deleted charge": "DELETE FROM charge WHERE release_id = 'a'",
    "a deleted release": "DELETE FROM release",
}


HOUR = "realtime/hour/2026-11-23T"


def hour(nano_rho: int = 1_000_000) -> Charge:
    return replace(charge(nano_rho, DAYS[:1]), paid_by=f"{HOUR}00")


def test_the_hours_of_a_day_are_one_charge(path: Path) -> None:
    """The first pays for all, in one transaction or many; none comes before a later one, or costs more."""
    with Ledger(path) as ledger:
        dear = {f"{HOUR}{n:02}": hour(CAP + 1) for n in range(2)}
        refused = ledger.each_once(dear, lambda names: [b"never"] * len(names))
        assert [type(each) for each in refused.values()] == [BudgetExhausted] * 2
        found = ledger.each_once(
            {f"{HOUR}{n:02}": hour() for n in range(3)}, lambda names: [b"x"] * len(names)
        )
        assert list(found.values()) == [b"x"] * 3
        assert ledger.once(f"{HOUR}04", hour(), lambda: b"later") == b"later"
        with pytest.raises(
            BudgetExhausted, match=r"T05 needs ρ = 0.002, realtime/hour/2026-11-23T00 has paid"
        ):
            ledger.once(f"{HOUR}05", hour(2_000_000), pytest.fail)
        with pytest.raises(sqlite3.IntegrityError, match="an hour after a later one"):
            ledger.once(f"{HOUR}03", hour(), lambda: b"out of order")
        assert ledger.spent(DAYS[0]) == (1_000_000, 0)
        assert ledger.releases() == {f"{HOUR}{n:02}": [DAYS[0]] for n in (0, 1, 2, 4)}
        assert ledger.charges(f"{HOUR}00")[0] == 1_000_000 and ledger.charges(f"{HOUR}01")[0] == 0


@pytest.mark.parametrize("statement", CHEATS.values(), ids=CHEATS)
def test_the_file_itself_refuses(path: Path, statement: str) -> None:
    """Any connection is refused what the ledger forbids, and nothing changes."""
    with Ledger(path) as ledger:
        ledger.once("a", charge(), lambda: b"a")
    plain = sqlite3.connect(path)
    plain.execute("INSERT INTO charge VALUES ('paid', '2026-11-24', 1, 0)")
    plain.commit()
    before = list(plain.iterdump())
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute(statement)
    plain.commit()
    assert list(plain.iterdump()) == before
    plain.close()


def test_the_ledger_is_private(path: Path) -> None:
    """The file is its owner's alone, from the moment it exists."""
    with Ledger(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_broken_ledger_is_refused(path: Path) -> None:
    """A file that is no ledger is refused with a remedy, never written anew."""
    path.write_bytes(b"not a database, certainly" * 100)
    with pytest.raises(LedgerError, match="put the last good copy back"):
        Ledger(path)
    assert path.read_bytes().startswith(b"not a database")


RACE = """
from pipeline.errors import BudgetExhausted
path, name = Path(sys.argv[1]), sys.argv[2]
granted = 0
with Ledger(path) as ledger:
    for n in range(125):
        charge = Charge(("2026-11-23",), 300_000, 0, 15_000_000, 0, "spec", "0.1.0")
        try:
            granted += ledger.once(f"{name}-{n}", charge, lambda: b"x") == b"x"
        except BudgetExhausted:
            pass
print(granted)
"""


def test_processes_together_never_exceed_a_cap(path: Path) -> None:
    """Eight processes asking for 1,000 charges get the 50 that a day can bear, in one chain."""
    racers = [run(RACE, path, name) for name in "abcdefgh"]
    assert sum(int(racer.communicate()[0]) for racer in racers) == 50
    with Ledger(path) as ledger:
        assert ledger.spent("2026-11-23") == (CAP, 0)
        assert len(ledger.releases()) == ledger.head().number == 50


def charged_to_death(directory: str) -> None:
    """Make a release in one process after the other, each killed before its 1st, 2nd, … last statement."""
    for last in range(100):
        if ended(forked(partial(charged, Path(directory) / f"{last:02}.sqlite", last))) == 0:
            return


def charged(path: Path, last: int) -> None:
    with Ledger(path) as ledger:
        steps = iter(range(last))

        def step(_statement: str) -> None:
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        ledger._database.set_trace_callback(step)
        ledger.once("a", charge(), lambda: b"a")


def test_a_kill_between_any_two_steps_leaves_all_or_nothing(tmp_path: Path) -> None:
    """Killed before any statement, a release is charged on all its days and stored, or not at all."""
    alone(charged_to_death, tmp_path)
    found: list[bool] = []
    for path in sorted(tmp_path.glob("*.sqlite")):
        with Ledger(path) as ledger:
            found.append(ledger.output("a") == b"a")
            assert ledger.releases() == ({"a": list(DAYS)} if found[-1] else {})
    assert len(found) > 8
    assert found == [False] * (len(found) - 1) + [True]
