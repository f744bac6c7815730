"""Synthetic private events: adversaries, crowds, and small logs full of edges. No real visitor is in them."""

import random
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from collector.policy import Budget
from collector.record import COLUMNS, DAY_MS, day_of
from pipeline.audit.site import DAY
from pipeline.engine import connect
from pipeline.store import events_of
from pipeline.windows import Window

Row = dict[str, Any]
Log = list[Row]
Unit = tuple[str, str]
"""A visitor and a UTC day: what is added or removed."""

POPULAR: Row = {
    "country": "PT",
    "browser": "Firefox",
    "os": "Linux",
    "device": "desktop",
    "referrer": "search.example",
    "utm_source": "letter",
    "utm_medium": "email",
    "utm_campaign": "spring",
}
"""What everybody in a crowd has."""

_COLUMNS = ", ".join(f'unnest(?::{kind}[]) AS "{name}"' for name, kind in COLUMNS)
_PAGES = 8
_numbers = count()


def event(minutes: float = 0, visitor: str = "a", kind: str = "view", day: date = DAY, **fields: Any) -> Row:
    """One event, so many minutes into a day."""
    known: Row = {
        "kind": kind,
        "id": f"{next(_numbers):032x}",
        "ts_ms": Window("day", day).span_ms[0] + round(minutes * 60_000),
        "policy": "audit",
        "consent": "audit",
        "purposes": ["statistics"],
        "visitor": visitor,
    }
    return known | ({"path": "/"} if kind == "view" else {}) | fields


def unit_of(row: Row) -> Unit:
    """The visitor-day of an event."""
    return row["visitor"], day_of(row["ts_ms"])


def write(file: Path, rows: Iterable[Row]) -> Path:
    """Write events as a file of private events."""
    with connect() as database:
        return _write(database, file, list(rows))


def _write(database: duckdb.DuckDBPyConnection, file: Path, rows: Log) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = [[row.get(name) for row in rows] for name, _ in COLUMNS]
    database.execute(f"CREATE OR REPLACE TABLE rows AS SELECT {_COLUMNS}", values)
    database.execute("COPY rows TO ? (FORMAT parquet)", [str(file)])
    return file


def store(data: Path, rows: Iterable[Row]) -> None:
    """Write events as the only ones of their days in a data directory."""
    days: dict[str, Log] = {}
    for row in rows:
        days.setdefault(day_of(row["ts_ms"]), []).append(row)
    for day, found in days.items():
        write(events_of(data, day) / "000001.parquet", found)


def split(directory: Path, rows: Iterable[Row]) -> dict[Unit, Path]:
    """One file per visitor-day, so that a neighbour is all files but one."""
    units: dict[Unit, Log] = {}
    for row in rows:
        units.setdefault(unit_of(row), []).append(row)
    with connect() as database:
        return {
            unit: _write(database, directory / f"{n}.parquet", found)
            for n, (unit, found) in enumerate(units.items())
        }


def crowd(file: Path, visitors: int) -> Path:
    """So many visitors alike, each with a view of each of eight pages: every key of theirs is common."""
    start_ms = Window("day", DAY).span_ms[0]
    fields = ", ".join(f"'{value}' AS {name}" for name, value in POPULAR.items())
    file.parent.mkdir(parents=True, exist_ok=True)
    with connect() as database:
        database.execute(
            "CREATE TABLE rows AS SELECT 'view' AS kind, 'c' || range AS id, 'audit' AS policy, "  # noqa: S608 - constants
            "'audit' AS consent, ['statistics'] AS purposes, 'c' || (range // $pages) AS visitor, "
            "CAST($start_ms + range % $pages * 60000 AS BIGINT) AS ts_ms, "
            f"'/p' || (range % $pages) AS path, {fields} FROM range($rows)",
            {"pages": _PAGES, "start_ms": start_ms, "rows": visitors * _PAGES},
        )
        database.execute("COPY rows TO ? (FORMAT parquet)", [str(file)])
    return file


def heaviest(visitor: str = "a", day: date = DAY, **fields: Any) -> Log:
    """One visitor far beyond every bound: twenty visits, to the crowd's pages unless told otherwise."""
    return [
        event(31 * n, visitor, day=day, **{"path": f"/p{n % _PAGES}", **POPULAR, **fields}) for n in range(20)
    ]


