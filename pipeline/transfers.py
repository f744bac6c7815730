"""THE GATE: records of single visitors are handed to others only through here, clause 3.3 of the policy.

recipient and ground → the records whose consent covers them (transfer_gate.py) → mask → the line → the file

A transfer has two lines in the register: what is handed over, synced before the file appears, and that the
file stands. Whatever kills it leaves no file without a line. Published statistics need no gate.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

from collector.policy import Policy
from collector.record import Clock
from collector.rights import Rights
from pipeline import accesses, chain
from pipeline.chain import Line
from pipeline.errors import TransferError
from pipeline.store import exclusive, sync, write_private
from pipeline.transfer_gate import Gate, Order

COMMAND = "rights transfer"


@dataclass(frozen=True)
class Transfer:
    """What was handed over."""

    number: int
    """Of its line in the register."""
    records: int
    subjects: int
    sha256: str


def transfer(data: Path, policy: Policy, clock: Clock, order: Order, to: Path) -> Transfer:
    """Hand over what an order covers: the line, then the file, for its owner only, one JSON object a line.

    Raises  TransferError where the order lacks something or the file exists; BusyError, StoreError, OSError
    """
    check(data, policy, order, to)
    with (
        exclusive(data),
        tempfile.TemporaryFile(dir=data) as spool,
    ):  # without a name: it dies with the process
        gate = Gate(data, policy, order, clock())
        spool.writelines(gate.records())
        while gate.has_changed(clock()):  # somebody withdrew or was erased meanwhile
            spool.seek(0)
            spool.truncate()
            spool.writelines(gate.records())
        done = _begin(data, clock, order, gate, _digest(spool))
        _write(spool, to)
        with chain.opened(data) as database, chain.transaction(database):
            chain.add(database, "transfer", clock(), {"completes": done.number, "sha256": done.sha256})
    return done


def check(data: Path, policy: Policy, order: Order, to: Path) -> None:
    """Refuse an order that lacks what its ground needs. Raises TransferError."""
    if not order.recipient.strip():
        raise TransferError("no recipient is named: say who receives the records with --recipient")
    if order.ground == "law" and not order.reference.strip():
        raise TransferError("a transfer by law needs the order it answers: name it with --reference")
    if order.ground == "breach" and order.subject is None:
        raise TransferError("a breach is one person's: name whose records with --subject")
    if order.purpose and not any(order.purpose in version.purposes for version in policy.versions):
        raise TransferError(f"no version of the policy names the purpose {order.purpose}: see policy history")
    if to.exists():
        raise TransferError(f"{to} exists and stays as it is: name another file with --to")
    if data.resolve() in to.resolve().parents:
        raise TransferError(f"{to} lies in the data directory: name a file outside of it with --to")
    if not to.parent.is_dir():
        raise TransferError(f"{to.parent} does not exist: make the directory, or name another file with --to")


def _begin(data: Path, clock: Clock, order: Order, gate: Gate, sha256: str) -> Transfer:
    """Write the line of a transfer, with who is in it as marks; synced when this returns."""
    rights = Rights(data)
    marks = sorted(rights.mark(subject) for subject in gate.taken)
    records = sum(gate.taken.values())
    entry = {
        "recipient": order.recipient,
        "ground": order.ground,
        "purpose": order.purpose,
        "reference": order.reference,
        "from": None if order.start == date.min else order.start.isoformat(),
        "to": None if order.end == date.max else order.end.isoformat(),
        "subject": rights.mark(order.subject).hex() if order.subject else None,
        "records": records,
        "subjects": len(marks),
        "marks_sha256": hashlib.sha256(b"".join(marks)).hexdigest(),
        "purposes": sorted(gate.purposes),
        "versions": sorted(gate.versions),
        "sha256": sha256,
        "user": chain.system_user(),
    }
    accesses.record(data, clock, COMMAND, order.subject, records)
    with chain.opened(data) as database, chain.transaction(database):
        number = chain.add(database, "transfer", clock(), entry)
        database.executemany("INSERT INTO transferred VALUES (?, ?)", [(number, mark) for mark in marks])
    return Transfer(number, records, len(marks), sha256)


def _digest(spool: IO[bytes]) -> str:
    spool.seek(0)
    return hashlib.file_digest(spool, "sha256").hexdigest()  # type: ignore[arg-type]


def _write(spool: IO[bytes], to: Path) -> None:
    """Put the records in their place whole."""
    spool.seek(0)
    aside = to.with_name(f".{to.name}.tmp")
    write_private(aside, spool)
    sync(aside)
    aside.rename(to)
    sync(to.parent)


# ---- what was handed over ----------------------------------------------------------------------------------


def listed(data: Path) -> list[dict[str, Any]]:
    """Every transfer with its line, oldest first, and whether its file came to stand."""
    with chain.opened(data) as database:
        lines = chain.lines(database, "transfer")
    completed = {line.entry["completes"] for line in lines if "completes" in line.entry}
    return [_told(line, line.number in completed) for line in lines if "completes" not in line.entry]


def _told(line: Line, is_completed: bool) -> dict[str, Any]:
    return {
        "number": line.number,
        "at_ms": line.at_ms,
        "completed": is_completed,
        **line.entry,
        "hash": line.hash,
    }


def of(data: Path, subject: str) -> list[dict[str, Any]]:
    """The transfers that a subject's records were part of, oldest first."""
    with chain.opened(data) as database:
        query = "SELECT number FROM transferred WHERE mark = ?"
        numbers = {row[0] for row in database.execute(query, (Rights(data).mark(subject),))}
    return [told for told in listed(data) if told["number"] in numbers]


def faults(data: Path) -> list[str]:
    """What does not fit in the register or in who its lines are about; nothing where all is whole."""
    with chain.opened(data) as database:
        found = chain.faults(database, "transfer")
        for line in chain.lines(database, "transfer"):
            if "completes" in line.entry:
                continue
            query = "SELECT mark FROM transferred WHERE number = ? ORDER BY mark"
            marks = b"".join(row[0] for row in database.execute(query, (line.number,)))
            if hashlib.sha256(marks).hexdigest() != line.entry["marks_sha256"]:
                found.append(f"whom transfer {line.number} was about was changed")
    return found
