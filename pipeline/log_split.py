"""Lines of an access log → columns of their fields."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.log_lines import NO_TIME, Lines, Numbers

_PIECE_BYTES = 16 * 1024
_ROWS = 512  # put in columns together: their texts still lie in the processor's cache

# Apache writes a quote inside a quoted field as \" and Nginx as \x22, so a bare one ends the field. Longer
# fields than 8 KiB pass neither server. What follows the known fields (some log more) is not looked at.
_QUOTED = rb'"([^"\\\n]{0,8192}+(?:\\.[^"\\\n]{0,8192}+)*+)"'
_COMMON = rb"(\S++) [^\[\n]*+\[([^\]\n]++)\] %b (\d{3}) (?:\d++|-)"
_REST = rb"(?:[ \r][^\n]*+)?"


def _patterns(quoted: bytes, common: bytes) -> dict[str, re.Pattern[bytes]]:
    common %= quoted
    forms = {"combined": b"%b %b %b%b" % (common, quoted, quoted, _REST), "common": rb"%b()()\r?" % common}
    # Each line is one match, and a line of another form the last group's.
    return {form: re.compile(rb"^(?:%b|([^\n]*+))$" % text, re.MULTILINE) for form, text in forms.items()}


PATTERNS = _patterns(_QUOTED, _COMMON)
"""Format → address, time, request, status, referrer, agent; or the line that is none of it."""
# For lines without a backslash, in half the time: sets of one byte. A match may run over the end of a line.
_STAMP = rb"([^\]]{17})([^\]]{9})"
_PLAIN = _patterns(rb'"([^"]{0,8192}+)"', _COMMON.replace(rb"\n", b"").replace(rb"([^\]]++)", _STAMP))

Row = tuple[bytes, ...]


class Fields(NamedTuple):
    """Some lines, in columns: of one that is malformed there is no time, and the rest says nothing."""

    addresses: Sequence[bytes]
    times: Numbers
    """UTC milliseconds, or NO_TIME."""
    requests: Sequence[bytes]
    statuses: Sequence[bytes]
    referrers: Sequence[bytes]
    agents: Sequence[bytes]


def split(form: str, text: bytes, lines: Lines) -> Iterator[Fields]:
    """The lines of a text, some at a time and in their order."""
    for rows in _some_rows(form, text):
        addresses, minutes, seconds, *others, _ = zip(*rows, strict=True)
        yield Fields(addresses, lines.times(minutes, seconds), *others)


def _some_rows(form: str, text: bytes) -> Iterator[list[Row]]:
    """Address, minute, second and zone, request, status, referrer, agent; b"" of a line that has none."""
    rows: list[Row] = []
    for piece in _pieces(text):
        rows += _rows(form, piece)
        if len(rows) >= _ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _pieces(text: bytes) -> Iterator[bytes]:
    """Whole lines, few enough that hardly any piece has a backslash in it."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + _PIECE_BYTES) + 1 or len(text)
        yield text[start:end]
        start = end


def _rows(form: str, piece: bytes) -> list[Row]:
    end = len(piece) - piece.endswith(b"\n")  # behind the last newline there is no line
    if b"\\" not in piece:
        found: list[Row] = _PLAIN[form].findall(piece, 0, end)
        if len(found) == piece.count(b"\n", 0, end) + 1:  # none ran over the end of its line
            return found
    matched = PATTERNS[form].findall(piece, 0, end)
    return [(address, at[:17], at[17:], *others) for address, at, *others in matched]


def form_of(head: bytes, lines: Lines) -> tuple[str, int] | None:
    """The format of a log by its first line in one, and that line's time; None where there is none."""
    for line in head.splitlines():
        for form in PATTERNS:
            for fields in split(form, line, lines):
                [ts_ms] = fields.times.tolist()
                if ts_ms != NO_TIME:
                    return form, ts_ms
    return None
