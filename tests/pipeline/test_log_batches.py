"""Lines in columns say what they say one by one, however a log is cut into chunks and batches."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from collector.enrich import Enricher
from collector.policy import Version
from collector.record import day_of
from pipeline import log_batches, log_split
from pipeline.log_batches import MALFORMED, Columns, batches, visitor_name
from pipeline.log_days import TAKEN, LogDays
from pipeline.log_lines import ASSET, NO_TIME, OTHER, VIEW, VIEW_STATUSES, Lines, shape
from pipeline.log_reader import Reader
from pipeline.log_split import PATTERNS
from tests.pipeline.logs import noon_ms, time_of
from tests.policies import measured, policy, version

ENRICHER = Enricher()
"""Shared: its patterns take a third of a second to build."""
NOW_MS = noon_ms("2026-11-28")
SITE = policy(version(measured({"cookie": "daily"}), effective=date(2026, 11, 23)))
DAYS = ("2026-11-23", "2026-11-24", "2026-11-25")
BROWSER = rb"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
QUOTED = st.one_of(
    st.sampled_from([b"-", b"", b"GET / HTTP/1.1", b"GET /a.css?x", b"HEAD /", BROWSER, b"Googlebot/2.1"]),
    st.sampled_from([rb"a \"b\" c", rb"\\", rb"end\\\"", rb"\x22", b"x" * 8192, b"x" * 8193, rb"\y" * 4100]),
    st.text(alphabet='ab \\"[]-\r\t\x00\x0b\xe9', max_size=8).map(lambda text: text.encode("latin-1")),
)
ADDRESSES = [b"8.8.8.8", b"2001:4860:4860::8888", b"host.example.net", b"a\tb", b'"', b""]
TIMES = [
    b"24/Nov/2026:10:00:00 +0000",
    b"24/Nov/2026:00:00:00 +0100",
    b"25/Nov/2026:01:02:60 -0230",
    b"31/Feb/2026:10:00:00 +0000",
    b"24/Nov/2026:10:00",
    b"24/Nov/2027:10:00:00 +0000",
    b"",
]
COMMON = st.builds(
    lambda address, at, request, status: b'%b - x [%b] "%b" %b 5' % (address, at, request, status),
    st.sampled_from(ADDRESSES),
    st.sampled_from(TIMES),
    QUOTED,
    st.sampled_from([b"200", b"304", b"404", b"20", b"-"]),
)
COMBINED = st.builds(
    lambda common, referrer, agent, rest: b'%b "%b" "%b"%b' % (common, referrer, agent, rest),
    COMMON,
    QUOTED,
    QUOTED,
    st.sampled_from([b"", b" 7", b"\r", b'"']),
)
LINE = st.one_of(
    COMMON,
    COMBINED,
    st.builds(lambda line, at: line[:at], COMBINED, st.integers(0, 60)),
    st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"")),
)
FORM = st.sampled_from(["combined", "common"])


@dataclass
class Said:
    """What a log says."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(day, outcome) → lines."""
    samples: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    """Day → where malformed lines begin, and their shapes."""
    views: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    """Day → (time, visitor, browser, place, target, referrer)."""


class Open(LogDays):
    """Days of an empty data directory, which need not be looked at for each example."""

    def _state(self, day: str) -> tuple[str, str, Version | None]:
        return TAKEN, "", SITE.versions[0]


def read_one_by_one(form: str, content: bytes, days: LogDays) -> Said:
    """Line by line, with the full pattern."""
    lines, said = Lines(ENRICHER, ("example.org",), NOW_MS, True), Said()
    day, offset = DAYS[0], 0
    for line in content.removesuffix(b"\n").split(b"\n"):
        match = PATTERNS[form].match(line)
        assert match is not None
        address, stamp, request, status, referrer, agent, _ = match.groups()
        ts_ms = time_of(lines, stamp or b"")
        if ts_ms == NO_TIME:
            outcome = MALFORMED
            said.samples[day].append((offset, shape(line)))
        else:
            day = day_of(ts_ms)
            [browser], [bot], kind = lines.browsers([agent]), lines.bots([agent]), lines.kind(request)
            outcome = (
                f"bot: {bot}" if bot else OTHER if kind == VIEW and status not in VIEW_STATUSES else kind
            )
            if outcome == VIEW:
                rows = browser, lines.place(address), lines.target(request), lines.referrer(referrer)
                said.views[day].append((ts_ms, days[day].visitor(visitor_name(address, agent)), *rows))
        said.counts[day, outcome] += 1
        offset += len(line) + 1
    return said


def read_in_columns(form: str, chunks: list[tuple[int, bytes]], days: LogDays) -> Said:
    """As an import does."""
    columns, reader, said = Columns(Lines(ENRICHER, ("example.org",), NOW_MS, True)), Reader(days), Said()
    last = days[DAYS[0]]
    for batch in batches(form, chunks):
        last = reader.take(columns.read(batch), "log", "log", last)
    tables = [table.rows() for table in reader.tables.values()]
    for name, day in ((name, days[name]) for name in DAYS):
        found = {MALFORMED: day.malformed, ASSET: day.assets, OTHER: day.other, VIEW: len(day.times)}
        found |= {f"bot: {bot}": number for bot, number in day.bots.items()}
        assert sum(found.values()) == day.lines
        said.counts.update({(name, outcome): number for outcome, number in found.items() if number})
        for sample in day.samples:
            said.samples[name].append((int(sample["offset"]), str(sample["shape"])))
        numbers = iter(day.numbers)
        for ts_ms, visitor, *rest in zip(day.times, *[numbers] * 5, strict=True):
            rows = (table[number] for table, number in zip(tables, rest, strict=True))
            said.views[name].append((ts_ms, visitor, *rows))
    return said


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    form=FORM,
    lines=st.lists(LINE, min_size=1, max_size=12),
    end=st.sampled_from([b"", b"\n"]),
    chunk_lines=st.integers(1, 6),
    sizes=st.tuples(st.integers(1, 300), st.integers(0, 4), st.integers(1, 300), st.integers(1, 4)),
)
def test_columns_say_what_lines_say(
    form: str,
    lines: list[bytes],
    end: bytes,
    chunk_lines: int,
    sizes: tuple[int, int, int, int],
) -> None:
    """The same counts, samples, visitors and page views in the same order, however a log is cut."""
    content = b"\n".join(lines) + end
    assume(content)
    cut = re.findall(rb"[^\n]*\n|[^\n]+$", content)
    chunks, offset = [], 0
    for n in range(0, len(cut), chunk_lines):
        chunk = b"".join(cut[n : n + chunk_lines])
        chunks.append((offset, chunk))
        offset += len(chunk)
    days = Open(Path(), SITE, "legitimate_interests", NOW_MS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_batches, "BATCH_BYTES", sizes[0])
        patch.setattr(log_batches, "REMEMBERED", sizes[1])
        patch.setattr(log_split, "_PIECE_BYTES", sizes[2])
        patch.setattr(log_split, "_ROWS", sizes[3])
        found = read_in_columns(form, chunks, days)
    assert found == read_one_by_one(form, content, days)
