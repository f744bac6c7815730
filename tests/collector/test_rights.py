"""rights.sqlite: what visitors said holds, for every worker, and nothing of it outlives its erasure."""

import stat
import threading
from pathlib import Path

import pytest

from collector.errors import ConfigurationError
from collector.record import DAY_MS
from collector.rights import Change, Request, Rights, Standings, receipt_of

ANN, BEN = "aa" * 16, "bb" * 16
RECEIPT = receipt_of("number")


@pytest.fixture
def rights(tmp_path: Path) -> Rights:
    """A new store."""
    return Rights(tmp_path)


def declare(rights: Rights, subject: str = ANN, at_ms: int = 1, **values: str | int | bool) -> bool:
    return rights.declare(subject, values, "v1", "site", at_ms)


def test_reading_makes_no_file(rights: Rights) -> None:
    """Who only asks leaves nothing behind."""
    assert (rights.declared(ANN), rights.history(ANN), rights.requests()) == ([], [], [])
    assert (rights.asked(ANN), rights.receipt(RECEIPT)) == (None, None)
    assert not rights.path.exists()


def test_only_the_owner_reads_the_file(rights: Rights) -> None:
    """The database is 0600, whatever the umask."""
    declare(rights, city="Almaty")
    assert stat.S_IMODE(rights.path.stat().st_mode) == 0o600


def test_a_value_is_declared_altered_published_and_erased(rights: Rights) -> None:
    """The latest value wins, stays as public as it was, and the history tells every act without a value."""
    declare(rights, city="Almaty", year=1990)
    rights.publish(ANN, "city", True, 2)
    declare(rights, at_ms=3, city="Astana")
    declare(rights, at_ms=4, city="Astana")  # which changes nothing
    city, year = rights.declared(ANN)
    assert (city.value, city.public, city.declared_ms, city.altered_ms) == ("Astana", True, 1, 3)
    assert (year.value, year.public, year.altered_ms) == (1990, False, None)
    rights.publish(ANN, "city", False, 5)
    assert rights.forget_declared(ANN, ["city", "nothing"], 6) == 1
    assert rights.forget_declared(ANN, ["city"], 7) == 0
    assert [value.name for value in rights.declared(ANN)] == ["year"]
    assert [change for change in rights.history(ANN) if change.name == "city"] == [
        Change("city", "declare", "site", 1),
        Change("city", "publish", "visitor", 2),
        Change("city", "alter", "site", 3),
        Change("city", "hide", "visitor", 5),
        Change("city", "erase", "visitor", 6),
    ]
    assert rights.declared(BEN) == []


def test_erasing_leaves_a_tombstone_a_request_and_a_receipt(rights: Rights) -> None:
    """Nothing is found or stored any more, and the receipt stays open until the pipeline ran."""
    declare(rights, city="Almaty")
    rights.ask(ANN, 2)
    assert rights.erase(ANN, RECEIPT, 3, 3 + DAY_MS) == 1
    assert (rights.declared(ANN), rights.history(ANN), rights.asked(ANN)) == ([], [], None)
    assert rights.standing(ANN) == "erased"
    assert not declare(rights, at_ms=4, city="Almaty")
    assert rights.declared(ANN) == []
    assert rights.requests() == [Request(ANN, "erase", 3)]
    found = rights.receipt(RECEIPT)
    assert found is not None and (found.asked_ms, found.done_ms, found.counts) == (3, None, {"declared": 1})
    for _ in range(2):  # the second time changes nothing
        rights.answered(Request(ANN, "erase", 3), 9, {"logs": 4})
    found = rights.receipt(RECEIPT)
    assert found is not None and (found.done_ms, found.counts) == (9, {"declared": 1, "logs": 4})
    assert ANN.encode() not in rights.path.read_bytes()
    assert bytes.fromhex(ANN) not in rights.path.read_bytes()


def test_who_was_erased_stays_erased(rights: Rights) -> None:
    """No later choice under an erased id brings it back."""
    rights.erase(ANN, RECEIPT, 1, DAY_MS)
    rights.narrow(ANN, ["statistics"], 2, DAY_MS)
    assert rights.standing(ANN) == "erased"


def test_an_account_is_emptied_and_may_declare_again(rights: Rights) -> None:
    """Erasing an account removes its values and history, adds to the receipt, and is no tombstone."""
    declare(rights, BEN, city="Almaty")
    rights.erase(ANN, RECEIPT, 2, DAY_MS)
    assert rights.erase_account(BEN, RECEIPT, 2) == 1
    assert (rights.declared(BEN), rights.history(BEN)) == ([], [])
    found = rights.receipt(RECEIPT)
    assert found is not None and (found.done_ms, found.counts) == (None, {"declared": 0, "account": 1})
    assert declare(rights, BEN, at_ms=3, city="Astana")
    alone = receipt_of("another")
    rights.erase_account(BEN, alone, 4)
    found = rights.receipt(alone)
    assert found is not None and (found.done_ms, found.counts) == (4, {"account": 1})


def test_asking_twice_is_asking_once(rights: Rights) -> None:
    """A request keeps its first instant, and goes when it is answered."""
    rights.ask(ANN, 1)
    rights.ask(ANN, 5)
    assert (rights.asked(ANN), rights.requests()) == (1, [Request(ANN, "access", 1)])
    rights.answered(Request(ANN, "access", 1), 6)
    assert rights.asked(ANN) is None


def test_a_worker_learns_what_another_was_told(rights: Rights, tmp_path: Path) -> None:
    """Standings follow the file, and what was widened again is no longer held back."""
    standings = Standings(tmp_path)
    standings.refresh(0)
    assert not standings and standings.of(ANN, 0) is None
    rights.narrow(ANN, ["statistics"], 1, DAY_MS)
    rights.erase(BEN, RECEIPT, 1, DAY_MS)
    standings.refresh(1)
    assert (standings.of(ANN, 1), standings.of(BEN, 1)) == (frozenset(["statistics"]), "erased")
    assert (standings.of(ANN, 0), standings.of(BEN, 0)) == (None, "erased"), "seen before, written after"
    rights.narrow(ANN, ["statistics", "advertising"], 2, DAY_MS)
    standings.refresh(2)
    assert standings.of(ANN, 2) == frozenset(["statistics", "advertising"])


def test_threads_write_one_after_the_other(rights: Rights) -> None:
    """Eight writers at once: each value is there, none is refused."""
    threads = [
        threading.Thread(target=declare, args=(rights, f"{number:032x}"), kwargs={"city": "x"})
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(rights.declared(f"{number:032x}") for number in range(8))


def test_what_is_no_database_is_refused_with_a_remedy(rights: Rights) -> None:
    """A file of another kind, or of a later format, is named and not overwritten."""
    rights.path.write_bytes(b"no database at all, but long enough to be one " * 9)
    with pytest.raises(ConfigurationError, match="put the last good copy back"):
        rights.declared(ANN)
    assert rights.path.read_bytes().startswith(b"no database")
