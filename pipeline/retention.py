"""Retention: every record goes when the last purpose it was granted for ends, and each field with its own.

A row is kept for the longest retention of its purposes that have fields; under a service no longer than the
service's own (terms.py says which version's). Where one purpose ends before another, what only it allowed is
taken out of the row, and its name with it. Consents, quarantine and logs of a day are kept for the longest
that any purpose of the day is. A batch is rewritten only on days on which a retention ends.
"""

import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path

import duckdb
import msgspec

from collector.policy import Policy, fields_within
from collector.record import FIELDS, LEVELS, LOGS, TIME_STEP_MS, Clock, date_of
from collector.rights import Rights
from pipeline.days import seal_day
from pipeline.engine import shared
from pipeline.rights.access import remove_old_answers
from pipeline.store import (
    EVENTS,
    EXPIRED,
    QUARANTINE,
    batch_files,
    commit_batch,
    days_of,
    events_of,
    is_sealed,
    manifest_of,
    replace_private,
    sync,
    write_aside,
)
from pipeline.terms import Kind, Left, counted_days, declared_days, left, retention_days

APPLIED = "_retention"
"""In a day's directory: the longest retention that was enforced there, and under which rules."""


@dataclass
class Expired:
    """What was removed because its retention is over."""

    days: list[str] = field(default_factory=list)
    """Days of which nothing is left."""
    rows: int = 0
    """Removed from days of which something is left."""
    cut: int = 0
    """Rows that are kept for fewer purposes, with fewer fields."""
    said: Counter[str] = field(default_factory=Counter)
    """Table of rights.sqlite → rows; "answers": answers to requests that nobody fetched."""

    def add(self, other: "Expired") -> None:
        """Count what another call removed as well."""
        self.days += other.days
        self.rows += other.rows
        self.cut += other.cut
        self.said += other.said


def expire(data: Path, policy: Policy, clock: Clock) -> Expired:
    """Remove everything whose retention is over, from the private events, the logs and rights.sqlite.

    A day goes whole whether it is sealed or not, and is sealed then; single rows go from sealed days. To be
    called after the days' statistics are released, or after `resume_after`; the caller holds
    `store.exclusive`.

    Raises  StoreError, OSError; called again, it does the rest
    """
    now_ms = clock()
    found = Expired()
    rules = _Rules(policy, now_ms)
    with shared().cursor() as database:
        for day in _days(data):
            directory = events_of(data, day)
            age = (date_of(now_ms) - date.fromisoformat(day)).days
            if age > retention_days(policy, day, now_ms):
                if not is_sealed(data, day):
                    seal_day(data, day)  # what is found of it later is late
                if _remove_day(data, directory, day):
                    found.days.append(day)
            elif not is_sealed(data, day):
                continue
            elif (passed := rules.passed(age)) and _applied(directory) != rules.mark(passed):
                _expire_rows(database, directory, rules, age, found)
                replace_private(directory / APPLIED, rules.mark(passed))
    kept_days = partial(declared_days, policy, now_ms=now_ms)
    found.said += Counter(Rights(data).expire(kept_days, policy.controller.proof_days, now_ms))
    found.said += Counter(answers=remove_old_answers(data, now_ms))
    return found


def newest_uncountable(data: Path, policy: Policy, purpose: str, now_ms: int) -> str | None:
    """The newest day of which not all that a purpose may count is kept any more; None where there is none.

    Whether there were records is nothing that it tells.
    """
    today = date_of(now_ms)
    over = (
        day
        for day in _days(data)
        if (today - date.fromisoformat(day)).days > counted_days(policy, day, purpose, now_ms)
    )
    return max(over, default=None)


def _days(data: Path) -> list[str]:
    """Every day of which there is anything, oldest first."""
    places = ((data / EVENTS, "day="), (data / QUARANTINE, "day="), (data / LOGS, ""))
    return sorted({day for place, prefix in places for _, day in days_of(place, prefix)})


class _Rules:
    """When anything may end under a policy, at an instant."""

    def __init__(self, policy: Policy, now_ms: int) -> None:
        self.policy = policy
        self.now_ms = now_ms
        in_force = policy.in_force(now_ms)
        # A version that takes effect may shorten what older ones said.
        said: list[tuple[object, ...]] = [(in_force and in_force.id,)]
        self._ends: set[int] = set()
        for version in policy.versions:
            for purpose in version.purposes.values():
                said.append((version.id, purpose.name, purpose.retention_days, purpose.fields))
                self._ends.add(purpose.retention_days)
            for service in version.services.values():
                said.append((version.id, service.name, service.retention_days))
                self._ends.add(service.retention_days)
        self._hash = sha256(repr(said).encode()).hexdigest()[:16]

    def passed(self, age: int) -> int:
        """The longest retention that is over for records of an age; 0 for none."""
        return max((days for days in self._ends if days < age), default=0)

    def mark(self, passed: int) -> str:
        """What APPLIED holds when a retention was enforced under these rules."""
        return f"{passed} {self._hash}\n"


