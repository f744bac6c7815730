"""Erasure, carried out: everything that the pipeline keeps of a visitor goes; published statistics stay.

The tombstone was set when the visitor asked, so nothing new comes. What is done here can be done again: a
request leaves rights.sqlite last, and a run that was killed begins anew with it.
"""

import shutil
from base64 import b64decode
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import duckdb
import msgspec

from pipeline.engine import connect
from pipeline.rights.access import remove_answer
from pipeline.rights.frames import overwrite
from pipeline.store import (
    ERASED,
    EVENTS,
    QUARANTINE,
    batch_files,
    commit_batch,
    days_of,
    manifest_of,
    sync,
    write_aside,
    write_private,
)

FRAMES = "logs"
ROWS = "events"
QUARANTINED = "quarantine"
ANSWERS = "outbox"
FILES = "files"
PLACES = (FRAMES, ROWS, QUARANTINED, ANSWERS, FILES)
"""What a receipt counts here, beside what rights.sqlite held; the privacy page has words for each."""


class _Quarantined(msgspec.Struct):
    bytes: str


def erase(data: Path, subjects: Collection[str]) -> dict[str, Counter[str]]:
    """Remove everything of these pseudonyms; subject → place → what was removed there.

    Where a run was killed before, the counts are of what it had left. The caller holds `store.exclusive`.

    Raises  StoreError, OSError; then the rest stays to be done
    """
    _remove_leftovers(data)
    removed = {subject: Counter(dict.fromkeys(PLACES, 0)) for subject in subjects}
    for subject, frames in overwrite(data, subjects).items():
        removed[subject][FRAMES] += frames
    _erase_rows(data, removed)
    _erase_quarantined(data, removed)
    for subject in subjects:
        removed[subject][ANSWERS] += remove_answer(data, subject)
    return removed


def _remove_leftovers(data: Path) -> None:
    """What a killed run left aside holds records, and no run needs it."""
    for directory, _ in (*days_of(data / EVENTS), *days_of(data / QUARANTINE)):
        for aside in directory.glob(".*"):
            aside.unlink()
    shutil.rmtree(data / "spill", ignore_errors=True)


def _erase_rows(data: Path, removed: Mapping[str, Counter[str]]) -> None:
    """Rewrite the batches that hold rows of these subjects, those of sealed days too."""
    files = [str(file) for directory, _ in days_of(data / EVENTS) for file in batch_files(directory)]
    if not files:
        return
    query = (
        "SELECT filename, visitor, count(*)"
        " FROM read_parquet($files, filename = true, hive_partitioning = false)"
        " WHERE visitor IN (SELECT unnest($subjects)) GROUP BY ALL"
    )
    with connect() as database:
        found: dict[str, Counter[str]] = {}
        rows = database.execute(query, {"files": files, "subjects": list(removed)}).fetchall()
        for file, subject, count in rows:
            found.setdefault(file, Counter())[subject] = count
        for file, counts in sorted(found.items()):
            _rewrite(database, Path(file), counts)
            for subject, count in counts.items():
                removed[subject].update({ROWS: count, FILES: 1})


def _rewrite(database: duckdb.DuckDBPyConnection, batch: Path, counts: Counter[str]) -> None:
    """A batch without the rows of some subjects, all others in their order."""
    manifest = manifest_of(database, batch)
    gone = dict(Counter(manifest.removed) + Counter({ERASED: counts.total()}))
    rows = (
        "SELECT * FROM read_parquet($batch, hive_partitioning = false)"
        " WHERE visitor IS NULL OR visitor NOT IN (SELECT unnest($subjects))"
    )
    values = {"batch": str(batch), "subjects": list(counts)}
    aside = write_aside(database, batch, rows, msgspec.structs.replace(manifest, removed=gone), values)
    commit_batch(aside, batch)


def _erase_quarantined(data: Path, removed: Mapping[str, Counter[str]]) -> None:
    """Rewrite quarantine without the frames that name a subject."""
    for directory, _ in days_of(data / QUARANTINE):
        for file in sorted(directory.glob("*.jsonl")):
            lines = file.read_bytes().splitlines(keepends=True)
            named = {line: _named_in(line, removed) for line in lines}
            kept = [line for line in lines if not named[line]]
            if len(kept) == len(lines):
                continue
            aside = file.with_name(f".{file.name}.tmp")
            write_private(aside, kept)
            sync(aside)
            aside.rename(file)
            sync(directory)
            for subject, count in Counter(name for line in lines for name in named[line]).items():
                removed[subject].update({QUARANTINED: count, FILES: 1})


def _named_in(line: bytes, subjects: Collection[str]) -> list[str]:
    try:
        raw = b64decode(msgspec.json.decode(line, type=_Quarantined).bytes)
    except (msgspec.DecodeError, ValueError):  # half a line of a run that was killed: nobody knows whose
        return list(subjects)
    return [subject for subject in subjects if subject.encode() in raw]
