"""rights.sqlite: what visitors said holds, for every worker, and nothing of it outlives its erasure."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from collector.errors import ConfigurationError
from collector.record import DAY_MS
from collector.rights import Change, Request, Rights, receipt_of
from collector.standings import Standings

ANN, BEN = "aa" * 16, "bb" * 16
RECEIPT = receipt_of("number")


@pytest.fixture
def rights(tmp_path: Path) -> Rights:
    """A new store."""
    return Rights(tmp_path)


def declare(rights: Rights, subject: str = ANN, at_ms: int = 1, **values: str | int | bool) -> bool:
    return bool(rights.declare([subject], values, "v1", at_ms))


def test_reading_makes_no_file(rights: Rights) -> None:
    """Who only asks leaves nothing behind."""
    assert (rights.declared(ANN), rights.history(ANN), rights.requests()) == ([], [], [])
    assert (rights.asked(ANN), rights.receipt(RECEIPT)) == (None, None)
    assert not rights.path.exists()


def test_only_the_owner_reads_the_file(rights: Rights) -> None:
    """The database is 0600, whatever the umask."""
    declare(rights, city="Almaty")
    assert stat.S_IMODE(rights.path.stat().st_mode) == 0o600


def alter(rights: Rights, value: str, at_ms: int, *others: str, is_public: bool = False) -> bool:
    return bool(rights.alter([ANN, *others], {"city": value}, "v1", at_ms, is_public=is_public))


def test_a_value_is_declared_altered_published_and_erased(rights: Rights) -> None:
    """The latest value wins, is as public as its visitor wants it, and the history tells every act without
    a value.
    """
    declare(rights, city="Almaty", year=1990)
    alter(rights, "Almaty", 2, is_public=True)
    declare(rights, at_ms=3, city="Almaty")  # which changes nothing
    (city, year) = rights.declared(ANN)
    assert (city.value, city.public, city.declared_ms, city.altered_ms) == ("Almaty", True, 1, None)
    declare(rights, at_ms=4, city="Astana")
    city, year = rights.declared(ANN)
    assert (city.value, city.public, city.declared_ms, city.altered_ms) == ("Astana", False, 1, 4)
    assert (year.value, year.public, year.altered_ms) == (1990, False, None)
    alter(rights, "Aktau", 5, is_public=True)
    alter(rights, "Atyrau", 6, is_public=False)
    assert rights.forget_declared([ANN], "city", 7) == 1
    assert rights.forget_declared([ANN], "city", 8) == 0
    assert [value.name for value in rights.declared(ANN)] == ["year"]
    assert [change for change in rights.history(ANN) if change.name == "city"] == [
        Change("city", "declare", "site", 1),
        Change("city", "publish", "visitor", 2),
        Change("city", "alter", "site", 4),
        Change("city", "hide", "site", 4),
        Change("city", "alter", "visitor", 5),
        Change("city", "publish", "visitor", 5),
        Change("city", "alter", "visitor", 6),
        Change("city", "hide", "visitor", 6),
        Change("city", "erase", "visitor", 7),
    ]
    assert rights.declared(BEN) == []


def test_the_visitors_word_outlives_its_proofs_time(rights: Rights) -> None:
    """Whose word a value is stays known for as long as the value, and no longer."""
    alter(rights, "Almaty", 1)
    late_ms = 800 * DAY_MS
    assert rights.expire(lambda *_: 900, 760, late_ms)["history"] == 0
    assert not declare(rights, at_ms=late_ms, city="Astana")
    gone = rights.expire(lambda *_: 790, 760, late_ms)
    assert (gone["declared"], gone["history"]) == (1, 1)
    assert declare(rights, at_ms=late_ms, city="Astana")


def test_one_act_reaches_all_that_is_the_visitors_or_nothing(
    rights: Rights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is saved or erased is so under account and browser; a fault half way leaves both as they were."""
    for subject in (ANN, BEN):
        rights.alter([subject], {"city": "Almaty"}, "v1", 1, is_public=True)
    before = rights.path.read_bytes()
    kept = "collector.rights._note"

    def fails_the_second_time(*arguments: object, done: list[object] = []) -> None:  # noqa: B006
        done.append(arguments)
        if len(done) % 2 == 0:
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(kept, fails_the_second_time)
        with pytest.raises(OSError, match="cannot be written"):
            alter(rights, "Astana", 2, BEN)
        with pytest.raises(OSError, match="cannot be written"):
            rights.forget_declared([ANN, BEN], None, 2)
    with monkeypatch.context() as patched:
        patched.setattr("collector.rights._acknowledge", fails_the_second_time)
        fails_the_second_time()
        with pytest.raises(OSError, match="cannot be written"):
            rights.erase(ANN, RECEIPT, 2, DAY_MS, BEN)
    assert rights.path.read_bytes() == before
    assert rights.standing(ANN) is None

    alter(rights, "Astana", 3, BEN)
    for subject in (ANN, BEN):
        assert [(value.value, value.public) for value in rights.declared(subject)] == [("Astana", False)]
    alter(rights, "Atyrau", 4, "cc" * 16)
    assert rights.declared("cc" * 16) == [], "what an account says is not left behind in a browser"
    rights.alter([BEN], {"city": "Aktau"}, "v1", 5, is_public=False)
    declare(rights, BEN, at_ms=5, year=1990)
    assert rights.forget_declared([ANN, BEN], None, 6) == 3
    assert not declare(rights, at_ms=7, city="Almaty", year=1990), "what one had, none gets back"


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
    """Erasing an account removes its values and history, is on the receipt, and is no tombstone."""
    declare(rights, BEN, city="Almaty")
    assert rights.erase(ANN, RECEIPT, 2, DAY_MS, BEN) == 1
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
