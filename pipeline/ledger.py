"""The privacy ledger: what each UTC day has spent, and what was published for it. Append-only, SQLite.

Releases are charged, made and stored in one transaction, those of a window together. Whatever interrupts it
leaves either charges with their bytes or nothing; a release that is known is never made again. Every release
carries a hash over itself and the one before: whoever keeps the newest head can tell a ledger that was put
back to an older state.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline import sql
from pipeline.errors import BudgetExhausted, LedgerError
from pipeline.published import START, Head

LEDGER = "ledger.sqlite"
_SCHEMA = 3
_PATIENCE_S = 600  # another process may be counting a large window inside its transaction


@dataclass(frozen=True)
class Charge:
    """What one release costs each UTC day it covers. ρ in billionths, δ in units of 1e-18."""

    days: tuple[str, ...]
    nano_rho: int
    atto_delta: int
    cap_nano_rho: int
    """What a day may spend in all, if this is the first release to charge it."""
    cap_atto_delta: int
    spec_hash: str
    """Identifies what was run, with all its public parameters."""
    code_version: str
    paid_by: str = ""
    """The release whose charge pays for this one as well, because each of them counts other visitor-days, by
    the same rules: of an hour the first one of its day. Empty where it pays itself."""


class Ledger:
    """One site's ledger.

    Raises  LedgerError where the file cannot be read as a ledger
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Made here, because SQLite would make it readable to the group; its journals take the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
        try:
            # A commit must outlive a loss of power: what was published cannot be taken back.
            self._database.execute("PRAGMA synchronous = EXTRA")
            found = self._one("PRAGMA user_version")
            if found == 0:
                self._database.executescript(sql.text("ledger.schema"))
            elif found != _SCHEMA:
                raise sqlite3.DatabaseError(f"its format is {found}, not {_SCHEMA}")
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise LedgerError(f"{path} cannot be used ({error}): put the last good copy back") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def once(self, release_id: str, charge: Charge, make: Callable[[], bytes]) -> bytes:
        """The bytes of a release: those stored, or charged for and made now.

        make    called at most once, after the charge is accepted; what it returns is stored for good
        Raises  BudgetExhausted, before `make` is called
        """
        [found] = self.each_once({release_id: charge}, lambda _: [make()]).values()
        if isinstance(found, BudgetExhausted):
            raise found
        return found

    def each_once(
        self, charges: Mapping[str, Charge], make: Callable[[Sequence[str]], Iterable[bytes]]
    ) -> dict[str, bytes | BudgetExhausted]:
        """The bytes of some releases, in one transaction; of those over a day's budget, the refusal.

        make    called at most once, with all releases that are not stored and whose charges are accepted
        """
        with self._transaction():
            found = {name: self._stored_or_charged(name, charge) for name, charge in charges.items()}
            new = [name for name, stored in found.items() if stored is None]
            for name, output in zip(new, make(new) if new else (), strict=True):
                self._store(name, charges[name], output)
                found[name] = output
        return {name: each for name, each in found.items() if each is not None}

    def _stored_or_charged(self, release_id: str, charge: Charge) -> bytes | BudgetExhausted | None:
        """The stored bytes of a release; None where it was charged instead, or why it cannot be."""
        if (stored := self.output(release_id)) is not None:
            return stored
        if charge.paid_by not in ("", release_id):
            return self._unpaid(release_id, charge)
        refused = None
        self._database.execute("SAVEPOINT charged")
        try:
            self._charge(release_id, charge)
        except BudgetExhausted as error:
            refused = error
            self._database.execute("ROLLBACK TO charged")
        self._database.execute("RELEASE charged")
        return refused

    def _unpaid(self, release_id: str, charge: Charge) -> BudgetExhausted | None:
        """Why another release's charge does not pay for one; None where it does."""
        paid = self.charges(charge.paid_by)
        if charge.nano_rho <= paid[0] and charge.atto_delta <= paid[1]:
            return None
        return BudgetExhausted(
            f"{release_id} needs ρ = {charge.nano_rho / 1e9:g}, {charge.paid_by} has paid {paid[0] / 1e9:g} "
            "for both: it stays unpublished"
        )

    def _store(self, release_id: str, charge: Charge, output: bytes) -> None:
        head = self.head().after(release_id, output)
        made = (release_id, charge.spec_hash, charge.code_version, output, charge.paid_by or release_id)
        query = "INSERT INTO release VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._database.execute(query, (*made, head.number, head.hash))

    def head(self, number: int | None = None) -> Head:
        """The newest head, or the one after so many releases; START where there is no such."""
        row = self._database.execute(
            "SELECT number, head FROM release WHERE number = coalesce(?, (SELECT max(number) FROM release))",
            (number,),
        ).fetchone()
        return Head(*row) if row else START

    def in_order(self) -> list[str]:
        """Every release in the order in which they were made."""
        return [row[0] for row in self._database.execute("SELECT release_id FROM release ORDER BY number")]

    def cap(self, day: str) -> tuple[int, int]:
        """ρ (billionths) and δ (1e-18) that a day may spend in all; 0 where nothing was charged to it."""
        query = "SELECT nano_rho, atto_delta FROM cap WHERE day = ?"
        row = self._database.execute(query, (day,)).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def charges(self, release_id: str) -> tuple[int, int]:
        """ρ (billionths) and δ (1e-18) that a release charged to each of its days; 0 where it did not."""
        query = "SELECT max(nano_rho), max(atto_delta) FROM charge WHERE release_id = ?"
        row = self._database.execute(query, (release_id,)).fetchone()
        return int(row[0] or 0), int(row[1] or 0)

    def output(self, release_id: str) -> bytes | None:
        """The stored bytes of a release; None where there is no such release."""
        found = self._one("SELECT output FROM release WHERE release_id = ?", release_id)
        return None if found is None else bytes(found)  # type: ignore[call-overload]

    def releases(self) -> dict[str, list[str]]:
        """Every release and the days that were charged for it."""
        days: dict[str, list[str]] = {}
        query = (
            "SELECT release.release_id, charge.day FROM charge "
            "JOIN release ON release.paid_by = charge.release_id ORDER BY charge.day, release.number"
        )
        for release_id, day in self._database.execute(query):
            days.setdefault(release_id, []).append(day)
        return days

    def paid_by(self, release_id: str) -> str:
        """The release whose charge pays for one; empty where there is no such release."""
        found = self._one("SELECT paid_by FROM release WHERE release_id = ?", release_id)
        return "" if found is None else str(found)

    def spec_hash(self, release_id: str) -> str:
        """What identifies how a release was drawn; empty where there is no such release."""
        found = self._one("SELECT spec_hash FROM release WHERE release_id = ?", release_id)
        return "" if found is None else str(found)

    def spent(self, day: str) -> tuple[int, int]:
        """ρ (billionths) and δ (1e-18) charged to a day."""
        row = self._database.execute(
            "SELECT coalesce(sum(nano_rho), 0), coalesce(sum(atto_delta), 0) FROM charge WHERE day = ?",
            (day,),
        ).fetchone()
        return int(row[0]), int(row[1])

    def _charge(self, release_id: str, charge: Charge) -> None:
        for day in charge.days:
            self._database.execute(
                "INSERT INTO cap (day, nano_rho, atto_delta) SELECT ?1, ?2, ?3 "
                "WHERE NOT EXISTS (SELECT 1 FROM cap WHERE day = ?1)",
                (day, charge.cap_nano_rho, charge.cap_atto_delta),
            )
            try:
                self._database.execute(
                    "INSERT INTO charge (release_id, day, nano_rho, atto_delta) VALUES (?, ?, ?, ?)",
                    (release_id, day, charge.nano_rho, charge.atto_delta),
                )
            except sqlite3.IntegrityError:
                raise self._exhausted(release_id, day, charge) from None

    def _exhausted(self, release_id: str, day: str, charge: Charge) -> BudgetExhausted:
        left = self.cap(day)[0] - self.spent(day)[0]
        return BudgetExhausted(
            f"{release_id} needs ρ = {charge.nano_rho / 1e9:g}, {day} has {left / 1e9:g} left: "
            "what is spent stays spent; lower [budget.shares] for days to come"
        )

    def _one(self, query: str, *values: str) -> object:
        row = self._database.execute(query, values).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise LedgerError(
                f"{self._path} is busy or not writable ({error}): let the other run end, check its mode"
            ) from None
        try:
            yield
        except BaseException:
            self._database.rollback()  # which SQLite has done itself where the disk is full
            raise
        self._database.execute("COMMIT")
