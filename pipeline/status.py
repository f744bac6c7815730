"""The operator's own view of what became of every event. Private: exact counts, never to be published.

An event is accepted by a worker, then written, dropped for a reason or still queued; a worker that died left
`unaccounted` ones. Of what was written, every frame is a row of the private events, a duplicate, late or in
quarantine with a reason, or its bytes still wait in the logs.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from collector.record import STATUS
from pipeline.engine import connect
from pipeline.ledger import Ledger
from pipeline.release import LEDGER
from pipeline.store import (
    EVENTS,
    LATE,
    SEALED,
    consumed_bytes,
    days_of,
    events_of,
    find_segments,
    is_alive,
    manifests,
)

INTENDED = ("bot", "cross_origin", "rate", "body", "malformed")
"""Reasons to drop an event that is not a visitor's or not ours: nothing is lost by them."""
KEPT = ("rows", "duplicate")


class Worker(msgspec.Struct):
    """The counters of one writing process, as it last persisted them."""

    worker: str
    pid: int
    started_ms: int
    updated_ms: int
    accepted: int = 0
    written: int = 0
    synced: int = 0
    in_doubt: int = 0
    queued: int = 0
    dropped: dict[str, int] = {}
    bots: dict[str, int] = {}
    decisions: dict[str, int] = {}
    errors: dict[str, int] = {}
    alive: bool = False
    unaccounted: int = 0
    """Accepted by a process that is gone, and neither written nor dropped."""


class Day(msgspec.Struct):
    """What became of one UTC day's frames."""

    day: str
    sealed: bool
    outcomes: dict[str, int]
    """rows, duplicate, late or a reason of quarantine → frames."""
    waiting_bytes: int
    """Of log that no run has read yet."""


class Spending(msgspec.Struct):
    """What the privacy ledger holds of one UTC day."""

    day: str
    rho: float
    delta: float
    releases: list[str]


class Status(msgspec.Struct):
    """Everything `impersonal status` says."""

    workers: list[Worker]
    days: list[Day]
    spending: list[Spending]
    unreadable: list[str]
    """Counter files that cannot be read."""

    @property
    def totals(self) -> dict[str, int]:
        """The counters of all workers together."""
        names = ("accepted", "written", "synced", "in_doubt", "queued", "unaccounted")
        return {name: sum(getattr(worker, name) for worker in self.workers) for name in names}

    def summed(self, counter: str) -> Counter[str]:
        """One of the workers' counters by reason, all workers together."""
        return sum((Counter(getattr(worker, counter)) for worker in self.workers), Counter[str]())

    @property
    def outcomes(self) -> Counter[str]:
        """What became of all frames."""
        return sum((Counter(day.outcomes) for day in self.days), Counter[str]())

    @property
    def lost(self) -> dict[str, int]:
        """Events that were meant to be kept and were not, by what became of them."""
        lost = Counter({"unaccounted": self.totals["unaccounted"]})
        lost += Counter({k: n for k, n in self.summed("dropped").items() if k not in INTENDED})
        lost += Counter({k: n for k, n in self.outcomes.items() if k not in KEPT})
        return dict(lost)


def read_status(data: Path) -> Status:
    """Put together what the data directory tells; changes nothing.

    Raises  StoreError, LedgerError, OSError
    """
    workers, unreadable = _workers(data)
    return Status(workers, list(_days(data)), _spending(data), unreadable)


def _workers(data: Path) -> tuple[list[Worker], list[str]]:
    workers, unreadable = [], []
    for path in sorted((data / STATUS).glob("[!.]*.json")):
        # Asked first: a process that ends now persists its counters, then lets go of its lock.
        alive = is_alive(data, path.stem)
        try:
            worker = msgspec.json.decode(path.read_bytes(), type=Worker)
        except msgspec.DecodeError:
            unreadable.append(path.name)
            continue
        worker.alive = alive
        if not alive:
            worker.queued = 0
            worker.unaccounted = worker.accepted - worker.written - sum(worker.dropped.values())
        workers.append(worker)
    return sorted(workers, key=lambda worker: worker.started_ms), unreadable


def _days(data: Path) -> Iterator[Day]:
    segments = find_segments(data)
    days = {day for _, day in days_of(data / EVENTS)} | {segment.day for segment in segments}
    with connect() as database:
        for day in sorted(days):
            directory = events_of(data, day)
            taken = manifests(database, directory)
            consumed = consumed_bytes(taken)
            waiting = sum(
                max(segment.path.stat().st_size - consumed.get(segment.name, 0), 0)
                for segment in segments
                if segment.day == day
            )
            outcomes = sum((manifest.outcomes for manifest in taken), Counter[str]())
            yield Day(day, (directory / SEALED).exists(), dict(outcomes), waiting)


def _spending(data: Path) -> list[Spending]:
    if not (data / LEDGER).exists():
        return []
    with Ledger(data / LEDGER) as ledger:
        releases: dict[str, list[str]] = {}
        for release_id, days in ledger.releases().items():
            for day in days:
                releases.setdefault(day, []).append(release_id)
        spent = {day: ledger.spent(day) for day in releases}
    return [
        Spending(day, nano_rho * 1e-9, atto_delta * 1e-18, sorted(releases[day]))
        for day, (nano_rho, atto_delta) in sorted(spent.items())
    ]


def as_json(status: Status) -> dict[str, Any]:
    """The status with its sums, for a program to read."""
    made: dict[str, Any] = msgspec.to_builtins(status)
    sums = {"dropped": status.summed("dropped"), "bots": status.summed("bots")}
    return {"totals": status.totals | sums, "outcomes": status.outcomes, "lost": status.lost, **made}


def in_words(status: Status) -> Iterator[str]:
    """The status as lines to read."""
    totals = status.totals
    alive = sum(worker.alive for worker in status.workers)
    yield f"Collector: {_many(alive, 'worker')} at work, {len(status.workers) - alive} ended"
    yield "  " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in totals.items())
    for counter, title in (("dropped", "dropped"), ("bots", "bots"), ("errors", "faults of the collector")):
        if counts := status.summed(counter):
            yield f"  {title}: {_listed(counts)}"
    for name in status.unreadable:
        yield f"  {name} cannot be read"
    yield "Private events"
    if not status.days:
        yield "  none yet"
    for day in status.days[-14:]:
        state = "sealed" if day.sealed else "open"
        waiting = f"; {day.waiting_bytes:,} bytes of log wait for the next run" if day.waiting_bytes else ""
        yield f"  {day.day} {state}: {_listed(day.outcomes) or 'nothing'}{waiting}"
    yield "Privacy budget"
    if not status.spending:
        yield "  nothing released yet"
    for spent in status.spending[-14:]:
        yield f"  {spent.day}: ρ = {spent.rho:.6f} spent on {_many(len(spent.releases), 'release')}"
    if status.lost:
        yield f"Lost: {_listed(status.lost)}"
        if any(reason not in ("unaccounted", LATE) for reason in status.lost):
            yield "  frames with a reason stand whole in quarantine/, what was dropped is gone"
    else:
        yield "Nothing was lost."


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
