"""What was observed of one request, and how each row of FIELDS is read from it.

An observation holds raw values (address, agent, cookie id) and lives in memory only: from the event loop,
through the writer's queue, until the writer thread has built the record. What the record holds is chosen
by the decision alone: a field that is not granted is never read.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache
from hashlib import md5
from itertools import count
from typing import Any, NamedTuple

import msgspec

from collector import capture, page
from collector.consent import Decision
from collector.enrich import Enricher
from collector.identity import Pseudonyms, VisitorId, mode, read_id
from collector.policy import Service
from collector.record import (
    DAY_MS,
    FIELDS,
    LEVELS,
    MAX_RECORD_BYTES,
    RECORD_VERSION,
    TIME_STEP_MS,
    Field,
    beginning,
    date_of,
    day_of,
    framed,
    within,
)
from collector.standings import Standings

MAX_AGENT_BYTES = 512
MAX_FORWARDED_BYTES = 1024  # the right end is kept: what the site's own proxies appended
MAX_URL_BYTES = 2048
MAX_HOST_BYTES = 264  # a name has 253 characters, a port five
MAX_REFERER_BYTES = 512  # only its host is read
LONG_BYTES = 1536

CAMPAIGN_PARAMETERS = frozenset(("utm_source", "utm_medium", "utm_campaign", "source", "ref"))
"""The allow-list of query parameters; the rest of a query string is never looked at."""


_NO_CAMPAIGN = capture.Campaign()


class Observation(msgspec.Struct, kw_only=True, gc=False):
    """One request or beacon, raw, each value cut to its bound."""

    kind: str
    ts_ms: int
    decision: Decision
    id_cookie: bytes | None = None
    client: Any = None
    """scope["client"]: the peer."""
    forwarded: bytes = b""
    agent: bytes = b""
    host: bytes = b""
    raw_path: bytes | None = None
    path: str = ""
    root_path: str = ""
    routed: page.Routed | None = None
    query: bytes = b""
    referer: bytes = b""
    view: str = ""
    """The page view's id as the browser script made it; empty for views the server counted."""
    name: str | None = None
    props: str | None = None
    interactive: bool | None = None
    engaged_ms: int | None = None
    scroll: int | None = None
    act: str | None = None
    via: str | None = None
    first: bool | None = None
    record_id: str = ""
    """Of a choice that a browser may repeat; empty where the record gets the next one."""

    @property
    def is_long(self) -> bool:
        """Whether it weighs several times what a browser's request does."""
        # The path lies there as sent, decoded, and in the parameters of its route.
        page = 3 * len(self.raw_path or self.path) + len(self.query) + len(self.referer)
        return page + len(self.agent) + len(self.forwarded) > LONG_BYTES


class Dropped(Exception):  # noqa: N818 - a drop is a value with a closed reason, not an error
    """An observation that becomes no record; `reason` is counted, nothing else is kept."""

    def __init__(self, reason: str, bot: str = "") -> None:
        self.reason = reason
        self.bot = bot
        super().__init__(reason)


