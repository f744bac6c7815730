"""The record of processing activities (GDPR, article 30), read from the configuration as it runs.

Nothing here is written by hand that could be read: what is done follows from policy.toml, how statistics are
bounded from the tables they are made by, and the measures from what lies in the data directory.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from collector.answers import OUTBOX_DAYS
from collector.consent import GRANT_DAYS, REFUSAL_DAYS
from collector.policy import Policy, Purpose, Version, fields_within
from collector.policy_text import ACQUIRER
from collector.record import FIELDS, KEYS, LEVELS, instant_of
from collector.rights import RIGHTS
from pipeline import chain, check
from pipeline.permissions import exposures
from pipeline.status import COUNTERS_DAYS

_SUBJECTS = "visitors of the site"
_ACCOUNTS = "visitors who declared something about themselves"


def register(policy: Policy, data: Path, now_ms: int) -> dict[str, Any]:
    """The register, for a program to read.

    Takes   the policy, its data directory, UTC milliseconds
    Raises  OSError
    """
    version = policy.in_force(now_ms) or policy.versions[0]
    purposes = version.purposes.values()
    recipients = sorted({name for purpose in purposes for name in purpose.recipients})
    return {
        "made": instant_of(now_ms),
        "controller": _controller(policy),
        "version": {
            "id": version.id,
            "modified": version.modified.isoformat(),
            "effective": version.effective.isoformat(),
            "state": "in force" if version is policy.in_force(now_ms) else "to come",
        },
        "data_subjects": [_SUBJECTS] + ([_ACCOUNTS] if version.declared else []),
        "processing": [_processing(purpose, version) for purpose in purposes],
        "services": [
            {
                "service": service.name,
                "mount": service.mount,
                "fields": dict(service.fields),
                "retention_days": service.retention_days,
            }
            for service in version.services.values()
        ],
        "recipients": [name for name in recipients if name != ACQUIRER],
        "goes_along_with_the_business": [
            purpose.name for purpose in purposes if ACQUIRER in purpose.recipients
        ],
        "third_countries": {
            "cross_border": policy.controller.cross_border,
            "country": policy.controller.country,
            "storage": policy.controller.storage,
        },
        "retention_days": {
            "consent": GRANT_DAYS,
            "refusal": REFUSAL_DAYS,
            "proofs, transfers and accesses": policy.controller.proof_days,
            "answers to access requests": OUTBOX_DAYS,
            "counters of ended workers": COUNTERS_DAYS,
        },
        "statistics": _statistics(policy),
        "fields": [{"field": row.name, "category": row.category, "meaning": row.doc} for row in FIELDS],
        "measures": _measures(data),
    }


def _controller(policy: Policy) -> dict[str, Any]:
    controller = policy.controller
    names = ("name", "contact", "identifier", "address", "country")
    return {name: getattr(controller, name) for name in names} | {"hosts": list(controller.hosts)}


def _processing(purpose: Purpose, version: Version) -> dict[str, Any]:
    rows = fields_within(purpose.levels)
    declared = [attribute for attribute in version.declared.values() if attribute.purpose == purpose.name]
    return {
        "purpose": purpose.name,
        "text": purpose.text,
        "legal_basis": purpose.basis,
        "access_to_the_device": purpose.access,
        "default": purpose.default,
        "categories": {
            category: {
                "precision": LEVELS[category][level],
                "fields": [row.name for row in rows if row.category == category],
            }
            for category, level in purpose.levels.items()
            if level or (category == "time" and rows)
        },
        "declared": {
            attribute.name: {
                "type": attribute.type,
                "mandatory": attribute.mandatory,
                "retention_days": attribute.retention_days,
            }
            for attribute in declared
        },
        "recipients": list(purpose.recipients),
        "retention_days": purpose.retention_days,
    }


def _statistics(policy: Policy) -> dict[str, Any]:
    """What is published, with the bound and noise that make it impersonal."""
    return {
        "tier": policy.budget.tier,
        "tiers": {
            tier.name: {"rho_per_day": tier.nano_rho / 1e9, "totals": tier.total, "lists": tier.list}
            for tier in check.tiers(policy)
        },
        "published": [
            {
                "statistic": row.statistic.name,
                "definition": row.statistic.definition,
                "tier": row.tier.name,
                "window": row.window,
                "cells_of_a_visitor_day": row.statistic.l0,
                "most_in_a_cell": row.statistic.linf,
                "sigma": row.mechanism.sigma,
                "threshold": row.mechanism.threshold,
                "rho": row.mechanism.nano_rho / 1e9,
            }
            for row in check.precisions(policy)
        ],
    }


def _measures(data: Path) -> dict[str, Any]:
    """Article 32, as it can be seen: permissions, keys, and registers that cannot be changed unnoticed."""
    opened = exposures(data)
    keys = sorted(path.name for path in (data / KEYS).glob("[!.]*")) if (data / KEYS).is_dir() else []
    return {
        "files_open_to_others": [each.path for each in opened],
        "keys": [name for name in keys if not name.startswith("salt-")],
        "salts_that_die_with_their_day": [name for name in keys if name.startswith("salt-")],
        "registers": _registers(data),
    }


def _registers(data: Path) -> dict[str, Any]:
    """How many lines the chained registers hold, and what does not fit in them."""
    if not (data / RIGHTS).exists():
        return {}
    with chain.opened(data) as database:
        return {
            f"{register} lines": {
                "kept": len(chain.lines(database, register)),
                "faults": chain.faults(database, register),
            }
            for register in chain.REGISTERS
        }


def as_markdown(found: Mapping[str, Any]) -> str:
    """The register as a document: a heading for each part, a line or a row for each fact."""
    return "\n".join(("# Record of processing activities", *_parts(found)))


def _parts(found: Mapping[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, dict | list):
            yield f"\n## {_title(name)}\n"
            yield from _items(value)
        else:
            yield f"\n{_title(name)}: {value}"


def _items(value: Any, indent: str = "") -> Iterator[str]:
    """What a value holds: a table where all rows are alike and flat, a nested list otherwise."""
    if value and isinstance(value, list) and all(isinstance(each, dict) and _is_flat(each) for each in value):
        yield from _table(value)
        return
    if isinstance(value, list) and _is_flat(value):
        yield from (f"{indent}- {_said(each)}" for each in value or (None,))
        return
    for name, each in value.items() if isinstance(value, dict) else enumerate(value, 1):
        label = str(name).replace("_", " ")
        if isinstance(each, dict | list) and not _is_flat(each):
            yield f"{indent}- {label}:"
            yield from _items(each, f"{indent}  ")
        else:
            yield f"{indent}- {label}: {_said(each)}"
    if not value:
        yield f"{indent}- none"


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    names = list(rows[0])
    for cells in ([_title(name) for name in names], ["---"] * len(names)):
        yield f"| {' | '.join(cells)} |"
    for row in rows:
        yield f"| {' | '.join(_said(row[name]).replace('|', '/') for name in names)} |"


def _title(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")


def _is_flat(value: Any) -> bool:
    held = value.values() if isinstance(value, dict) else value
    return not any(isinstance(each, dict | list) for each in held)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value) or "not stated"
