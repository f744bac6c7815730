"""The operator's own view of what became of every event. Private: exact counts, never to be published.

An event is accepted by a worker, then written, dropped for a reason or still queued; a worker that died left
`unaccounted` ones. Of what was written, every frame is a row of the private events, a duplicate, late or in
quarantine with a reason, or its bytes still wait in the logs. Beside that: who else could read all this, and
whether the policy still says what visitors were told.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from collector.errors import PolicyError
from collector.policy_file import load
from collector.record import DAY_MS, LOGS, STATUS, Clock, day_of
from collector.rights import Rights
from pipeline import kept_policy
from pipeline.engine import shared
from pipeline.fates import DROPS, FRAMES, UNACCOUNTED, Fate
from pipeline.ledger import LEDGER, Ledger
from pipeline.options import POLICY
from pipeline.permissions import Exposure, exposures
from pipeline.rights.access import answers
from pipeline.store import (
    EVENTS,
    QUARANTINE,
    SEALED,
    ImportedDay,
    batch_files,
    consumed_bytes,
    days_of,
    events_of,
    find_segments,
    is_alive,
    manifests,
)
from pipeline.windows import Window

COUNTERS_DAYS = 28
"""How long the counters of a worker are kept after it ended."""

_SHOWN_DAYS = 14
_SHOWN_EXPOSED = 20


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
    declined: dict[str, int] = {}
    """Declared values that were not stored, by reason."""
    unnamed: dict[str, int] = {}
    """Fields refused at capture because their service does not name them, as service.field."""
    alive: bool = False
    unaccounted: int = 0
    """Accepted by a process that is gone, and neither written nor dropped."""


class Day(msgspec.Struct):
    """What became of one UTC day's frames."""

    day: str
    sealed: bool
    outcomes: dict[str, int]
    """rows, duplicate, late, erased, expired or a reason of quarantine → frames."""
    waiting_bytes: int
    """Of log that no run has read yet."""
    imported: ImportedDay | None = None
    """What access logs held, where the day came from them."""


class Spending(msgspec.Struct):
    """What the privacy ledger holds of one UTC day."""

    day: str
    rho: float
    """Spent."""
    delta: float
    left: float
    """Of ρ, for releases to come."""
    releases: list[str]


