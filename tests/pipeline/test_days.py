"""What happens to a day after it was read: sealed, its logs removed, its salt destroyed."""

import fcntl
import os
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from collector.identity import Pseudonyms
from collector.record import DAY_MS
from pipeline.days import destroy_salts, first_day, remove_logs, seal
from pipeline.errors import StoreError
from pipeline.ingest import ingest
from pipeline.store import is_sealed
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms, write
from tests.policies import EVERYTHING, policy, purpose, version

CLOSED_MS = noon_ms() + 14 * 60 * 60 * 1000  # 02:00 UTC of the next day
KEPT = purpose("statistics", EVERYTHING, retention_days=30)
POLICY = policy(version(KEPT, purpose("necessary", retention_days=700)))


def read(data: Path, now_ms: int) -> Counter[str]:
    return ingest(data, lambda: now_ms, lambda *_: None)


def close(data: Path, now_ms: int = CLOSED_MS) -> list[str]:
    return seal(data, lambda: now_ms, date.fromisoformat(DAY))


def test_a_day_is_sealed_two_hours_after_its_end(tmp_path: Path) -> None:
    """Not a millisecond before 02:00 UTC, once, and days without records as well."""
    assert close(tmp_path, CLOSED_MS - 1) == []
    assert close(tmp_path) == [DAY]
    assert close(tmp_path) == []
    assert close(tmp_path, CLOSED_MS + 2 * DAY_MS) == [NEXT_DAY, "2026-11-26"]
    assert is_sealed(tmp_path, NEXT_DAY)


def test_logs_go_when_their_day_is_sealed(tmp_path: Path) -> None:
    """Segments stay while their day is open or bytes of them are unread, then they are removed."""
    path = write(tmp_path, [frame(1), frame(2)[:9]])
    read(tmp_path, noon_ms())
    assert remove_logs(tmp_path) == 0
    close(tmp_path)
    assert remove_logs(tmp_path) == 0
    read(tmp_path, CLOSED_MS)
    assert remove_logs(tmp_path) == 1
    assert not path.parent.exists()
    assert read(tmp_path, CLOSED_MS) == {}


def test_a_segment_that_is_held_open_stays(tmp_path: Path) -> None:
    """A living worker's open segment is left; when the worker has ended it goes."""
    path = write(tmp_path, [frame(1)])
    path.chmod(0o600)
    status = tmp_path / "status"
    status.mkdir()
    lock = os.open(status / "aa.lock", os.O_WRONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    read(tmp_path, CLOSED_MS)
    close(tmp_path)
    assert remove_logs(tmp_path) == 0
    os.close(lock)
    assert remove_logs(tmp_path) == 1


def test_salts_of_past_days_are_destroyed(tmp_path: Path) -> None:
    """From 00:30 on yesterday's salt is gone, and what a killed worker left of it; today's stays."""
    midnight_ms = noon_ms(NEXT_DAY) - DAY_MS // 2
    workers = Pseudonyms(tmp_path)
    workers.of_day(midnight_ms - 1, "192.0.2.1", b"agent")
    workers.of_day(midnight_ms, "192.0.2.1", b"agent")
    keys = tmp_path / "keys"
    (keys / "salt-2199-01-01").write_bytes(bytes(32))  # a clock once ran ahead
    aside = keys / f".salt-{DAY}-0123456789abcdef"
    aside.hardlink_to(keys / f"salt-{DAY}")
    (keys / "pseudonym.key").write_bytes(bytes(32))
    grace_ms = 30 * 60 * 1000
    assert destroy_salts(tmp_path, lambda: midnight_ms + grace_ms - 1) == 0
    assert destroy_salts(tmp_path, lambda: midnight_ms + grace_ms) == 3
    assert sorted(path.name for path in keys.iterdir()) == ["pseudonym.key", f"salt-{NEXT_DAY}"]


def test_the_first_day_is_decided_once(tmp_path: Path) -> None:
    """A new policy's effective date, or for an old one the first day with records; then it stays."""
    today = date.fromisoformat(NEXT_DAY)
    recent = policy(version(KEPT, effective=today - timedelta(20)))
    old = policy(version(KEPT, effective=today - timedelta(200)))

    def first(data: Path, under: object) -> date:
        data.mkdir(exist_ok=True)
        return first_day(data, under, lambda: noon_ms(NEXT_DAY))  # type: ignore[arg-type]

    write(tmp_path / "recent", [frame(1)])
    write(tmp_path / "old", [frame(1)])
    assert first(tmp_path / "recent", recent) == today - timedelta(20)
    assert first(tmp_path / "recent", old) == today - timedelta(20)
    assert first(tmp_path / "old", old) == date.fromisoformat(DAY)
    assert first(tmp_path / "empty", old) == today
    (tmp_path / "empty" / "first_day").write_text("soon")
    with pytest.raises(StoreError, match="write the first day"):
        first(tmp_path / "empty", old)
