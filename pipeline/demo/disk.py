"""Is it on disk? Searches every byte of a data directory, with Parquet and SQLite decoded."""

import sqlite3
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline.engine import connect

PREFIX_BYTES = 8
"""A needle needs as many: shorter ones stand in any large file by accident."""

_SLOTS_LOG2 = 24
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads the words over the slots


def contents(data: Path) -> Iterator[bytes]:
    """Everything a data directory holds: names, raw bytes, and the values inside Parquet and SQLite files."""
    for file in sorted(path for path in data.rglob("*") if path.is_file()):
        yield str(file.relative_to(data)).encode()
        yield file.read_bytes()
        if file.suffix == ".parquet":
            yield from _parquet(file)
        elif file.suffix == ".sqlite":
            yield from _sqlite(file)


def _parquet(file: Path) -> Iterator[bytes]:
    with connect() as database:
        for table in ("read_parquet(?)", "parquet_kv_metadata(?)"):
            rows = database.execute(f"SELECT * FROM {table}", [str(file)]).fetchall()  # noqa: S608 - our own
            yield "\n".join(map(repr, rows)).encode()


def _sqlite(file: Path) -> Iterator[bytes]:
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            rows = database.execute(f'SELECT * FROM "{name}"').fetchall()  # noqa: S608 - its own table
            yield "\n".join(map(repr, rows)).encode()
    finally:
        database.close()


def spellings(text: str) -> list[bytes]:
    """How a text may stand in a file: as it is, in hex, in base64 wherever in a longer text it began."""
    raw = text.encode()
    found = [raw, raw.hex().encode()]
    for offset in range(3):
        encoded = b64encode(bytes(offset) + raw)
        # What the bytes before and after the text have a share in is left out.
        found.append(encoded[-(-offset * 4 // 3) : (offset + len(raw)) * 4 // 3])
    return found


class Search:
    """Looks for many texts at once, in all their spellings."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Prepare. Texts of fewer than 9 characters have no spelling long enough and raise ValueError."""
        self._needles: dict[bytes, list[tuple[bytes, str]]] = defaultdict(list)
        for text in texts:
            for needle in spellings(text):
                if len(needle) < PREFIX_BYTES:
                    raise ValueError(f"{text!r} is too short to search for")
                self._needles[needle[:PREFIX_BYTES]].append((needle, text))
        self._slots = np.zeros(1 << _SLOTS_LOG2, dtype=bool)
        self._slots[_slot(np.frombuffer(b"".join(self._needles), dtype="<u8"))] = True

    def count(self, data: bytes) -> Counter[str]:
        """Text → how often it stands in the data."""
        found: Counter[str] = Counter()
        for offset in range(min(PREFIX_BYTES, max(0, len(data) - PREFIX_BYTES + 1))):
            words = np.frombuffer(data, "<u8", (len(data) - offset) // PREFIX_BYTES, offset)
            for index in np.flatnonzero(self._slots[_slot(words)]):
                at = offset + int(index) * PREFIX_BYTES
                for needle, text in self._needles.get(data[at : at + PREFIX_BYTES], ()):
                    found[text] += data.startswith(needle, at)
        return +found


def _slot(
    words: "np.ndarray[tuple[int], np.dtype[np.uint64]]",
) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    return (words * _GOLDEN) >> np.uint64(64 - _SLOTS_LOG2)


def found_on_disk(data: Path, texts: Iterable[str]) -> Counter[str]:
    """Text → how often it stands anywhere under a data directory; texts that do not are left out."""
    search = Search(texts)
    found: Counter[str] = Counter()
    for content in contents(data):
        found += search.count(content)
    return found
