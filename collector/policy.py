"""The privacy policy as typed values: what may be collected, for what, how precisely and for how long.

Everything here is pure (policy.toml is read by policy_file.py). What a request may leave behind follows from
the version in force at its instant, and never from a request.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from urllib.parse import quote

from collector.page import place
from collector.record import DAY_MS, FIELDS, LEVELS, Field

PURPOSES: dict[str, str] = {
    "necessary": "identify a party to a contract",
    "services": "what the user asked for",
    "improvement": "improve and develop the services",
    "advertising": "targeting segments",
    "notifications": "notices, requests and their answers",
    "statistics": "statistical studies on impersonal data",
}
"""The purposes a policy may name, after clauses 2.2.1 to 2.2.6 of the policy this project grew from."""

Levels = Mapping[str, int]
"""Category → precision as an index in LEVELS."""

_EPOCH = date(1970, 1, 1).toordinal()


Translations = Mapping[str, str]
"""Language (BCP 47, lower case) → text; what is missing is shown as the policy says it first."""


@dataclass(frozen=True)
class Purpose:
    """One purpose under one version of the policy."""

    name: str
    access: str
    """consent, or exempt: reading from or storing on the device under a measurement exemption."""
    basis: str
    """consent, contract, legitimate_interests or law: the ground of processing."""
    default: str
    """granted or refused: what holds for a visitor who said nothing and sent no signal."""
    text: str
    retention_days: int
    recipients: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    """Category → precision."""
    texts: Translations = field(default_factory=dict)

    def said_in(self, language: str) -> str:
        """The text in a language, or as the policy says it first."""
        return self.texts.get(language, self.text)

    @property
    def refusable(self) -> bool:
        """Whether a visitor (or a signal of the browser) can turn it off."""
        return self.access == "consent" or self.basis not in ("contract", "law")

    def level(self, category: str) -> int:
        """The precision granted in a category, as an index in LEVELS."""
        levels = LEVELS[category]
        return levels.index(self.fields.get(category, levels[0]))

    @cached_property
    def levels(self) -> Levels:
        """Every category's precision."""
        return {category: self.level(category) for category in LEVELS}

    def exceeds(self, older: "Purpose | None") -> bool:
        """Whether this asks for more than `older` did: a purpose, a field, a precision or a recipient."""
        return (
            older is None
            or any(self.level(category) > older.level(category) for category in LEVELS)
            or not set(self.recipients) <= set(older.recipients)
        )


@dataclass(frozen=True)
class Service:
    """A part of the site with its own regulation: only the fields it names are collected under its mount."""

    name: str
    mount: str
    fields: Mapping[str, str]
    """Field name → mandatory or optional."""
    retention_days: int

    @cached_property
    def place(self) -> str:
        """The mount as `page.place` spells it."""
        return place(quote(self.mount, safe="/%").encode(), self.mount)

    def covers(self, path: str) -> bool:
        """Whether a path, as `page.place` spells it, lies under the mount."""
        return path == self.place or path.startswith(self.place + "/")


ATTRIBUTE_TYPES = ("text", "choice", "integer", "boolean", "date")


@dataclass(frozen=True)
class Attribute:
    """Something a visitor may declare about themselves."""

    name: str
    type: str
    """One of ATTRIBUTE_TYPES."""
    purpose: str
    """The purpose it is declared for; without that purpose it is not stored."""
    retention_days: int
    """After the value was last declared or altered."""
    text: str
    mandatory: bool = False
    """Whether the service cannot be given without it; a mandatory one is marked, and altered but not erased
    by itself."""
    options: tuple[str, ...] = ()
    """What a choice chooses from."""
    texts: Translations = field(default_factory=dict)

    def said_in(self, language: str) -> str:
        """The text in a language, or as the policy says it first."""
        return self.texts.get(language, self.text)


