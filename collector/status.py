"""What a worker leaves for the operator: its counters, and a sign of life. Read by `impersonal status`."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec

from collector.files import private_directory, replace
from collector.record import STATUS, Clock


class StatusFile:
    """status/<worker>.json, replaced when the counters changed, and a lock held while the process lives."""

    def __init__(self, data: Path, worker: str, clock: Clock) -> None:
        self._directory = data / STATUS
        self._worker = worker
        self._clock = clock
        self._started_ms = clock()
        self._kept: dict[str, Any] = {}
        self._lock = -1

    def keep(self, counters: dict[str, Any]) -> None:
        """Store the counters, and hold the lock. Raises OSError; the next call tries again."""
        self._take_lock()
        if counters == self._kept:
            return
        about = {
            "worker": self._worker,
            "pid": os.getpid(),
            "started_ms": self._started_ms,
            "updated_ms": self._clock(),
        }
        replace(self._directory / f"{self._worker}.json", msgspec.json.encode(about | counters))
        self._kept = counters

    def let_go(self) -> None:
        """Give up the lock: the process that took it has ended, or this is its child."""
        descriptor, self._lock = self._lock, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _take_lock(self) -> None:
        """A reader tells a dead worker from a quiet one by its lock.

        Taken anew where its file was removed, with the data directory perhaps.
        """
        if self._lock >= 0 and os.fstat(self._lock).st_nlink:
            return
        self.let_go()
        private_directory(self._directory)
        self._lock = os.open(self._directory / f"{self._worker}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
