"""Releases recomputed: whatever is changed afterwards is found, and what is gone is not held against them."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from collector.policy import Budget, Policy
from collector.record import DAY_MS
from pipeline import publish
from pipeline.audit.verify import CHECKS, Verified, verify
from pipeline.errors import LedgerError
from pipeline.ledger import LEDGER, Charge, Ledger
from pipeline.publish import Cell
from pipeline.published import HEAD, PUBLISHED, Manifest, manifest_of, place
from pipeline.release import Door, correct, release_due
from pipeline.rights.erasure import erase
from pipeline.spec import CODE_VERSION, cost
from pipeline.store import batch_files, events_of
from tests.pipeline.private_events import DAY, POLICY, at, closed, row, store

SHARES = {"visitors": 0.08, "visits": 0.05, "pages": 0.2, "countries": 0.07}
SITE = Policy(POLICY.controller, POLICY.versions, Budget("large", SHARES, ("/",)))
LAST = DAY + timedelta(1)
PAGES = f"pages/day/{DAY}"
VISITORS = f"visitors/day/{DAY}"

Change = Callable[[str, list[Cell], Manifest, Charge], tuple[list[Cell], Manifest, Charge]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that has released two days."""
    data = tmp_path_factory.mktemp("site")
    store(data, [row(visitor=f"{n:032x}", path="/seen", ts_ms=at(DAY)) for n in range(900)])
    release_due(data, SITE, lambda: closed(LAST), DAY)
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy of it to tamper with."""
    shutil.copytree(made, tmp_path / "data")
    return tmp_path / "data"


def verified(data: Path, policy: Policy = SITE, now_ms: int = closed(LAST)) -> dict[str, Verified]:
    found = verify(data, policy, now_ms, lambda _what, _done, _total: None)
    return {each.check.key: each for each in found}


def wrong(data: Path) -> dict[str, list[str]]:
    """The mistakes of each check that found some."""
    return {key: each.mistakes for key, each in verified(data).items() if each.mistakes}


def published(data: Path, release_id: str) -> Path:
    return place(data / PUBLISHED, release_id)


def rebuilt(data: Path, change: Change, only: str = "") -> None:
    """Make the ledger anew with some releases changed, files and head along with it: a thorough forger."""
    old, new = data / LEDGER, data / "forged.sqlite"
    with Ledger(old) as before, Ledger(new) as after:
        days = before.releases()
        for name in before.in_order():
            file, content = published(data, name), before.output(name) or b""
            manifest = manifest_of(file)
            charge = Charge(
                tuple(days[name]), *before.charges(name), *before.cap(days[name][0]), manifest.spec_hash, "0"
            )
            if not only or name == only:
                cells, manifest, charge = change(name, read(file), manifest, charge)
                content = publish.encode(cells, manifest)
            after.once(name, charge, lambda content=content: content)  # type: ignore[misc]
            publish.write(file, content)
        publish.write_head(data / PUBLISHED, after.head())
    new.replace(old)


def read(file: Path) -> list[Cell]:
    with duckdb.connect() as database:
        return [Cell(*cells) for cells in database.read_parquet(str(file)).fetchall()]


def cells(alter: Callable[[list[Cell]], list[Cell]]) -> Change:
    return lambda _name, found, manifest, charge: (alter(found), manifest, charge)


def manifest(**fields: Any) -> Change:
    return lambda _name, found, known, charge: (found, msgspec.structs.replace(known, **fields), charge)


def charged(**fields: Any) -> Change:
    return lambda _name, found, known, charge: (found, known, replace(charge, **fields))


def quieter(_name: str, found: list[Cell], known: Manifest, charge: Charge) -> tuple[Any, ...]:
    """Half of the noise under the same cost, its cells' σ and intervals along with it."""
    halved = [replace(cell, sigma=cell.sigma / 2) for cell in found]
    return halved, msgspec.structs.replace(known, sigma=known.sigma / 2), charge


def cheaper(_name: str, found: list[Cell], known: Manifest, charge: Charge) -> tuple[Any, ...]:
    """A bound half as large, with all that it costs."""
    rho, delta = cost(known.l0, known.l2 / 2, known.linf, known.sigma, known.threshold)
    smaller = msgspec.structs.replace(known, l2=known.l2 / 2, nano_rho=rho, atto_delta=delta)
    return found, smaller, replace(charge, nano_rho=rho, atto_delta=delta)


def edited(data: Path, *statements: str) -> None:
    """Change the ledger as whoever holds the file can: without what refuses it."""
    with sqlite3.connect(data / LEDGER) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            database.execute(statement)
    database.close()


def flip(data: Path) -> None:
    content = bytearray(published(data, VISITORS).read_bytes())
    content[40] ^= 1
    published(data, VISITORS).write_bytes(content)


