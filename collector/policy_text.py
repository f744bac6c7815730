"""The policy as people read it, in their language: what a version says, by clause, and what it changes.

Pure: from `Policy` and `Words` alone, so that the visitor's page, `impersonal policy` and a consent receipt
say the same. The order is that of the clauses of the policy this project grew from.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import msgspec

from collector.policy import Attribute, Policy, Purpose, Service, Version, fields_within
from collector.record import FIELDS, LEVELS, Field
from collector.words import Words

ACQUIRER = "acquirer"
"""Named among the recipients of a purpose: what was recorded for it goes along when the business is sold."""

_DOCS = {row.name: row.doc for row in FIELDS}
_T = TypeVar("_T")


class Section(msgspec.Struct, frozen=True):
    """One clause of the policy."""

    title: str
    paragraphs: tuple[str, ...]
    """Plain text, no markup."""


# ---- what a version says ------------------------------------------------------------------------------


def title(policy: Policy, words: Words) -> str:
    """The policy's heading."""
    return words("policy.title", name=policy.controller.name)


def sections(policy: Policy, version: Version, words: Words) -> list[Section]:
    """One version of a policy as prose, in the order of its clauses."""
    told = {
        "controller": _controller(policy, version, words),
        "received": _received(version, words),
        "purposes": _purposes(version, words),
        "conditions": _conditions(policy, version, words),
        "altering": _altering(policy, words),
        "protection": _protection(words),
        "changes": _versions(policy, words),
    }
    return [Section(words(f"policy.section.{name}"), tuple(lines)) for name, lines in told.items()]


def _controller(policy: Policy, version: Version, words: Words) -> Iterator[str]:
    controller = policy.controller
    yield words("policy.controller", name=controller.name, contact=controller.contact)
    for key in ("identifier", "address", "country"):
        if value := getattr(controller, key):
            yield words(f"policy.controller_{key}", value=value)
    summary = version.summed_up_in(words.language)
    yield words("policy.this_version", **_dated(version), summary=summary)
    yield words("policy.asked")


def _received(version: Version, words: Words) -> Iterator[str]:
    yield words("policy.declared" if version.declared else "policy.declared_nothing")
    for attribute in version.declared.values():
        yield words(
            "policy.attribute",
            text=attribute.said_in(words.language),
            name=attribute.name,
            need=words("policy.need.mandatory" if attribute.mandatory else "policy.need.optional"),
            type=_type(attribute, words),
            purpose=_purpose_name(attribute.purpose, words),
            days=attribute.retention_days,
        )
    yield words("policy.automatic")
    levels = version.scope(version.purposes)
    for category in LEVELS:
        yield _capital(_category_line(category, LEVELS[category][levels[category]], levels, words)) + "."
    yield words("policy.choices")
    yield words("policy.services" if version.services else "policy.services_none")
    for service in version.services.values():
        yield words(
            "policy.service",
            service=service.name,
            mount=service.mount,
            fields=_service_fields(service, words),
            days=service.retention_days,
        )
    yield words("policy.other_sites")
    yield words("policy.not_verified")


def _purposes(version: Version, words: Words) -> Iterator[str]:
    yield words("policy.only_needed")
    for purpose in version.purposes.values():
        yield words(
            "policy.purpose_says",
            purpose=_capital(_purpose_name(purpose.name, words)),
            text=purpose.said_in(words.language),
            basis=words(f"policy.basis.{purpose.basis}"),
            access=words(f"policy.access.{purpose.access}"),
            default=words(f"policy.default.{purpose.default}"),
            days=purpose.retention_days,
            recipients=", ".join(purpose.recipients) or words("policy.nobody"),
            fields=_recorded_for(purpose, words),
        )


def _conditions(policy: Policy, version: Version, words: Words) -> Iterator[str]:
    controller = policy.controller
    yield words("policy.kept")
    if controller.storage:
        yield words("policy.storage", storage=controller.storage)
    yield words("policy.abroad" if controller.cross_border else "policy.not_abroad")
    yield words("policy.confidential")
    yield words("policy.transfers")
    purposes = version.purposes.values()
    necessary = [purpose for purpose in purposes if purpose.basis == "contract"]
    consented = [purpose for purpose in purposes if purpose.basis == "consent" or purpose.access == "consent"]
    yield words("policy.ground.necessary", recipients=_recipients(necessary, words))
    yield words("policy.ground.consent", recipients=_recipients(consented, words))
    yield words("policy.ground.law")
    sold = [_purpose_name(purpose.name, words) for purpose in purposes if ACQUIRER in purpose.recipients]
    yield words("policy.ground.sale", purposes=", ".join(sold) or words("policy.nothing"))
    yield words("policy.ground.breach")
    yield words("policy.transfers_recorded")


