"""One UTC day of access logs: whether an import may take it, and what it found of it."""

import secrets
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import duckdb
import numpy as np

from collector.policy import Policy, Version
from collector.record import LOGS
from pipeline.days import FIRST_DAY
from pipeline.engine import connect
from pipeline.log_batches import MALFORMED, SAMPLES
from pipeline.log_files import is_name
from pipeline.log_lines import ASSET, OTHER, VIEW, Numbers
from pipeline.statistics import PURPOSE
from pipeline.store import events_of, is_sealed, manifests
from pipeline.windows import Window

TAKEN, WAITING = "taken", "waiting"
NO_POLICY, IMPORTED, CLOSED = "no policy", "imported", "closed"
"""Why a day is not taken: the policy does not allow it, an earlier import did, or it is closed to imports."""

_SALT_BYTES = 32


@dataclass(frozen=True)
class Share:
    """What one file has of one day."""

    offset: int
    """Where it begins, or a little before."""
    earlier_hits: int
    """Page views of the day that other files gave before."""


@dataclass
class LogDay:
    """Counts, and the page views of a day that is taken. Addresses and agents are not kept."""

    day: str
    state: str
    why: str = ""
    """Of a day that is not taken: the reason and the remedy."""
    version: Version | None = None
    """The policy in force."""
    lines: int = 0
    malformed: int = 0
    assets: int = 0
    other: int = 0
    bots: Counter[str] = field(default_factory=Counter)
    """Category → lines."""
    samples: list[dict[str, str | int]] = field(default_factory=list)
    shares: dict[str, Share] = field(default_factory=dict)
    """File, by what it is known as → its share; in the order of reading."""
    times: "array[int]" = field(default_factory=lambda: array("q"))
    """UTC milliseconds of each page view."""
    numbers: "array[int]" = field(default_factory=lambda: array("i"))
    """HIT_COLUMNS of each page view."""
    visitors: dict[bytes, int] = field(default_factory=dict)
    """Pseudonym → number."""
    salt: bytearray = field(default_factory=lambda: bytearray(secrets.token_bytes(_SALT_BYTES)))

    def __post_init__(self) -> None:
        self.start_ms, self.end_ms = Window("day", date.fromisoformat(self.day)).span_ms

    def begin(self, name: str, offset: int) -> None:
        """Remember where the lines of a file begin to be this day's."""
        if name not in self.shares:
            self.shares[name] = Share(offset, len(self.times))

    def hits_of(self, name: str) -> int:
        """How many page views a file gave."""
        names = list(self.shares)
        later = names[names.index(name) + 1 :]
        end = self.shares[later[0]].earlier_hits if later else len(self.times)
        return end - self.shares[name].earlier_hits

    def visitor(self, name: bytes) -> int:
        """The number of the visitor-day of a `visitor_name`."""
        pseudonym = blake2b(name, key=self.salt, digest_size=16).digest()
        return self.visitors.setdefault(pseudonym, len(self.visitors))

    def count(self, outcome: str, lines: int) -> None:
        """Lines of one outcome; of page views `add` keeps more."""
        self.lines += lines
        if outcome == MALFORMED:
            self.malformed += lines
        elif outcome == ASSET:
            self.assets += lines
        elif outcome == OTHER:
            self.other += lines
        elif outcome != VIEW:
            self.bots[outcome.removeprefix("bot: ")] += lines

    def add(self, times: Numbers, numbers: Numbers) -> None:
        """Page views (n): UTC milliseconds (n), HIT_COLUMNS (n × 5)."""
        self.times.frombytes(times.astype(np.int64).tobytes())
        self.numbers.frombytes(numbers.astype(np.intc).tobytes())

    def keep_samples(self, place: str, samples: Sequence[tuple[int, str]]) -> None:
        """What some malformed lines look like: where they begin in a file, and their shapes."""
        for offset, looks in samples[: SAMPLES - len(self.samples)]:
            self.samples.append({"file": place, "offset": offset, "reason": MALFORMED, "shape": looks})

    def forget(self) -> None:
        """Destroy the salt: nobody can tell any more whose page views these are."""
        self.salt[:] = bytes(_SALT_BYTES)


class LogDays:
    """The days that a call has met so far."""

    def __init__(self, data: Path, policy: Policy, ground: str, now_ms: int) -> None:
        self._data = data
        self._policy = policy
        self._ground = ground
        self._now_ms = now_ms
        self._known: dict[str, LogDay] = {}

    def __getitem__(self, day: str) -> LogDay:
        """One day, as the data directory and the policy have it."""
        if day not in self._known:
            self._known[day] = LogDay(day, *self._state(day))
        return self._known[day]

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        return connect()

    def of(self, *states: str) -> list[LogDay]:
        """The days in these states that have lines, oldest first."""
        found = [each for each in self._known.values() if each.state in states and each.lines]
        return sorted(found, key=lambda each: each.day)

    def _state(self, day: str) -> tuple[str, str, Version | None]:
        start_ms, end_ms = Window("day", date.fromisoformat(day)).span_ms
        version = self._policy.in_force(start_ms)
        if self._now_ms < end_ms:
            return WAITING, "", version
        batches = manifests(self._database, events_of(self._data, day))
        names = [stretch.segment for batch in batches for stretch in batch.stretches]
        if any(map(is_name, names)):
            return IMPORTED, "", version
        if why := _closed(self._data, day, bool(batches)):
            return CLOSED, why, version
        if why := _ungrounded(version, self._ground, day):
            return NO_POLICY, why, version
        return TAKEN, "", version


def _closed(data: Path, day: str, is_collected: bool) -> str:
    """Why no import can add to a day; empty where one can."""
    if is_sealed(data, day):
        return (
            f"{day} is sealed, its statistics may be out: import a day before `impersonal run` seals it, "
            "or into a data directory of its own"
        )
    try:
        first = (data / FIRST_DAY).read_text().strip()
    except FileNotFoundError:
        first = ""
    if day < first:
        return (
            f"{day} is before {first}, from which on this directory publishes: "
            "import older logs into a data directory of their own"
        )
    if is_collected or any((data / LOGS / day).glob("*.log")):
        return (
            f"{day} holds records of the collector, which counted its visitors already: "
            "import days on which it did not run"
        )
    return ""


def _ungrounded(version: Version | None, ground: str, day: str) -> str:
    """Why the policy lets nothing of a day's log be counted; empty where it does."""
    if version is None:
        return f"no policy was in force on {day}: add a version to policy.toml that took effect by then"
    place = f"policy version {version.id}, in force on {day},"
    purpose = version.purposes.get(PURPOSE)
    if purpose is None:
        return f"{place} has no purpose {PURPOSE}: add a version that has"
    if "consent" in (purpose.access, purpose.basis) or purpose.default != "granted":
        return (
            f"{place} counts visits only after consent, and a log holds none: where your law allows it, "
            f'add a version with access = "exempt", basis = "{ground}" and default = "granted"'
        )
    if purpose.basis != ground:
        return f"{place} names {purpose.basis} as its ground, not {ground}: use --ground {purpose.basis}"
    return ""
