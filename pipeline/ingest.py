"""Event logs → private events, exactly once.

A batch takes unconsumed bytes of one UTC day's segments, verifies every frame, decodes every record and
writes the good ones to one Parquet file. What it consumed, its manifest, is stored in that file's own
key-value metadata, so rows and manifest commit together by one rename; what is consumed is the union of
the manifests. A run that is killed at any point leaves nothing to undo.

Frames that cannot be used go to quarantine whole, with a reason. Bytes found after their day was sealed
are late: consumed, counted and dropped.
"""

import hashlib
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import chain, count, groupby
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
from pipeline import sql
from pipeline.engine import connect
from pipeline.store import (
    GOOD,
    LATE,
    QUARANTINE,
    Manifest,
    Progress,
    Segment,
    Stretch,
    batch_files,
    consumed_bytes,
    events_of,
    find_segments,
    is_sealed,
    manifests,
    private_directory,
    sync,
    write_private,
)
from pipeline.windows import Window

BATCH_BYTES = 128 * 1024 * 1024  # of log: what a segment gives at a time, and when a batch is full
_PIECE_BYTES = 128 * 1024  # of log, decoded at once: more falls out of the processor's cache

# A record leaves out what is empty; a list of none is a list all the same.
_LISTS = {"purposes": "coalesce(purposes, []) AS purposes"}
_NAMES = ", ".join(name for name, _ in COLUMNS)
_COLUMNS = ", ".join(_LISTS.get(name, name) for name, _ in COLUMNS)

_encoder = msgspec.json.Encoder()


def ingest(data: Path, clock: Clock, progress: Progress) -> Counter[str]:
    """Take every unconsumed byte of every segment. The caller holds `store.exclusive`.

    Gives   rows, duplicate, late or a reason of quarantine → frames taken by this call
    Raises  StoreError, OSError; what was committed before stays
    """
    now_ms = clock()
    total: Counter[str] = Counter()
    done = 0
    with connect() as database:
        days = _waiting(database, data, now_ms)
        waiting = sum(source.waiting for sources in days.values() for source in sources)
        for day, sources in days.items():
            if sources:
                _prepare(database, events_of(data, day))
            for batch in _ahead(_batches(data, day, sources)):
                total += batch.commit(database, now_ms).outcomes
                done += batch.size
                progress("reading the logs", done, max(done, waiting))
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
        with self._path.open("rb") as file:
            file.seek(self.start)
            data = file.read(BATCH_BYTES)
        at_end = len(data) < BATCH_BYTES
        if not data.endswith(b"\n") and not (at_end and self._has_ended):
            unfinished = max(data.rfind(b"\x1e"), data.rfind(b"\n") + 1)
            # No frame is as long as a batch: one that seems to be is damage, and read as such.
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


def _batches(data: Path, day: str, sources: Iterable[_Source]) -> Iterator["_Batch"]:
    """Fill batches with a day's sources."""
    earlier = batch_files(events_of(data, day))
    numbers = count(int(earlier[-1].stem) + 1 if earlier else 1)
    queue = deque(sources)
    while queue:
        batch = _Batch(data, day, next(numbers))
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


def _prepare(database: duckdb.DuckDBPyConnection, directory: Path) -> None:
    """Remove what a killed run left aside, and remember the ids that the day holds."""
    private_directory(directory)
    for aside in directory.glob(".*"):
        aside.unlink()
    database.execute("CREATE OR REPLACE TEMP TABLE seen (id VARCHAR)")
    if files := [str(path) for path in batch_files(directory)]:
        database.execute("INSERT INTO seen SELECT id FROM read_parquet($files)", {"files": files})


class _Day:
    """What is good of one UTC day."""

    def __init__(self, day: str) -> None:
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
        self._decoder = msgspec.json.Decoder(list[tuple[good]])  # type: ignore[valid-type]

    def records(self, payloads: list[bytes]) -> list[Record] | None:
        """The records of payloads; None where one of them is not good."""
        # Neither may stand inside a record, a newline not even in a text: so none reaches into the next.
        joined = b"[[" + b"],\n[".join(payloads) + b"]]"
        try:
            rows = self._decoder.decode(joined)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        is_good = len(rows) == len(payloads) and max(map(len, payloads)) <= MAX_RECORD_BYTES
        return list(chain.from_iterable(rows)) if is_good else None

    def fault(self, payload: bytes) -> str:
        """Why a payload is not good."""
        try:
            record = decode(payload)
        except RecordError as error:
            return error.reason
        return "wrong_day" if _fits(record, payload) else "malformed"


def _between(first: int, last: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=first, le=last)]


_INT64 = _between(-(2**63), 2**63 - 1)


