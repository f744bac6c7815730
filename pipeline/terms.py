"""How long records are kept under a policy, and what is left of them meanwhile. Pure.

The shortest term holds that the version of a record, or any that took effect since, has said: whoever reads
the policy in force may rely on it for everything that is held, and what was once to be gone by a day is not
kept for longer afterwards. Of a purpose that a visitor can refuse, the version consented to may shorten it as
well.
"""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from collector.policy import Levels, Policy, Version
from collector.record import LEVELS
from pipeline.windows import Window

NEVER = 10**6  # days


class Kind(NamedTuple):
    """What decides how long a row is kept."""

    is_consent: bool
    policy: str
    consent: str | None
    purposes: tuple[str, ...]
    service: str | None


class Left(NamedTuple):
    """What is left of the rows of one kind."""

    purposes: tuple[str, ...]
    levels: Levels


def retention_days(policy: Policy, day: str, now_ms: int) -> int:
    """How long any record of one day is kept: the longest of the purposes that had fields of them."""
    version = _in_force(policy, day)
    purposes = version.purposes.values()
    collecting = [purpose for purpose in purposes if any(purpose.levels.values())]
    saying = _since(policy, version, now_ms)
    return max(_purpose_days(saying, purpose.name) for purpose in collecting or purposes)


def purpose_days(policy: Policy, day: str, name: str, now_ms: int) -> int:
    """How long records of one day serve a purpose, at most; 0 where the day's policy does not have it."""
    version = _in_force(policy, day)
    return _purpose_days(_since(policy, version, now_ms), name) if name in version.purposes else 0


def counted_days(policy: Policy, day: str, name: str, now_ms: int) -> int:
    """For how many days a purpose may count all that was recorded on one day."""
    version = _in_force(policy, day)
    if name not in version.purposes:
        return NEVER
    saying = _since(policy, version, now_ms)
    services = (_service_days(saying, service) for service in version.services)
    return min(_purpose_days(saying, name), *services, NEVER)


def declared_days(policy: Policy, name: str, version_id: str, now_ms: int) -> int:
    """How long a declared value is kept; one that the policy no longer knows as long as a proof."""
    known = policy.version(version_id)
    saying = _since(policy, known, now_ms) if known and name in known.declared else policy.versions
    found = [version.declared[name].retention_days for version in saying if name in version.declared]
    return min(found, default=policy.controller.proof_days)


def ends(policy: Policy, kind: Kind, now_ms: int) -> dict[str, int]:
    """Purpose → for how many days after their own it keeps rows of a kind; those with fields of them only."""
    version = policy.version(kind.policy)
    if version is None or kind.is_consent:
        return {}
    consented = policy.version(kind.consent) if kind.consent else None
    saying = _since(policy, version, now_ms)
    longest = _service_days(saying, kind.service) if kind.service else NEVER
    agreed = [consented] if consented else []
    return {
        name: min(longest, _purpose_days(saying + agreed * version.purposes[name].refusable, name))
        for name in kind.purposes
        if any(version.purpose_scope(name, consented).values())
    }


def left(policy: Policy, kind: Kind, age: int, now_ms: int) -> Left | None:
    """What is left of rows of a kind so many days after their own: None for nothing.

    Rows that no known purpose keeps stay as they are until their day ends.
    """
    kept = ends(policy, kind, now_ms)
    over = {name for name, days in kept.items() if age > days}
    if over and over == kept.keys():
        return None
    version = policy.version(kind.policy)
    if not over or version is None:
        return Left(kind.purposes, {category: len(levels) - 1 for category, levels in LEVELS.items()})
    consented = policy.version(kind.consent) if kind.consent else None
    return Left(
        tuple(name for name in kind.purposes if name not in over),
        version.scope(kept.keys() - over, consented),
    )


def _in_force(policy: Policy, day: str) -> Version:
    return policy.in_force(Window("day", date.fromisoformat(day)).span_ms[0]) or policy.versions[0]


def _since(policy: Policy, version: Version, now_ms: int) -> list[Version]:
    """A version, and those that took effect after it."""
    later = (each for each in policy.versions if version.effective < each.effective)
    return [version, *(each for each in later if each.effective_ms <= now_ms)]


def _purpose_days(versions: Iterable[Version], name: str) -> int:
    """The shortest of what these versions say of a purpose; NEVER where none of them names it."""
    found = (version.purposes[name].retention_days for version in versions if name in version.purposes)
    return min(found, default=NEVER)


def _service_days(versions: Iterable[Version], name: str) -> int:
    """The same of a service."""
    found = (version.services[name].retention_days for version in versions if name in version.services)
    return min(found, default=NEVER)
