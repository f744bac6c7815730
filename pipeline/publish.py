"""Published files: written once, whole, readable by anyone."""

import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from pipeline.engine import shared
from pipeline.published import HEAD, Head, Manifest, window_of_file


@dataclass(frozen=True)
class Cell:
    """One row of a published file."""

    statistic: str
    key: str | None
    """None for a total's single number."""
    window: str
    start: date
    end: date
    """The last day, included."""
    value: int
    lower: float
    upper: float
    """Ends of the 95 % interval."""
    sigma: float
    """Standard deviation of the noise."""
    thresholded: bool
    """Published only because its value reached a threshold: values near it are too high on average."""


_COLUMNS = {
    "statistic": "VARCHAR",
    "key": "VARCHAR",
    "window": "VARCHAR",
    "start": "DATE",
    "end": "DATE",
    "value": "BIGINT",
    "lower": "DOUBLE",
    "upper": "DOUBLE",
    "sigma": "DOUBLE",
    "thresholded": "BOOLEAN",
}
# One list per column: rows one at a time take a hundred times as long.
_CELLS = ", ".join(f'unnest(?::{kind}[]) AS "{name}"' for name, kind in _COLUMNS.items())


def encode(cells: Iterable[Cell], manifest: Manifest) -> bytes:
    """The cells as a Parquet file, in the order given, with the manifest in its metadata."""
    rows = list(cells)
    values = [[getattr(row, name) for row in rows] for name in _COLUMNS]
    # A cursor has temporary tables of its own: cells of several releases are written at once.
    with tempfile.TemporaryDirectory() as directory, shared().cursor() as database:
        file = Path(directory) / "cells.parquet"
        database.execute(f"CREATE TEMP TABLE cells AS SELECT {_CELLS}", values)
        database.execute(
            "COPY cells TO $file (FORMAT parquet, KV_METADATA {manifest: $manifest})",
            {"file": str(file), "manifest": msgspec.json.encode(manifest).decode()},
        )
        return file.read_bytes()


def write_head(published: Path, head: Head) -> None:
    """Publish the head of the chain of releases."""
    write(published / HEAD, msgspec.json.encode(head))


def write(file: Path, content: bytes) -> None:
    """Put a file in its place whole: a reader sees it complete or not at all.

    Files are copied with their times. When one was written, and how long after the one before, depends on how
    much there was to count: a release tells the instant at which its window closed, the head no seconds.
    """
    window = window_of_file(file)
    told_s = window.closes_ms // 1000 if window else int(time.time()) // 60 * 60
    file.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name: what a killed run left there is written anew, and renamed, by the next one.
    aside = file.with_name(f".{file.name}.tmp")
    with aside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.utime(aside, (told_s, told_s))
        os.fsync(stream.fileno())
    aside.replace(file)
    os.utime(file.parent, (told_s, told_s))
