"""Event logs → private events, exactly once.

A batch takes unconsumed bytes of one UTC day's segments, verifies every frame, decodes every record and
writes the good ones to one Parquet file. What it consumed, its manifest, is stored in that file's own
key-value metadata, so rows and manifest commit together by one rename; what is consumed is the union of
the manifests. A run that is killed at any point leaves nothing to undo.

Frames that cannot be used go to quarantine whole, with a reason. Bytes found after their day was sealed
are late: consumed, counted and dropped. Records of visitors who were erased are dropped, and overwritten
where they lie: a log put back from a copy revives nothing.
"""

import hashlib
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import count, groupby
from pathlib import Path
from typing import Annotated, Any

import duckdb
import msgspec

from collector.errors import RecordError
from collector.record import (
    COLUMNS,
    FIELDS,
    MAX_RECORD_BYTES,
    RECORD_VERSION,
    Clock,
    Record,
    decode,
    frames,
    payloads,
)
from pipeline.engine import connect
from pipeline.rights.frames import is_filler, overwrite
from pipeline.rights.tombstones import Tombstones
from pipeline.store import (
    ERASED,
    GOOD,
    LATE,
    QUARANTINE,
    Manifest,
    Progress,
    Segment,
    Stretch,
    batch_files,
    commit_batch,
    consumed_bytes,
    events_of,
    find_segments,
    is_sealed,
    manifests,
    private_directory,
    sync,
    write_aside,
    write_private,
)
from pipeline.windows import Window

BATCH_BYTES = 64 * 1024 * 1024  # of log: when a batch is full
_CHUNK_BYTES = 8 * 1024 * 1024  # of log, read at once: the next one fits into the same memory
_AT_A_TIME = 100_000  # ids fetched
_BUFFER_BYTES = 1024 * 1024  # of lines: what DuckDB reads at once stays in the processor's cache
_PIECE_BYTES = 32 * 1024  # of log, decoded at once: what more holds falls out of the processor's cache

# A record leaves out what is empty; a list of none is a list all the same.
_LISTS = {"purposes": "coalesce(purposes, []) AS purposes"}
_COLUMNS = ", ".join(_LISTS.get(name, name) for name, _ in COLUMNS)

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encoder = msgspec.json.Encoder()


def ingest(data: Path, clock: Clock, progress: Progress) -> Counter[str]:
    """Take every unconsumed byte of every segment. The caller holds `store.exclusive`.

    Gives   rows, duplicate, late, erased or a reason of quarantine → frames taken by this call
    Raises  StoreError, OSError; what was committed before stays
    """
    now_ms = clock()
    total: Counter[str] = Counter()
    done = 0
    erased = Tombstones(data, now_ms)
    with connect() as database:
        # The thread that fills batches needs longer for one than a single thread of DuckDB's; more of them
        # would keep it from its processor.
        database.execute("SET threads = 1")
        days = _waiting(database, data, now_ms)
        waiting = sum(source.waiting for sources in days.values() for source in sources)
        for name, sources in days.items():
            if not sources:
                continue
            day = _Day(data, name, _prepare(database, events_of(data, name)), erased)
            for batch in _ahead(_batches(day, sources)):
                total += batch.commit(database, now_ms).outcomes
                done += batch.size
                progress("reading the logs", done, max(done, waiting))
    overwrite(data, erased.met)
    return total


class _Source:
    """The unconsumed rest of one segment."""

    def __init__(self, segment: Segment, start: int, has_ended: bool) -> None:
        self.name = segment.name
        self.start = start
        self.waiting = segment.path.stat().st_size - start
        self._path = segment.path
        self._has_ended = has_ended

    def read(self) -> tuple[bytes, bool]:
        """The next whole frames, and whether the segment has no more for now.

        A last frame without its newline may still be being written, unless the segment has ended.
        """
        size = min(_CHUNK_BYTES, BATCH_BYTES)
        with self._path.open("rb") as file:
            file.seek(self.start)
            data = file.read(size)
        at_end = len(data) < size
        if not data.endswith(b"\n") and not (at_end and self._has_ended):
            unfinished = max(data.rfind(b"\x1e"), data.rfind(b"\n") + 1)
            # No frame is as long as a chunk: one that seems to be is damage, and read as such.
            data = data[:unfinished] if unfinished or at_end else data
        return data, at_end


