"""Private events for tests: rows by column name, written as Parquet files with the contract's columns."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from collector.policy import Budget, Policy
from collector.record import COLUMNS, DAY_MS, day_of
from pipeline.counting import bounded_counts, build
from pipeline.engine import Engine
from pipeline.statistics import STATISTICS
from pipeline.store import Manifest
from pipeline.windows import Window
from tests.policies import EVERYTHING, policy, purpose, version

DAY = date(2026, 11, 23)
"""A Monday; the first day of an ISO week, not of a 28-day block."""

WEEK = Window("week", DAY)

SIX = ("/", "/1", "/2", "/3", "/4", "/5")
"""Pages that POLICY declares."""

EVENT_NAMES = ("signup", "order", "share")

POLICY = replace(
    policy(version(purpose("statistics", EVERYTHING))),
    budget=Budget(
        "medium",
        pages=SIX,
        goals={**{name: name for name in EVENT_NAMES}, "read on": "/1*"},
        funnels={
            "signing up": ("/", "/1", "signup"),
            "ordering": ("/2", "order"),
            "sharing": ("/*", "share"),
        },
    ),
)

Row = dict[str, Any]
Log = list[Row]
Cells = dict[str | None, int]

_numbers = count()
_SCHEMA = ", ".join(f"{name} {kind}" for name, kind in COLUMNS)


def at(day: date = DAY, minutes: float = 0) -> int:
    """UTC milliseconds, so many minutes into a day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(start.timestamp()) * 1000 + round(minutes * 60_000)


def closed(day: date) -> int:
    """The first instant at which a day is closed."""
    return at(day) + DAY_MS + 2 * 3_600_000


def row(kind: str = "view", ts_ms: int | None = None, visitor: str | None = "a", **fields: Any) -> Row:
    """One private event; everything statistics may see is granted."""
    known: Row = {
        "kind": kind,
        "id": f"{next(_numbers):032x}",
        "ts_ms": at() if ts_ms is None else ts_ms,
        "policy": "v1",
        "purposes": ["statistics"],
        "visitor": visitor,
    }
    if kind == "view":
        known["path"] = "/"
    return known | fields


def reader(visitor: str = "a") -> Log:
    """One visitor who reaches every goal and looks at six pages for hours, from below the lowest line."""
    views = [row(ts_ms=at(minutes=n), visitor=visitor, path=page) for n, page in enumerate(SIX)]
    looks = {"engaged_ms": 9_000_000, "scroll": 400}
    pings = [row("ping", at(minutes=9), visitor, path=page, **looks) for page in SIX]
    events = [row("event", at(minutes=10 + n), visitor, name=name) for n, name in enumerate(EVENT_NAMES)]
    return [each | {"cohort": "2026-W01"} for each in (*views, *pings, *events)]


def write(file: Path, rows: Iterable[Row]) -> Path:
    """Write rows to one Parquet file, one column at a time."""
    listed = list(rows)
    columns = ", ".join(f'unnest(?::{kind}[]) AS "{name}"' for name, kind in COLUMNS)
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE rows ({_SCHEMA})")
        if listed:
            values = [[each.get(name) for each in listed] for name, _ in COLUMNS]
            database.execute(f"INSERT INTO rows SELECT {columns}", values)
        file.parent.mkdir(parents=True, exist_ok=True)
        manifest = msgspec.json.encode(Manifest(0, [], len(listed), 0)).decode()
        database.execute(
            "COPY rows TO $file (FORMAT parquet, KV_METADATA {manifest: $manifest})",
            {"file": str(file), "manifest": manifest},
        )
    return file


def store(data: Path, rows: Iterable[Row]) -> None:
    """Write rows as the private events of a data directory, by UTC day."""
    days: dict[str, list[Row]] = {}
    for each in rows:
        days.setdefault(day_of(each["ts_ms"]), []).append(each)
    for day, found in days.items():
        write(data / "events" / f"day={day}" / "000001.parquet", found)


def build_rows(
    engine: Engine,
    directory: Path,
    rows: Iterable[Row],
    window: Window = WEEK,
    under: Policy = POLICY,
) -> None:
    """Build the relations of a window from rows."""
    build(engine, [write(directory / "000001.parquet", rows)], under, window)


def cells(engine: Engine, name: str, under: Policy = POLICY) -> Cells:
    """The exact cells of a built window that are not zero."""
    public, private = bounded_counts(engine, STATISTICS[name], under)
    return {key: value for each in (public, private) for key, value in each.items() if value}
