"""Where frames go. A sink is three methods; `LocalFiles` is the durable one, `MemorySink` is for tests."""

import contextlib
import errno
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from collector.files import private_directory, sync_directory
from collector.record import LOGS

SEGMENT_BYTES = 64 * 1024 * 1024
SEGMENT_AGE_S = 60 * 60  # 1 hour


class Sink(Protocol):
    """What the writer needs of a store. One thread calls it."""

    def write(self, day: str, frames: Sequence[bytes]) -> int:
        """Store frames of one UTC day; give back how many, from the first, survive a kill of the process.

        Raises  OSError where not one could be stored; the rest of a partly stored batch is tried again
        """

    def sync(self) -> None:
        """Make all that was written survive a loss of power. Raises OSError; what failed stays in doubt."""

    def close(self) -> None:
        """Let go of everything; a later `write` starts anew."""


class MemorySink:
    """Keeps frames by day, for the tests of sites that mount the collector."""

    def __init__(self) -> None:
        self.frames: dict[str, list[bytes]] = defaultdict(list)

    def write(self, day: str, frames: Sequence[bytes]) -> int:
        """Keep the frames."""
        self.frames[day].extend(frames)
        return len(frames)

    def sync(self) -> None:
        """Nothing to do: memory is all there is."""

    def close(self) -> None:
        """Nothing to do; the frames stay readable."""


class LocalFiles:
    """Segments under data/logs, each written by one process: logs/<UTC day>/<worker>-<n>.log.

    A segment is sealed (synced, made read-only, closed) when its day, size or age is over and after any
    error, so a torn frame is always the last of its file.
    """

    def __init__(
        self,
        data: Path,
        worker: str,
        segment_bytes: int = SEGMENT_BYTES,
        segment_age_s: float = SEGMENT_AGE_S,
    ) -> None:
        self._logs = data / LOGS
        self._worker = worker
        self._segment_bytes = segment_bytes
        self._segment_age_s = segment_age_s
        self._number = 0
        self._path = self._logs
        self._descriptor = -1
        self._day = ""
        self._size = 0
        self._opened_s = 0.0
        self._unsynced: OSError | None = None

    def write(self, day: str, frames: Sequence[bytes]) -> int:
        """Append frames to the day's open segment with one system call per attempt."""
        self._rotate(day)
        data = b"".join(frames)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            self._size += written
            self._seal()
            whole = _whole(frames, written)
            if whole == 0:
                raise
            return whole
        self._size += written
        return len(frames)

    def sync(self) -> None:
        """Sync the open segment, seal it when it is old, and tell of a sealed one that could not be synced.

        A descriptor whose sync failed is never synced again: the kernel may have dropped its pages.
        """
        if self._descriptor >= 0:
            try:
                self._sync()
            except OSError as error:
                self._unsynced = error
                self._abandon()
            if self._is_old():
                self._seal()
        failed, self._unsynced = self._unsynced, None
        if failed is not None:
            raise failed

    def close(self) -> None:
        """Seal the open segment."""
        self._seal()
        self.sync()

    def _sync(self) -> None:
        os.fdatasync(self._descriptor)
        if os.fstat(self._descriptor).st_nlink == 0:
            raise OSError(errno.ESTALE, "the open segment was removed")

    def _seal(self) -> None:
        if self._descriptor < 0:
            return
        if self._size == 0:  # each try on a full disk would leave an empty file
            with contextlib.suppress(OSError):
                self._path.unlink()
        else:
            try:
                self._sync()
                os.fchmod(self._descriptor, 0o400)
            except OSError as error:
                self._unsynced = error
        self._abandon()

    def _rotate(self, day: str) -> None:
        if day != self._day or self._size >= self._segment_bytes or self._is_old():
            self._seal()
        if self._descriptor < 0:
            self._open(day)

    def _is_old(self) -> bool:
        return time.monotonic() - self._opened_s >= self._segment_age_s

    def _open(self, day: str) -> None:
        directory = self._logs / day
        private_directory(directory)
        self._path = directory / f"{self._worker}-{self._number:06}.log"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._number += 1
        self._day, self._size, self._opened_s = day, 0, time.monotonic()
        try:
            for parent in (directory, self._logs, self._logs.parent):
                sync_directory(parent)
        except OSError:
            self._seal()
            raise

    def _abandon(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _whole(frames: Sequence[bytes], written: int) -> int:
    """How many frames, from the first, lie wholly within so many bytes."""
    whole = 0
    for frame in frames:
        written -= len(frame)
        if written < 0:
            break
        whole += 1
    return whole
