"""The contract between collector and pipeline: which fields exist and how a record lies on disk.

A record is one JSON object. On disk it is a frame of RFC 7464 (JSON text sequences) with a checksum:

    0x1E  crc32 of the payload, 8 hex digits  0x20  payload (JSON)  0x0A

JSON escapes control characters, so 0x1E and 0x0A occur nowhere else and a reader finds the next record
after any damage: a torn record costs that record only.
"""

import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec

from collector.errors import RecordError

RECORD_VERSION = 1
MAX_RECORD_BYTES = 8 * 1024  # the longest record the bounds in capture.py allow, doubled

Clock = Callable[[], int]
"""UTC milliseconds. Time enters by an argument of this type only, never from a request."""


def now_ms() -> int:
    """The system's clock."""
    return time.time_ns() // 1_000_000


DAY_MS = 24 * 60 * 60 * 1000

LEVELS: dict[str, tuple[str, ...]] = {
    "cookie": ("none", "daily", "long-lived"),
    "browser": ("none", "device", "family", "family+major"),
    "time": ("hour", "minute", "second"),
    "page": ("none", "route", "path"),
    "ip": ("none", "country", "network"),
}
"""The categories of automatic data and their precision, coarse to fine. A level is its index."""

TIME_STEP_MS: dict[str, int] = {"hour": 3_600_000, "minute": 60_000, "second": 1000}

LOGS = "logs"
"""logs/<UTC day>/<worker>-<n>.log: segments of frames, one writer per file."""
STATUS = "status"
"""status/<worker>.json: counters of each writing process; its .lock is held while the process lives."""
KEYS = "keys"

REASONS = ("torn", "checksum", "malformed", "version", "wrong_day")
"""Why a frame is quarantined."""


class Field(msgspec.Struct, frozen=True):
    """One captured field: recorded when a granted purpose reaches `level` in `category`."""

    name: str
    type: str
    """SQL type of the private events' column."""
    category: str
    level: str
    """The coarsest precision that includes the field."""
    doc: str

    @property
    def rank(self) -> int:
        """The level as its index in LEVELS."""
        return LEVELS[self.category].index(self.level)


FIELDS: tuple[Field, ...] = (
    Field("visitor", "VARCHAR", "cookie", "daily", "Pseudonym: keyed hash of a daily salt or the id cookie."),
    Field("cohort", "VARCHAR", "cookie", "long-lived", "ISO week in which the id cookie was last granted."),
    Field("device", "VARCHAR", "browser", "device", "Device class: mobile, tablet, desktop or other."),
    Field("browser", "VARCHAR", "browser", "family", "Browser family, for example Firefox."),
    Field("os", "VARCHAR", "browser", "family", "Operating system family, for example Android."),
    Field("browser_major", "VARCHAR", "browser", "family+major", "Major version of the browser."),
    Field("country", "VARCHAR", "ip", "country", "Country of the address, ISO 3166-1 alpha-2."),
    Field("network", "VARCHAR", "ip", "network", "Address cut to /24 (IPv4) or /48 (IPv6)."),
    Field("route", "VARCHAR", "page", "route", "Route template the site's framework matched."),
    Field("path", "VARCHAR", "page", "path", "Page address without its query, secrets blanked."),
    Field("referrer", "VARCHAR", "page", "route", "Host of the page that linked here; own hosts dropped."),
    Field("utm_source", "VARCHAR", "page", "route", "Campaign source: utm_source, source or ref."),
    Field("utm_medium", "VARCHAR", "page", "route", "Campaign medium: utm_medium, or cpc for a paid click."),
    Field("utm_campaign", "VARCHAR", "page", "route", "Campaign name: utm_campaign."),
    Field("name", "VARCHAR", "page", "route", "Name of a custom event, or outbound, or download."),
    Field("props", "VARCHAR", "page", "route", "Properties of a custom event, a JSON object."),
    Field("interactive", "BOOLEAN", "page", "route", "Whether a custom event counts as engagement."),
    Field("engaged_ms", "BIGINT", "page", "route", "Milliseconds visible and focused since the last ping."),
    Field("scroll", "BIGINT", "page", "route", "Deepest scroll position so far, per cent."),
)

Kind = Literal["view", "event", "ping", "consent"]