def _altering(policy: Policy, words: Words) -> Iterator[str]:
    yield words("policy.alter")
    yield words("policy.erase")
    yield words("policy.proofs", days=policy.controller.proof_days)


def _protection(words: Words) -> Iterator[str]:
    for measure in ("address", "pseudonym", "files", "statistics", "record"):
        yield words(f"policy.measure.{measure}")


def _versions(policy: Policy, words: Words) -> Iterator[str]:
    yield words("policy.may_change")
    older_of = {newer.id: older for older, newer in pairwise(policy.versions)}
    for version in reversed(policy.versions):
        summary = version.summed_up_in(words.language)
        line = words("policy.version", **_dated(version), summary=summary)
        older = older_of.get(version.id)
        found = changes(older, version, words) if older else []
        yield f"{line} {words('policy.changed', changes='; '.join(found))}" if found else line


def _dated(version: Version) -> dict[str, str]:
    return {
        "id": version.id,
        "modified": version.modified.isoformat(),
        "effective": version.effective.isoformat(),
    }


def _category_line(category: str, level: str, levels: Mapping[str, int], words: Words) -> str:
    """A category at its precision, with the fields that it brings."""
    rows = [row for row in fields_within(levels) if row.category == category]
    fields = f": {_field_names(rows, words)}" if rows else ""
    return f"{_category(category, words)} – {_level(category, level, words)}{fields}"


def _recorded_for(purpose: Purpose, words: Words) -> str:
    reached = [
        _category_line(category, LEVELS[category][level], purpose.levels, words)
        for category, level in purpose.levels.items()
        if level or (category == "time" and any(purpose.levels.values()))
    ]
    return "; ".join(reached) or words("policy.nothing")


def _service_fields(service: Service, words: Words) -> str:
    return ", ".join(
        f"{_field(name, words)} – {words(f'policy.need.{need}')}" for name, need in service.fields.items()
    ) or words("policy.nothing")


def _recipients(purposes: Iterable[Purpose], words: Words) -> str:
    named = dict.fromkeys(name for purpose in purposes for name in purpose.recipients if name != ACQUIRER)
    return ", ".join(named) or words("policy.nobody")


# ---- what a version changes -----------------------------------------------------------------------------


def changes(older: Version, newer: Version, words: Words) -> list[str]:
    """What one version changes against another, a phrase each; nothing where they ask and promise the same.

    Ids, dates and summaries differ between any two versions and are no change.
    """
    return [
        *_purposes_changed(older, newer, words),
        *_services_changed(older, newer, words),
        *_declared_changed(older, newer, words),
    ]


def _purposes_changed(older: Version, newer: Version, words: Words) -> Iterator[str]:
    for name, before, now in _pairs(older.purposes, newer.purposes):
        shown = _purpose_name(name, words)
        if now is None:
            yield words("policy.change.removes_purpose", purpose=shown)
        elif before is None:
            yield words(
                "policy.change.adds_purpose",
                purpose=shown,
                text=now.said_in(words.language),
                basis=words(f"policy.basis.{now.basis}"),
                days=now.retention_days,
            )
            yield from _purpose_changed(replace(now, fields={}, recipients=()), now, shown, words)
        else:
            yield from _purpose_changed(before, now, shown, words)


def _purpose_changed(before: Purpose, now: Purpose, shown: str, words: Words) -> Iterator[str]:
    for category in LEVELS:
        yield from _level_changed(category, before.level(category), now.level(category), shown, words)
    for act, names in _sets(before.recipients, now.recipients):
        for name in names:
            yield words(f"policy.change.{act}_recipient", purpose=shown, recipient=name)
    for key in ("basis", "access", "default"):
        old, new = getattr(before, key), getattr(now, key)
        if old != new:
            values = {"old": words(f"policy.{key}.{old}"), "new": words(f"policy.{key}.{new}")}
            yield words(f"policy.change.{key}", purpose=shown, **values)
    yield from _days_changed(before.retention_days, now.retention_days, shown, words)
    yield from _text_changed(before, now, shown, words)


def _level_changed(category: str, old: int, new: int, shown: str, words: Words) -> Iterator[str]:
    if old == new:
        return
    names = LEVELS[category]
    act = "raises" if new > old else "lowers"
    if names[0] == "none" and not old:
        act = "adds_field"
    elif names[0] == "none" and not new:
        act = "removes_field"
    levels = {"old": _level(category, names[old], words), "new": _level(category, names[new], words)}
    yield words(f"policy.change.{act}", field=_category(category, words), purpose=shown, **levels)


