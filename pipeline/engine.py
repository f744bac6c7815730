"""Runs the named SQL steps on DuckDB.

A step is one SELECT over relations; data enters through relations only, never through the text of a step,
so that the same files run on another engine.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from collector.record import COLUMNS
from pipeline import sql


def connect(spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A private in-memory database that never reaches for the network.

    spill   where sorts larger than memory may go; without it they fail instead of touching the disk
    """
    return duckdb.connect(
        config={
            # A missing extension is an error here, not a download.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # The default is a directory beside whatever the process was started in.
            "temp_directory": str(spill) if spill else "",
        }
    )


@cache
def shared() -> duckdb.DuckDBPyConnection:
    """A database for questions that need none of their own, each through a `cursor()`, from any thread.

    To open one takes longer than most of them.
    """
    return connect()


class Engine:
    """The relations of one run and the steps over them."""

    def __init__(self, spill: Path | None = None) -> None:
        self.database = connect(spill)
        # Joins are made as a step writes them, the larger relation first. DuckDB takes filters it knows
        # nothing of for far more selective than they are, and keeps whole events in memory, by one thread,
        # to look their units up in them: that takes twice the time.
        self.database.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def beside(self) -> "Engine":
        """Another engine over the same database, with relations of its own: for another thread."""
        other = Engine.__new__(Engine)
        other.database = self.database.cursor()
        return other

    def relation(self, name: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> None:
        """Make a relation of values; `columns` is name → SQL type."""
        listed = list(rows)
        # Column by column: to insert row by row takes DuckDB half a millisecond each.
        values = [[row[n] for row in listed] for n in range(len(columns))]
        cells = ", ".join(f"unnest(?::{kind}[]) AS {column}" for column, kind in columns.items())
        self.database.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {cells}", values)

    def records(self, files: Sequence[Path]) -> None:
        """Make the relation `records` of private event files; without a file it is empty."""
        self.relation("no_records", dict(COLUMNS), [])
        found = self.database.table("no_records")
        if files:
            # By name, and with every column of the contract: older files may lack the newest ones.
            stored = self.database.read_parquet([str(file) for file in files], union_by_name=True)
            stored.create_view("stored_records", replace=True)
            found = self.database.sql("FROM no_records UNION ALL BY NAME FROM stored_records")
        found.create_view("records", replace=True)

    def text(self, name: str) -> str:
        """The text of a step."""
        return sql.text(name)

    def step(self, name: str, into: str) -> None:
        """Run a step and keep its rows as a relation."""
        self.database.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS {self.text(name)}")

    def view(self, name: str, into: str) -> None:
        """Make a relation of a step whose rows are made whenever they are asked for."""
        self.database.execute(f"CREATE OR REPLACE TEMP VIEW {into} AS {self.text(name)}")

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """Run a step and read all its rows."""
        return self.database.execute(self.text(name)).fetchall()
