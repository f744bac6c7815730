"""The life of a UTC day after its records were read: sealed, then its logs are removed, its salt destroyed.

Logs are kept until their day is sealed: by then every byte is consumed, and each frame is a row of the
private events, in quarantine or counted. How long these are kept is for retention.py to say.
"""

import os
import re
import stat
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

from collector.policy import Policy
from collector.record import DAY_MS, KEYS, LOGS, Clock, date_of, day_of
from pipeline.engine import shared
from pipeline.errors import StoreError
from pipeline.store import (
    EVENTS,
    SEALED,
    Segment,
    consumed_bytes,
    days_of,
    events_of,
    find_segments,
    is_alive,
    is_sealed,
    manifests,
    private_directory,
    replace_private,
    sync,
    write_private,
)
from pipeline.windows import BLOCK, LENGTHS, last_closed_day, window_of

FIRST_DAY = "first_day"
RESUMES = "resumes_on"
"""The first day that is released again, after records were removed that no statistics were made of."""
SALT_GRACE_MS = 30 * 60 * 1000  # as in collector/identity.py: workers write yesterday's records until 00:30
_SALT = re.compile(r"\.?salt-(?P<day>\d{4}-\d\d-\d\d)(-[0-9a-f]+)?")


def first_day(data: Path, policy: Policy, clock: Clock) -> date:
    """The site's first day, from which on every day is sealed and released; decided once, by the first run.

    Where the policy is new, the day it took effect: whether a first visitor came on it is not for the list
    of releases to tell. Where it is older than the collector may be, the first day with records.
    """
    file = data / FIRST_DAY
    try:
        return date.fromisoformat(file.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        raise StoreError(f"{file} holds no date: write the first day to publish, like 2026-01-31") from None
    today = date_of(clock())
    effective = policy.versions[0].effective
    known = [day for _, day in (*days_of(data / EVENTS), *days_of(data / LOGS, prefix=""))]
    since = date.fromisoformat(min(known)) if known else today
    if today - effective <= timedelta(LENGTHS[BLOCK]):
        since = min(since, effective)
    replace_private(file, since.isoformat())
    return since


def seal(data: Path, clock: Clock, since: date) -> list[str]:
    """Seal every closed day from the first on, empty ones too; give back the newly sealed.

    To be called after `ingest` and at the same instant of `clock`: what is found later is late.
    """
    sealed = []
    for n in range((last_closed_day(clock()) - since).days + 1):
        day = (since + timedelta(n)).isoformat()
        if not is_sealed(data, day):
            seal_day(data, day)
            sealed.append(day)
    return sealed


def seal_day(data: Path, day: str) -> None:
    """Let nothing be added to a day any more."""
    directory = events_of(data, day)
    private_directory(directory)
    write_private(directory / SEALED, [])
    sync(directory)


def resume_after(data: Path, day: str) -> None:
    """Release nothing that could hold a day, since its records go uncounted: on with the next 28 days."""
    resumes = window_of(BLOCK, date.fromisoformat(day)).end + timedelta(1)
    if resumes > resumes_on(data, date.min):
        replace_private(data / RESUMES, resumes.isoformat())


def resumes_on(data: Path, since: date) -> date:
    """The first day to release: the site's first, or a later one where records went uncounted."""
    file = data / RESUMES
    try:
        return max(since, date.fromisoformat(file.read_text()))
    except FileNotFoundError:
        return since
    except ValueError:
        raise StoreError(f"{file} holds no date: write the first day to publish, like 2026-01-31") from None


def remove_logs(data: Path) -> int:
    """Remove the wholly consumed segments of sealed days; give back how many.

    A segment that its writer holds open stays: an idle worker would take its removal for a failing disk.
    """
    removed = 0
    segments = find_segments(data)
    with shared().cursor() as database:
        for directory, day in days_of(data / LOGS, prefix=""):
            if not is_sealed(data, day):
                continue
            consumed = consumed_bytes(manifests(database, events_of(data, day)))
            for segment in segments:
                if segment.day == day and _is_spent(data, segment, consumed.get(segment.name, 0)):
                    segment.path.unlink()
                    removed += 1
            if not any(directory.iterdir()):
                directory.rmdir()
    return removed


def _is_spent(data: Path, segment: Segment, consumed: int) -> bool:
    status = segment.path.stat()
    is_open = status.st_mode & stat.S_IWUSR and is_alive(data, segment.worker)
    return status.st_size <= consumed and not is_open


def destroy_salts(data: Path, clock: Clock) -> int:
    """Destroy what is left of the salts of past days, from 00:30 UTC on; give back how many.

    Workers do the same; this is for the days on which none of them lived that long. A worker killed while
    it made a salt leaves a copy under a name of its own, with a dot in front.
    """
    now_ms = clock()
    if now_ms % DAY_MS < SALT_GRACE_MS:
        return 0
    destroyed = 0
    today, tomorrow = day_of(now_ms), day_of(now_ms + DAY_MS)
    for salt in (data / KEYS).glob("*salt-????-??-??*"):
        # Future ones were made by a clock that ran ahead; tomorrow's may be a worker's that is a little fast.
        if (found := _SALT.fullmatch(salt.name)) and not today <= found["day"] <= tomorrow:
            with suppress(FileNotFoundError):  # a worker was first
                _overwrite(salt)
                salt.unlink()
                destroyed += 1
    return destroyed


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
