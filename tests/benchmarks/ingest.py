"""A busy day from the collector's logs to published statistics, against DuckDB reading the same logs."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from collector.policy import Budget
from collector.record import COLUMNS, DAY_MS
from pipeline.run import run_once
from pipeline.windows import CLOSES_AFTER_MS
from tests.benchmarks.table import Row
from tests.benchmarks.traffic import write_day
from tests.policies import EXEMPT

EVENTS = 10_000_000
DAY = date(2026, 11, 24)
# A site of this size publishes every statistic daily.
POLICY = replace(EXEMPT, budget=Budget("large", {}, ("/product/1", "/product/2")))
GIB = 1024 * 1024  # of KiB, as ru_maxrss counts


@dataclass
class BusyDay:
    """A day as it is after its round, and what was measured of it."""

    directory: TemporaryDirectory[str]
    alone: dict[str, float]
    ours: dict[str, float]


@cache
def busy_day() -> BusyDay:
    """Made once, for every benchmark that starts from it."""
    directory = TemporaryDirectory()
    data = Path(directory.name)
    write_day(data, DAY, EVENTS)
    return BusyDay(directory, measured("alone", data, DAY), measured("ours", data, DAY))


def rows() -> list[Row]:
    """Time and peak memory of one day."""
    alone, ours = busy_day().alone, busy_day().ours
    assert alone["events"] == ours["events"] == EVENTS
    what = f"{EVENTS:,} events of one day, logs to published statistics"
    return [
        Row(
            f"{what}, 2 cores",
            f"{ours['seconds']:.0f} s, {ours['seconds'] / EVENTS * 1e6:.1f} µs an event",
            f"DuckDB alone, the logs into one Parquet file: {alone['seconds']:.0f} s",
            ours["seconds"] / alone["seconds"],
            4.0,
        ),
        Row(
            f"{what}, peak memory",
            f"{ours['gib']:.1f} GiB",
            f"DuckDB alone: {alone['gib']:.1f} GiB",
            ours["gib"] / alone["gib"],
        ),
    ]


def measured(who: str, data: Path, day: date, module: str = "tests.benchmarks.ingest") -> dict[str, float]:
    """Seconds, peak GiB and events of one process of its own, which calls `tell`."""
    command = [sys.executable, "-m", module, who, str(data), day.isoformat()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def ours(data: Path, day: date) -> int:
    """One round of the straight line, when the day is over."""
    done = run_once(data, POLICY, lambda: closed_ms(day), lambda *_: None)
    assert {each.state for each in done.outcomes} <= {"released", "known"}
    assert done.sealed == [day.isoformat()] and done.removed_segments
    return done.ingested["rows"]


def closed_ms(day: date) -> int:
    """The first instant at which a day is closed."""
    return (day - date(1970, 1, 1)).days * DAY_MS + DAY_MS + CLOSES_AFTER_MS


def alone(data: Path, day: date) -> int:
    """The fastest way found for DuckDB: lines as text, their JSON as a typed struct, in any order."""
    types = {name: [kind[:-2]] if kind.endswith("[]") else kind for name, kind in COLUMNS}
    lines = (
        f"read_csv('{data}/logs/{day}/*.log', columns = {{'line': 'VARCHAR'}}, delim = '\x01', quote = '',"
        " escape = '', header = false, auto_detect = false, max_line_size = 100000)"
    )
    records = f"SELECT unnest(json_transform(substr(line, 11), '{json.dumps(types)}')) FROM {lines}"
    file = data / "alone.parquet"
    with duckdb.connect(config={"threads": 2, "preserve_insertion_order": False}) as database:
        database.execute(f"COPY ({records}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")
        [(counted,)] = database.execute(f"SELECT count(id) FROM '{file}'").fetchall()
    file.unlink()
    return int(counted)


def tell(acts: Mapping[str, Callable[[Path, date], int]]) -> None:
    """Do one thing, and print what it took."""
    who, data, day = sys.argv[1:]
    start_s = time.perf_counter()
    events = acts[who](Path(data), date.fromisoformat(day))
    seconds = time.perf_counter() - start_s
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    print(json.dumps({"seconds": seconds, "gib": peak_gib, "events": events}))


if __name__ == "__main__":
    tell({"ours": ours, "alone": alone})
