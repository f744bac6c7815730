"""Every figure of the README, measured: python -m tests.benchmarks [--large] [--markdown FILE]"""

import argparse
from pathlib import Path

from tests.benchmarks import (
    access_log,
    accuracy,
    beacon,
    durable,
    footprint,
    ingest,
    ingest_month,
    lag,
    memory,
    middleware,
    release,
)
from tests.benchmarks.table import markdown

BENCHMARKS = (middleware, beacon, lag, durable, memory, footprint, access_log, ingest, release, accuracy)
LARGE = (ingest_month,)  # a quarter of an hour, 5 GB of disk


def main() -> None:
    """Measure one after the other and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--large", action="store_true", help="measure a month of 100 million events as well")
    options = parser.parse_args()
    benchmarks = BENCHMARKS + LARGE if options.large else BENCHMARKS
    rows = [row for benchmark in benchmarks for row in benchmark.rows()]
    table = markdown(rows)
    print(table)
    if options.markdown:
        options.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
