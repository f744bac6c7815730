"""Registers that only grow: each line carries a hash over itself and the line before.

    transfer    what was handed to whom, on which ground (transfers.py)
    access      which operator's command looked at single records (accesses.py)

Both lie in rights.sqlite, where triggers refuse every change. Who gets round those changes a line, takes one
out or moves one cannot make the hashes fit without writing all later ones anew, so whoever keeps the newest
hash elsewhere can tell. The oldest lines go when their time is over: the hash that the rest follows is kept.
"""

import hashlib
import json
import os
import pwd
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from collector.errors import ConfigurationError
from collector.rights import Rights
from pipeline import sql

Register = Literal["transfer", "access"]
REGISTERS: tuple[Register, ...] = ("transfer", "access")


@dataclass(frozen=True)
class Line:
    """One line of a register."""

    number: int
    """From 1, without gaps."""
    at_ms: int
    entry: Mapping[str, Any]
    hash: str
    """64 hex digits."""


@contextmanager
def opened(data: Path) -> Iterator[sqlite3.Connection]:
    """rights.sqlite with the registers in it, in autocommit mode.

    Raises  ConfigurationError, OSError
    """
    if not data.is_dir():
        raise ConfigurationError(f"{data} does not exist: name the site's data directory with --data")
    with closing(Rights(data).connect()) as database:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'version'").fetchone() is None:
            database.executescript(sql.text("chain.schema"))
        yield database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, synced when it is left."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.rollback()  # which SQLite has done itself where the disk is full
        raise
    database.execute("COMMIT")


def add(database: sqlite3.Connection, register: Register, at_ms: int, entry: Mapping[str, Any]) -> int:
    """Add a line, inside a `transaction`; give back its number."""
    query = "SELECT head + 1, head_hash FROM chain WHERE name = ?"
    number, before = database.execute(query, (register,)).fetchone()
    text = json.dumps(entry, ensure_ascii=False, sort_keys=True)
    chained = _chained(before, number, at_ms, text)
    database.execute(f"INSERT INTO {register} VALUES (?, ?, ?, ?)", (number, at_ms, text, chained))  # noqa: S608
    database.execute("UPDATE chain SET head = ?, head_hash = ? WHERE name = ?", (number, chained, register))
    return int(number)


def lines(database: sqlite3.Connection, register: Register) -> list[Line]:
    """What a register holds, oldest first."""
    rows = database.execute(f"SELECT number, at_ms, entry, hash FROM {register} ORDER BY number")  # noqa: S608
    return [Line(number, at_ms, json.loads(entry), hash_) for number, at_ms, entry, hash_ in rows]


def faults(database: sqlite3.Connection, register: Register) -> list[str]:
    """What does not fit in a register, a sentence each; nothing where it is whole."""
    query = "SELECT pruned, pruned_hash, head, head_hash FROM chain WHERE name = ?"
    known = database.execute(query, (register,)).fetchone()
    if known is None:
        return [f"where the register {register} begins and ends is gone: put the last good copy back"]
    number, before, head, head_hash = known
    found = []
    rows = database.execute(f"SELECT number, at_ms, entry, hash FROM {register} ORDER BY number")  # noqa: S608
    for at, at_ms, text, chained in rows:
        if at != number + 1:
            found.append(f"lines {number + 1} to {at - 1} of {register} are gone")
        if chained != _chained(before, at, at_ms, text):
            found.append(f"line {at} of {register} does not fit the line before: one of them was changed")
        number, before = at, chained
    if (number, before) != (head, head_hash):
        found.append(
            f"the register {register} ends with line {number}, not with line {head} as it was written"
        )
    return found


def prune(database: sqlite3.Connection, register: Register, before_ms: int) -> int:
    """Let the oldest lines go that were written before an instant; give back how many."""
    query = f"SELECT min(number) FROM {register} WHERE at_ms >= ?"  # noqa: S608
    with transaction(database):
        kept = database.execute(query, (before_ms,)).fetchone()[0]
        newest = database.execute(
            f"SELECT number, hash FROM {register} WHERE number < coalesce(?, ?) ORDER BY number DESC LIMIT 1",  # noqa: S608
            (kept, 2**62),
        ).fetchone()
        if newest is None:
            return 0
        update = "UPDATE chain SET pruned = ?, pruned_hash = ? WHERE name = ?"
        database.execute(update, (*newest, register))
        return database.execute(f"DELETE FROM {register} WHERE number <= ?", newest[:1]).rowcount  # noqa: S608


def system_user() -> str:
    """Who runs this process, by the system's own account and not by what the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return str(os.getuid())


def _chained(before: str, number: int, at_ms: int, entry: str) -> str:
    return hashlib.sha256(f"{before}\n{number}\n{at_ms}\n{entry}".encode()).hexdigest()
