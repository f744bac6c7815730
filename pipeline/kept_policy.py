"""What each version of the policy said when it was first used, whatever policy.toml says of it since.

A consent is to what a visitor was told. The first run under a version keeps all that it says, with who
answered for the data then, in rights.sqlite beside the proofs, where it can be added to and not changed.
Receipts and the gate go by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from collector.policy import Controller, Policy, Version
from collector.record import Clock, day_of
from collector.rights import RIGHTS
from pipeline.chain import opened, transaction

_TOLD = ("name", "identifier", "address", "country", "storage", "cross_border")
"""What of the controller a consent names: none of it changes without a version."""


@dataclass(frozen=True)
class Kept:
    """A version as it was when it was first used."""

    version: Version
    controller: Controller
    since_ms: int


def keep(data: Path, policy: Policy, clock: Clock) -> None:
    """Keep what every version says that has taken effect, the first time it is seen."""
    now_ms = clock()
    rows = [
        (each.id, now_ms, _json(each), _json(policy.controller))
        for each in policy.versions
        if each.effective_ms <= now_ms
    ]
    with opened(data) as database, transaction(database):
        database.executemany("INSERT OR IGNORE INTO version VALUES (?, ?, ?, ?)", rows)


def kept(data: Path) -> dict[str, Kept]:
    """Id → each version that was used, as it was."""
    if not (data / RIGHTS).exists():
        return {}
    with opened(data) as database:
        rows = database.execute("SELECT id, since_ms, version, controller FROM version").fetchall()
    return {
        id_: Kept(
            msgspec.json.decode(version, type=Version),
            msgspec.json.decode(controller, type=Controller),
            since_ms,
        )
        for id_, since_ms, version, controller in rows
    }


def as_kept(policy: Policy, known: Mapping[str, Kept]) -> Policy:
    """The policy with every version as it was when it was first used, also those that it no longer has."""
    versions = {each.id: each for each in policy.versions} | {
        id_: each.version for id_, each in known.items()
    }
    ordered = sorted(versions.values(), key=lambda version: version.effective)
    return replace(policy, versions=tuple(ordered))


def as_told(policy: Policy, known: Mapping[str, Kept], version: Version) -> Policy:
    """The policy that visitors were told under a version: its controller, and the versions until then."""
    controller = known[version.id].controller if version.id in known else policy.controller
    until = [each for each in as_kept(policy, known).versions if each.effective <= version.effective]
    return replace(policy, controller=controller, versions=tuple(until))


def changed(policy: Policy, known: Mapping[str, Kept]) -> list[str]:
    """Which versions were changed after their first use, a sentence each with the remedy."""
    found = [each.id for each in policy.versions if each.id in known and known[each.id].version != each]
    newest = policy.versions[-1].id
    if (
        newest not in found
        and newest in known
        and _told(policy.controller) != _told(known[newest].controller)
    ):
        found.append(newest)
    return [
        f"version {id_} says something else than on {day_of(known[id_].since_ms)}, when it was first used, "
        "and nobody is asked again: put it back as it was, and make the change under a new id and date"
        for id_ in found
    ]


def _told(controller: Controller) -> list[object]:
    return [getattr(controller, name) for name in _TOLD]


def _json(value: Version | Controller) -> str:
    return msgspec.json.encode(value).decode()
