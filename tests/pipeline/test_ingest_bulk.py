"""Frames are read in bulk: what comes of it is what the contract says of each frame alone."""

import zlib
from collections import Counter
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.errors import RecordError
from collector.record import COLUMNS, MAX_RECORD_BYTES, decode, frames
from pipeline import ingest as module
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms
from tests.pipeline.test_ingest import closed_ms, events, quarantined, run


def framed(payload: bytes) -> bytes:
    """A frame whose checksum holds, whatever its payload."""
    return b"\x1e%08x %b\n" % (zlib.crc32(payload), payload)


def changed(frame: bytes, old: bytes, new: bytes) -> bytes:
    """A frame with another payload, and the checksum of that."""
    return framed(frame[10:-1].replace(old, new))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.sampled_from([2**63, 2**63 - 1, -(2**63), -(2**63) - 1, noon_ms(), noon_ms(NEXT_DAY)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
KEYS = st.sampled_from([*(name for name, _ in COLUMNS), "v", "surprise", "line"])
JSON = st.dictionaries(KEYS, VALUES, max_size=3).map(msgspec.json.encode)
RAW = st.sampled_from(
    [
        *(b"", b" ", b"{", b"}", b"[]", b"{}{}", b"null", b"\xff", b"\x00", b"\t", b"],[", b',"v":1', b'"'),
        *(b"\\ud800", b"\\u0000", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"1e3", b"1.0", b"-0", b"9" * 30),
        *(b'"id":"again",', b"[" * 2000, b" " * 9000, b"x" * 9000),
    ]
)
GOOD_FRAMES = st.integers(0, 40).map(frame)
EXAMPLES = count()
FRAMES = st.one_of(
    GOOD_FRAMES,
    GOOD_FRAMES,
    st.dictionaries(KEYS, VALUES, max_size=2).map(lambda values: frame(41, **values)),
    st.builds(changed, GOOD_FRAMES, st.sampled_from([b"{", b"}", b'"', b"1", b",", b":"]), RAW),
    st.builds(lambda good, extra: framed(extra + good[10:-1]), GOOD_FRAMES, RAW),
    st.builds(lambda good, extra: framed(good[10:-1] + extra), GOOD_FRAMES, RAW),
    st.builds(lambda good, cut: framed(good[10 : 10 + cut]), GOOD_FRAMES, st.integers(0, 300)),
    st.builds(lambda good, cut: framed(good[10 + cut : -1]), GOOD_FRAMES, st.integers(0, 300)),
    JSON.map(framed),
    RAW.map(framed),
    RAW,
    st.binary(max_size=30),
)


def one_by_one(data: bytes) -> tuple[list[bytes], Counter[str], list[tuple[str, int]]]:
    """What the contract says of each frame: new records as JSON, counts, and reasons with their places."""
    start_ms = noon_ms() - 12 * 60 * 60 * 1000
    rows: dict[str, bytes] = {}
    counts: Counter[str] = Counter()
    bad = []
    for each in frames(data):
        outcome = each.reason
        if each.payload and not each.payload.strip(b" "):
            outcome = "erased"
        elif each.payload is not None:
            try:
                record = decode(each.payload)
            except RecordError as error:
                outcome = error.reason
            else:
                numbers = (record.engaged_ms or 0, record.scroll or 0)
                if len(each.payload) > MAX_RECORD_BYTES or not all(-(2**63) <= n < 2**63 for n in numbers):
                    outcome = "malformed"
                elif not start_ms <= record.ts_ms < start_ms + 24 * 60 * 60 * 1000:
                    outcome = "wrong_day"
                else:
                    outcome = "duplicate" if record.id in rows else "rows"
                    rows.setdefault(record.id, msgspec.json.encode(record))
        counts[outcome] += 1
        if outcome not in ("rows", "duplicate", "erased"):
            bad.append((outcome, each.start))
    return list(rows.values()), counts, bad


@given(parts=st.lists(FRAMES, max_size=12), size=st.sampled_from([1, 700, 2**15]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bulk_is_as_good_as_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[bytes], size: int
) -> None:
    """Whatever the bytes: rows, counts, reasons and places are those of each frame read alone."""
    monkeypatch.setattr(module, "_PIECE_BYTES", size)
    data = tmp_path / f"{next(EXAMPLES)}"
    path = data / "logs" / DAY / "aa-000000.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(parts))
    rows, counts, bad = one_by_one(path.read_bytes())
    assert run(data, closed_ms()) == counts
    assert [(line["reason"], int(line["offset"])) for line in quarantined(data)] == bad
    expected = sorted((msgspec.json.decode(each) for each in rows), key=lambda record: record["id"].encode())
    found = [dict(zip(dict(COLUMNS), row, strict=True)) for row in events(data)]
    assert found == [
        {name: record.get(name, [] if name == "purposes" else None) for name, _ in COLUMNS}
        for record in expected
    ]


def read(data: Path, parts: list[bytes]) -> Counter[str]:
    path = data / "logs" / DAY / "aa-000000.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(parts))
    return run(data, closed_ms())


def test_records_that_lean_on_each_other_are_told_apart(tmp_path: Path) -> None:
    """Payloads that make as many records when joined as there are frames are malformed all the same."""
    good, other = frame(1)[10:-1], frame(2)[10:-1]
    for number, cut in enumerate((b',"kind"', b'"kind"', b"Firefox", b'"necess', b'{"v"')):
        first, last = good.partition(cut)[::2]
        halves = [first, cut + last + other]
        assert read(tmp_path / f"{number}", [framed(each) for each in halves]) == {"malformed": 2}