class _Batch:
    """Frames of one day on their way into one file."""

    def __init__(self, data: Path, day: str, number: int) -> None:
        self.size = 0  # bytes consumed
        self._day = _Day(day)
        self._directory = events_of(data, day)
        self._name = f"{number:06}"
        self._lines = self._directory / f".{self._name}.jsonl"
        self._quarantine = data / QUARANTINE / f"day={day}" / f"{self._name}.jsonl"
        self._is_late = is_sealed(data, day)
        self._good = 0
        self._bad: list[bytes] = []
        self._stretches: list[Stretch] = []
        write_private(self._lines, [])

    def take(self, source: _Source, chunk: bytes) -> None:
        """Sort the frames of a source's next bytes, and move the source past them."""
        outcomes: Counter[str] = Counter()
        with self._lines.open("ab") as lines:
            for start, piece in _pieces(chunk):
                records = self._sort(piece, source.name, source.start + start, outcomes)
                # Encoded anew: what the contract accepted is what is stored, whatever else a payload said.
                lines.write(_encoder.encode_lines(records))
        end = source.start + len(chunk)
        digest = hashlib.sha256(chunk).hexdigest()
        self._stretches.append(Stretch(source.name, source.start, end, digest, dict(outcomes)))
        self._good += outcomes[GOOD]
        source.start = end
        self.size += len(chunk)

    def _sort(self, piece: bytes, segment: str, offset: int, outcomes: Counter[str]) -> list[Record]:
        """The good records of a piece; its other frames go to quarantine, or are late."""
        if self._is_late:
            outcomes[LATE] += sum(1 for _ in frames(piece))
            return []
        whole = payloads(piece)
        records = self._day.records(whole) if whole else None
        if records is None:
            records = list(self._sort_each(piece, segment, offset, outcomes))
        if records:
            outcomes[GOOD] += len(records)
        return records

    def _sort_each(self, piece: bytes, segment: str, offset: int, outcomes: Counter[str]) -> Iterator[Record]:
        for frame in frames(piece):
            reason = frame.reason
            if frame.payload is not None:
                if good := self._day.records([frame.payload]):
                    yield from good
                    continue
                reason = self._day.fault(frame.payload)
            outcomes[reason] += 1
            place = {"segment": segment, "offset": offset + frame.start, "reason": reason}
            raw = b64encode(piece[frame.start : frame.end]).decode()
            self._bad.append(_encoder.encode(place | {"bytes": raw}) + b"\n")

    def commit(self, database: duckdb.DuckDBPyConnection, now_ms: int) -> Manifest:
        """Write quarantine, then rows and manifest aside; the rename to their name commits both."""
        self._write_quarantine()
        rows = self._find_new_rows(database)
        manifest = Manifest(now_ms, self._stretches, rows, self._good - rows)
        aside = self._directory / f".{self._name}.tmp"
        write_private(aside, [])  # DuckDB keeps the mode of a file that exists
        database.execute(
            f"COPY (SELECT {_NAMES} FROM batch SEMI JOIN new_lines USING (line) ORDER BY ts_ms, id) TO $path"  # noqa: S608
            " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false, KV_METADATA {manifest: $manifest})",
            {"path": str(aside), "manifest": _encoder.encode(manifest).decode()},
        )
        sync(aside)
        aside.rename(self._directory / f"{self._name}.parquet")
        sync(self._directory)
        database.execute("INSERT INTO seen SELECT id FROM new_lines")
        return manifest

    def _find_new_rows(self, database: duckdb.DuckDBPyConnection) -> int:
        # Without hive_partitioning=False the directory's name becomes a column.
        records = database.read_json(
            str(self._lines), columns=dict(COLUMNS), format="newline_delimited", hive_partitioning=False
        )
        records.create_view("written", replace=True)
        database.execute(f"CREATE OR REPLACE TEMP TABLE records AS SELECT {_COLUMNS} FROM written")  # noqa: S608
        database.execute("CREATE OR REPLACE TEMP VIEW batch AS SELECT rowid AS line, * FROM records")
        database.execute(f"CREATE OR REPLACE TEMP TABLE new_lines AS {sql.text('ingest.new_lines')}")
        self._lines.unlink()
        counted = database.execute("SELECT count(*) FROM new_lines").fetchall()
        return int(counted[0][0])

    def _write_quarantine(self) -> None:
        # A killed run may have left another file of this name: it is written anew, or goes.
        if self._bad:
            private_directory(self._quarantine.parent)
            write_private(self._quarantine, self._bad)
            sync(self._quarantine)
            sync(self._quarantine.parent)
        else:
            self._quarantine.unlink(missing_ok=True)


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
