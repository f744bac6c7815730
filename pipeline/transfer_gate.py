"""What an order to hand over records covers: record by record, purpose by purpose, cut to what they may use.

What each ground takes, always without visitors who erased and without purposes that were withdrawn, whose
retention is over, whose withdrawal could not be seen because the record carries no id cookie's cohort, or
that need a consent which the newest proven choice does not give, or gave and has lapsed:

    necessary  purposes on a contract that name the recipient, in the record's version and the one in force
    consent    purposes that a choice granted, naming the recipient in these versions and the one agreed to
    law        every purpose; needs the reference of the order
    sale       purposes whose version of the record names the recipient, or "acquirer"
    breach     one visitor's records for purposes that do not rest on consent: nobody consents to be reported
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from collector.policy import Policy, Purpose, Version, fields_within
from collector.policy_text import ACQUIRER
from collector.record import DAY_MS, FIELDS, LEVELS, TIME_STEP_MS, date_of
from collector.rights import Rights
from collector.standings import Standings
from pipeline import chain, kept_policy, proofs, sql
from pipeline.engine import Engine
from pipeline.errors import TransferError
from pipeline.proofs import Proof
from pipeline.store import EVENTS, batch_files, days_of
from pipeline.terms import Kind, declared_days, ends

_AT_A_TIME = 10_000  # records fetched
_FIELDS = frozenset(row.name for row in FIELDS)
_OWN = frozenset(("id", "act", "via", "first"))
"""Columns that are this site's own business."""


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    recipient: str
    ground: str
    """One of GROUNDS."""
    purpose: str | None = None
    """Only what was recorded for this."""
    reference: str = ""
    """Of an order, a contract or a case: the operator's own words."""
    start: date = date.min
    end: date = date.max
    """The UTC days, both included."""
    subject: str | None = None
    """One pseudonym, 32 hex digits."""


@dataclass(frozen=True)
class Versions:
    """The versions of the policy that speak about one record: older ones as they were when they were used."""

    recorded: Version
    in_force: Version
    """As policy.toml says it now."""
    agreed: Version | None
    """The one that a choice was made under."""

    def name(self, purpose: str, recipient: str, *versions: Version | None) -> bool:
        """Whether each of these versions names a recipient for a purpose."""
        asked = [version.purposes.get(purpose) if version else None for version in versions]
        return all(found is not None and recipient in found.recipients for found in asked)


Covers = Callable[[Order, Purpose, Versions], bool]
"""Whether a ground covers handing over what was recorded for a purpose."""


def _is_necessary(order: Order, purpose: Purpose, versions: Versions) -> bool:
    both = versions.recorded, versions.in_force
    return purpose.basis == "contract" and versions.name(purpose.name, order.recipient, *both)


def _is_consented(order: Order, purpose: Purpose, versions: Versions) -> bool:
    every = versions.recorded, versions.in_force, versions.agreed
    return purpose.refusable and versions.name(purpose.name, order.recipient, *every)


def _is_law(_order: Order, _purpose: Purpose, _versions: Versions) -> bool:
    return True


def _is_sold(_order: Order, purpose: Purpose, _versions: Versions) -> bool:
    return bool({_order.recipient, ACQUIRER} & set(purpose.recipients))


def _is_breach(_order: Order, purpose: Purpose, _versions: Versions) -> bool:
    return not _needs_consent(purpose)


def _needs_consent(purpose: Purpose) -> bool:
    return "consent" in (purpose.basis, purpose.access)


GROUNDS: Mapping[str, Covers] = {
    "necessary": _is_necessary,
    "consent": _is_consented,
    "law": _is_law,
    "sale": _is_sold,
    "breach": _is_breach,
}
"""Clauses 3.3.1 to 3.3.5."""


