"""How much log may lie on the disk before page views are dropped: what fills it may be a flood."""

from pathlib import Path

from collector.record import LOGS

QUOTA_BYTES = (
    4 * 1024**3
)  # 4 GiB: about ten million page views that no run has read, or whose day is not over


class Quota:
    """The logs of all workers, measured about once a second, and what this worker has added since."""

    def __init__(self, data: Path, limit_bytes: int) -> None:
        self._logs = data / LOGS
        self._limit_bytes = limit_bytes
        self._measured_bytes = 0
        self._added_bytes = 0

    @property
    def is_reached(self) -> bool:
        """Whether page views are to be dropped; a consent is stored all the same."""
        return self._measured_bytes + self._added_bytes >= self._limit_bytes

    def add(self, size: int) -> None:
        """Count bytes that this worker has written."""
        self._added_bytes += size

    def measure(self) -> None:
        """Look again: other workers write as well, and `impersonal run` removes what it has read."""
        self._measured_bytes, self._added_bytes = sum(map(_size, self._logs.glob("*/*.log"))), 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # removed meanwhile
        return 0
