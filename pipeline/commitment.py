"""What a release was drawn from, sealed under the operator's key: says nothing to anyone without it."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import duckdb
import msgspec

from collector.record import KEYS
from pipeline.errors import StoreError
from pipeline.store import manifest_of, private_directory, replace_private

KEY = "commitment.key"


def contents(files: Iterable[Path]) -> bytes:
    """Names and digests of private event files: what `commitment` seals. Raises OSError."""
    lines = []
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{file.parent.name}/{file.name} {digest}\n")
    return "".join(lines).encode()


def consumed(database: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> list[bytes]:
    """What each batch of an open day took from the logs: what `commitment` seals of it, joined.

    The day grows by batches, and a batch keeps this line when rows are erased from it. So a later list that
    does not begin with an earlier one tells that the day's records were put back, or read anew.

    Raises  StoreError
    """
    lines = []
    for file in files:
        taken = msgspec.structs.replace(manifest_of(database, file), removed={}, cut=0)
        lines.append(f"{file.parent.name}/{file.name} ".encode() + msgspec.json.encode(taken) + b"\n")
    return lines


def begins_with(data: Path, release_id: str, inputs: str, lines: Iterable[bytes]) -> bool:
    """Whether a release has sealed these lines, or the first of them.

    Raises  StoreError, OSError
    """
    grown: Iterator[bytes] = accumulate(lines, initial=b"")
    return any(commitment(data, release_id, held) == inputs for held in grown)


def commitment(data: Path, release_id: str, held: bytes) -> str:
    """HMAC-SHA256 over a release and what it was drawn from, `contents` or `consumed`, 64 hex digits.

    Counts or plain checksums would tell whoever guesses the rest of the data whether one visitor is in it.
    Under its own name no release has the commitment of another: equal ones would tell that nothing happened
    on two days, or that an erasure took nobody from a day.

    Raises  StoreError, OSError
    """
    return hmac.new(_key(data), f"{release_id}\n".encode() + held, hashlib.sha256).hexdigest()


def _key(data: Path) -> bytes:
    path = data / KEYS / KEY
    if not path.exists():
        private_directory(path.parent)
        replace_private(path, secrets.token_hex(32))
    try:
        key = bytes.fromhex(path.read_text())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise StoreError(f"{path} holds no key: restore it, or remove it for a new one")
    return key
