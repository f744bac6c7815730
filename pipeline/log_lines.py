"""A line of an Apache or Nginx access log → what it says about one page view, or why it is none.

Raw addresses, agents, requests and referrers are remembered in memory only, bounded, for as long as one
import takes: what repeats is read once (`log_batches`).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from collector import capture, page
from collector.enrich import Enricher
from collector.policy import Version
from collector.record import DAY_MS

CAMPAIGN_PARAMETERS = frozenset(("utm_source", "utm_medium", "utm_campaign", "source", "ref"))

_MINUTE = re.compile(rb"(\d\d)/([A-Z][a-z]{2})/(\d{4}):([01]\d|2[0-3]):([0-5]\d)")
_SECOND_AND_ZONE = re.compile(rb":([0-5]\d|60) ([+-])(\d\d)([0-5]\d)")
_MONTHS = {
    name: number
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_YEARS = range(1970, 9999)  # what a day can be computed of in every zone
_NEVER_MS = -(10**15)  # before every time, whatever is added
_EPOCH = date(1970, 1, 1).toordinal()
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"v": b"\v", b"f": b"\f"}
_METHOD, _PROTOCOL = re.compile(rb"[!-~]+"), re.compile(rb"HTTP/\d[.\d]*")

NO_TIME = -1
REMEMBERED = 65_536  # distinct values of each kind
ASSET, OTHER, VIEW = "asset", "other", "view"
"""What is requested: a file that is no page; none at all (POST, HEAD, broken); a page, if it is answered."""

_SHAPE_BYTES = 120

Numbers = np.ndarray[Any, np.dtype[np.int64]]

VIEW_STATUSES = frozenset(b"%d" % status for status in (*range(200, 300), 304))


class Known(dict[bytes, int]):
    """What is said of each text. Asked again it answers in C, in a third of an lru_cache's time."""

    def __init__(self, read: Callable[[bytes], int]) -> None:
        self._read = read

    def __missing__(self, text: bytes) -> int:
        said = self[text] = self._read(text)
        return said

    def forget_some(self) -> None:
        """Forget every text, where they became too many."""
        if len(self) > REMEMBERED:
            self.clear()


class Target(NamedTuple):
    """The page that was asked for, and the campaign its query names."""

    path: str
    utm_source: str | None
    utm_medium: str | None
    utm_campaign: str | None
    services: str = ""
    """Those that it belongs to: lines of a policy version's id and a name, for `service_under`."""


class Browser(NamedTuple):
    """What an agent tells of a person's browser."""

    device: str
    browser: str | None
    os: str | None
    browser_major: str | None


class Place(NamedTuple):
    """What an address tells."""

    country: str | None
    network: str | None


class Referrer(NamedTuple):
    """The other site that linked here."""

    referrer: str | None


