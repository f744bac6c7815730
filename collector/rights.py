"""What visitors said of themselves and of what is kept: rights.sqlite, for workers and pipeline alike.

    declared    values a visitor declared, and whether they are public
    history     what was done to them, without the values
    standing    whose consent was narrowed, or who was erased: an older cookie holds no more than this
    request     what the pipeline is still to do for a visitor
    receipt     what became of an erasure

A subject is a pseudonym, 32 hex digits. Where a subject must be known again after it was erased, a mark
stands for it: a keyed hash, from which nobody gets back to it. Every act is one transaction, synced when the
call returns; a removed row is overwritten (secure_delete). Calls wait for the disk: never on an event loop.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any, Literal

import msgspec

from collector.declared import Value
from collector.errors import ConfigurationError
from collector.files import private_directory, shared_key
from collector.record import DAY_MS, KEYS

RIGHTS = "rights.sqlite"
MARK_BYTES = 16
ACCOUNT = "account-"
"""How the reference of an account begins, as its privacy page shows it; its pseudonym follows."""
PATIENCE_S = 5.0
SCHEMA = 1

_SCHEMA = Path(__file__).with_suffix(".sql")
_ERASED = None

Act = Literal["access", "erase"]
By = Literal["site", "visitor"]
Standing = frozenset[str] | Literal["erased"]
"""What a subject holds at most: purposes, or nothing ever again."""


class Declared(msgspec.Struct, frozen=True):
    """One declared value."""

    name: str
    value: Value
    public: bool
    """Whether the visitor opened it to others; nobody else can."""
    policy: str
    """The version in force when it was declared."""
    declared_ms: int
    altered_ms: int | None


class Change(msgspec.Struct, frozen=True):
    """What was done to a declared value, and when; never the value."""

    name: str
    act: str
    """declare, alter, publish, hide or erase."""
    by: By
    at_ms: int


class Request(msgspec.Struct, frozen=True):
    """What a visitor waits for."""

    subject: str
    act: Act
    asked_ms: int


class Receipt(msgspec.Struct, frozen=True):
    """What became of an erasure."""

    asked_ms: int
    done_ms: int | None
    counts: Mapping[str, int]
    """Place → what was removed there."""


class Rights:
    """One site's rights.sqlite, opened for each act: no connection outlives a fork or a thread."""

    def __init__(self, data: Path) -> None:
        self.path = data / RIGHTS
        self._key_path = data / KEYS / "rights.key"
        self._key = b""

    def mark(self, subject: str) -> bytes:
        """The one-way hash that stands for a subject, MARK_BYTES long."""
        if not self._key:
            self._key = shared_key(self._key_path)
        return blake2b(bytes.fromhex(subject), key=self._key, digest_size=MARK_BYTES).digest()

    # ---- declared information -------------------------------------------------------------------------

    def declared(self, subject: str) -> list[Declared]:
        """The values of one subject, by name."""
        query = (
            "SELECT name, value, public, policy, declared_ms, altered_ms FROM declared "
            "WHERE subject = ? ORDER BY name"
        )
        with self._reading() as database:
            rows = database.execute(query, (subject,)).fetchall() if database else []
        return [
            Declared(name, msgspec.json.decode(value), bool(public), *rest)
            for name, value, public, *rest in rows
        ]

    def declare(
        self, subjects: Sequence[str], values: Mapping[str, Value], policy: str, now_ms: int
    ) -> frozenset[str]:
        """Store what the site says of a visitor, under the first of their subjects; give back the names that
        now stand as it says.

        A new value is private until the visitor opens it. What the visitor declared, altered or erased, under
        any of the subjects, stays as they left it. Nothing is stored where the first was erased.
        """
        with self._writing() as database:
            if self._is_erased(database, subjects[0]):
                return frozenset()
            stored = [
                name
                for name in values
                if not any(_is_visitors(database, subject, name) for subject in subjects)
            ]
            for name in stored:
                _put(database, subjects[0], name, values[name], policy, "site", now_ms)
        return frozenset(stored)

    def alter(
        self,
        subjects: Sequence[str],
        values: Mapping[str, Value],
        policy: str,
        now_ms: int,
        *,
        is_public: bool | None,
    ) -> frozenset[str]:
        """Store what the visitor says, and whether others may see it: under the first of their subjects, and
        wherever else they have a value of that name; give back the names.

        Takes  is_public: None where it was not asked: then another value than before is private
        Nothing is stored where the first was erased.
        """
        with self._writing() as database:
            if self._is_erased(database, subjects[0]):
                return frozenset()
            for subject, (name, value) in product(subjects, values.items()):
                if subject == subjects[0] or _known(database, subject, name) is not None:
                    is_new = _put(database, subject, name, value, policy, "visitor", now_ms)
                    if is_new or is_public is not None:
                        _open(database, subject, name, bool(is_public), "visitor", now_ms)
        return frozenset(values)

    def forget_declared(self, subjects: Sequence[str], name: str | None, now_ms: int) -> int:
        """Erase one value, or all of them, under each of a visitor's subjects; give back how many.

        What one of the subjects had is noted under all: under none of them the site brings it back.
        """
        query = "SELECT name FROM declared WHERE subject = ?1 AND (?2 IS NULL OR name = ?2)"
        erased = 0
        with self._writing() as database:
            alive = [subject for subject in subjects if not self._is_erased(database, subject)]
            known = {found for subject in alive for (found,) in database.execute(query, (subject, name))}
            for subject, found in product(alive, sorted(known)):
                row = (subject, found)
                erased += database.execute(
                    "DELETE FROM declared WHERE subject = ? AND name = ?", row
                ).rowcount
                _note(database, subject, found, "erase", "visitor", now_ms)
        return erased

    def history(self, subject: str) -> list[Change]:
        """What was done to the declared values of one subject, oldest first."""
        with self._reading() as database:
            query = "SELECT name, act, by, at_ms FROM history WHERE subject = ? ORDER BY at_ms, rowid"
            rows = database.execute(query, (subject,)).fetchall() if database else []
        return [Change(*row) for row in rows]

    # ---- consent --------------------------------------------------------------------------------------

    def narrow(self, subject: str, granted: Iterable[str], now_ms: int, until_ms: int) -> None:
        """From now until then, no cookie of a subject holds more than these purposes.

        Called again with every later choice: what a subject then grants stands in the place of this.
        """
        with self._writing() as database:
            _stand(database, self.mark(subject), "+".join(sorted(granted)), now_ms, until_ms)

    def standing(self, subject: str) -> Standing | None:
        """What a subject holds at most: purposes, "erased", or None where nothing was narrowed."""
        found = self.stood(subject)
        return found[0] if found else None

    def stood(self, subject: str) -> tuple[Standing, int] | None:
        """The same, and since when."""
        with self._reading() as database:
            query = "SELECT granted, at_ms FROM standing WHERE mark = ?"
            row = database.execute(query, (self.mark(subject),)).fetchone() if database else None
        return None if row is None else (granted_of(row[0]), row[1])

    # ---- requests -------------------------------------------------------------------------------------

    def ask(self, subject: str, now_ms: int) -> None:
        """Ask for everything that is held about a subject; asking again changes nothing."""
        with self._writing() as database:
            _ask(database, subject, "access", now_ms)

    def erase(
        self, subject: str, receipt: bytes, now_ms: int, until_ms: int, account: str | None = None
    ) -> int:
        """Erase a subject: the tombstone first, then what lies here; give back how many declared values.

        Takes  account: what it has declared goes along (see `erase_account`)
        From the return on nothing is collected under the subject and re-reading old logs revives nothing;
        the pipeline removes what lies in logs and private events and fills in the receipt.
        """
        mark = self.mark(subject)
        with self._writing() as database:
            _stand(database, mark, _ERASED, now_ms, until_ms)
            counts = {"declared": _empty(database, subject)}
            if account:
                counts["account"] = _empty(database, account)
            database.execute("DELETE FROM request WHERE subject = ? AND act = 'access'", (subject,))
            _acknowledge(database, receipt, mark, now_ms, None, counts)
            _ask(database, subject, "erase", now_ms)
        return sum(counts.values())

    def erase_account(self, subject: str, receipt: bytes, now_ms: int) -> int:
        """Erase what an account has declared; give back how many values.

        It is no tombstone: whoever is signed in may declare anew. Nothing else is kept under an account.
        """
        with self._writing() as database:
            erased = _empty(database, subject)
            _acknowledge(database, receipt, self.mark(subject), now_ms, now_ms, {"account": erased})
        return erased

    def requests(self) -> list[Request]:
        """What visitors wait for, oldest first."""
        with self._reading() as database:
            query = "SELECT subject, act, asked_ms FROM request ORDER BY asked_ms, rowid"
            rows = database.execute(query).fetchall() if database else []
        return [Request(*row) for row in rows]

    def asked(self, subject: str) -> int | None:
        """Since when an answer about a subject is waited for; None where it is not."""
        with self._reading() as database:
            query = "SELECT asked_ms FROM request WHERE subject = ? AND act = 'access'"
            row = database.execute(query, (subject,)).fetchone() if database else None
        return None if row is None else int(row[0])

    def answered(self, request: Request, now_ms: int, counts: Mapping[str, int] | None = None) -> None:
        """Take a request off; of an erasure, add what was removed to its receipts. Idempotent."""
        with self._writing() as database:
            database.execute(
                "DELETE FROM request WHERE subject = ? AND act = ?", (request.subject, request.act)
            )
            if request.act != "erase":
                return
            query = "SELECT receipt, counts FROM receipt WHERE mark = ? AND done_ms IS NULL"
            for receipt, known in database.execute(query, (self.mark(request.subject),)).fetchall():
                total = msgspec.json.encode(msgspec.json.decode(known) | dict(counts or {})).decode()
                database.execute(
                    "UPDATE receipt SET counts = ?, done_ms = ? WHERE receipt = ?", (total, now_ms, receipt)
                )

    def receipt(self, receipt: bytes) -> Receipt | None:
        """What became of an erasure, given the hash of its number."""
        with self._reading() as database:
            query = "SELECT asked_ms, done_ms, counts FROM receipt WHERE receipt = ?"
            row = database.execute(query, (receipt,)).fetchone() if database else None
        return None if row is None else Receipt(row[0], row[1], msgspec.json.decode(row[2]))

    # ---- retention ------------------------------------------------------------------------------------

    def expire(self, kept_days: Callable[[str, str], int], proof_days: int, now_ms: int) -> dict[str, int]:
        """Remove what is over its retention; table → rows removed.

        Takes  kept_days: attribute and policy version → days after the value was last declared or altered
               proof_days: for what proves an act, after it
        """
        if not self.path.exists():
            return {}
        proofs_ms = now_ms - proof_days * DAY_MS
        with self._writing() as database:
            query = "SELECT rowid, name, policy, coalesce(altered_ms, declared_ms) FROM declared"
            over = [
                (row,)
                for row, name, policy, since_ms in database.execute(query).fetchall()
                if now_ms - since_ms > kept_days(name, policy) * DAY_MS
            ]
            database.executemany("DELETE FROM declared WHERE rowid = ?", over)
            removed = {
                # As long as a value stands, so does the proof of whose word it is.
                "history": database.execute(
                    "DELETE FROM history WHERE at_ms < ? AND NOT EXISTS (SELECT 1 FROM declared "
                    "WHERE declared.subject = history.subject AND declared.name = history.name)",
                    (proofs_ms,),
                ),
                "receipt": database.execute("DELETE FROM receipt WHERE asked_ms < ?", (proofs_ms,)),
                "standing": database.execute("DELETE FROM standing WHERE until_ms <= ?", (now_ms,)),
            }
        return {"declared": len(over), **{table: cursor.rowcount for table, cursor in removed.items()}}

    def oldest(self) -> dict[str, int]:
        """Table → UTC milliseconds of its oldest row; empty ones are left out."""
        columns = {"declared": "coalesce(altered_ms, declared_ms)", "history": "at_ms"}
        columns |= {"standing": "at_ms", "receipt": "asked_ms", "request": "asked_ms"}
        # The pipeline's own, once it made them.
        columns |= dict.fromkeys(("proof", "transfer", "access"), "at_ms")
        with self._reading() as database:
            if database is None:
                return {}
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            rows = [
                (table, database.execute(f"SELECT min({column}) FROM {table}").fetchone()[0])  # noqa: S608
                for table, column in columns.items()
                if table in tables
            ]
        return {table: since_ms for table, since_ms in rows if since_ms is not None}

    def _is_erased(self, database: sqlite3.Connection, subject: str) -> bool:
        query = "SELECT 1 FROM standing WHERE mark = ? AND granted IS NULL"
        return database.execute(query, (self.mark(subject),)).fetchone() is not None

    # ---- the file -------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The database, or None where no one has said anything yet."""
        if not self.path.exists():
            yield None
            return
        with closing(self.connect()) as database:
            yield database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. Raises OSError where it could not be stored."""
        with closing(self.connect()) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise OSError(f"{self.path} cannot be written ({error}): free the disk, or wait") from None

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own, in autocommit mode.

        Raises  ConfigurationError where the file is no database of this format; OSError
        """
        private_directory(self.path.parent)
        # Made here, because SQLite would make it readable to the group; its journal takes the same mode.
        # Only whoever makes it closes it: see `standings.Changes`.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            database = sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)
        except sqlite3.OperationalError as error:  # no file, or none that may be opened
            raise OSError(f"{self.path} cannot be opened ({error})") from None
        try:
            # A rollback journal, not a WAL: an erased page must not live on in a file beside.
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("PRAGMA secure_delete = ON")
            found = database.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                database.executescript(_SCHEMA.read_text("utf-8"))
            elif found != SCHEMA:
                raise sqlite3.DatabaseError(f"its format is {found}, not {SCHEMA}")
        except sqlite3.OperationalError as error:  # busy, full, read-only: the next act may succeed
            database.close()
            raise OSError(f"{self.path} cannot be opened ({error})") from None
        except sqlite3.DatabaseError as error:
            database.close()
            raise ConfigurationError(
                f"{self.path} cannot be used ({error}): put the last good copy back"
            ) from None
        return database