class Status(msgspec.Struct):
    """Everything `impersonal status` says."""

    workers: list[Worker]
    days: list[Day]
    spending: list[Spending]
    unreadable: list[str]
    """Counter files that cannot be read."""
    exposed: list[Exposure] = []
    """Files and directories that are not their owner's alone."""
    oldest: dict[str, int] = {}
    """Kind of record → UTC milliseconds of its oldest, so that retention can be checked: each purpose and
    service, each table of rights.sqlite, quarantine, logs, and answers waiting to be fetched."""
    policy_faults: list[str] = []
    """Versions of the policy that were changed after their first use, or why policy.toml cannot be used; each
    with its remedy."""

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost, nothing lies open, and the policy is the one that visitors were told."""
        return not (self.lost or self.exposed or self.policy_faults)

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
    def fates(self) -> list[tuple[Fate, int]]:
        """Every reason for which something was not kept, and how often."""
        dropped = self.summed("dropped") + Counter({UNACCOUNTED: self.totals["unaccounted"]})
        frames = self.outcomes - Counter(rows=self.outcomes["rows"])
        return [
            (table.get(name, Fate(name, True, "is unknown here: update what runs `impersonal`")), count)
            for table, counts in ((DROPS, dropped), (FRAMES, frames))
            for name, count in counts.most_common()
        ]

    @property
    def lost(self) -> dict[str, int]:
        """Events and frames that were to be kept and are gone, by what became of them."""
        return {fate.name: count for fate, count in self.fates if fate.is_loss}


def read_status(data: Path) -> Status:
    """Put together what the data directory tells; changes nothing.

    Raises  StoreError, LedgerError, OSError
    """
    workers, unreadable = _workers(data)
    return Status(
        workers,
        list(_days(data)),
        _spending(data),
        unreadable,
        exposures(data),
        _oldest(data),
        _policy_faults(data),
    )


def _policy_faults(data: Path) -> list[str]:
    """What is wrong with the policy: a file that cannot be used hides nothing else of the status."""
    source = data / POLICY
    if not source.exists():
        return []
    try:
        return kept_policy.changed(load(source), kept_policy.kept(data))
    except PolicyError as error:
        return error.mistakes


def _oldest(data: Path) -> dict[str, int]:
    """Kind of record → UTC milliseconds of its oldest."""
    found = _oldest_events(data) | Rights(data).oldest()
    for kind, directory, prefix in ((QUARANTINE, data / QUARANTINE, "day="), (LOGS, data / LOGS, "")):
        days = [day for path, day in days_of(directory, prefix) if any(path.iterdir())]
        if days:
            found[kind] = Window("day", date.fromisoformat(days[0])).span_ms[0]
    made = answers(data).values()
    return found | ({"answers": min(made)} if made else {})


def _oldest_events(data: Path) -> dict[str, int]:
    files = [str(file) for directory, _ in days_of(data / EVENTS) for file in batch_files(directory)]
    if not files:
        return {}
    query = (
        "SELECT purposes, service, min(ts_ms) FROM read_parquet($files, hive_partitioning = false)"
        " GROUP BY ALL ORDER BY ALL"
    )
    found: dict[str, int] = {}
    with shared().cursor() as database:
        for purposes, service, ts_ms in database.execute(query, {"files": files}).fetchall():
            kinds = [f"purpose {name}" for name in purposes or ()] + (
                [f"service {service}"] if service else []
            )
            for kind in kinds:
                found[kind] = min(ts_ms, found.get(kind, ts_ms))
    return dict(sorted(found.items()))


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


def forget_workers(data: Path, clock: Clock) -> None:
    """Remove the counters of workers that ended long ago: what they lost is no news any more."""
    for worker in _workers(data)[0]:
        if not worker.alive and clock() - worker.updated_ms > COUNTERS_DAYS * DAY_MS:
            for suffix in (".json", ".lock"):
                (data / STATUS / f"{worker.worker}{suffix}").unlink(missing_ok=True)


def _days(data: Path) -> Iterator[Day]:
    segments = find_segments(data)
    days = {day for _, day in days_of(data / EVENTS)} | {segment.day for segment in segments}
    with shared().cursor() as database:
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
            imported = next((manifest.imported for manifest in taken if manifest.imported), None)
            yield Day(day, (directory / SEALED).exists(), dict(outcomes), waiting, imported)


def _spending(data: Path) -> list[Spending]:
    if not (data / LEDGER).exists():
        return []
    with Ledger(data / LEDGER) as ledger:
        releases: dict[str, list[str]] = {}
        for release_id, days in ledger.releases().items():
            for day in days:
                releases.setdefault(day, []).append(release_id)
        return [_spent(ledger, day, sorted(found)) for day, found in sorted(releases.items())]


def _spent(ledger: Ledger, day: str, releases: list[str]) -> Spending:
    nano_rho, atto_delta = ledger.spent(day)
    left = ledger.cap(day)[0] - nano_rho
    return Spending(day, nano_rho * 1e-9, atto_delta * 1e-18, left * 1e-9, releases)


def as_json(status: Status) -> dict[str, Any]:
    """The status with its sums, for a program to read."""
    made: dict[str, Any] = msgspec.to_builtins(status)
    sums = {name: status.summed(name) for name in ("dropped", "bots", "declined", "unnamed")}
    return {"totals": status.totals | sums, "outcomes": status.outcomes, "lost": status.lost, **made}


def in_words(status: Status) -> Iterator[str]:
    """The status as lines to read."""
    yield from _workers_in_words(status)
    yield "Private events"
    if not status.days:
        yield "  none yet"
    for day in status.days[-_SHOWN_DAYS:]:
        state = "sealed" if day.sealed else "open"
        waiting = f"; {day.waiting_bytes:,} bytes of log wait for the next run" if day.waiting_bytes else ""
        yield f"  {day.day} {state}: {_listed(day.outcomes) or 'nothing'}{_source(day)}{waiting}"
    yield "Privacy budget"
    if not status.spending:
        yield "  nothing released yet"
    for spent in status.spending[-_SHOWN_DAYS:]:
        on = _many(len(spent.releases), "release")
        yield f"  {spent.day}: ρ = {spent.rho:.6f} spent on {on}, {spent.left:.6f} left"
    yield "Oldest records"
    if not status.oldest:
        yield "  none yet"
    for kind, since_ms in status.oldest.items():
        yield f"  {kind}: {day_of(since_ms)}"
    yield from _fates_in_words("Left out, as is right:", status, is_loss=False)
    if status.lost:
        yield from _fates_in_words("Lost:", status, is_loss=True)
        yield "  Frames with a reason stand whole in quarantine/; what was dropped or late is gone"
    else:
        yield "Nothing was lost."
    yield from _exposed_in_words(status)
    if status.policy_faults:
        yield "Policy:"
    for fault in status.policy_faults:
        yield f"  {fault}"


def _exposed_in_words(status: Status) -> Iterator[str]:
    if not status.exposed:
        yield "The data directory is its owner's alone."
        return
    yield "Open to others:"
    for each in status.exposed[:_SHOWN_EXPOSED]:
        yield f"  {each.path} {each.problem}: {each.remedy}"
    if (more := len(status.exposed) - _SHOWN_EXPOSED) > 0:
        yield f"  and {more:,} more"


def _workers_in_words(status: Status) -> Iterator[str]:
    alive = sum(worker.alive for worker in status.workers)
    since = f", counted since {day_of(status.workers[0].started_ms)}" if status.workers else ""
    yield f"Collector: {_many(alive, 'worker')} at work, {len(status.workers) - alive} ended{since}"
    yield "  " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in status.totals.items())
    for counter, title in (
        ("bots", "bots"),
        ("unnamed", "fields refused, because their service does not name them"),
        (
            "declined",
            "declared values not stored, for want of a grant or a visitor, or against the visitor's own word",
        ),
        ("errors", "faults of the collector, none of the site's"),
    ):
        if counts := status.summed(counter):
            yield f"  {title}: {_listed(counts)}"
    for name in status.unreadable:
        yield f"  {name} cannot be read"


def _source(day: Day) -> str:
    """Where the rows of an imported day come from, and what became of the other lines."""
    if day.imported is None:
        return ""
    found = day.imported
    others = {"malformed": found.malformed, "assets": found.assets, "other": found.other}
    others["of bots"] = sum(found.bots.values())
    return f", from {found.lines:,} lines of access logs: {_listed(+Counter(others))}"


def _fates_in_words(title: str, status: Status, is_loss: bool) -> Iterator[str]:
    found = [(fate, count) for fate, count in status.fates if fate.is_loss == is_loss]
    if found:
        yield title
    for fate, count in found:
        yield f"  {count:,} {fate.name}: {fate.words}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