class Lines:
    """What lines are read with."""

    def __init__(
        self,
        enricher: Enricher,
        own_hosts: Iterable[str],
        latest_ms: int,
        networks: bool,
        versions: Iterable[Version] = (),
    ) -> None:
        """Prepare.

        latest_ms   a line from after it is malformed: a server's clock was wrong
        networks    whether networks are read at all: few policies grant them
        versions    those of the policy, whose services pages belong to
        """
        self._enricher = enricher
        self._own_hosts = frozenset(own_hosts)
        self._latest_ms = latest_ms
        self._networks = networks
        self._versions = [version for version in versions if version.services]
        remember = lru_cache(REMEMBERED)
        self._minutes, self._seconds = Known(_minute_ms), Known(_second_ms)
        self._page = remember(lambda place: page.page_path(place, ""))
        self._services = remember(self._read_services)
        self._campaign = remember(lambda query: capture.campaign(query, CAMPAIGN_PARAMETERS))

    def times(self, minutes: Iterable[bytes], seconds: Iterable[bytes]) -> Numbers:
        """UTC milliseconds of 24/Nov/2026:10:12 and :00 +0100; NO_TIME where it is none, or one to come."""
        minutes_ms = np.fromiter(map(self._minutes.__getitem__, minutes), np.int64)
        times = minutes_ms + np.fromiter(map(self._seconds.__getitem__, seconds), np.int64)
        for known in (self._minutes, self._seconds):
            known.forget_some()
        return np.where((times >= 0) & (times <= self._latest_ms), times, NO_TIME)

    def bots(self, agents: Iterable[bytes]) -> list[str | None]:
        """The category of bot that each agent names."""
        return self._enricher.bots(map(unescaped, agents))

    def browsers(self, agents: Iterable[bytes]) -> Iterator[Browser]:
        """What agents tell that are no bots'."""
        for seen in self._enricher.browsers(map(unescaped, agents)):
            yield Browser(seen.device, seen.browser, seen.os, seen.browser_major)

    def place(self, text: bytes) -> Place:
        """What an address tells. Where the server logged a host name the place is unknown."""
        address = text.decode("latin-1").removeprefix("::ffff:")
        network = self._enricher.network(address) if self._networks else None
        return Place(self._enricher.country(address), network)

    def kind(self, request: bytes) -> str:
        """What is requested: ASSET, OTHER or VIEW."""
        method, place, _ = asked(request)
        if not method:
            return OTHER
        if capture.is_static(place.decode("latin-1")):
            return ASSET
        return VIEW if method == b"GET" else OTHER

    def target(self, request: bytes) -> Target:
        """The page that is requested, and the campaign."""
        _, place, query = asked(request)
        services = self._services(place) if self._versions else ""
        return Target(self._page(place), *self._campaign(query), services)

    def _read_services(self, place: bytes) -> str:
        """`Target.services`, by the place as it was asked for: in the page some pieces may be blanked."""
        spelt = page.place(place, "")
        found = [(version.id, version.service_at(spelt)) for version in self._versions]
        return "\n".join(f"{id_} {service.name}" for id_, service in found if service)

    def referrer(self, text: bytes) -> Referrer:
        """The other site that linked here."""
        return Referrer(capture.referrer_host(unescaped(text), self._own_hosts))


def _minute_ms(text: bytes) -> int:
    """The milliseconds until a minute of UTC."""
    match = _MINUTE.fullmatch(text)
    if match is None or int(match[3]) not in _YEARS:
        return _NEVER_MS
    try:
        day = date(int(match[3]), _MONTHS[match[2]], int(match[1]))
    except (KeyError, ValueError):
        return _NEVER_MS
    return (day.toordinal() - _EPOCH) * DAY_MS + (int(match[4]) * 60 + int(match[5])) * 60_000


def _second_ms(text: bytes) -> int:
    """What a second and a zone add to a minute of UTC."""
    match = _SECOND_AND_ZONE.fullmatch(text)
    if match is None:
        return _NEVER_MS
    sign = -1 if match[2] == b"-" else 1
    # A leap second is the last one of its minute, or its day would be the next.
    return min(int(match[1]), 59) * 1000 - sign * (int(match[3]) * 60 + int(match[4])) * 60_000


def service_under(version: Version, services: str) -> str:
    """The service of a target under one version; empty for the rest of the site."""
    return dict(line.split(" ") for line in services.splitlines()).get(version.id, "")


def asked(request: bytes) -> tuple[bytes, bytes, bytes]:
    """The method, path and query of a request; no method where it is broken."""
    method, space, target = unescaped(request).partition(b" ")
    if not (space and _METHOD.fullmatch(method)):
        return b"", b"", b""
    before, space, protocol = target.rpartition(b" ")
    if space and _PROTOCOL.fullmatch(protocol):
        target = before
    place, _, query = target.partition(b"#")[0].partition(b"?")
    return method, place, query


def unescaped(text: bytes) -> bytes:
    """A quoted field as it was before the server wrote it down."""
    return _ESCAPE.sub(_original, text) if b"\\" in text else text


def _original(match: re.Match[bytes]) -> bytes:
    sign: bytes = match[1]
    return bytes.fromhex(sign[1:].decode()) if len(sign) == 3 else _ESCAPED.get(sign, sign)


def shape(line: bytes) -> str:
    """What a line looks like, without what it says: letters as a, digits as 0, the rest as it is."""
    text = re.sub(rb"[0-9]+", b"0", re.sub(rb"[^ -~]+", b"?", re.sub(rb"[A-Za-z]+", b"a", line[:1000])))
    return text[:_SHAPE_BYTES].decode("ascii")