def _services_changed(older: Version, newer: Version, words: Words) -> Iterator[str]:
    for name, before, now in _pairs(older.services, newer.services):
        if now is None:
            yield words("policy.change.removes_service", service=name)
        elif before is None:
            fields = _service_fields(now, words)
            values = {"mount": now.mount, "fields": fields, "days": now.retention_days}
            yield words("policy.change.adds_service", service=name, **values)
        else:
            yield from _service_changed(before, now, words)


def _service_changed(before: Service, now: Service, words: Words) -> Iterator[str]:
    name = now.name
    if before.mount != now.mount:
        yield words("policy.change.mount", service=name, old=before.mount, new=now.mount)
    for field, old, new in _pairs(before.fields, now.fields):
        if old == new:
            continue
        act = "adds" if old is None else "removes" if new is None else "needs"
        need = words(f"policy.need.{new or old}")
        yield words(f"policy.change.{act}_service_field", service=name, field=_field(field, words), need=need)
    yield from _days_changed(before.retention_days, now.retention_days, name, words)


def _declared_changed(older: Version, newer: Version, words: Words) -> Iterator[str]:
    for name, before, now in _pairs(older.declared, newer.declared):
        if now is None:
            yield words("policy.change.removes_attribute", name=name)
        elif before is None:
            need = words("policy.need.mandatory" if now.mandatory else "policy.need.optional")
            values = {"need": need, "type": _type(now, words), "purpose": _purpose_name(now.purpose, words)}
            text = now.said_in(words.language)
            yield words(
                "policy.change.adds_attribute", name=name, text=text, days=now.retention_days, **values
            )
        else:
            yield from _attribute_changed(before, now, words)


def _attribute_changed(before: Attribute, now: Attribute, words: Words) -> Iterator[str]:
    name = now.name
    if before.type != now.type:
        values = {"old": words(f"policy.type.{before.type}"), "new": words(f"policy.type.{now.type}")}
        yield words("policy.change.type", name=name, **values)
    for act, options in _sets(before.options, now.options):
        for option in options:
            yield words(f"policy.change.{act}_option", name=name, option=option)
    if before.purpose != now.purpose:
        values = {"old": _purpose_name(before.purpose, words), "new": _purpose_name(now.purpose, words)}
        yield words("policy.change.attribute_purpose", name=name, **values)
    if before.mandatory != now.mandatory:
        yield words("policy.change.mandatory" if now.mandatory else "policy.change.optional", name=name)
    yield from _days_changed(before.retention_days, now.retention_days, name, words)
    yield from _text_changed(before, now, name, words)


def _days_changed(old: int, new: int, shown: str, words: Words) -> Iterator[str]:
    if old != new:
        act = "longer" if new > old else "shorter"
        yield words(f"policy.change.{act}", what=shown, old=old, new=new)


def _text_changed(
    before: Purpose | Attribute, now: Purpose | Attribute, shown: str, words: Words
) -> Iterator[str]:
    if before.text != now.text:
        yield words("policy.change.text", what=shown, text=now.said_in(words.language))
    for language, old, new in _pairs(before.texts, now.texts):
        if old != new:
            yield words("policy.change.translation", what=shown, language=language)


def _pairs(before: Mapping[str, _T], now: Mapping[str, _T]) -> Iterator[tuple[str, _T | None, _T | None]]:
    """Every name of either, with what it was and is."""
    for name in dict.fromkeys((*now, *before)):
        yield name, before.get(name), now.get(name)


def _sets(before: Iterable[str], now: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    yield "adds", sorted(set(now) - set(before))
    yield "removes", sorted(set(before) - set(now))


# ---- names -----------------------------------------------------------------------------------------------


def _purpose_name(name: str, words: Words) -> str:
    return words(f"policy.purpose.{name}")


def _category(name: str, words: Words) -> str:
    return words(f"policy.category.{name}")


def _level(category: str, level: str, words: Words) -> str:
    return words(f"policy.level.{category}.{level}")


def _type(attribute: Attribute, words: Words) -> str:
    kind = words(f"policy.type.{attribute.type}")
    return f"{kind} ({', '.join(attribute.options)})" if attribute.options else kind


def _field(name: str, words: Words) -> str:
    """A field in words, and as downloads name it."""
    return f"{words.get(f'policy.field.{name}', _DOCS[name])} ({name})"


def _field_names(rows: Iterable[Field], words: Words) -> str:
    return ", ".join(_field(row.name, words) for row in rows)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