def _waiting(database: duckdb.DuckDBPyConnection, data: Path, now_ms: int) -> dict[str, list[_Source]]:
    """Day → its segments with unconsumed bytes."""
    segments = find_segments(data)
    # A worker closes a segment before it opens the next, and this listing is older than any read after it.
    newest = {segment.worker: segment.number for segment in sorted(segments, key=lambda each: each.number)}
    days = {}
    for day, group in groupby(segments, key=lambda segment: segment.day):
        is_over = Window("day", date.fromisoformat(day)).is_closed(now_ms)
        consumed = consumed_bytes(manifests(database, events_of(data, day)))
        sources = [
            _Source(each, consumed.get(each.name, 0), is_over or each.number < newest[each.worker])
            for each in group
        ]
        days[day] = [source for source in sources if source.waiting > 0]
    return days


def _prepare(database: duckdb.DuckDBPyConnection, directory: Path) -> set[str]:
    """Remove what a killed run left aside of a day; give back the ids that the day holds."""
    private_directory(directory)
    for aside in directory.glob(".*"):
        aside.unlink()
    files = [str(path) for path in batch_files(directory)]
    if not files:
        return set()
    found = database.execute("SELECT id FROM read_parquet($files)", {"files": files})
    return {id_ for rows in iter(lambda: found.fetchmany(_AT_A_TIME), []) for (id_,) in rows}


def _batches(day: "_Day", sources: Iterable[_Source]) -> Iterator["_Batch"]:
    """Fill batches with a day's sources."""
    earlier = batch_files(day.directory)
    numbers = count(int(earlier[-1].stem) + 1 if earlier else 1)
    queue = deque(sources)
    while queue:
        batch = _Batch(day, f"{next(numbers):06}")
        while queue and batch.size < BATCH_BYTES:
            chunk, at_end = queue[0].read()
            if chunk:
                batch.take(queue[0], chunk)
            if at_end:
                queue.popleft()
        if batch.size:
            yield batch