def _applied(directory: Path) -> str:
    try:
        return (directory / APPLIED).read_text()
    except FileNotFoundError:
        return ""


def _remove_day(data: Path, directory: Path, day: str) -> bool:
    """Remove what is left of a day but that it was sealed; whether there was anything."""
    held = (data / QUARANTINE / directory.name, data / LOGS / day, directory / APPLIED)
    found = [*(path for path in held if path.exists()), *batch_files(directory), *directory.glob(".*")]
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if found:
        sync(directory)
    return bool(found)


def _expire_rows(
    database: duckdb.DuckDBPyConnection, directory: Path, rules: _Rules, age: int, found: Expired
) -> None:
    """Rewrite the batches of a day of which some rows end, or are cut."""
    salt = secrets.token_hex(16)
    for batch in batch_files(directory):
        kinds = _kinds(database, batch)
        plan = {kind: left(rules.policy, kind, age, rules.now_ms) for kind in kinds}
        over = sum(count for kind, count in kinds.items() if plan[kind] is None)
        cut = sum(count for kind, count in kinds.items() if (kept := plan[kind]) and kept[0] != kind.purposes)
        if over or cut:
            _relate(database, rules.policy, plan)
            manifest = manifest_of(database, batch)
            gone = dict(Counter(manifest.removed) + Counter({EXPIRED: over}))
            values = {"batch": str(batch), "salt": salt}
            changed = msgspec.structs.replace(manifest, removed=gone, cut=manifest.cut + cut)
            commit_batch(write_aside(database, batch, _ROWS, changed, values), batch)
        found.rows += over
        found.cut += cut


def _kinds(database: duckdb.DuckDBPyConnection, batch: Path) -> dict[Kind, int]:
    """Kind → rows of a batch."""
    query = (
        "SELECT kind = 'consent', policy, consent, coalesce(purposes, []), service, count(*)"
        " FROM read_parquet($batch, hive_partitioning = false) GROUP BY ALL"
    )
    rows = database.execute(query, {"batch": str(batch)}).fetchall()
    return {
        Kind(is_consent, policy, consent, tuple(purposes), service): count
        for is_consent, policy, consent, purposes, service, count in rows
    }


def _relate(database: duckdb.DuckDBPyConnection, policy: Policy, plan: dict[Kind, Left | None]) -> None:
    """Make the relation `plan`: one row per kind of which rows stay."""
    flags = ", ".join(f'"{row.name}" BOOLEAN' for row in FIELDS)
    database.execute(
        "CREATE OR REPLACE TEMP TABLE plan (is_consent BOOLEAN, policy VARCHAR, consent VARCHAR,"
        " purposes VARCHAR[], service VARCHAR, kept VARCHAR[], step_ms BIGINT, is_for_the_day BOOLEAN,"
        f" {flags})"
    )
    for kind, kept in plan.items():
        if kept is not None:
            values = [*kind[:3], list(kind.purposes), kind.service, *_plan(policy, kind, kept)]
            marks = ", ".join("?" * len(values))
            database.execute(f"INSERT INTO plan VALUES ({marks})", values)  # noqa: S608


def _plan(policy: Policy, kind: Kind, kept: Left) -> Iterator[object]:
    """The purposes left, the step of time, whether the pseudonym may name its visitor for the day only, and
    for each field whether it stays."""
    is_cut = kept.purposes != kind.purposes
    yield list(kept.purposes)
    yield TIME_STEP_MS[LEVELS["time"][kept.levels["time"]]] if is_cut else 1
    yield is_cut and LEVELS["cookie"][kept.levels["cookie"]] == "daily"
    stays = {row.name for row in fields_within(kept.levels)}
    for row in FIELDS:
        yield row.name in stays or not is_cut


def _column(name: str) -> str:
    # Under a purpose that may know visitors for a day only, who was known for longer gets another name.
    value = "CASE WHEN p.is_for_the_day THEN md5($salt || r.visitor) ELSE r.visitor END"
    return f'CASE WHEN p."{name}" THEN {value if name == "visitor" else f"""r."{name}" """} END AS "{name}"'


_ROWS = f"""
    SELECT r.kind, r.id, r.ts_ms - r.ts_ms % p.step_ms AS ts_ms, r.policy, r.consent, p.kept AS purposes,
      r.service, {", ".join(_column(row.name) for row in FIELDS)}, r.act, r.via, r.first
    FROM read_parquet($batch, hive_partitioning = false, file_row_number = true) AS r
    JOIN plan AS p ON p.is_consent = (r.kind = 'consent') AND p.policy = r.policy
      AND p.consent IS NOT DISTINCT FROM r.consent AND p.purposes = coalesce(r.purposes, [])
      AND p.service IS NOT DISTINCT FROM r.service
    ORDER BY r.file_row_number
"""  # noqa: S608 - names of our own table
