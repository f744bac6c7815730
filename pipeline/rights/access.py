"""Access, carried out: every record of a visitor, from the private events of all days and from the logs, and
what is known by the visitor's mark: proven choices and transfers."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from collector.answers import OUTBOX, OUTBOX_DAYS, Answer, Choice, Handed
from collector.errors import RecordError
from collector.record import COLUMNS, DAY_MS, RECORD_VERSION, Record, day_of, decode, frames
from collector.rights import Rights
from pipeline import proofs, transfers
from pipeline.engine import shared
from pipeline.rights.frames import holding
from pipeline.store import (
    EVENTS,
    batch_files,
    days_of,
    find_segments,
    private_directory,
    replace_private,
)

_COLUMNS = ", ".join(name for name, _ in COLUMNS)


class _Made(msgspec.Struct):
    made_ms: int


def records_of(data: Path, subject: str) -> list[Record]:
    """Every record of a pseudonym, oldest first; what is in a log and in the private events comes once.

    Beside a run at work it misses nothing, if it finds its files: records move from logs to private events
    only, and the logs are read first.

    Raises  OSError, duckdb.Error
    """
    found = {record.id: record for record in (*_logged(data, subject), *_stored(data, subject))}
    return sorted(found.values(), key=lambda record: (record.ts_ms, record.id))


def choices_of(data: Path, subject: str) -> list[Choice]:
    """Every choice that is proven of a pseudonym, oldest first, whether its record is kept or not."""
    return [msgspec.convert(proof, Choice, from_attributes=True) for proof in proofs.of(data, subject)]


def transfers_of(data: Path, subject: str) -> list[Handed]:
    """The transfers that records of a pseudonym were part of, oldest first."""
    return [
        Handed(day_of(each["at_ms"]), each["recipient"], each["ground"])
        for each in transfers.of(data, subject)
    ]


def answer(data: Path, subject: str, now_ms: int) -> None:
    """Put what is held of a subject where its privacy page looks for it, for OUTBOX_DAYS."""
    path = _path(data, subject)
    private_directory(path.parent)
    found = Answer(now_ms, records_of(data, subject), choices_of(data, subject), transfers_of(data, subject))
    replace_private(path, msgspec.json.encode(found).decode())


def remove_answer(data: Path, subject: str) -> bool:
    """Remove an answer that waits to be fetched; whether there was one."""
    path = _path(data, subject)
    was_there = path.exists()
    for each in (path, path.with_name(f".{path.name}.tmp")):
        each.unlink(missing_ok=True)
    return was_there


def remove_old_answers(data: Path, now_ms: int) -> int:
    """Remove the answers that had OUTBOX_DAYS to be fetched; give back how many."""
    old = [path for path, made_ms in answers(data).items() if now_ms - made_ms >= OUTBOX_DAYS * DAY_MS]
    for path in old:
        path.unlink()
    return len(old)


def answers(data: Path) -> dict[Path, int]:
    """The answers that wait to be fetched, and when each was made, in UTC milliseconds; 0: damaged."""
    return {path: _made_ms(path) for path in sorted((data / OUTBOX).glob("*.json"))}


def _path(data: Path, subject: str) -> Path:
    return data / OUTBOX / f"{Rights(data).mark(subject).hex()}.json"


def _made_ms(path: Path) -> int:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Made).made_ms
    except msgspec.DecodeError:
        return 0


def _stored(data: Path, subject: str) -> Iterator[Record]:
    files = [str(file) for directory, _ in days_of(data / EVENTS) for file in batch_files(directory)]
    if not files:
        return
    query = (
        f"SELECT {_COLUMNS} FROM read_parquet($files, hive_partitioning = false, union_by_name = true)"  # noqa: S608
        " WHERE visitor = $subject"
    )
    with shared().cursor() as database:
        for row in database.execute(query, {"files": files, "subject": subject}).fetchall():
            values = {name: value for (name, _), value in zip(COLUMNS, row, strict=True) if value is not None}
            yield msgspec.convert({"v": RECORD_VERSION, **values}, Record)


def _logged(data: Path, subject: str) -> Iterator[Record]:
    for segment in find_segments(data):
        content = segment.path.read_bytes()
        for start, end in holding(content, subject):
            for frame in frames(content[start:end]):
                record = _read(frame.payload)
                if record and record.visitor == subject:
                    yield record


def _read(payload: bytes | None) -> Record | None:
    try:
        return None if payload is None else decode(payload)
    except RecordError:
        return None
