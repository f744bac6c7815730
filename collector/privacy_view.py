"""What the privacy page shows, in the visitor's words: pure, from what was found to what is printed."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec

from collector.answers import Choice
from collector.consent import Decision
from collector.holdings import Holdings
from collector.policy import Attribute, Purpose, Service, Version
from collector.policy_text import changes
from collector.record import FIELDS, LEVELS, Record
from collector.rights import ACCOUNT, Change, Declared, Receipt
from collector.subjects import Who
from collector.words import Words

MOST_SHOWN = 100
"""Records on the page, the newest; a download holds all."""

_CATEGORIES = tuple(category for category in LEVELS if category != "time")


class Seen(msgspec.Struct, frozen=True):
    """What a request to the page tells, and what was found for it."""

    decision: Decision
    gpc: bool
    dnt: bool
    held: Holdings
    who: Who
    receipt: Receipt | None
    is_held_today: bool
    """Whether what the visitor turned off today is off without the cookie of the choice as well."""


class PurposeView(msgspec.Struct, frozen=True):
    """One purpose with its switch."""

    name: str
    title: str
    text: str
    is_on: bool
    note: str
    is_refusable: bool
    ground: str
    fields: list[tuple[str, str]]
    """Category and precision."""
    retention: str
    recipients: str


class AttributeView(msgspec.Struct, frozen=True):
    """Something a visitor may declare, and what they did."""

    name: str
    title: str
    type: str
    options: tuple[str, ...]
    is_mandatory: bool
    is_open: bool
    """Whether it can be declared: its purpose is granted and there is somebody to store it for."""
    is_known: bool
    value: str
    shown: str
    is_public: bool
    about: str
    """What it is for and how long it is kept."""
    since: str


class RecordView(msgspec.Struct, frozen=True):
    """One record by category."""

    when: str
    what: str
    categories: list[tuple[str, list[tuple[str, str]]]]
    """Category, with the name and value of each field."""
    purposes: str
    service: str
    policy: str


class ChoiceView(msgspec.Struct, frozen=True):
    """One consent, refusal or withdrawal."""

    when: str
    act: str
    via: str
    purposes: str
    policy: str


class View(msgspec.Struct, frozen=True):
    """Everything the template prints."""

    version: Version | None
    chosen_under: str
    """The id of the version that the visitor chose under."""
    changed: list[str]
    """What the policy has changed since, also where it asked nobody for it."""
    signal: str
    has_choice: bool
    held_today: str
    """How long what was turned off today is off, with the cookie and without it."""
    reference: str
    account: str
    """The reference of who is signed in; empty for nobody."""
    is_erased: bool
    purposes: list[PurposeView]
    attributes: list[AttributeView]
    changes: list[tuple[str, str, str, str]]
    """When, what, which act, by whom."""
    services: list[tuple[str, str, list[tuple[str, str]], str]]
    """Name, mount, its fields with mandatory or optional, retention."""
    summary: str
    choices: list[ChoiceView]
    transfers: list[tuple[str, str, str]]
    """Day, recipient and ground."""
    records: list[RecordView]
    total: int
    asked: str
    gathered: str
    is_whole: bool
    receipt: list[tuple[str, int]] | None
    """Place, and what was removed there."""
    receipt_asked: str
    receipt_done: str
    categories: list[str] = []


def view_of(seen: Seen, words: Words) -> View:
    """What the page shows."""
    decision, held = seen.decision, seen.held
    version = decision.version
    others = [record for record in held.records if record.kind != "consent"]
    return View(
        version,
        decision.consented.id if decision.consented else "",
        changes(decision.consented, version, words) if version and decision.consented else [],
        _signal(seen, words),
        decision.choice is not None,
        _held_today(seen, words),
        seen.who.browser if seen.who.has_id else "",
        f"{ACCOUNT}{seen.who.account}" if seen.who.account else "",
        seen.who.standing == "erased",
        [_purpose(purpose, decision, words) for purpose in version.purposes.values()] if version else [],
        _attributes(seen, words),
        [_change(change, version, words) for change in held.history],
        [_service(service, words) for service in version.services.values()] if version else [],
        _summary(others, words),
        _choices(held, words),
        [(each.day, each.recipient, words(f"privacy.grounds.{each.ground}")) for each in held.transfers],
        [_record(record, words) for record in reversed(others[-MOST_SHOWN:])],
        len(others),
        _when(held.asked_ms),
        _when(held.gathered_ms),
        held.is_whole,
        _receipt(seen.receipt, words),
        _when(seen.receipt.asked_ms) if seen.receipt else "",
        _when(seen.receipt.done_ms) if seen.receipt else "",
        [words(f"privacy.categories.{category}") for category in _CATEGORIES],
    )


def _when(ts_ms: int | None) -> str:
    """An instant to read, the same in every language: 2026-11-24 10:15 UTC."""
    if ts_ms is None:
        return ""
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _signal(seen: Seen, words: Words) -> str:
    """What the browser's own signal says, and what became of it."""
    if not (seen.gpc or seen.dnt):
        return ""
    name = "Global Privacy Control (Sec-GPC)" if seen.gpc else "Do Not Track (DNT)"
    heeded = "overruled" if seen.decision.choice and seen.decision.choice.granted else "honoured"
    return words(f"privacy.signal_{heeded}", name=name)