def steady(visitor: str) -> Log:
    """One visitor whose single visit lasts all day."""
    return [event(3 * n, visitor) for n in range(480)]


def choosing(visitor: str) -> Log:
    """Two choices of one visitor that both call themselves the first."""
    return [event(n, visitor, "consent", act="grant", first=True) for n in range(2)]


def own_pages(visitor: str) -> Log:
    """Twenty visits, each to a page that nobody else knows."""
    return [row | {"path": f"/{visitor}/{n}"} for n, row in enumerate(heaviest(visitor))]


def attentive(visitor: str, budget: Budget) -> Log:
    """One visitor who does all that a policy counts, and looks at what it names for hours."""
    acts = [*budget.goals.values(), *(act for funnel in budget.funnels.values() for act in funnel)]
    pages = [*budget.pages[:6], *(act.removesuffix("*") for act in acts if act.startswith("/"))]
    looks: Row = {"engaged_ms": 9_000_000, "scroll": 400}
    return [
        row | {"cohort": "2026-W01"}
        for row in (
            *(event(n, visitor, path=page) for n, page in enumerate(pages)),
            *(event(60 + n, visitor, "event", name=act) for n, act in enumerate(acts)),
            *(event(90, visitor, "ping", path=page, **looks) for page in pages),
        )
    ]


# Around the edges: 30 minutes, midnight, and instants that coincide.
_MINUTES = (0, 1, 29, 30, 30.001, 60, 720, 1409, 1410, 1439, 1439.999, 1440, 1441, 1470)


def tiny(seed: int) -> Log:
    """A small random log in which everything that can go wrong is near."""
    dice = random.Random(seed)  # noqa: S311 - which logs are tried is no secret
    return [
        event(
            dice.choice(_MINUTES),
            dice.choice("abc"),
            dice.choice(["view", "view", "view", "event", "ping"]),
            path=dice.choice([None, *(f"/{n}" for n in range(9))]),
            country=dice.choice([None, "PT", "XK"]),
            browser=dice.choice([None, "Firefox", "Mosaic"]),
            device=dice.choice([None, "mobile", "desktop"]),
            referrer=dice.choice([None, "search.example"]),
            utm_campaign=dice.choice([None, "spring"]),
            interactive=dice.choice([None, False]),
        )
        for _ in range(dice.randrange(1, 40))
    ]


def scattered(views: int, visitors: int) -> Log:
    """A random log of some size, over a week."""
    dice = random.Random(1)  # noqa: S311
    week_min = 7 * DAY_MS // 60_000
    return [
        event(
            dice.randrange(week_min),
            f"{dice.randrange(visitors):03}",
            path=f"/{int(dice.paretovariate(1)) % 40}",
            country=dice.choice(["PT", "FR", None]),
            browser=dice.choice(["Firefox", "Safari", None]),
            device=dice.choice(["mobile", "desktop"]),
            referrer=dice.choice([None, "search.example", "friend.example"]),
        )
        for _ in range(views)
    ]


def adversarial() -> Iterator[Log]:
    """Logs made to show what a careless bound lets one visitor do to others."""
    same = (row | {"path": "/same"} for row in own_pages("b"))
    yield [*own_pages("a"), *same, *own_pages("c"), *choosing("a")]
    # One visitor decides who is first.
    ranks = [("x", "Firefox"), ("y", "Safari"), ("z", "Opera")]
    yield [event(n, f"{page}{n}", path=f"/{page}", browser=name) for page, name in ranks for n in range(2)]
    # One visitor moves what is usual.
    usual = [event(n, f"usual-{k}", path=f"/{k}/{n}") for k in range(5) for n in range(4 + k)]
    yield [*usual, *(event(n / 2, "unusual", path="/") for n in range(39))]
    # One visitor hides others, where events are taken for the same that are not.
    hidden = [event(31 * n, f"h{n % 6}", path=f"/p{n % _PAGES}", **POPULAR) for n in range(20)]
    yield [*heaviest(), *hidden]
    # One visitor uses up what is meant for all.
    yield [*heaviest(), *(event(1200 + n, f"late-{n:02}", path=f"/late/{n}") for n in range(6))]
