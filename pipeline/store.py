"""What lies in the data directory: segments, batches of private events with their manifests, quarantine.

    logs/<day>/<worker>-<n>.log            segments, as the collector's workers write them
    events/day=<day>/<batch>.parquet       private events; the file's metadata holds the batch's manifest
    events/day=<day>/_sealed               nothing is added to this day any more
    events/day=<day>/_retention            the longest retention that was enforced on its rows
    quarantine/day=<day>/<batch>.jsonl     frames of that batch that could not be used

Everything here is the operator's: directories 0700, files 0600, never served.
"""

import fcntl
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import msgspec

from collector.record import LOGS, STATUS
from pipeline.errors import BusyError, StoreError

EVENTS = "events"
QUARANTINE = "quarantine"
SEALED = "_sealed"
GOOD = "good"
LATE = "late"
ERASED = "erased"
EXPIRED = "expired"

PATIENCE_S = 5.0
"""What a visitor asks for, done by `run --watch`, takes less: no round of cron's fails for that."""
_RETRY_S = 0.05

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done and how much there is in all."""

_SEGMENT = re.compile(r"(?P<worker>\w+)-(?P<number>\d+)\.log")


class Stretch(msgspec.Struct, frozen=True):
    """Bytes of one segment that one batch consumed, and what became of their frames."""

    segment: str
    start: int
    end: int
    sha256: str
    """Of the bytes, 64 hex digits."""
    outcomes: dict[str, int]
    """good, late, erased or one of record.REASONS → frames."""


class ImportedDay(msgspec.Struct, frozen=True):
    """What an import found of a day. Always: lines = rows + malformed + assets + other + bots."""

    ground: str
    """What justifies counting these visits, as the policy says it."""
    lines: int
    malformed: int
    assets: int
    other: int
    bots: dict[str, int]
    """Category → lines."""


class Manifest(msgspec.Struct, frozen=True):
    """What one batch consumed. Always: frames = rows + duplicate + late + erased + quarantined."""

    committed_ms: int
    stretches: list[Stretch]
    rows: int
    duplicate: int
    """Good records whose id the day already held."""
    imported: ImportedDay | None = None
    """Of a day that came from access logs."""
    removed: dict[str, int] = {}
    """ERASED or EXPIRED → rows that the batch held once."""
    cut: int = 0
    """How often a row was left with fewer purposes and fields, because a purpose's retention is over."""

    @property
    def outcomes(self) -> Counter[str]:
        """rows, duplicate, late, erased, expired or a reason of quarantine → frames."""
        kept = self.rows - sum(self.removed.values())
        total = Counter(self.removed) + Counter(rows=kept, duplicate=self.duplicate)
        for stretch in self.stretches:
            total.update(stretch.outcomes)
        del total[GOOD]
        return +total


@dataclass(frozen=True)
class Segment:
    """One file of one writer."""

    path: Path
    day: str
    worker: str
    number: int

    @property
    def name(self) -> str:
        """The file's name. A worker numbers its segments without end, so no two are alike."""
        return self.path.name


@contextmanager
def exclusive(data: Path, patience_s: float | None = None) -> Iterator[None]:
    """Keep every other run away from a data directory.

    Takes   patience_s: how long to wait for one that is at work; PATIENCE_S unless given
    Raises  BusyError where it still is then
    """
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        until_s = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
        while not _is_locked(descriptor):
            if time.monotonic() >= until_s:
                raise BusyError(f"another `impersonal run` is at work on {data}: wait for it, or stop it")
            time.sleep(_RETRY_S)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def find_segments(data: Path) -> list[Segment]:
    """Every segment under logs/, by day, worker and number."""
    found = []
    for directory, day in days_of(data / LOGS, prefix=""):
        for path in directory.iterdir():
            if path.is_file() and (match := _SEGMENT.fullmatch(path.name)):
                found.append(Segment(path, day, match["worker"], int(match["number"])))
    return sorted(found, key=lambda segment: (segment.day, segment.worker, segment.number))