def _held_today(seen: Seen, words: Words) -> str:
    choice = seen.decision.choice
    if choice is None or not seen.is_held_today:
        return ""
    ends, asked = choice.day + timedelta(days=1), choice.day + timedelta(days=choice.lifetime_days)
    return words("privacy.held_today", until=f"{ends} 00:00 UTC", asked=asked)


def _title(kind: str, name: str, words: Words) -> str:
    return words.get(f"privacy.{kind}.{name}", name)


def _titles(purposes: tuple[str, ...], words: Words) -> str:
    return ", ".join(_title("purposes", name, words) for name in purposes)


def _purpose(purpose: Purpose, decision: Decision, words: Words) -> PurposeView:
    is_widened = purpose.name in decision.widened
    return PurposeView(
        purpose.name,
        _title("purposes", purpose.name, words),
        purpose.said_in(words.language),
        purpose.name in decision.granted and not is_widened,
        words("banner.before") if is_widened else "",
        purpose.refusable,
        words(f"privacy.basis.{purpose.basis}"),
        [
            (_title("categories", category, words), _level(category, level, words))
            for category, level in purpose.fields.items()
            if level != "none"
        ],
        words("privacy.days", count=purpose.retention_days),
        ", ".join(purpose.recipients) or words("privacy.nobody"),
    )


def _level(category: str, level: str, words: Words) -> str:
    return words.get(f"privacy.levels.{category}.{level}", level)


def _attributes(seen: Seen, words: Words) -> list[AttributeView]:
    """What may be declared, and what was declared under a version that asked for more."""
    version = seen.decision.version
    attributes = dict(version.declared) if version else {}
    known = {value.name: value for value in seen.held.declared}
    views = [_attribute(each, known.get(each.name), seen, words) for each in attributes.values()]
    for name, value in known.items():
        if name not in attributes:
            views.append(_orphan(value, words))
    return views


def _attribute(attribute: Attribute, known: Declared | None, seen: Seen, words: Words) -> AttributeView:
    is_open = attribute.purpose in seen.decision.granted and bool(seen.who.subjects)
    return AttributeView(
        attribute.name,
        attribute.said_in(words.language),
        attribute.type,
        attribute.options,
        attribute.mandatory,
        is_open,
        known is not None,
        _value(known),
        _shown(known, words),
        known.public if known else False,
        words(
            "privacy.attribute_about",
            purpose=_title("purposes", attribute.purpose, words),
            count=attribute.retention_days,
        ),
        _since(known, words),
    )


