"""Where published files are, and what each says of itself. Reading only: `publish` writes them.

published/<statistic>/<window>-<first day>.parquet    cells, and a manifest in the file's metadata
published/<statistic>/<window>-<first day>.2.parquet  the same, corrected; the first one stays
published/<statistic>/hour-<day>T<hour>.parquet       an hour of a day that was open
published/head.json                                   how many releases there are, and their chained hash
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import msgspec

from pipeline.engine import shared
from pipeline.errors import StoreError
from pipeline.windows import Window, window_named

PUBLISHED = "published"
"""published/: what may be copied anywhere."""

HEAD = "head.json"
_FILE = re.compile(r"(?P<window>[\w-]+)-(?P<start>\d{4}-\d\d-\d\d(?:T\d\d)?)(?:\.(?P<number>\d+))?\.parquet")


@dataclass(frozen=True)
class Head:
    """The end of a chain of releases."""

    number: int
    """Releases in the chain."""
    hash: str
    """64 hex digits; empty for none."""

    def after(self, release_id: str, output: bytes) -> "Head":
        """The head when one more release is made."""
        digest = hashlib.sha256(output).hexdigest()
        chained = hashlib.sha256(f"{self.hash}\n{release_id}\n{digest}".encode()).hexdigest()
        return Head(self.number + 1, chained)


START = Head(0, "")


class Manifest(msgspec.Struct, frozen=True):
    """How a release was made: all of it public, none of it from the data but the keyed commitment."""

    release: str
    days: list[str]
    definition: str
    l0: int
    """Cells that one visitor-day can change, by `linf` each, `l2` in length."""
    linf: int
    l2: float
    sigma: float
    threshold: int | None
    nano_rho: int
    """Charged to each day, in billionths."""
    atto_delta: int
    """Charged to each day, in units of 1e-18."""
    keys: str
    """Where the keys come from."""
    public_keys: list[str | None]
    spec_hash: str
    """Of bounds, SQL, noise and public keys, 64 hex digits."""
    code_version: str
    inputs: str
    """HMAC-SHA256 of the private events under a key that the operator holds, 64 hex digits."""
    why: str
    """Of a correction: what was wrong with the release before; empty otherwise."""


def place(published: Path, release_id: str) -> Path:
    """Where a release is published: visitors/day/2026-11-24 at visitors/day-2026-11-24.parquet."""
    statistic, window, start, *number = release_id.split("/")
    return published / statistic / f"{'.'.join([f'{window}-{start}', *number])}.parquet"


def newest(published: Path, statistic: str) -> dict[Window, Path]:
    """Every window that is released of a statistic, with its file: the last correction, if any."""
    return {window: files[-1] for window, files in _released(published, statistic).items()}


def firsts(published: Path, statistic: str) -> dict[Window, Path]:
    """Every window that is released of a statistic, with the file of before any correction."""
    return {window: files[0] for window, files in _released(published, statistic).items()}


def is_correction(file: Path) -> bool:
    """Whether a published file counts once more what another one has."""
    return _number(file) > 1


def _number(file: Path) -> int:
    """1, or which correction a published file is."""
    found = _FILE.fullmatch(file.name)
    return int(found["number"] or 1) if found else 1


def window_of_file(file: Path) -> Window | None:
    """The window that a published file is of; None for one that is no release."""
    found = _FILE.fullmatch(file.name)
    return window_named(found["window"], found["start"]) if found else None


def _released(published: Path, statistic: str) -> dict[Window, list[Path]]:
    """Window → its files, in the order of their release."""
    found: dict[Window, dict[int, Path]] = {}
    for file in (published / statistic).glob("*.parquet"):
        if window := window_of_file(file):
            found.setdefault(window, {})[_number(file)] = file
    return {window: [files[number] for number in sorted(files)] for window, files in found.items()}


def manifest_of(file: Path) -> Manifest:
    """What a published file says of itself.

    Raises  StoreError
    """
    with shared().cursor() as database:
        return manifest_in(database, file)


def manifest_in(database: duckdb.DuckDBPyConnection, file: Path) -> Manifest:
    """The same through a connection that is there already, for reading many.

    Raises  StoreError
    """
    query = "SELECT value FROM parquet_kv_metadata($path) WHERE key = 'manifest'"
    try:
        rows = database.execute(query, {"path": str(file)}).fetchall()
        return msgspec.json.decode(rows[0][0], type=Manifest)
    except (duckdb.Error, IndexError, msgspec.DecodeError):
        raise StoreError(f"{file} is no published file: remove it, a run puts it back") from None


def keys_in(database: duckdb.DuckDBPyConnection, file: Path) -> list[str | None]:
    """The keys of a published file: those known beforehand, then those learnt, as they stand there."""
    return [
        key
        for (key,) in database.execute("SELECT key FROM read_parquet($path)", {"path": str(file)}).fetchall()
    ]


def sum_in(database: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> int:
    """What all cells of some published files add up to."""
    query = "SELECT CAST(sum(value) AS BIGINT) FROM read_parquet($paths)"
    [[found]] = database.execute(query, {"paths": [str(file) for file in files]}).fetchall()
    return int(found)


def head_of(published: Path) -> Head:
    """The head of the chain of releases as it was published; START where nothing was.

    Raises  StoreError
    """
    try:
        return msgspec.json.decode((published / HEAD).read_bytes(), type=Head)
    except FileNotFoundError:
        return START
    except msgspec.DecodeError:
        raise StoreError(f"{published / HEAD} is damaged: remove it, a run puts it back") from None