class Tools:
    """What readers need beside the observation, with what was read before. Belongs to one writer thread.

    The caches hold raw values, in memory only and bounded.
    """

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        enricher: Enricher,
        trusted: capture.Trusted,
        own_hosts: frozenset[str],
        standings: Standings,
    ) -> None:
        self.pseudonyms = pseudonyms
        self.enricher = enricher
        self.standings = standings
        self._trusted = trusted
        self._own_hosts = own_hosts
        remember = lru_cache(maxsize=2048)
        self._place = remember(page.place)
        self._campaign = remember(capture.campaign)
        self._referrer_host = remember(capture.referrer_host)
        self._client_address = remember(self._read_address)
        self._visitor_id = remember(read_id)
        self.of_id = remember(pseudonyms.of_id)
        self._date = remember(lambda day: date_of(day * DAY_MS))
        self._day = remember(lambda day: day_of(day * DAY_MS))
        self._last: tuple[Observation | None, VisitorId | None] = (None, None)
        # Asked once for each visitor of a day (see `Known`), and cheaper than remembering.
        self.network, self.country = enricher.network, enricher.country

    def address(self, seen: Observation) -> str | None:
        """The client's address, None where it is unknown."""
        return self._client_address(seen.client[0] if seen.client else None, seen.forwarded)

    def _read_address(self, peer: str | None, forwarded: bytes) -> str | None:
        return capture.client_address((peer,), {self._trusted.header: forwarded}, self._trusted)

    def place(self, seen: Observation) -> str:
        """Where in the site the page lies, for its service's regulation alone: nothing is blanked in it."""
        return self._place(seen.raw_path, seen.path, seen.root_path)

    def campaign(self, seen: Observation) -> capture.Campaign:
        """The campaign that the query string names."""
        return self._campaign(seen.query, CAMPAIGN_PARAMETERS) if seen.query else _NO_CAMPAIGN

    def referrer(self, seen: Observation) -> str | None:
        """The host of another site that linked here."""
        return self._referrer_host(seen.referer, self._own_hosts, seen.host) if seen.referer else None

    def mode(self, seen: Observation) -> str:
        """The cookie level the visitor is known under; a consent is given under the id it is about."""
        return "long-lived" if seen.kind == "consent" else mode(seen.decision, self.date(seen))

    def visitor_id(self, seen: Observation) -> VisitorId | None:
        """The visitor's id, where the long-lived one may be read; two readers ask for it."""
        if seen is not self._last[0]:
            read = seen.id_cookie and self.mode(seen) == "long-lived"
            self._last = seen, self._visitor_id(seen.id_cookie, self.date(seen)) if read else None
        return self._last[1]

    def refresh(self, now_ms: int) -> None:
        """Learn who withdrew or was erased since the last call, in whichever worker."""
        self.standings.refresh(now_ms)

    def maintain(self, now_ms: int) -> None:
        """Destroy the salts of past days; the keys are read anew: their directory may have been replaced."""
        self.pseudonyms.forget_past_days(now_ms)
        self.of_id.cache_clear()

    def held_to(self, seen: Observation) -> Observation:
        """What may become of it under the visitor's latest word, whatever an older cookie says.

        The id is read for that even where it may not be recorded.

        Raises  Dropped where the visitor was erased, or has withdrawn everything that it was observed for
        """
        subject = self._subject(seen)
        standing = self.standings.of(subject, seen.ts_ms) if subject else None
        if standing is None:
            return seen
        if standing == "erased":
            raise Dropped("erased")
        narrowed = seen.decision.within(standing)
        if not narrowed.fields:
            raise Dropped("withdrawn")
        return msgspec.structs.replace(seen, decision=narrowed)

    def _subject(self, seen: Observation) -> str | None:
        """Under which pseudonym a withdrawal was noted (as `Subjects.held_to`), recorded or not."""
        if seen.id_cookie and (visitor_id := self._visitor_id(seen.id_cookie, self.date(seen))):
            return self.of_id(visitor_id.bits)
        return self.of_day(seen)

    def of_day(self, seen: Observation) -> str | None:
        """The pseudonym of the day; None where the address is unknown."""
        address = self.address(seen)
        return address and self.pseudonyms.of_day(seen.ts_ms, address, seen.agent)

    def date(self, seen: Observation) -> date:
        """The UTC day."""
        return self._date(seen.ts_ms // DAY_MS)

    def day(self, seen: Observation) -> str:
        """The UTC day, as 2026-11-24."""
        return self._day(seen.ts_ms // DAY_MS)


Reader = Callable[[Observation, Tools], Any]
Rows = tuple[tuple[str, Reader], ...]
Unnamed = tuple[str, ...]
"""Fields that purposes grant and a service does not name, each as service.field."""


class Chosen(NamedTuple):
    """What may be recorded of an observation, by how often it is read."""

    fields: tuple[Field, ...]
    """Kept, so that their id stays their own."""
    once: Rows
    """The same in all records of a visitor."""
    browser: tuple[str, ...]
    """The same in all records of an agent."""
    page: tuple[str, ...]
    """The same in all records of a page."""
    each: Rows
    """Of this record alone."""
    plain: Rows
    """The same of a page view that tells nothing of where its visitor came from."""
    unnamed: Unnamed
    """What the service's regulation refuses of each record."""


Services = tuple[Service | None, Service | None]
"""Whose regulation binds a page: under the version in force, and under an older one that was consented to."""
_OF_THE_SITE: Services = (None, None)


_MOST_CHOSEN = 1024
_MOST_PARTS = 4096
_REPORTED = ("name", "props", "interactive", "engaged_ms", "scroll")  # by the script, of no page view


def _visitor(seen: Observation, tools: Tools) -> str | None:
    if visitor_id := tools.visitor_id(seen):
        return tools.of_id(visitor_id.bits)
    return tools.of_day(seen) if tools.mode(seen) == "daily" else None


def _cohort(seen: Observation, tools: Tools) -> str | None:
    visitor_id = tools.visitor_id(seen)
    return visitor_id.cohort if visitor_id else None


def _campaign(part: str) -> Reader:
    return lambda seen, tools: getattr(tools.campaign(seen), part)


def _agent(part: str) -> Reader:
    return lambda seen, tools: getattr(tools.enricher.agent(seen.agent), part)


def _as_seen(part: str) -> Reader:
    return lambda seen, _: getattr(seen, part)


READERS: dict[str, Reader] = {
    "visitor": _visitor,
    "cohort": _cohort,
    "device": _agent("device"),
    "browser": _agent("browser"),
    "os": _agent("os"),
    "browser_major": _agent("browser_major"),
    "country": lambda seen, tools: tools.country(tools.address(seen)),
    "network": lambda seen, tools: tools.network(tools.address(seen)),
    "route": lambda seen, _: page.route_template(seen.routed, seen.path, seen.root_path),
    "path": lambda seen, _: page.page_path(seen.raw_path, seen.path, seen.root_path),
    "referrer": lambda seen, tools: tools.referrer(seen),
    "utm_source": _campaign("source"),
    "utm_medium": _campaign("medium"),
    "utm_campaign": _campaign("campaign"),
    **{name: _as_seen(name) for name in _REPORTED},
}
"""One reader a row of FIELDS."""


def _fields(seen: Observation) -> tuple[Field, ...]:
    """The rows to read: what the decision grants; of a consent, who gave it and nothing else."""
    return CONSENT_FIELDS if seen.kind == "consent" else seen.decision.fields


def _time_level(seen: Observation) -> str:
    """A consent with a name to it is proof and needs its second; a refusal needs only its hour."""
    if seen.kind == "consent":
        return "second" if seen.id_cookie else "hour"
    return LEVELS["time"][seen.decision.levels["time"]]


CONSENT_FIELDS = tuple(field for field in FIELDS if field.category == "cookie")


class Known(msgspec.Struct, gc=False):
    """What the records of one visitor have in common, for one decision and one day.

    Four views in five are of a visitor who was there before: theirs take half the time.
    """

    decision: Decision
    """Kept, so that its id stays its own."""
    begun: bytes
    """The encoded record, but for what is read for each, its id and its time."""
    step_ms: int
    day: str
    chosen: Chosen
    is_named: bool
    """Whether each has a pseudonym. It is hashed anew: keys may be replaced, and no salt outlives its day."""
    bits: str | None
    """Of the id that the pseudonym is made of; None for the day's."""


_MOST_KNOWN = 2048  # of about 1 KiB, what the request said included
_OF_THE_BROWSER = frozenset(field.name for field in FIELDS if field.category == "browser")
_OF_THE_PAGE = frozenset(("route", "path"))
_OF_THE_VIEW = frozenset(("referrer", "utm_source", "utm_medium", "utm_campaign"))
_CHOICE = ("act", "via", "first")  # of a consent


class Assembler:
    """Turns observations into frames; keeps the numbering of one process's records."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._chosen: dict[tuple[int, str, int, int], Chosen] = {}
        self._unnamed: Counter[Unnamed] = Counter()
        self._known: dict[tuple[Any, ...], Known] = {}
        self._parts: dict[tuple[Any, ...], bytes] = {}
        self._prefix = secrets.token_hex(8)
        self._numbers = count()

    def warm(self) -> None:
        """Build the resolvers before the first record needs them."""
        self._tools.enricher.warm()

    def maintain(self, now_ms: int) -> None:
        """Destroy the salts of past days."""
        self._tools.maintain(now_ms)

    def refresh(self, now_ms: int) -> None:
        """Learn who withdrew or was erased since the last call, in whichever worker."""
        self._tools.refresh(now_ms)

    def unnamed(self) -> dict[str, int]:
        """How often a field was refused because its service does not name it, by service.field."""
        total: Counter[str] = Counter()
        for fields, times in self._unnamed.copy().items():
            for field in fields:
                total[field] += times
        return dict(total)

    def bot(self, agent: bytes) -> str | None:
        """The category of bot an agent names; None for a person's browser."""
        return self._tools.enricher.bot(agent)

    def frame(self, seen: Observation) -> tuple[str, bytes]:
        """The UTC day and the frame of one observation.

        Raises  Dropped for a bot (a consent is recorded whatever gave it), for who withdrew or was erased
                meanwhile, and for a record that is too long
        """
        if self._tools.standings and seen.kind != "consent":
            seen = self._tools.held_to(seen)
        known = self._known_of(seen, self._services(seen) if seen.decision.is_regulated else _OF_THE_SITE)
        if known.chosen.unnamed:
            self._unnamed[known.chosen.unnamed] += 1
        rows = known.chosen.each if seen.query or seen.referer else known.chosen.plain
        extra = self._extra(seen, rows) if rows or seen.kind == "consent" else b""
        frame = framed(known.begun + self._page(seen, known.chosen.page) + extra + self._end(seen, known))
        if len(frame) > MAX_RECORD_BYTES:
            raise Dropped("too_long")
        return known.day, frame

    def _services(self, seen: Observation) -> Services:
        version, consented = seen.decision.version, seen.decision.consented
        assert version is not None  # noqa: S101 - without a version nothing is observed
        service = version.service_at(self._tools.place(seen)) if version.services else None
        if consented is None or consented is version or not consented.services:
            return service, None
        return service, consented.service_at(self._tools.place(seen))

    def _extra(self, seen: Observation, rows: Rows) -> bytes:
        """What is read for one record alone, encoded."""
        values = {name: read(seen, self._tools) for name, read in rows}
        if seen.kind == "consent":
            values |= {name: getattr(seen, name) for name in _CHOICE}
        return within(values)

    def _end(self, seen: Observation, known: Known) -> bytes:
        """How a payload ends: with its pseudonym, if it has one, its id and time."""
        visitor = ""
        if known.is_named:
            visitor = self._tools.of_id(known.bits) if known.bits else self._tools.of_day(seen) or ""
        # Hexadecimal, both: there is nothing to escape.
        named = f'"visitor":"{visitor}",' if visitor else ""
        ts_ms = seen.ts_ms - seen.ts_ms % known.step_ms
        return f'{named}"id":"{self._id(seen, visitor)}","ts_ms":{ts_ms}}}'.encode()

    def _page(self, seen: Observation, names: tuple[str, ...]) -> bytes:
        """What the records of one page have in common, encoded."""
        routed = seen.routed
        key: tuple[Any, ...] = (names, seen.raw_path, seen.path, seen.root_path)
        if routed is not None:
            # What route_template tells values apart by: 7 and 7.0 are equal, and written differently.
            parameters = [(name, value, type(value)) for name, value in routed.parameters.items()]
            key += (routed.template, routed.whole, routed.mounted, *parameters)
        return self._part(key, seen)

    def _part(self, key: tuple[Any, ...], seen: Observation) -> bytes:
        """What some fields say, encoded to stand within a record; read once for all that have the key.

        key   the names of the fields, and all that they are read from
        """
        try:
            part = self._parts.get(key)
        except TypeError:  # a parameter of a route that cannot be a key
            return self._encoded(seen, key[0])
        if part is None:
            if len(self._parts) >= _MOST_PARTS:
                self._parts.clear()
            part = self._parts[key] = self._encoded(seen, key[0])
        return part

    def _encoded(self, seen: Observation, names: tuple[str, ...]) -> bytes:
        return within({name: READERS[name](seen, self._tools) for name in names})

    def _known_of(self, seen: Observation, services: Services) -> Known:
        """What was read of the visitor before, or is now.

        Raises  Dropped for a bot
        """
        decision = seen.decision
        key = (
            id(decision),
            seen.kind,
            id(services[0]),  # the policy keeps its services, and with them their ids
            id(services[1]),
            seen.ts_ms // DAY_MS,
            seen.id_cookie,
            seen.client[0] if seen.client else None,
            seen.forwarded,
            seen.agent,
        )
        known = self._known.get(key)
        if known is None:
            if seen.kind != "consent" and (bot := self.bot(seen.agent)):
                raise Dropped("bot", bot)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = self._read(seen, services)
        return known

    def _read(self, seen: Observation, services: Services) -> Known:
        decision, tools = seen.decision, self._tools
        version = decision.version
        assert version is not None  # noqa: S101 - without a version nothing is observed
        values: dict[str, Any] = {
            "v": RECORD_VERSION,
            "kind": seen.kind,
            "policy": version.id,
            "purposes": decision.granted if seen.kind == "consent" else decision.recorded,
        }
        if decision.consented is not None:
            values["consent"] = decision.consented.id
        if services[0] is not None:
            values["service"] = services[0].name
        chosen = self._chosen_for(seen, services)
        for name, read in chosen.once:
            if (value := read(seen, tools)) is not None:
                values[name] = value
        is_named = values.pop("visitor", None) is not None
        visitor_id = tools.visitor_id(seen)
        return Known(
            decision,
            beginning(values) + self._part((chosen.browser, seen.agent), seen),
            TIME_STEP_MS[_time_level(seen)],
            tools.day(seen),
            chosen,
            is_named,
            visitor_id.bits if visitor_id else None,
        )

    def _chosen_for(self, seen: Observation, services: Services) -> Chosen:
        """The readers of what may be recorded, chosen once for the fields of each decision.

        A consent is the site's, wherever it was given: no service's regulation can take away who gave it.
        """
        fields = _fields(seen)
        services = _OF_THE_SITE if seen.kind == "consent" else services
        key = (id(fields), seen.kind, id(services[0]), id(services[1]))
        chosen = self._chosen.get(key)
        if chosen is None:
            if len(self._chosen) >= _MOST_CHOSEN:
                self._chosen.clear()
            chosen = self._chosen[key] = _choose(fields, seen.kind, services)
        return chosen

    def _id(self, seen: Observation, visitor: str) -> str:
        """Unique per record; the same again for what a browser reports twice: a view, or a choice."""
        if seen.kind == "view" and seen.view:
            return md5(f"{visitor}|{seen.view}".encode(), usedforsecurity=False).hexdigest()
        if seen.record_id:
            return seen.record_id
        return self._prefix + next(self._numbers).to_bytes(6).hex()


def _choose(fields: tuple[Field, ...], kind: str, services: Services) -> Chosen:
    wanted = [field.name for field in fields if kind != "view" or field.name not in _REPORTED]
    refused = {
        f"{service.name}.{name}": name
        for service in services
        for name in wanted
        if service and name not in service.fields
    }
    named = [name for name in wanted if name not in refused.values()]

    def rows(names: Iterable[str]) -> Rows:
        return tuple((name, READERS[name]) for name in names)

    browser, page = (tuple(filter(known.__contains__, named)) for known in (_OF_THE_BROWSER, _OF_THE_PAGE))
    each = [name for name in named if name in _OF_THE_VIEW or name in _REPORTED]
    return Chosen(
        fields,
        rows(name for name in named if name not in (*browser, *page, *each)),
        browser,
        page,
        rows(each),
        rows(name for name in each if name not in _OF_THE_VIEW),
        tuple(refused),
    )