def swap(data: Path) -> None:
    one, other = published(data, VISITORS), published(data, f"visitors/day/{LAST}")
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])


def forge_value(data: Path) -> None:
    """A consistent forgery of one value; only the head that others keep can tell."""
    head = (data / PUBLISHED / HEAD).read_bytes()
    moved = cells(
        lambda found: [
            replace(cell, value=cell.value + 5, lower=cell.lower + 5, upper=cell.upper + 5) for cell in found
        ]
    )
    rebuilt(data, moved, VISITORS)
    (data / PUBLISHED / HEAD).write_bytes(head)


def bump(found: list[Cell]) -> list[Cell]:
    return [replace(found[0], value=found[0].value + 1), *found[1:]]


def one_more(found: list[Cell]) -> list[Cell]:
    return [*found, replace(found[0], key="/another")]


def lowered(found: list[Cell]) -> list[Cell]:
    return [replace(cell, value=5) if cell.thresholded else cell for cell in found]


def finer(found: list[Cell]) -> list[Cell]:
    return [replace(cell, sigma=cell.sigma * 0.99) for cell in found]


def elsewhere(found: list[Cell]) -> list[Cell]:
    return [replace(cell, statistic="visits") for cell in found]


TAMPERED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a byte is flipped": (flip, "bytes", rf"visitors/day-{DAY}\.parquet is not what was released"),
    "two files are swapped": (swap, "bytes", r"visitors/day-.* is not what was released"),
    "a file is removed": (
        lambda data: published(data, PAGES).unlink(),
        "bytes",
        rf"pages/day-{DAY}\.parquet is missing",
    ),
    "a file is added": (
        lambda data: shutil.copy(published(data, PAGES), published(data, "pages/day/2030-01-01")),
        "bytes",
        r"pages/day-2030-01-01\.parquet was never released",
    ),
    "σ is another in the cells": (
        lambda data: rebuilt(data, cells(finer), VISITORS),
        "contents",
        "another σ than the manifest",
    ),
    "a value is changed": (
        lambda data: rebuilt(data, cells(bump), VISITORS),
        "contents",
        "an interval is not that of its value",
    ),
    "a key is added": (lambda data: rebuilt(data, cells(one_more), PAGES), "contents", "its public keys"),
    "a key is left out": (
        lambda data: rebuilt(data, cells(lambda found: found[1:]), f"countries/day/{DAY}"),
        "contents",
        "its public keys are not each there once",
    ),
    "a key is twice": (
        lambda data: rebuilt(data, cells(lambda found: [*found, found[-1]]), PAGES),
        "contents",
        "a key is there twice",
    ),
    "a rare key is let through": (
        lambda data: rebuilt(data, cells(lowered), PAGES),
        "contents",
        "a cell below the threshold",
    ),
    "cells are another statistic's": (
        lambda data: rebuilt(data, cells(elsewhere), VISITORS),
        "contents",
        "cells of another release",
    ),
    "a manifest is another's": (
        lambda data: rebuilt(data, manifest(release="visits/day/2026-11-23"), VISITORS),
        "contents",
        "its manifest is that of visits",
    ),
    "no noise is claimed": (lambda data: rebuilt(data, manifest(sigma=0.0), VISITORS), "contents", "is none"),
    "less noise at the same cost": (lambda data: rebuilt(data, quieter, VISITORS), "costs", r"costs ρ ="),
    "a charge is lowered": (
        lambda data: rebuilt(data, charged(nano_rho=1), VISITORS),
        "costs",
        r"visitors/day-.* costs ρ = 0.00032, 1e-09 was charged",
    ),
    "a day is over its cap": (
        lambda data: edited(data, "UPDATE cap SET nano_rho = 1000"),
        "caps",
        r"ledger\.sqlite: 2026-11-23 spent ρ = 0\.0016 of 1e-06",
    ),
    "a day spent more than its releases": (
        lambda data: edited(data, f"INSERT INTO charge VALUES ('ghost', '{DAY}', 7, 0)"),
        "caps",
        "its releases 0.0016",
    ),
    "the chain is cut": (
        lambda data: edited(data, "UPDATE release SET head = 'ff' WHERE number = 3"),
        "chain",
        r"\.parquet: the ledger's chain breaks here",
    ),
    "a value is forged throughout": (forge_value, "chain", r"head\.json knows of 8 releases and ends"),
    "the head is gone": (
        lambda data: (data / PUBLISHED / HEAD).unlink(),
        "chain",
        "knows of 0 releases",
    ),
    "a bound is understated": (lambda data: rebuilt(data, cheaper, PAGES), "definitions", "of its hash"),
    "a hash is another": (
        lambda data: rebuilt(data, manifest(spec_hash="0" * 64), VISITORS),
        "definitions",
        "of its hash",
    ),
    "the events are others": (
        lambda data: store(data, [row(visitor="x", ts_ms=at(DAY))]),
        "inputs",
        "its private events are not those",
    ),
    "the key is gone": (
        lambda data: (data / "keys" / "commitment.key").unlink(),
        "inputs",
        r"commitment\.key is missing",
    ),
}


