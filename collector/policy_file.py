"""Reading policy.toml: every mistake at once, each with its line and its remedy."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path as FilePath
from typing import Any, TypeVar

from collector.errors import PolicyError
from collector.policy import (
    ATTRIBUTE_TYPES,
    FUNNEL_STEPS,
    MOST_FUNNELS,
    PURPOSES,
    TIERS,
    Attribute,
    Budget,
    Controller,
    Policy,
    Purpose,
    Service,
    Version,
)
from collector.record import FIELDS, LEVELS

T = TypeVar("T")
Path = tuple[str | int, ...]

# CNIL's ceiling for audience measurement (deliberation 2020-091): 25 months.
MAX_RETENTION_DAYS = 760

_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")  # a version id travels in the consent cookie
_MOUNT = re.compile(r"(/[^/?#\s]+)+")
_HOST = re.compile(r"[a-z0-9.-]{1,253}")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,31}")  # it is passed to declare() by name
_GOAL = re.compile(r"[^:\s](?:[^:\r\n]{0,62}[^:\s])?")  # part of a published key, before its colon
_ACT = re.compile(r"/[^\s?#*]*\*?|[^/\s][^\r\n]{0,119}")
_ACT_REMEDY = 'name a page like "/thanks" or "/blog/*", or an event like "signup"'
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")
_COUNTRY = re.compile(r"[A-Z]{2}")
_TABLE = re.compile(r"\s*(\[\[?)([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""")

ACCESS = ("consent", "exempt")
BASES = ("consent", "contract", "legitimate_interests", "law")


