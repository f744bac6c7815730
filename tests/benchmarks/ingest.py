"""A busy day from the collector's logs to published statistics, against DuckDB reading the same logs."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
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


def rows() -> list[Row]:
    """Time and peak memory of one day."""
    with TemporaryDirectory() as directory:
        data = Path(directory)
        write_day(data, DAY, EVENTS)
        alone = measured("alone", data, DAY)
        ours = measured("ours", data, DAY)
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


def measured(who: str, data: Path, day: date) -> dict[str, float]:
    """Seconds, peak GiB and events of one process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.ingest", who, str(data), day.isoformat()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def ours(data: Path, day: date) -> int:
    """One round of the straight line, when the day is over."""
    closed_ms = (day - date(1970, 1, 1)).days * DAY_MS + DAY_MS + CLOSES_AFTER_MS
    done = run_once(data, POLICY, lambda: closed_ms, lambda *_: None)
    assert {each.state for each in done.outcomes} <= {"released", "known"}
    assert done.sealed == [day.isoformat()] and done.removed_segments
    return done.ingested["rows"]


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


def main() -> None:
    """Do one thing, and print what it took."""
    who, data, day = sys.argv[1:]
    act = {"ours": ours, "alone": alone}[who]
    start_s = time.perf_counter()
    events = act(Path(data), date.fromisoformat(day))
    seconds = time.perf_counter() - start_s
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    print(json.dumps({"seconds": seconds, "gib": peak_gib, "events": events}))


if __name__ == "__main__":
    main()