def test_releases_agree(made: Path) -> None:
    """Untouched, everything can be recomputed and agrees."""
    found = verified(made)
    assert list(found) == [check.key for check in CHECKS]
    assert not wrong(made)
    assert {key: each.agreed for key, each in found.items()} == {
        **dict.fromkeys(found, 8),
        "caps": 2,
        "chain": 9,
    }
    assert not any(each.skipped for each in found.values())


@pytest.mark.parametrize(("tamper", "check", "said"), TAMPERED.values(), ids=TAMPERED)
def test_what_was_tampered_with_is_found(
    data: Path, tamper: Callable[[Path], object], check: str, said: str
) -> None:
    """Each change is found by the check meant for it, with a line that names the file."""
    tamper(data)
    found = wrong(data)
    assert check in found, found
    assert any(re.search(said, mistake) for mistake in found[check]), found[check]
    assert all(str(data) in mistake for mistake in found[check])


def test_a_window_that_is_open_is_found(made: Path) -> None:
    """A release of a day that is not over was made by a clock ahead of its time."""
    found = verified(made, now_ms=closed(LAST) - 1)
    assert len(found["closed"].mistakes) == 4
    assert "check the clock" in found["closed"].mistakes[0]


def test_what_expired_is_counted_not_blamed(data: Path) -> None:
    """Without the private events, after their retention, the commitment cannot be checked and need not be."""
    for file in batch_files(events_of(data, str(DAY))):
        file.unlink()
    days = POLICY.versions[0].purposes["statistics"].retention_days + 1
    found = verified(data, now_ms=closed(LAST) + days * DAY_MS)
    assert found["inputs"].skipped == {"whose inputs are gone: expired": 4}
    assert found["inputs"].agreed == 4, "a day without events was sealed as one"
    assert not found["inputs"].mistakes
    assert verified(data)["inputs"].mistakes, "before their retention is over they should be there"


def test_what_visitors_had_erased_is_counted_not_blamed(data: Path) -> None:
    """Rows that went on request change the inputs of that day's releases, and the reason is said."""
    visitor = f"{7:032x}"
    assert erase(data, [visitor])[visitor]["events"] == 1
    found = verified(data)["inputs"]
    assert found.skipped == {"whose inputs differ: rows were erased since": 4}
    assert (found.agreed, found.mistakes) == (4, [])


def test_other_versions_and_policies_are_counted_not_blamed(data: Path) -> None:
    """A hash is recomputed where the same version made it; another policy is no mistake."""
    other = Policy(POLICY.controller, POLICY.versions, Budget("large", {"visitors": 0.5}, ("/",)))
    assert verified(data, other)["definitions"].skipped == {"made under another policy": 8}
    rebuilt(data, manifest(code_version="9.9"), VISITORS)
    found = verified(data)["definitions"]
    assert (found.skipped, found.agreed, found.mistakes) == ({"made by version 9.9": 1}, 7, [])
    assert CODE_VERSION != "9.9"


def test_without_a_ledger_nothing_can_be_verified(data: Path, tmp_path: Path) -> None:
    """Published files without their ledger are refused; a site that has released nothing is in order."""
    (data / LEDGER).unlink()
    with pytest.raises(LedgerError, match=r"is missing, but .* holds releases: put it back"):
        verified(data)
    assert not (data / LEDGER).exists()
    assert verified(tmp_path / "new") == {}


def test_a_correction_is_verified_like_any_release(data: Path) -> None:
    """Its bytes, charge, place in the chain and inputs agree; the release that it corrects stays right."""
    before = verified(data)
    for release in (VISITORS, f"pages/day/{DAY}"):
        correct(data, SITE, lambda: closed(LAST), release, "nothing was wrong")
    after = verified(data)
    assert not wrong(data)
    assert {key: each.agreed - before[key].agreed for key, each in after.items()}["inputs"] == 2
    rebuilt(data, charged(nano_rho=1), only=f"{VISITORS}/2")
    assert "costs" in wrong(data)


def test_a_correction_that_names_another_key_is_found(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a list is corrected under is public, and costs no δ: no other key may come with it."""
    keys = Door._keys
    monkeypatch.setattr(Door, "_keys", lambda door, release: [*keys(door, release), "/only-one-saw-this"])
    correct(data, SITE, lambda: closed(LAST), f"pages/day/{DAY}", "nothing was wrong")
    assert "names keys that the release which it corrects does not" in wrong(data)["definitions"][0]