def receipt_of(number: str) -> bytes:
    """The hash under which the receipt of an erasure is kept; its number is the visitor's alone."""
    return blake2b(number.encode(), digest_size=MARK_BYTES, person=b"receipt").digest()


def granted_of(text: str | None) -> Standing:
    """What a row of `standing` says."""
    return "erased" if text is _ERASED else frozenset(filter(None, text.split("+")))


def _stand(
    database: sqlite3.Connection, mark: bytes, granted: str | None, now_ms: int, until_ms: int
) -> None:
    """Replace, so that the row gets a new number; who was erased stays erased."""
    database.execute(
        "INSERT OR REPLACE INTO standing (mark, granted, at_ms, until_ms) SELECT ?1, ?2, ?3, ?4 "
        "WHERE NOT EXISTS (SELECT 1 FROM standing WHERE mark = ?1 AND granted IS NULL)",
        (mark, granted, now_ms, until_ms),
    )


def _ask(database: sqlite3.Connection, subject: str, act: Act, now_ms: int) -> None:
    database.execute(
        "INSERT OR IGNORE INTO request (subject, act, asked_ms) VALUES (?, ?, ?)", (subject, act, now_ms)
    )


def _empty(database: sqlite3.Connection, subject: str) -> int:
    """Remove what a subject has declared, and its history; give back how many values there were."""
    database.execute("DELETE FROM history WHERE subject = ?", (subject,))
    return database.execute("DELETE FROM declared WHERE subject = ?", (subject,)).rowcount


