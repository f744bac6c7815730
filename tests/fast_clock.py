"""A clock that several processes share, and that a test may hurry or set back: days pass in minutes."""

import mmap
import struct
import time
from pathlib import Path

_LAYOUT = struct.Struct("qqq")  # real ms at the start, days per day, ms added


class FastClock:
    """UTC milliseconds, read from a file of eight-byte numbers."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._numbers = mmap.mmap(file.fileno(), 0)

    @classmethod
    def make(cls, path: Path, speed: int) -> "FastClock":
        """Lay down a clock that begins now and runs so many times too fast."""
        path.write_bytes(_LAYOUT.pack(time.time_ns() // 1_000_000, speed, 0))
        return cls(path)

    def __call__(self) -> int:
        """What it says now."""
        start_ms, speed, added_ms = _LAYOUT.unpack(self._numbers)
        return int(start_ms + (time.time_ns() // 1_000_000 - start_ms) * speed + added_ms)

    def jump(self, by_ms: int) -> None:
        """Set it forward, or back."""
        start_ms, speed, added_ms = _LAYOUT.unpack(self._numbers)
        self._numbers[:] = _LAYOUT.pack(start_ms, speed, added_ms + by_ms)
