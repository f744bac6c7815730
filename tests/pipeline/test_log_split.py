"""Lines that are read together say what the full pattern finds in each."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.log_lines import NO_TIME, Lines
from pipeline.log_split import PATTERNS, split
from tests.pipeline.logs import noon_ms, time_of
from tests.pipeline.test_log_batches import BROWSER, ENRICHER, FORM, LINE, TIMES

LINES = Lines(ENRICHER, (), noon_ms("2026-11-28"), False)
PLAIN = b'8.8.8.8 - %b [%b] "GET /%b HTTP/1.1" 200 %b "-" "%b"%b'


def plain(user: bytes, at: bytes, size: bytes, rest: bytes) -> bytes:
    return PLAIN % (user, at, size, size, BROWSER, rest)


def read(content: bytes, form: str = "combined") -> list[tuple[Any, ...]]:
    """What each line says; nothing, if it is malformed."""
    rows = [row for fields in split(form, content, LINES) for row in zip(*fields, strict=True)]
    return [row if row[1] != NO_TIME else () for row in rows]


def found(content: bytes, form: str = "combined") -> list[tuple[Any, ...]]:
    """What the full pattern finds, line by line."""
    said: list[tuple[Any, ...]] = []
    for line in content.removesuffix(b"\n").split(b"\n"):
        match = PATTERNS[form].fullmatch(line)
        assert match is not None
        address, stamp, *others, _ = match.groups()
        ts_ms = time_of(LINES, stamp or b"")
        said.append((address, ts_ms, *others) if ts_ms != NO_TIME else ())
    return said


USERS = st.sampled_from([b"-", b"x", b"an na", b"", b"]", b'"y"'])
SIZES = st.sampled_from([b"5", b"-", b"48213"])
RESTS = st.sampled_from([b"", b' "-"', b" 0.003", b' "a" "b" 7'])
CHANGES = st.one_of(
    st.none(),
    st.tuples(
        st.integers(0, 2000),
        st.integers(0, 1),
        st.sampled_from([b"", *(bytes([c]) for c in b'"[] \\\n\t\r\0-:/0\xe9')]),
    ),
)


@settings(max_examples=1000, deadline=None)
@given(
    same=st.tuples(USERS, SIZES, RESTS),
    times=st.lists(st.one_of(st.just(TIMES[0]), st.sampled_from(TIMES)), min_size=1, max_size=5),
    end=st.sampled_from([b"", b"\n"]),
    change=CHANGES,
)
def test_many_lines_say_what_each_says(
    same: tuple[bytes, bytes, bytes],
    times: Sequence[bytes],
    end: bytes,
    change: tuple[int, int, bytes] | None,
) -> None:
    """Lines like each other, with one byte too many, too few or changed."""
    user, size, rest = same
    content = b"\n".join(plain(user, at, size, rest) for at in times) + end
    if change:
        at, gone, new = change
        at %= len(content)
        content = content[:at] + new + content[at + gone :]
    assert read(content or b"\n") == found(content or b"\n")


@pytest.mark.parametrize("size", [8192, 8193, 20000])
@pytest.mark.parametrize("place", range(3))
def test_a_field_that_is_too_long_is_malformed(place: int, size: int) -> None:
    """However the lines around it are read."""
    quoted = [b"GET /", b"-", BROWSER]
    quoted[place] = b"x" * size
    line = b'8.8.8.8 - - [%b] "%b" 200 5 "%b" "%b"\n' % (TIMES[0], *quoted)
    content = plain(b"-", TIMES[0], b"5", b"\n") * 50 + line + plain(b"-", TIMES[0], b"5", b"\n") * 50
    said = read(content)
    assert said == found(content)
    assert said.count(()) == (size > 8192)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(form=FORM, lines=st.lists(LINE, min_size=1, max_size=6), end=st.sampled_from([b"", b"\n"]))
def test_odd_lines_say_what_each_says(form: str, lines: list[bytes], end: bytes) -> None:
    """Lines of every kind, beside each other."""
    content = b"\n".join(lines) + end
    assert read(content or b"\n", form) == found(content or b"\n", form)
