"""Private files: directories 0700, files 0600, replaced whole; and the keys that workers share."""

import contextlib
import os
import secrets
from pathlib import Path

from collector.errors import ConfigurationError

KEY_BYTES = 32


def private_directory(path: Path) -> None:
    """Make a directory and its missing parents, each for the owner only."""
    if not path.is_dir():
        private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def replace(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it there; a reader sees the old one or the new one."""
    private_directory(path.parent)
    aside = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:  # writes all or raises
        file.write(content)
    aside.replace(path)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def shared_key(path: Path) -> bytes:
    """Read a key, or make it: written aside and linked, so that no worker ever reads half of one."""
    with contextlib.suppress(FileNotFoundError):
        return _read_key(path)
    private_directory(path.parent)
    aside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
    finally:
        aside.unlink()
    sync_directory(path.parent)
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{path} does not hold {KEY_BYTES} bytes: restore it, or remove it for a new key"
        )
    return key