class Record(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the event log. Everything after `purposes` is a row of FIELDS or consent's own."""

    v: int
    kind: Kind
    id: str
    ts_ms: int
    """UTC milliseconds, truncated to the finest time precision granted."""
    policy: str
    """The policy version in force at capture."""
    consent: str | None = None
    """The policy version the visitor's explicit choice was made under; None where none was made."""
    purposes: tuple[str, ...] = ()
    """The purposes granted, sorted."""
    service: str | None = None

    visitor: str | None = None
    cohort: str | None = None
    device: str | None = None
    browser: str | None = None
    os: str | None = None
    browser_major: str | None = None
    country: str | None = None
    network: str | None = None
    route: str | None = None
    path: str | None = None
    referrer: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    name: str | None = None
    props: str | None = None
    interactive: bool | None = None
    engaged_ms: int | None = None
    scroll: int | None = None

    act: Literal["grant", "refuse", "withdraw"] | None = None
    via: Literal["form", "fetch", "banner", "page", "signal"] | None = None
    """How a choice came: by the banner, by the privacy page, by the banner that told of the browser's own
    signal, or by another form or script of the site."""
    first: bool | None = None
    """Whether a browser that had made no choice, and held no id, made its first one."""


COLUMNS: tuple[tuple[str, str], ...] = (
    ("kind", "VARCHAR"),
    ("id", "VARCHAR"),
    ("ts_ms", "BIGINT"),
    ("policy", "VARCHAR"),
    ("consent", "VARCHAR"),
    ("purposes", "VARCHAR[]"),
    ("service", "VARCHAR"),
    *((field.name, field.type) for field in FIELDS),
    ("act", "VARCHAR"),
    ("via", "VARCHAR"),
    ("first", "BOOLEAN"),
)
"""Name and SQL type of every column of the private events, in order."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)
_FRAME = re.compile(rb"\x1e[^\x1e\n]*\n?|[^\x1e]+")
_EPOCH = date(1970, 1, 1).toordinal()
_HEAD = 10  # 0x1E, 8 hex digits, space


def beginning(values: dict[str, Any]) -> bytes:
    """How the payloads of records begin that have these fields in common."""
    return _encoder.encode(values)[:-1] + b","


def within(values: dict[str, Any]) -> bytes:
    """Fields encoded to stand within a payload, behind a `beginning`; those without a value left out."""
    return beginning({name: value for name, value in values.items() if value is not None})[1:].lstrip(b",")


def encode(values: dict[str, Any]) -> bytes:
    """Frame one record, given as its non-empty fields."""
    return framed(_encoder.encode(values))


def framed(payload: bytes) -> bytes:
    """A payload as it lies on disk."""
    return b"\x1e%08x %b\n" % (zlib.crc32(payload), payload)


def decode(payload: bytes) -> Record:
    """Read one payload.

    Raises  RecordError("version") for a later format, RecordError("malformed") for anything else
    """
    try:
        record = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError("malformed") from None
    if record.v != RECORD_VERSION:
        raise RecordError("version")
    return record


class Frame(msgspec.Struct, frozen=True):
    """A stretch of a segment: a verified payload, or why there is none."""

    start: int
    end: int
    payload: bytes | None
    reason: str = ""


def frames(data: bytes) -> Iterator[Frame]:
    """Cut a segment (or its rest) into frames; every byte belongs to exactly one.

    A last frame without its newline comes back as "torn": it may still be being written.
    """
    for match in _FRAME.finditer(data):
        yield _read_frame(match.group(), match.start(), match.end())


def payloads(data: bytes) -> list[bytes] | None:
    """The payloads of a stretch of whole frames of objects; None where one is not, which `frames` then finds.

    Frames are compared with what `encode` would have written, all at once: ten times as fast.
    """
    lines = data.split(b"\n")
    rest = lines.pop()
    found = [line[_HEAD:] for line in lines]
    if rest or b"\x1e" in b"".join(found):  # to search is several times as fast as to count
        return None
    sums = struct.pack(f">{len(found)}I", *map(zlib.crc32, found)).hex(" ", 4)
    heads = "\x1e" + sums.replace(" ", " {\x1e") + " {"
    return found if b"".join([line[: _HEAD + 1] for line in lines]) == heads.encode() else None


def _read_frame(raw: bytes, start: int, end: int) -> Frame:
    if raw[:1] != b"\x1e" or raw[-1:] != b"\n" or raw[_HEAD - 1 : _HEAD] != b" ":
        return Frame(start, end, None, "torn")
    payload = raw[_HEAD:-1]
    if raw[1 : _HEAD - 1] != b"%08x" % zlib.crc32(payload):
        return Frame(start, end, None, "checksum")
    return Frame(start, end, payload)


def date_of(ts_ms: int) -> date:
    """The UTC day of an instant."""
    return date.fromordinal(_EPOCH + ts_ms // DAY_MS)


def day_of(ts_ms: int) -> str:
    """The UTC day of an instant, as 2026-11-24."""
    return date_of(ts_ms).isoformat()


def iso_week(day: date) -> str:
    """The ISO week of a day, as 2026-W47."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


def instant_of(ts_ms: int) -> str:
    """An instant for programs, as 2026-11-24T13:00:00.000Z (RFC 3339)."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
