"""What is a user's to know, and what is a bug: errors that end as one line."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from collector.errors import ImpersonalError

FAILED = 1
"""Exit status of what was refused or failed; 0 is done, 2 wrong usage, which click says."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal be a KeyboardInterrupt inside a query as well: DuckDB makes it a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from None


def is_expected(error: BaseException) -> bool:
    """Whether users or their machine cause an error, rather than a bug."""
    return isinstance(error, ImpersonalError | OSError | sqlite3.Error) or _is_of_duckdb(error)


def in_a_line(error: BaseException) -> str:
    """What went wrong, and where an error of the machine does not say it, what to look at."""
    if isinstance(error, ImpersonalError):
        return str(error)
    first = str(error).strip().split("\n", maxsplit=1)[0]
    return f"{first or type(error).__name__}: check that the data directory is readable and has space"


def _is_of_duckdb(error: BaseException) -> bool:
    # By name: importing duckdb to ask would cost every command its tenth of a second.
    return "duckdb" in type(error).__module__