@dataclass(frozen=True)
class Version:
    """The policy as published on one date."""

    id: str
    modified: date
    effective: date
    """In force from 00:00 UTC of this day until the next version is."""
    summary: str
    purposes: Mapping[str, Purpose]
    services: Mapping[str, Service] = field(default_factory=dict)
    declared: Mapping[str, Attribute] = field(default_factory=dict)
    """What visitors may declare about themselves."""
    summaries: Translations = field(default_factory=dict)

    def summed_up_in(self, language: str) -> str:
        """The summary in a language, or as the policy says it first."""
        return self.summaries.get(language, self.summary)

    @cached_property
    def effective_ms(self) -> int:
        """The first UTC millisecond in force."""
        return (self.effective.toordinal() - _EPOCH) * DAY_MS

    def service_at(self, path: str) -> Service | None:
        """The service a path, as `page.place` spells it, belongs to; of nested mounts the deepest."""
        covering = [service for service in self.services.values() if service.covers(path)]
        return max(covering, key=lambda service: len(service.place), default=None)

    def scope(self, granted: Iterable[str], consented: "Version | None" = None) -> dict[str, int]:
        """The precision that these purposes reach together in each category.

        Where the grant was given under an older version, neither version is exceeded.
        """
        reached = dict.fromkeys(LEVELS, 0)
        for name in granted:
            for category, level in self.purpose_scope(name, consented).items():
                reached[category] = max(reached[category], level)
        return reached

    def purpose_scope(self, name: str, consented: "Version | None" = None) -> Levels:
        """The precision one purpose reaches under this version, given a consent to another."""
        now = self.purposes.get(name)
        if now is None:
            return dict.fromkeys(LEVELS, 0)
        if consented is None or consented is self or not now.refusable:
            return now.levels
        then = consented.purposes.get(name)
        if then is None:
            return dict.fromkeys(LEVELS, 0)
        return {category: min(level, then.levels[category]) for category, level in now.levels.items()}

    def widened(self, older: "Version") -> frozenset[str]:
        """The purposes for which this version asks for more than `older` did."""
        return frozenset(name for name in self.purposes if self.widens(name, older))

    def widens(self, name: str, older: "Version") -> bool:
        """Whether one of this version's purposes asks for more than under `older`: itself, by an attribute,
        or because somewhere a service's regulation names more of its fields, or ended."""
        asks_more = any(
            attribute.purpose == name and not older.declares(attribute)
            for attribute in self.declared.values()
        )
        fields = {row.name for row in fields_within(self.purposes[name].levels)}
        places = {service.place for version in (self, older) for service in version.services.values()}
        return (
            asks_more
            or self.purposes[name].exceeds(older.purposes.get(name))
            or any(not self.named_at(place, fields) <= older.named_at(place, fields) for place in places)
        )

    def named_at(self, path: str, fields: Set[str]) -> Set[str]:
        """Those of some fields that the regulation of a path, as `page.place` spells it, leaves."""
        service = self.service_at(path)
        return fields if service is None else fields & service.fields.keys()

    def declares(self, attribute: Attribute) -> bool:
        """Whether this version already asked for an attribute, for the same purpose."""
        known = self.declared.get(attribute.name)
        return known is not None and known.purpose == attribute.purpose


def fields_within(levels: Levels) -> tuple[Field, ...]:
    """The rows of FIELDS that a scope reaches."""
    return tuple(row for row in FIELDS if levels[row.category] >= row.rank)


@dataclass(frozen=True)
class Controller:
    """Who answers for the data."""

    name: str
    contact: str
    hosts: tuple[str, ...]
    """The site's own host names: links from them are not referrers."""
    identifier: str = ""
    """A registration number; in Kazakhstan the BIN, which a consent must name (law 94-V, art. 8)."""
    address: str = ""
    country: str = ""
    """ISO 3166-1 alpha-2: whose law applies."""
    storage: str = ""
    """Where the data is kept, in words."""
    cross_border: bool = False
    """Whether personal data leaves the country."""
    proof_days: int = 760
    """How long the proof of a consent, or of an erasure, is kept after the act."""


TIERS = ("auto", "tiny", "small", "medium", "large")
MOST_FUNNELS = 3
FUNNEL_STEPS = range(2, 9)


@dataclass(frozen=True)
class Budget:
    """How the day's privacy budget is spent."""

    tier: str = "auto"
    shares: Mapping[str, float] = field(default_factory=dict)
    """Statistic → share of the day's ρ; a statistic left out is not published. Empty: the default set."""
    pages: tuple[str, ...] = ()
    """Pages that are public knowledge: published without a threshold, zeros included."""
    campaigns: tuple[str, ...] = ()
    """Values of utm_campaign that are public knowledge, as the site's own letters and banners carry them."""
    goals: Mapping[str, str] = field(default_factory=dict)
    """Goal → what reaches it: a page, whose trailing * stands for anything, or the name of an event."""
    funnels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Funnel → its steps in order, each as a goal's."""

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of every funnel, as they are published: "buying: 2 /pricing"."""
        return tuple(
            f"{funnel}: {number} {act}"
            for funnel, acts in self.funnels.items()
            for number, act in enumerate(acts, 1)
        )


@dataclass(frozen=True)
class Policy:
    """policy.toml, valid."""

    controller: Controller
    versions: tuple[Version, ...]
    """By effective date, oldest first."""
    budget: Budget = field(default_factory=Budget)

    def in_force(self, ts_ms: int) -> Version | None:
        """The version in force at an instant; None before the first."""
        current = None
        for version in self.versions:
            if version.effective_ms <= ts_ms:
                current = version
        return current

    def version(self, version_id: str) -> Version | None:
        """The version with this id."""
        return next((version for version in self.versions if version.id == version_id), None)
