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
from datetime import date
from itertools import groupby
from pathlib import Path

import duckdb
import msgspec

from collector.errors import RecordError
from collector.record import COLUMNS, MAX_RECORD_BYTES, Clock, Frame, Record, decode, frames
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

BATCH_BYTES = 16 * 1024 * 1024  # of log: what a segment gives at a time, and when a batch is full
_INT64 = range(-(2**63), 2**63)

# A record leaves out what is empty; a list of none is a list all the same.
_LISTS = {"purposes": "coalesce(purposes, []) AS purposes"}
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
            for batch in _batches(database, data, day, sources):
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


def _batches(
    database: duckdb.DuckDBPyConnection, data: Path, day: str, sources: Iterable[_Source]
) -> Iterator["_Batch"]:
    """Fill batches with a day's sources; each is to be committed before the next is asked for."""
    queue = deque(sources)
    if queue:
        _prepare(database, events_of(data, day))
    while queue:
        batch = _Batch(data, day)
        while queue and batch.size < BATCH_BYTES:
            chunk, at_end = queue[0].read()
            if chunk:
                batch.take(queue[0], chunk)
            if at_end:
                queue.popleft()
        if batch.size:
            yield batch


def _prepare(database: duckdb.DuckDBPyConnection, directory: Path) -> None:
    """Remove what a killed run left aside, and remember the ids that the day holds."""
    private_directory(directory)
    for aside in directory.glob(".*"):
        aside.unlink()
    database.execute("CREATE OR REPLACE TEMP TABLE seen (id VARCHAR)")
    if files := [str(path) for path in batch_files(directory)]:
        database.execute("INSERT INTO seen SELECT id FROM read_parquet($files)", {"files": files})


class _Batch:
    """Frames of one day on their way into one file."""

    def __init__(self, data: Path, day: str) -> None:
        self.size = 0  # bytes consumed
        self._start_ms, self._end_ms = Window("day", date.fromisoformat(day)).span_ms
        self._directory = events_of(data, day)
        earlier = batch_files(self._directory)
        self._name = f"{int(earlier[-1].stem) + 1 if earlier else 1:06}"
        self._quarantine = data / QUARANTINE / f"day={day}" / f"{self._name}.jsonl"
        self._is_late = is_sealed(data, day)
        self._rows: list[bytes] = []
        self._bad: list[bytes] = []
        self._stretches: list[Stretch] = []

    def take(self, source: _Source, chunk: bytes) -> None:
        """Sort the frames of a source's next bytes, and move the source past them."""
        outcomes: Counter[str] = Counter()
        for frame in frames(chunk):
            outcome = LATE if self._is_late else self._add(frame)
            outcomes[outcome] += 1
            if outcome not in (GOOD, LATE):
                raw = b64encode(chunk[frame.start : frame.end]).decode()
                place = {"segment": source.name, "offset": source.start + frame.start}
                self._bad.append(_encoder.encode(place | {"reason": outcome, "bytes": raw}) + b"\n")
        end = source.start + len(chunk)
        digest = hashlib.sha256(chunk).hexdigest()
        self._stretches.append(Stretch(source.name, source.start, end, digest, dict(outcomes)))
        source.start = end
        self.size += len(chunk)

    def _add(self, frame: Frame) -> str:
        """Keep the record of a good frame; otherwise the reason for quarantine."""
        if frame.payload is None:
            return frame.reason
        try:
            record = decode(frame.payload)
        except RecordError as error:
            return error.reason
        if not _fits(record, frame.payload):
            return "malformed"
        if not self._start_ms <= record.ts_ms < self._end_ms:
            return "wrong_day"
        # Encoded anew: what the contract accepted is what is stored, whatever else the payload said.
        self._rows.append(b'{"line":%d,%b\n' % (len(self._rows), _encoder.encode(record)[1:]))
        return GOOD

    def commit(self, database: duckdb.DuckDBPyConnection, now_ms: int) -> Manifest:
        """Write quarantine, then rows and manifest aside; the rename to their name commits both."""
        self._write_quarantine()
        rows = self._find_new_rows(database)
        good = len(self._rows)
        manifest = Manifest(now_ms, self._stretches, rows, good - rows)
        aside = self._directory / f".{self._name}.tmp"
        write_private(aside, [])  # DuckDB keeps the mode of a file that exists
        database.execute(
            "COPY new_rows TO $path"
            " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false, KV_METADATA {manifest: $manifest})",
            {"path": str(aside), "manifest": _encoder.encode(manifest).decode()},
        )
        sync(aside)
        aside.rename(self._directory / f"{self._name}.parquet")
        sync(self._directory)
        database.execute("INSERT INTO seen SELECT id FROM new_rows")
        return manifest

    def _find_new_rows(self, database: duckdb.DuckDBPyConnection) -> int:
        lines = self._directory / f".{self._name}.jsonl"
        write_private(lines, self._rows)
        columns = {"line": "BIGINT", **dict(COLUMNS)}
        # Without hive_partitioning=False the directory's name becomes a column.
        batch = database.read_json(
            str(lines), columns=columns, format="newline_delimited", hive_partitioning=False
        )
        batch.create_view("batch", replace=True)
        database.execute(f"CREATE OR REPLACE TEMP TABLE new_lines AS {sql.text('ingest.new_lines')}")
        database.execute(
            f"CREATE OR REPLACE TEMP TABLE new_rows AS SELECT {_COLUMNS} FROM batch"  # noqa: S608
            " SEMI JOIN new_lines USING (line) ORDER BY ts_ms, id"
        )
        lines.unlink()
        counted = database.execute("SELECT count(*) FROM new_rows").fetchall()
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
    return len(payload) <= MAX_RECORD_BYTES and all(number in _INT64 for number in numbers)
