"""Private files: directories 0700, files 0600, replaced whole."""

import os
from pathlib import Path


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