def _ahead(batches: Iterator["_Batch"]) -> Iterator["_Batch"]:
    """The same batches, each filled by a thread while the one before is committed."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, batches, None)
        while batch := following.result():
            following = thread.submit(next, batches, None)
            yield batch


class _Day:
    """One UTC day: which records are good, and which of them are new."""

    def __init__(self, data: Path, day: str, ids: set[str], erased: Tombstones) -> None:
        self.erased = erased
        self.directory = events_of(data, day)
        self.quarantine = data / QUARANTINE / f"day={day}"
        self.is_late = is_sealed(data, day)
        self._ids = ids
        start_ms, end_ms = Window("day", date.fromisoformat(day)).span_ms
        good = msgspec.defstruct(
            "Good",
            [
                ("v", _between(RECORD_VERSION, RECORD_VERSION)),
                ("ts_ms", _between(start_ms, end_ms - 1)),
                *((field.name, _INT64 | None, None) for field in FIELDS if field.type == "BIGINT"),
            ],
            bases=(Record,),
            frozen=True,
            kw_only=True,
            gc=False,  # texts and numbers make no circles, and looking for them doubles the time
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(good)

    def records(self, payloads: list[bytes]) -> list[Record] | None:
        """The records of payloads that each open an object; None where one of them is not good."""
        try:
            records: list[Record] = self._decoder.decode_lines(b"\n".join(payloads))
        except _UNREADABLE:
            return None
        # No newline is part of a text, and no record holds another: so where every line opens a record and
        # there are as many records as lines, none reaches into the next line and none holds two.
        is_good = len(records) == len(payloads) and max(map(len, payloads)) <= MAX_RECORD_BYTES
        return records if is_good else None

    def record(self, payload: bytes) -> Record | str:
        """The record of a payload, or why it is not good."""
        if is_filler(payload):
            return ERASED
        try:
            if len(payload) <= MAX_RECORD_BYTES:
                good: Record = self._decoder.decode(payload)
                return good
        except _UNREADABLE:
            pass
        try:
            record = decode(payload)
        except RecordError as error:
            return error.reason
        return "wrong_day" if _fits(record, payload) else "malformed"

    def new(self, records: list[Record]) -> list[Record]:
        """The first records of the ids that the day did not hold; now it does. In any order."""
        ids = {record.id for record in records}
        if len(ids) < len(records) or not ids.isdisjoint(self._ids):
            firsts = {record.id: record for record in reversed(records) if record.id not in self._ids}
            ids, records = set(firsts), list(firsts.values())
        self._ids |= ids
        return records


def _between(first: int, last: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=first, le=last)]


_INT64 = _between(-(2**63), 2**63 - 1)


class _Batch:
    """Frames of one day on their way into one file."""

    def __init__(self, day: _Day, name: str) -> None:
        self.size = 0  # bytes consumed
        self._day = day
        self._name = name
        self._lines: list[bytes] = []  # the new records, encoded anew
        self._good = self._rows = 0
        self._bad: list[bytes] = []
        self._stretches: list[Stretch] = []

    def take(self, source: _Source, chunk: bytes) -> None:
        """Sort the frames of a source's next bytes, and move the source past them."""
        outcomes: Counter[str] = Counter()
        for offset, piece in _pieces(chunk):
            found = self._sort(piece, source.name, source.start + offset, outcomes)
            records = self._day.erased.without(found) if self._day.erased else found
            outcomes[ERASED] += len(found) - len(records)
            outcomes[GOOD] += len(records)
            new = self._day.new(records)
            self._rows += len(new)
            # What the contract accepted, whatever else a payload said.
            self._lines.append(_encoder.encode_lines(new))
        end = source.start + len(chunk)
        digest = hashlib.sha256(chunk).hexdigest()
        self._stretches.append(Stretch(source.name, source.start, end, digest, dict(+outcomes)))
        self._good += outcomes[GOOD]
        source.start = end
        self.size += len(chunk)

    def _sort(self, piece: bytes, segment: str, offset: int, outcomes: Counter[str]) -> list[Record]:
        """The good records of a piece; its other frames go to quarantine, or are late."""
        if self._day.is_late:
            outcomes.update(ERASED if is_filler(frame.payload) else LATE for frame in frames(piece))
            return []
        whole = payloads(piece)
        records = self._day.records(whole) if whole else None
        return list(self._sort_each(piece, segment, offset, outcomes)) if records is None else records

    def _sort_each(self, piece: bytes, segment: str, offset: int, outcomes: Counter[str]) -> Iterator[Record]:
        for frame in frames(piece):
            found = frame.reason if frame.payload is None else self._day.record(frame.payload)
            if isinstance(found, Record):
                yield found
                continue
            raw = piece[frame.start : frame.end]
            if found == ERASED or (self._day.erased and self._day.erased.are_named_in(raw)):
                outcomes[ERASED] += 1
                continue
            outcomes[found] += 1
            place = {"segment": segment, "offset": offset + frame.start, "reason": found}
            self._bad.append(_encoder.encode(place | {"bytes": b64encode(raw).decode()}) + b"\n")

    def commit(self, database: duckdb.DuckDBPyConnection, now_ms: int) -> Manifest:
        """Write quarantine, then rows and manifest aside; the rename to their name commits both."""
        self._write_quarantine()
        manifest = Manifest(now_ms, self._stretches, self._rows, self._good - self._rows)
        lines_file = self._day.directory / f".{self._name}.jsonl"
        # At once: each write may wait for the thread that fills the next batch to let go of the interpreter.
        write_private(lines_file, [b"".join(self._lines)])
        # Without hive_partitioning=False the directory's name becomes a column.
        lines = database.read_json(
            str(lines_file),
            columns=dict(COLUMNS),
            format="newline_delimited",
            hive_partitioning=False,
            maximum_object_size=_BUFFER_BYTES,
        )
        lines.create_view("lines", replace=True)
        batch = self._day.directory / f"{self._name}.parquet"
        aside = write_aside(database, batch, f"SELECT {_COLUMNS} FROM lines", manifest)  # noqa: S608
        lines_file.unlink()
        commit_batch(aside, batch)
        return manifest

    def _write_quarantine(self) -> None:
        # A killed run may have left another file of this name: it is written anew, or goes.
        path = self._day.quarantine / f"{self._name}.jsonl"
        if self._bad:
            private_directory(path.parent)
            write_private(path, self._bad)
            sync(path)
            sync(path.parent)
        else:
            path.unlink(missing_ok=True)


def _fits(record: Record, payload: bytes) -> bool:
    """Whether the private events can hold a record: JSON knows longer texts and larger integers."""
    numbers = (record.engaged_ms or 0, record.scroll or 0)
    return len(payload) <= MAX_RECORD_BYTES and all(-(2**63) <= number < 2**63 for number in numbers)


def _pieces(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """A chunk in pieces that each end where a frame begins; with their offsets."""
    start = 0
    while start < len(chunk):
        end = chunk.find(b"\n\x1e", start + _PIECE_BYTES) + 1 or len(chunk)
        yield start, chunk[start:end]
        start = end
