"""Every figure of the README, measured: python -m tests.benchmarks [--markdown FILE]"""

import argparse
from pathlib import Path

from tests.benchmarks import access_log, footprint, middleware
from tests.benchmarks.table import markdown

BENCHMARKS = (middleware, footprint, access_log)


def main() -> None:
    """Measure one after the other and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    options = parser.parse_args()
    rows = [row for benchmark in BENCHMARKS for row in benchmark.rows()]
    table = markdown(rows)
    print(table)
    if options.markdown:
        options.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