def load(path: str | FilePath) -> Policy:
    """Read and check policy.toml.

    Raises  PolicyError with every mistake, its line and its remedy
    """
    source = FilePath(path)
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError([f"{source} does not exist: write one with `impersonal init`"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError([f"{source} cannot be read ({error}): make it a readable UTF-8 file"]) from None
    policy, mistakes = read(text)
    if policy is None:
        raise PolicyError([f"{source}:{mistake}" for mistake in mistakes])
    return policy


def read(text: str) -> tuple[Policy | None, list[str]]:
    """The policy a text says, or None and what is wrong with it."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib lets those of an absurd number or depth through
        line = re.search(r"at line (\d+)", str(error))
        return None, [f"{line[1] if line else 1}: not TOML: {error}; correct the syntax"]
    reader = _Reader(_lines(text))
    policy = _policy(reader, table)
    return (None, reader.mistakes) if reader.mistakes else (policy, [])


def _lines(text: str) -> dict[Path, int]:
    """Where each table and key of the text stands: tomllib does not tell."""
    places: dict[Path, int] = {(): 1}
    arrays: dict[tuple[str, ...], int] = {}
    table: Path = ()
    for number, line in enumerate(text.split("\n"), 1):  # as TOML counts them
        if header := _TABLE.match(line):
            names = _names(header[2])
            if header[1] == "[[":
                arrays[names] = arrays.get(names, -1) + 1
            table = ()
            for depth, name in enumerate(names, 1):
                table += (name, arrays[names[:depth]]) if names[:depth] in arrays else (name,)
            places.setdefault(table, number)
        elif key := _KEY.match(line):
            places.setdefault(table + _names(key[1]), number)
    return places


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _shown(value: object) -> str:
    """A value as a message may quote it."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python prints
        text = "too large"
    return text if len(text) <= 60 else f"{text[:59]}…"


class _Reader:
    """Takes values out of tables and keeps what was wrong with them."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self.lines = lines
        self.mistakes: list[str] = []

    def mistake(self, path: Path, what: str, remedy: str) -> None:
        place = path
        while place not in self.lines:
            place = place[:-1]
        name = ".".join(str(part) for part in path) or "policy"
        self.mistakes.append(f"{self.lines[place]}: {name} {what}: {remedy}")

    def only(self, table: Mapping[str, Any], path: Path, known: Iterable[str]) -> None:
        for key in table:
            if key not in known:
                self.mistake((*path, key), "is not known here", f"use one of {', '.join(known)}")

    def take(
        self,
        table: Mapping[str, Any],
        path: Path,
        key: str,
        kind: type[T],
        remedy: str,
        default: T | None = None,
    ) -> T | None:
        """One value; None and a mistake where it is missing or of another type."""
        if key not in table:
            if default is None:
                self.mistake((*path, key), "is missing", remedy)
            return default
        value = table[key]
        # bool is an int and datetime a date to isinstance, but neither is meant as one.
        if not isinstance(value, kind) or isinstance(value, bool | datetime):
            self.mistake((*path, key), f"is {_shown(value)}", remedy)
            return None
        return value

    def matching(
        self, table: Mapping[str, Any], path: Path, key: str, fits: Callable[[str], Any], remedy: str
    ) -> str:
        value = self.take(table, path, key, str, remedy)
        if value is not None and not fits(value):
            self.mistake((*path, key), f'is "{value}"', remedy)
        return value or ""

    def choice(
        self,
        table: Mapping[str, Any],
        path: Path,
        key: str,
        options: tuple[str, ...],
        default: str | None = None,
    ) -> str:
        remedy = "use " + ", ".join(f'"{option}"' for option in options)
        if key not in table and default is not None:
            return default
        return self.matching(table, path, key, lambda value: value in options, remedy)

    def strings(
        self, table: Mapping[str, Any], path: Path, key: str, fits: Callable[[str], Any], remedy: str
    ) -> tuple[str, ...]:
        """A list of strings, empty where the key is missing."""
        values = self.take(table, path, key, list, remedy, default=[]) or []
        for value in values:
            if not isinstance(value, str) or not fits(value):
                self.mistake((*path, key), f"holds {_shown(value)}", remedy)
        return tuple(value for value in values if isinstance(value, str))

    def optional(
        self, table: Mapping[str, Any], path: Path, key: str, fits: Callable[[str], Any], remedy: str
    ) -> str:
        """A text that may be left out."""
        return self.matching(table, path, key, fits, remedy) if key in table else ""

    def flag(self, table: Mapping[str, Any], path: Path, key: str) -> bool:
        """true or false; false where it is left out."""
        value = table.get(key, False)
        if not isinstance(value, bool):
            self.mistake((*path, key), f"is {_shown(value)}", "use true or false")
        return value is True

    def translations(self, table: Mapping[str, Any], path: Path, key: str) -> dict[str, str]:
        """The same text in other languages."""
        found = self.table(table, path, key, 'make it a table like { ru = "…", kk = "…" }')
        for language, text in found.items():
            if not _LANGUAGE.fullmatch(language):
                self.mistake((*path, key, language), "is no language", 'use a code like "ru" or "pt-br"')
            elif not isinstance(text, str) or not text.strip():
                self.mistake((*path, key, language), f"is {_shown(text)}", "write the text in that language")
        return {language: text for language, text in found.items() if isinstance(text, str)}

    def table(self, table: Mapping[str, Any], path: Path, key: str, remedy: str) -> dict[str, Any]:
        return self.take(table, path, key, dict, remedy, default={}) or {}


def _policy(reader: _Reader, table: Mapping[str, Any]) -> Policy:
    reader.only(table, (), ("controller", "versions", "budget"))
    controller = _controller(reader, table.get("controller"))
    versions = _versions(reader, table.get("versions"))
    budget = _budget(reader, reader.table(table, (), "budget", "make it a table [budget]"))
    return Policy(controller, tuple(sorted(versions, key=lambda version: version.effective)), budget)


def _controller(reader: _Reader, table: object) -> Controller:
    path: Path = ("controller",)
    if not isinstance(table, dict):
        reader.mistake(path, "is missing", "add [controller] with name, contact and hosts")
        return Controller("", "", ())
    known = (
        "name",
        "contact",
        "hosts",
        "identifier",
        "address",
        "country",
        "storage",
        "cross_border",
        "proof_days",
    )
    reader.only(table, path, known)
    hosts_remedy = 'list the site\'s own host names in lower case, like ["example.org"]'
    hosts = reader.strings(table, path, "hosts", _HOST.fullmatch, hosts_remedy)
    if "hosts" not in table:
        reader.mistake((*path, "hosts"), "is missing", hosts_remedy)
    return Controller(
        reader.matching(table, path, "name", str.strip, "name who answers for the data"),
        reader.matching(table, path, "contact", str.strip, "say where visitors can write"),
        hosts,
        reader.optional(table, path, "identifier", str.strip, "write it as text, or leave it out"),
        reader.optional(table, path, "address", str.strip, "write it as text, or leave it out"),
        reader.optional(
            table, path, "country", _COUNTRY.fullmatch, 'use the two letters of ISO 3166, like "KZ"'
        ),
        reader.optional(table, path, "storage", str.strip, "say in words where the data is kept"),
        reader.flag(table, path, "cross_border"),
        _days(reader, table, path, "proof_days", 760),
    )


def _versions(reader: _Reader, tables: object) -> list[Version]:
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        reader.mistake(("versions",), "is missing", "add [[versions]] with id, modified, effective, summary")
        return []
    versions = [_version(reader, table, ("versions", index)) for index, table in enumerate(tables)]
    for key in ("id", "effective"):
        seen: list[object] = []
        for index, version in enumerate(versions):
            value = getattr(version, key)
            if value in seen:
                reader.mistake(("versions", index, key), f"is {value} twice", "give every version its own")
            seen.append(value)
    return versions


def _version(reader: _Reader, table: Mapping[str, Any], path: Path) -> Version:
    known = ("id", "modified", "effective", "summary", "summaries", "purposes", "services", "declared")
    reader.only(table, path, known)
    id_remedy = "use 1 to 32 letters, digits, dots, dashes or underscores"
    dated = "write a date like 2026-01-31, without quotes"
    modified = reader.take(table, path, "modified", date, dated)
    effective = reader.take(table, path, "effective", date, dated)
    if modified and effective and effective < modified:
        reader.mistake(
            (*path, "effective"),
            f"is before modified ({modified})",
            "a version binds no day before it was made",
        )
    purposes = reader.table(table, path, "purposes", "make it tables [versions.purposes.NAME]")
    if not purposes:
        reader.mistake(
            (*path, "purposes"), "is empty", "add [versions.purposes.statistics] or another purpose"
        )
    services = reader.table(table, path, "services", "make it tables [versions.services.NAME]")
    declared = reader.table(table, path, "declared", "make it tables [versions.declared.NAME]")
    reader.only(purposes, (*path, "purposes"), PURPOSES)
    known_purposes = {name: value for name, value in purposes.items() if name in PURPOSES}
    version = Version(
        reader.matching(table, path, "id", _ID.fullmatch, id_remedy),
        modified or date.min,
        effective or date.min,
        reader.matching(table, path, "summary", str.strip, "say in a sentence what changed"),
        _named(reader, known_purposes, (*path, "purposes"), _purpose),
        _named(reader, services, (*path, "services"), _service),
        _named(reader, declared, (*path, "declared"), _attribute),
        reader.translations(table, path, "summaries"),
    )
    for name, attribute in version.declared.items():
        if attribute.purpose and attribute.purpose not in version.purposes:
            reader.mistake(
                (*path, "declared", name, "purpose"),
                f'is "{attribute.purpose}", which this version does not name',
                f"use one of {', '.join(version.purposes)}",
            )
    places = [service.place for service in version.services.values()]
    for name, service in version.services.items():
        if places.count(service.place) > 1:
            reader.mistake((*path, "services", name, "mount"), "is taken", "give every service its own mount")
    return version


def _named(
    reader: _Reader,
    tables: Mapping[str, Any],
    path: Path,
    make: Callable[[_Reader, Mapping[str, Any], Path], T],
) -> dict[str, T]:
    made = {}
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            reader.mistake((*path, name), "is no name", "use up to 32 lower-case letters, digits, _ and -")
        elif not isinstance(table, dict):
            reader.mistake((*path, name), f"is {_shown(table)}", "make it a table")
        else:
            made[name] = make(reader, table, (*path, name))
    return made


def _purpose(reader: _Reader, table: Mapping[str, Any], path: Path) -> Purpose:
    known = ("access", "basis", "default", "text", "texts", "retention_days", "recipients", "fields")
    reader.only(table, path, known)
    access = reader.choice(table, path, "access", ACCESS)
    basis = reader.choice(table, path, "basis", BASES)
    default = reader.choice(table, path, "default", ("granted", "refused"), "refused")
    needs_asking = [
        f"{key} = consent" for key, value in (("access", access), ("basis", basis)) if value == "consent"
    ]
    if default == "granted" and needs_asking:
        reader.mistake(
            (*path, "default"),
            f"is granted, but {' and '.join(needs_asking)}",
            'consent is an act and cannot be presumed; use default = "refused", or another access and basis',
        )
    fields = _precisions(reader, reader.table(table, path, "fields", "make it a table"), (*path, "fields"))
    if fields.get("cookie") == "long-lived" and access == "exempt":
        reader.mistake(
            (*path, "fields", "cookie"),
            "is long-lived, but access = exempt",
            'an identifier is stored only after consent; use cookie = "daily" or access = "consent"',
        )
    return Purpose(
        str(path[-1]),
        access,
        basis,
        default,
        reader.matching(table, path, "text", str.strip, "say in plain words what the data is for"),
        _retention(reader, table, path),
        reader.strings(table, path, "recipients", str.strip, "list who receives the data, or []"),
        fields,
        reader.translations(table, path, "texts"),
    )


def _precisions(reader: _Reader, table: Mapping[str, Any], path: Path) -> dict[str, str]:
    reader.only(table, path, LEVELS)
    return {
        category: reader.choice(table, path, category, LEVELS[category]) or LEVELS[category][0]
        for category in table
        if category in LEVELS
    }


def _retention(reader: _Reader, table: Mapping[str, Any], path: Path) -> int:
    return _days(reader, table, path, "retention_days")


def _days(reader: _Reader, table: Mapping[str, Any], path: Path, key: str, default: int | None = None) -> int:
    remedy = f"use whole days from 1 to {MAX_RETENTION_DAYS}"
    days = reader.take(table, path, key, int, remedy, default)
    if days is not None and not 1 <= days <= MAX_RETENTION_DAYS:
        reader.mistake((*path, key), f"is {_shown(days)}", remedy)
    return days or 1


def _attribute(reader: _Reader, table: Mapping[str, Any], path: Path) -> Attribute:
    known = ("type", "purpose", "retention_days", "text", "texts", "mandatory", "options")
    reader.only(table, path, known)
    name = str(path[-1])
    if not _ATTRIBUTE.fullmatch(name):
        reader.mistake(path, "is no name", "use up to 32 lower-case letters, digits and _")
    type_ = reader.choice(table, path, "type", ATTRIBUTE_TYPES)
    options = reader.strings(table, path, "options", str.strip, 'list what can be chosen, like ["18-24"]')
    if (type_ == "choice") != bool(options):
        reader.mistake(
            (*path, "options"),
            "is missing" if type_ == "choice" else f"is given for {type_ or 'no type'}",
            'list what can be chosen, like ["18-24"]' if type_ == "choice" else "only a choice has options",
        )
    return Attribute(
        name,
        type_,
        reader.matching(table, path, "purpose", str.strip, "name the purpose it is declared for"),
        _retention(reader, table, path),
        reader.matching(table, path, "text", str.strip, "say in plain words what is asked, and why"),
        reader.flag(table, path, "mandatory"),
        options,
        reader.translations(table, path, "texts"),
    )


def _service(reader: _Reader, table: Mapping[str, Any], path: Path) -> Service:
    reader.only(table, path, ("mount", "fields", "retention_days"))
    names = [row.name for row in FIELDS]
    fields = reader.table(table, path, "fields", 'make it a table like { path = "mandatory" }')
    reader.only(fields, (*path, "fields"), names)
    return Service(
        str(path[-1]),
        reader.matching(
            table, path, "mount", _MOUNT.fullmatch, 'use a path like "/shop", no slash at its end'
        ),
        {
            name: reader.choice(fields, (*path, "fields"), name, ("mandatory", "optional"))
            for name in fields
            if name in names
        },
        _retention(reader, table, path),
    )


def _budget(reader: _Reader, table: Mapping[str, Any]) -> Budget:
    path: Path = ("budget",)
    reader.only(table, path, ("tier", "pages", "campaigns", "goals", "funnels", "shares"))
    shares = reader.table(table, path, "shares", "make it a table [budget.shares]")
    numbers: dict[str, float] = {}
    for name, share in shares.items():
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
            reader.mistake((*path, "shares", name), f"is {_shown(share)}", "use a share above 0 and up to 1")
        else:
            numbers[name] = float(share)
    if sum(numbers.values()) > 1 + 1e-9:
        reader.mistake(
            (*path, "shares"), f"sum to {sum(numbers.values()):g}", "lower them until they sum to at most 1"
        )
    return Budget(
        reader.choice(table, path, "tier", TIERS, "auto"),
        numbers,
        reader.strings(table, path, "pages", lambda page: page.startswith("/"), 'list paths like "/about"'),
        reader.strings(table, path, "campaigns", bool, 'list values of utm_campaign like "autumn"'),
        _goals(reader, table, path),
        _funnels(reader, table, path),
    )


def _goals(reader: _Reader, table: Mapping[str, Any], path: Path) -> dict[str, str]:
    goals = reader.table(table, path, "goals", "make it a table [budget.goals]")
    path = (*path, "goals")
    names = _publishable(reader, goals, path)
    return {name: reader.matching(goals, path, name, _ACT.fullmatch, _ACT_REMEDY) for name in names}


def _funnels(reader: _Reader, table: Mapping[str, Any], path: Path) -> dict[str, tuple[str, ...]]:
    funnels = reader.table(table, path, "funnels", "make it a table [budget.funnels]")
    path = (*path, "funnels")
    names = _publishable(reader, funnels, path)
    found = {name: reader.strings(funnels, path, name, _ACT.fullmatch, _ACT_REMEDY) for name in names}
    for name, acts in found.items():
        if len(acts) not in FUNNEL_STEPS:
            reader.mistake((*path, name), f"has {len(acts)} steps", "list 2 to 8, in order")
    if len(found) > MOST_FUNNELS:
        reader.mistake(path, f"names {len(found)} funnels", f"keep {MOST_FUNNELS}: each makes all less exact")
    return found


def _publishable(reader: _Reader, table: Mapping[str, Any], path: Path) -> list[str]:
    """The names of goals or funnels that can be part of a published key."""
    for name in table:
        if not _GOAL.fullmatch(name):
            reader.mistake((*path, name), "is no name", "use up to 64 characters without a colon")
    return [name for name in table if _GOAL.fullmatch(name)]