class Gate:
    """What of the private events an order covers."""

    _choices: "_Choices"

    def __init__(self, data: Path, policy: Policy, order: Order, now_ms: int) -> None:
        in_force = policy.in_force(now_ms)
        if in_force is None:
            raise TransferError("no version of the policy is in force yet: nothing can be handed over")
        self._in_force = in_force
        self._data = data
        self._policy = kept_policy.as_kept(policy, kept_policy.kept(data))
        self._order = order
        self._now_ms = now_ms
        self._standings = Standings(data)
        self._standings.refresh(now_ms)
        self._known: dict[tuple[Any, ...], _Cut | None] = {}
        self._stood: dict[str, frozenset[str] | Literal["erased"] | None] = {}
        self.taken: dict[str, int] = {}
        """Pseudonym → records."""
        self.versions: set[str] = set()
        self.purposes: set[str] = set()

    def has_changed(self, now_ms: int) -> bool:
        """Whether what a visitor in the transfer holds has changed since it was looked at."""
        self._standings.refresh(now_ms)
        return any(self._standings.of(subject, now_ms) != stood for subject, stood in self._stood.items())

    def records(self) -> Iterator[bytes]:
        """Covered declared values, then covered records, masked, oldest first."""
        self._stood, self.taken = {}, {}
        self.versions, self.purposes = set(), set()
        order = self._order
        with chain.opened(self._data) as database, Engine() as engine:
            self._choices = _Choices(database, self._data, self._now_ms)
            yield from map(_line, self._declared(database))
            engine.relation("subject", {"visitor": "VARCHAR"}, [(order.subject,)])
            for directory, day in days_of(self._data / EVENTS):
                if order.start <= date.fromisoformat(day) <= order.end:
                    yield from self._of_day(engine, batch_files(directory))

    def _of_day(self, engine: Engine, files: list[Path]) -> Iterator[bytes]:
        engine.records(files)
        found = engine.database.execute(sql.text("transfers.records"))
        names = [column[0] for column in found.description or ()]
        while rows := found.fetchmany(_AT_A_TIME):
            for row in rows:
                if (record := self._record(dict(zip(names, row, strict=True)))) is not None:
                    yield _line(record)

    def _declared(self, database: sqlite3.Connection) -> Iterator[dict[str, Any]]:
        """What visitors declared about themselves, as far as it is covered."""
        query = (
            "SELECT subject, name, value, policy, coalesce(altered_ms, declared_ms) FROM declared "
            "WHERE ?1 IS NULL OR subject = ?1 ORDER BY subject, name"
        )
        rows = database.execute(query, (self._order.subject,)).fetchall()
        for subject, name, value, recorded, at_ms in rows:
            if purpose := self._declared_for(subject, name, recorded, at_ms):
                self._take(subject, recorded, (purpose,))
                declared = {"kind": "declared", "ts_ms": at_ms, "policy": recorded, "purposes": [purpose]}
                yield declared | {"visitor": subject, "name": name, "value": json.loads(value)}

    def _declared_for(self, subject: str, name: str, recorded: str, at_ms: int) -> str | None:
        """The purpose for which a declared value leaves; None where nothing covers it.

        It carries no choice of its own: where its purpose could be refused, the newest proven one counts.
        """
        version = self._policy.version(recorded)
        attribute = version.declared.get(name) if version else None
        standing = self._stood.setdefault(subject, self._standings.of(subject, self._now_ms))
        if version is None or attribute is None or isinstance(standing, str):
            return None
        purpose = version.purposes[attribute.purpose]
        agreed = self._agreed(subject, purpose) if purpose.refusable else None
        day = date_of(at_ms)
        kept_days = declared_days(self._policy, name, recorded, self._now_ms)
        is_covered = (
            self._order.start <= day <= self._order.end
            and self._order.purpose in (None, purpose.name)
            and (date_of(self._now_ms) - day).days <= kept_days
            and _still_holds(purpose, standing, agreed is not None and agreed.declares(attribute))
            and GROUNDS[self._order.ground](self._order, purpose, Versions(version, self._in_force, agreed))
        )
        return purpose.name if is_covered else None

    def _agreed(self, subject: str, purpose: Purpose) -> Version | None:
        """The version under which a subject's newest choice grants a purpose."""
        choice = self._choices.of(subject)
        return self._policy.version(choice.policy) if choice and purpose.name in choice.purposes else None

    def _take(self, visitor: str, recorded: str, purposes: tuple[str, ...]) -> None:
        self.taken[visitor] = self.taken.get(visitor, 0) + 1
        self.versions.add(recorded)
        self.purposes |= set(purposes)

    def _record(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """A record as the recipient gets it; None where nothing covers it."""
        visitor = row["visitor"]
        standing = self._stood.setdefault(visitor, self._standings.of(visitor, self._now_ms))
        if isinstance(standing, str):  # erased
            return None
        day = row["ts_ms"] // DAY_MS
        granted = tuple(row["purposes"])
        is_told = row["cohort"] is not None
        choice = self._choices.of(visitor) if row["consent"] else None
        proven = choice.purposes if choice else ()
        kind = Kind(False, row["policy"], row["consent"], granted, row["service"])
        key = (kind, standing, day, is_told, proven)
        if key not in self._known:
            self._known[key] = self._cut(*key)
        cut = self._known[key]
        if cut is None:
            return None
        self._take(visitor, row["policy"], cut.purposes)
        return cut.of(row)

    def _cut(
        self,
        kind: Kind,
        standing: frozenset[str] | None,
        day: int,
        is_told: bool,
        proven: tuple[str, ...],
    ) -> "_Cut | None":
        """What records that are alike leave through the gate."""
        version = self._policy.version(kind.policy)
        agreed = self._policy.version(kind.consent) if kind.consent else None
        if version is None or (kind.consent and agreed is None):
            return None  # nothing says what it may be used for
        versions = Versions(version, self._in_force, agreed)
        is_by_consent = self._order.ground == "consent"
        age_days = (date_of(self._now_ms) - date_of(day * DAY_MS)).days
        kept_days = ends(self._policy, kind, self._now_ms)
        taken = tuple(
            name
            for name, days in kept_days.items()
            if self._order.purpose in (None, name)
            and (purpose := version.purposes.get(name))
            and age_days <= days
            and _still_holds(purpose, standing, is_told)
            and (name in proven or not (is_by_consent or _needs_consent(purpose)))
            and GROUNDS[self._order.ground](self._order, purpose, versions)
        )
        cut = _Cut(taken, version, agreed)
        return cut if cut.fields else None


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _still_holds(purpose: Purpose, standing: frozenset[str] | None, is_told: bool) -> bool:
    """Whether a purpose that could be refused was not withdrawn since; without an id nobody could tell."""
    if not purpose.refusable:
        return True
    return is_told and (standing is None or purpose.name in standing)


class _Choices:
    """The newest proven choice of each subject, while it has not lapsed."""

    def __init__(self, database: sqlite3.Connection, data: Path, now_ms: int) -> None:
        self._database = database
        self._rights = Rights(data)
        self._now_ms = now_ms
        self._known: dict[str, Proof | None] = {}

    def of(self, subject: str) -> Proof | None:
        """The choice of a subject; None where none holds."""
        if subject not in self._known:
            newest = proofs.newest(self._database, self._rights.mark(subject))
            self._known[subject] = newest if newest and self._now_ms < newest.lapses_ms else None
        return self._known[subject]


@dataclass(frozen=True)
class _Cut:
    """What purposes may use of a record, under its version and the one agreed to."""

    purposes: tuple[str, ...]
    version: Version
    agreed: Version | None

    @cached_property
    def _levels(self) -> dict[str, int]:
        return self.version.scope(self.purposes, self.agreed)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields they reach together."""
        return tuple(row.name for row in fields_within(self._levels))

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A record with these purposes, these fields and no finer time."""
        step_ms = TIME_STEP_MS[LEVELS["time"][self._levels["time"]]]
        left_out = _OWN | (_FIELDS - set(self.fields))
        masked = {name: value for name, value in row.items() if name not in left_out}
        cut = masked | {"ts_ms": row["ts_ms"] - row["ts_ms"] % step_ms, "purposes": self.purposes}
        return {name: value for name, value in cut.items() if value is not None}
