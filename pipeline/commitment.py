"""What a release was drawn from, sealed under the operator's key: says nothing to anyone without it."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path

from collector.record import KEYS
from pipeline.errors import StoreError
from pipeline.store import private_directory, replace_private

KEY = "commitment.key"


def commitment(data: Path, files: Iterable[Path]) -> str:
    """HMAC-SHA256 over the names and contents of private event files, 64 hex digits.

    Counts or plain checksums would tell whoever guesses the rest of the data whether one visitor is in it.

    Raises  StoreError, OSError
    """
    sealed = hmac.new(_key(data), digestmod=hashlib.sha256)
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        sealed.update(f"{file.parent.name}/{file.name} {digest}\n".encode())
    return sealed.hexdigest()


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
