"""Attacks by keys: a link made for one visitor, and things that only one visitor has."""

from pipeline.audit import logs
from pipeline.audit.logs import Row
from pipeline.audit.result import Point, Result
from pipeline.audit.site import DAY, Effort, Site
from pipeline.counting import Counts, bounded_counts, build
from pipeline.engine import Engine
from pipeline.release import noisy_cells
from pipeline.spec import Mechanism
from pipeline.statistics import STATISTICS, Statistic
from pipeline.windows import Window

_LURE: Row = {
    "path": "/for-your-eyes-only",
    "referrer": "lure.example",
    "utm_source": "lure",
    "utm_medium": "lure",
    "utm_campaign": "lure",
}
_NEW: Row = {**_LURE, "country": "XK", "browser": "Mosaic", "os": "CP/M", "device": "fridge"}
_WEEK = Window("week", DAY)


def lure(site: Site, effort: Effort) -> Result:
    """Send the victim a link that nobody else has: does its page, referrer or campaign come out?"""
    private = [row for row in site.rows if row.is_private]
    points, named = [], []
    lures = -(-effort.lures // max(len(private), 1))
    for row, counts in _counted(site, [logs.event(**_LURE)], private):
        lone = [value for value in _LURE.values() if counts[1].get(value) == 1]
        named += [] if lone else [row.name]
        drawn = site.mechanism(row, site.tier)
        released = _names(row, drawn, lures)
        bound = drawn.atto_delta / 1e18
        points.append(Point(row.name, released / lures, released / lures, 0, bound))
    told = sum(round(point.value * lures) for point in points)
    said = f"{told} of {len(points) * lures:,} lures came out, each with probability 1e-12 at most"
    low = Mechanism(site.mechanism(site.rows[0], site.tier).sigma, 2, 0, 0)
    caught = _names(STATISTICS["pages"], low, 1_000)
    return Result(
        (said if points else "no list takes keys from traffic")
        + (f"; published always: {', '.join(named)}" if named else ""),
        all(point.is_held for point in points) and not named,
        f"at a threshold of 2, {caught / 1_000:.0%} come out",
        caught > 0,
        tuple(points),
    )


def leak(site: Site, _effort: Effort) -> Result:
    """One visitor brings a page, country, browser, system and device nobody has had: do lists change?"""
    newcomer, odd, listed = [logs.event(**_NEW)], [], 0
    with_it, without = (dict(_counted(site, rows, list(site.rows))) for rows in (newcomer, []))
    for row in site.rows:
        drawn = site.mechanism(row, site.tier)
        keys = [
            [cell.key for cell in noisy_cells(row, _WEEK, drawn, counts[row])]
            for counts in (with_it, without)
        ]
        listed += len(keys[0])
        if not keys[0] == keys[1] == list(row.public_keys(site.finest)):
            odd.append(row.name)
    new = set(_NEW.values())
    learnt = [key for _, private in with_it.values() for key in private if key in new]
    return Result(
        f"{listed} keys of {len(site.rows)} lists with and without the newcomer, "
        + (f"changed in {', '.join(odd)}" if odd else "none changed"),
        not odd,
        f"keys from traffic would have named {len(learnt)} new ones"
        if learnt
        else "no list takes keys from traffic",
        bool(learnt) or not any(row.is_private for row in site.rows),
    )


def _counted(site: Site, more: list[Row], rows: list[Statistic]) -> list[tuple[Statistic, Counts]]:
    """What a small log with some more events counts."""
    file = logs.write(site.directory("keys") / "000001.parquet", [*logs.scattered(100, 20), *more])
    with Engine() as engine:
        build(engine, [file], site.finest, _WEEK)
        return [(row, bounded_counts(engine, row, site.finest)) for row in rows]


def _names(row: Statistic, drawn: Mechanism, lures: int) -> int:
    """How many of so many keys that one visitor-day alone has are published."""
    cells = noisy_cells(row, _WEEK, drawn, ({}, {f"/{n}": 1 for n in range(lures)}))
    return sum(cell.thresholded for cell in cells)