def is_alive(data: Path, worker: str) -> bool:
    """Whether a worker's process lives: it holds its lock until it ends, however it ends."""
    try:
        descriptor = os.open(data / STATUS / f"{worker}.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def days_of(directory: Path, prefix: str = "day=") -> list[tuple[Path, str]]:
    """The directories of single days, oldest first, each with its day as 2026-11-24."""
    found = []
    for path in sorted(directory.glob(f"{prefix}????-??-??")):
        day = path.name.removeprefix(prefix)
        try:
            date.fromisoformat(day)
        except ValueError:
            continue
        found.append((path, day))
    return found


def events_of(data: Path, day: str) -> Path:
    """Where the private events of one day are."""
    return data / EVENTS / f"day={day}"


def batch_files(directory: Path) -> list[Path]:
    """The committed batches of one day, in order."""
    return sorted(directory.glob("[0-9]*.parquet"))


def is_sealed(data: Path, day: str) -> bool:
    """Whether nothing is added to a day any more."""
    return (events_of(data, day) / SEALED).exists()


def manifests(database: duckdb.DuckDBPyConnection, directory: Path) -> list[Manifest]:
    """The manifests of one day's batches.

    Raises  StoreError where a file is not what a batch wrote
    """
    return [manifest_of(database, path) for path in batch_files(directory)]


def manifest_of(database: duckdb.DuckDBPyConnection, batch: Path) -> Manifest:
    """The manifest of one batch.

    Raises  StoreError where the file is not what a batch wrote
    """
    query = "SELECT value FROM parquet_kv_metadata($path) WHERE key = 'manifest'"
    try:
        rows = database.execute(query, {"path": str(batch)}).fetchall()
        return msgspec.json.decode(rows[0][0], type=Manifest)
    except (duckdb.Error, IndexError, msgspec.DecodeError):
        raise StoreError(
            f"{batch} is no whole batch of private events: restore it from a copy; "
            "moving it away gives up what it holds, unless its logs are still there"
        ) from None


def write_aside(
    database: duckdb.DuckDBPyConnection,
    batch: Path,
    rows: str,
    manifest: Manifest,
    values: Mapping[str, object] | None = None,
) -> Path:
    """Write what a batch is to hold beside its place; `commit_batch` puts it there.

    Takes  rows: a SELECT of the contract's columns; its `$name`s are in `values`
    """
    aside = batch.with_name(f".{batch.stem}.tmp")
    write_private(aside, [])  # DuckDB keeps the mode of a file that exists
    database.execute(
        f"COPY ({rows}) TO $aside"
        " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false, KV_METADATA {manifest: $manifest})",
        {"aside": str(aside), "manifest": msgspec.json.encode(manifest).decode(), **(values or {})},
    )
    sync(aside)
    return aside


def commit_batch(aside: Path, batch: Path) -> None:
    """Put a batch in its place: the rename commits rows and manifest together."""
    aside.rename(batch)
    sync(batch.parent)


def consumed_bytes(taken: Iterable[Manifest]) -> dict[str, int]:
    """Segment → how many of its bytes are consumed, from the first."""
    consumed: dict[str, int] = {}
    for manifest in taken:
        for stretch in manifest.stretches:
            consumed[stretch.segment] = max(stretch.end, consumed.get(stretch.segment, 0))
    return consumed


def private_directory(path: Path) -> None:
    """Make a directory and its missing parents, for the owner only, so that they survive a loss of power."""
    if not path.is_dir():
        private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def write_private(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file for the owner only, anew."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(lines)


def replace_private(path: Path, text: str) -> None:
    """Write a small file for the owner only, whole: a reader sees the old one or the new one."""
    aside = path.with_name(f".{path.name}.tmp")
    write_private(aside, [text.encode()])
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a directory, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
