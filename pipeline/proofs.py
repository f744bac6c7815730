"""Proof of consent: every choice in the private events, under a one-way mark, for as long as it is asked for.

The events themselves expire with their day. What stays says that somebody chose, when, by which act, under
which version and for which purposes, and can be found only by who holds the pseudonym.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from collector.consent import GRANT_DAYS, REFUSAL_DAYS
from collector.policy import Policy
from collector.record import DAY_MS, Clock
from collector.rights import RIGHTS, Rights
from pipeline import chain
from pipeline.chain import opened, transaction
from pipeline.engine import Engine
from pipeline.store import EVENTS, batch_files, days_of, is_sealed

ERASE = "erase"

_COLUMNS = "id, at_ms, act, via, policy, purposes, service"


@dataclass(frozen=True)
class Proof:
    """One choice."""

    id: str
    """Of the record it was proven by."""
    at_ms: int
    act: str
    """grant, refuse, withdraw or erase."""
    via: str
    """banner, page, form, fetch or signal; of an erasure, erasure."""
    policy: str
    """The version that was asked about: the one in force, or an older one that a withdrawal left standing.

    Of an erasure, that of the last choice.
    """
    purposes: tuple[str, ...]
    """What held from then on, with what cannot be refused."""
    service: str | None

    @property
    def lapses_ms(self) -> int:
        """When the visitor is asked again, without another choice; of an erasure, at once."""
        if self.act == ERASE:
            return self.at_ms
        return self.at_ms + (REFUSAL_DAYS if self.act == "refuse" else GRANT_DAYS) * DAY_MS


def keep(data: Path) -> int:
    """Keep a proof of every choice that was read; give back how many are new. Idempotent.

    To be called after `ingest` and before `seal`: a sealed day holds nothing that was not seen.
    """
    days = [(path, day) for path, day in days_of(data / EVENTS) if not is_sealed(data, day)]
    files = [file for directory, _ in days for file in batch_files(directory)]
    if not files:
        return 0
    with Engine() as engine:
        engine.records(files)
        rows = engine.rows("proofs.consents")
    if not rows:
        return 0
    rights = Rights(data)
    kept = [
        (id_, rights.mark(visitor), at_ms, act, via, policy, "+".join(purposes), service)
        for id_, visitor, at_ms, act, via, policy, purposes, service in rows
    ]
    with opened(data) as database, transaction(database):
        before = database.total_changes
        database.executemany("INSERT OR IGNORE INTO proof VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kept)
        return database.total_changes - before


def of(data: Path, subject: str) -> list[Proof]:
    """Every choice that is proven of a subject, oldest first, and the erasure that ended them."""
    query = f"SELECT {_COLUMNS} FROM proof WHERE mark = ? ORDER BY at_ms, rowid"  # noqa: S608
    with opened(data) as database:
        mark = Rights(data).mark(subject)
        found = [_proof(*row) for row in database.execute(query, (mark,))]
        # The receipt of an erasure stays for proof_days from then on, longer than the proofs before it.
        query = "SELECT hex(receipt), asked_ms FROM receipt WHERE mark = ? ORDER BY asked_ms LIMIT 1"
        for id_, at_ms in database.execute(query, (mark,)) if found else ():
            found.append(Proof(id_.lower(), at_ms, ERASE, "erasure", found[-1].policy, (), None))
        return found


def newest(database: sqlite3.Connection, mark: bytes) -> Proof | None:
    """The last choice that is proven of a subject, given its mark."""
    query = f"SELECT {_COLUMNS} FROM proof WHERE mark = ? ORDER BY at_ms DESC, rowid DESC LIMIT 1"  # noqa: S608
    row = database.execute(query, (mark,)).fetchone()
    return _proof(*row) if row else None


def _proof(
    id_: str, at_ms: int, act: str, via: str, policy: str, purposes: str, service: str | None
) -> Proof:
    return Proof(id_, at_ms, act, via, policy, tuple(filter(None, purposes.split("+"))), service)


def expire(data: Path, policy: Policy, clock: Clock) -> int:
    """Let proofs and lines of the registers go that are older than `controller.proof_days`; say how many."""
    if not (data / RIGHTS).exists():
        return 0
    before_ms = clock() - policy.controller.proof_days * DAY_MS
    with opened(data) as database:
        gone = chain.prune(database, "transfer", before_ms) + chain.prune(database, "access", before_ms)
        with transaction(database):
            database.execute(
                "DELETE FROM transferred WHERE number <= (SELECT pruned FROM chain WHERE name = 'transfer')"
            )
            gone += database.execute("DELETE FROM proof WHERE at_ms < ?", (before_ms,)).rowcount
    return gone
