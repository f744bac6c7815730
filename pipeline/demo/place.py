"""The demo's data directory: made anew by every demo, and never one that something else made."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector import ConfigurationError

MARKER = ".impersonal-demo"
POLICY = Path(__file__).parent / "policy.toml"


@contextmanager
def fresh(data: Path) -> Iterator[None]:
    """Empty a former demo's directory, or make one, and keep other demos away from it until the block ends.

    Raises  ConfigurationError where the directory holds anything that no demo made, or a demo is running
    """
    marker = data / MARKER
    if data.exists() and not data.is_dir():
        raise ConfigurationError(f"{data} is a file: name another place with --data")
    if data.is_dir() and any(data.iterdir()) and not marker.is_file():
        raise ConfigurationError(
            f"{data} holds something that no demo made, and a demo starts by emptying its directory: "
            "name another place with --data"
        )
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(marker, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"a demo is running on {data}: end it with Ctrl-C, or name another place with --data"
            ) from None
        for path in data.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != marker:
                path.unlink()
        shutil.copyfile(POLICY, data / "policy.toml")
        yield
    finally:
        os.close(descriptor)