def _orphan(value: Declared, words: Words) -> AttributeView:
    return AttributeView(
        value.name,
        value.name,
        "",
        (),
        False,
        False,
        True,
        _value(value),
        _shown(value, words),
        value.public,
        words("privacy.attribute_gone"),
        _since(value, words),
    )


def _value(known: Declared | None) -> str:
    """As a form carries it."""
    if known is None:
        return ""
    return str(known.value).lower() if isinstance(known.value, bool) else str(known.value)


def _shown(known: Declared | None, words: Words) -> str:
    if known is None:
        return words("privacy.not_declared")
    if isinstance(known.value, bool):
        return words("privacy.yes") if known.value else words("privacy.no")
    return str(known.value)


def _since(known: Declared | None, words: Words) -> str:
    if known is None:
        return ""
    declared = words("privacy.declared_on", when=_when(known.declared_ms), policy=known.policy)
    altered = words("privacy.altered_on", when=_when(known.altered_ms)) if known.altered_ms else ""
    return f"{declared} {altered}".strip()


def _change(change: Change, version: Version | None, words: Words) -> tuple[str, str, str, str]:
    attribute = version.declared.get(change.name) if version else None
    title = attribute.said_in(words.language) if attribute else change.name
    return (
        _when(change.at_ms),
        title,
        words(f"privacy.changes.{change.act}"),
        words(f"privacy.changed_by.{change.by}"),
    )


def _service(service: Service, words: Words) -> tuple[str, str, list[tuple[str, str]], str]:
    fields = [
        (_title("fields", name, words), words(f"privacy.{needed}")) for name, needed in service.fields.items()
    ]
    return service.name, service.mount, fields, words("privacy.days", count=service.retention_days)


def _summary(records: list[Record], words: Words) -> str:
    if not records:
        return ""
    kinds = Counter(record.kind for record in records)
    counts = ", ".join(f"{words(f'privacy.kinds.{kind}')}: {count}" for kind, count in kinds.most_common())
    return words(
        "privacy.summary", counts=counts, first=_when(records[0].ts_ms), last=_when(records[-1].ts_ms)
    )


def _choices(held: Holdings, words: Words) -> list[ChoiceView]:
    """The choices at hand, newest first: by their record, or by the proof that outlives it."""
    found: dict[str, tuple[int, Choice | Record]] = {each.id: (each.at_ms, each) for each in held.choices}
    found |= {each.id: (each.ts_ms, each) for each in held.records if each.kind == "consent"}
    return [
        ChoiceView(
            _when(at_ms),
            words(f"privacy.acts.{choice.act}") if choice.act else "",
            words(f"privacy.via.{choice.via}") if choice.via else "",
            _titles(choice.purposes, words),
            (choice.consent if isinstance(choice, Record) else None) or choice.policy,
        )
        for at_ms, choice in sorted(found.values(), key=lambda pair: pair[0], reverse=True)
    ]


def _record(record: Record, words: Words) -> RecordView:
    categories = []
    for category in _CATEGORIES:
        values = [
            (_title("fields", row.name, words), _field(row.name, getattr(record, row.name), words))
            for row in FIELDS
            if row.category == category and getattr(record, row.name) is not None
        ]
        categories.append((_title("categories", category, words), values))
    return RecordView(
        _when(record.ts_ms),
        words(f"privacy.kind.{record.kind}"),
        categories,
        _titles(record.purposes, words),
        record.service or "",
        record.policy,
    )


def _field(name: str, value: object, words: Words) -> str:
    if name == "visitor":  # the same in every row, and whole at the top of the page
        return f"{str(value)[:6]}…"
    if isinstance(value, bool):
        return words("privacy.yes") if value else words("privacy.no")
    return str(value)


def _receipt(receipt: Receipt | None, words: Words) -> list[tuple[str, int]] | None:
    if receipt is None:
        return None
    return [(_title("places", place, words), count) for place, count in receipt.counts.items()]
