"""Logs for tests, written by the collector's own sink."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from collector.record import DAY_MS, RECORD_VERSION, encode
from collector.sinks import LocalFiles
from pipeline.log_lines import Lines

DAY = "2026-11-24"
NEXT_DAY = "2026-11-25"


def noon_ms(day: str = DAY) -> int:
    """Noon of a UTC day."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY_MS + DAY_MS // 2


def time_of(lines: Lines, stamp: bytes) -> int:
    """UTC milliseconds of 24/Nov/2026:10:12:00 +0100, or NO_TIME."""
    return int(lines.times([stamp[:17]], [stamp[17:]])[0])


def frame(number: int, day: str = DAY, **values: Any) -> bytes:
    """One page view."""
    record = {
        "v": RECORD_VERSION,
        "kind": "view",
        "id": f"{day}-{number:06}",
        "ts_ms": noon_ms(day) + number * 1000 % (DAY_MS // 2),
        "policy": "v1",
        "consent": "v1",
        "purposes": ["necessary", "statistics"],
        "visitor": f"{number % 97:032x}",
        "browser": "Firefox",
        "os": "Linux",
        "device": "desktop",
        "country": "KZ",
        "route": "/product/{id}",
        "path": f"/product/{number % 31}",
    }
    return encode(record | values)


def write(data: Path, frames: Iterable[bytes], worker: str = "aa", day: str = DAY) -> Path:
    """Append a closed segment of a worker; give back its path."""
    directory = data / "logs" / day
    sink = LocalFiles(data, worker)
    sink._number = len(list((data / "logs").glob(f"*/{worker}-*.log")))
    sink.write(day, list(frames))
    sink.close()
    return max(directory.glob(f"{worker}-*.log"))