def _acknowledge(
    database: sqlite3.Connection,
    receipt: bytes,
    mark: bytes,
    asked_ms: int,
    done_ms: int | None,
    counts: Mapping[str, int],
) -> None:
    """Write the receipt of an erasure."""
    row: Sequence[Any] = (receipt, mark, asked_ms, done_ms, msgspec.json.encode(counts).decode())
    database.execute("INSERT OR IGNORE INTO receipt VALUES (?, ?, ?, ?, ?)", row)


def _known(database: sqlite3.Connection, subject: str, name: str) -> str | None:
    """The text of a declared value."""
    query = "SELECT value FROM declared WHERE subject = ? AND name = ?"
    found = database.execute(query, (subject, name)).fetchone()
    return None if found is None else str(found[0])


def _is_visitors(database: sqlite3.Connection, subject: str, name: str) -> bool:
    """Whether the last word on a value was the visitor's own."""
    query = (
        "SELECT by FROM history WHERE subject = ? AND name = ? AND act IN ('declare', 'alter', 'erase') "
        "ORDER BY rowid DESC"
    )
    return bool(database.execute(query, (subject, name)).fetchone() == ("visitor",))


def _put(
    database: sqlite3.Connection, subject: str, name: str, value: Value, policy: str, by: By, now_ms: int
) -> bool:
    """Store a value; whether it is another one than before. One that only the site says is private."""
    text, known = msgspec.json.encode(value).decode(), _known(database, subject, name)
    if known == text:
        return False
    database.execute(
        "INSERT INTO declared (subject, name, value, policy, declared_ms) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = excluded.value, policy = excluded.policy, altered_ms = ?",
        (subject, name, text, policy, now_ms, now_ms),
    )
    _note(database, subject, name, "alter" if known else "declare", by, now_ms)
    if by == "site":
        _open(database, subject, name, False, by, now_ms)
    return True


def _open(
    database: sqlite3.Connection, subject: str, name: str, is_public: bool, by: By, now_ms: int
) -> None:
    """Open a value to others, or close it."""
    query = "UPDATE declared SET public = ?3 WHERE subject = ?1 AND name = ?2 AND public != ?3"
    if database.execute(query, (subject, name, is_public)).rowcount:
        _note(database, subject, name, "publish" if is_public else "hide", by, now_ms)


def _note(database: sqlite3.Connection, subject: str, name: str, act: str, by: By, now_ms: int) -> None:
    row: Sequence[Any] = (subject, name, act, by, now_ms)
    database.execute("INSERT INTO history (subject, name, act, by, at_ms) VALUES (?, ?, ?, ?, ?)", row)
