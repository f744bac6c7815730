"""A month of busy days, each ingested and released when it is over: `make bench ARGS="--large"`."""

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import ingest
from tests.benchmarks.table import Row
from tests.benchmarks.traffic import write_day

EVENTS = 100_000_000
DAYS = 30


def rows() -> list[Row]:
    """Time an event, against that of one day of a tenth as many events, and peak memory."""
    with TemporaryDirectory() as directory:
        write_day(Path(directory), ingest.DAY, EVENTS // 10)
        one = ingest.measured("ours", Path(directory), ingest.DAY)
    seconds = events = gib = 0.0
    with TemporaryDirectory() as directory:
        for n in range(DAYS):
            day = ingest.DAY + timedelta(n)
            write_day(Path(directory), day, EVENTS // DAYS)
            found = ingest.measured("ours", Path(directory), day)
            seconds, events = seconds + found["seconds"], events + found["events"]
            gib = max(gib, found["gib"])
    what = f"{events:,.0f} events over {DAYS} days, day by day"
    an_event, at_first = seconds / events, one["seconds"] / one["events"]
    return [
        Row(
            what,
            f"{seconds:.0f} s, {an_event * 1e6:.1f} µs an event",
            f"{one['events']:,.0f} events of one day: {at_first * 1e6:.1f} µs an event",
            an_event / at_first,
            1.3,
        ),
        Row(f"{what}, peak memory", f"{gib:.1f} GiB"),
    ]
