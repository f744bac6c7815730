"""Attack by removal: without one visitor-day, no statistic may change by more than its row declares."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from collector.policy import Policy
from collector.record import DAY_MS, day_of
from pipeline.audit import logs
from pipeline.audit.logs import Log, Unit
from pipeline.audit.result import Point, Result
from pipeline.audit.site import DAY, Effort, Site
from pipeline.counting import Counts, bounded_counts, build
from pipeline.engine import Engine
from pipeline.statistics import Statistic
from pipeline.windows import HOUR_MS, Window

WEEK = Window("week", DAY)

_ROUNDS = (4, 9, 14, 19, 24)
"""Hours of an open day that are over when a run releases those since the one before."""
_DELAYS = (0, 0, 0, 1, 3)
"""Rounds by which records come late."""
_ERASED = 2
"""The round before which a visitor is erased."""

Count = Callable[[Engine, Statistic, Policy], Counts]


@dataclass(frozen=True)
class Change:
    """What one visitor-day changes in one statistic."""

    statistic: Statistic
    cells: tuple[int, ...]
    """By how much, where it does."""
    are_keys_public: bool
    """Whether, with it and without, the keys that are published always are those of the policy."""

    @property
    def length(self) -> float:
        """In L2."""
        return sqrt(sum(cell * cell for cell in self.cells))

    @property
    def is_within(self) -> bool:
        """Whether all three bounds of the statistic hold, and the lists that need no threshold."""
        row = self.statistic
        return (
            self.are_keys_public
            and len(self.cells) <= row.l0
            and max(self.cells, default=0) <= row.linf
            and self.length <= row.l2 + 1e-9
        )


def changes(
    engine: Engine,
    rows: Sequence[Statistic],
    policy: Policy,
    files: dict[Unit, Path],
    units: Iterable[Unit],
    rest: Sequence[Path] = (),
    count: Count = bounded_counts,
) -> Iterator[Change]:
    """For each of some visitor-days and each statistic: what changes without it.

    rest    files of visitor-days that are never removed
    """

    def counted(without: Unit | None) -> list[Counts]:
        kept = [file for unit, file in files.items() if unit != without]
        build(engine, [*rest, *kept], policy, WEEK)
        return [count(engine, row, policy) for row in rows]

    whole = counted(None)
    for unit in units:
        for row, present, absent in zip(rows, whole, counted(unit), strict=True):
            yield change(row, present, absent, policy)


def changes_of_hours(
    engine: Engine, row: Statistic, policy: Policy, directory: Path, log: Log, units: Sequence[Unit]
) -> Iterator[Change]:
    """The same of all hours of a day that are released while records still come, late and out of order.

    Every second visitor is erased in between.
    """
    dice = random.Random(1)  # noqa: S311 - which records are late is no secret
    come: dict[tuple[int, Unit | None], Log] = {}
    for each in log:
        hour, unit = each["ts_ms"] % DAY_MS // HOUR_MS, logs.unit_of(each)
        over = next(n for n, until in enumerate(_ROUNDS) if hour < until) + dice.choice(_DELAYS)
        come.setdefault((over, unit if unit in units else None), []).append(each)
    files = {
        each: logs.write(directory / f"{n}.parquet", rows) for n, (each, rows) in enumerate(come.items())
    }

    def counted(without: Unit | None, erased: Unit | None) -> Counts:
        found: dict[str | None, int] = {}
        for number, until in enumerate(_ROUNDS):
            gone = (without, erased) if number >= _ERASED else (without,)
            here = [
                file
                for (over, unit), file in files.items()
                if over <= number and (not unit or unit not in gone)
            ]
            build(engine, here, policy, Window("day", DAY))
            cells, _ = bounded_counts(engine, row, policy)
            found |= {key: cells[key] for key in row.keys[len(found) : until]}
        return found, {}

    for n, unit in enumerate(units):
        yield change(row, counted(None, unit if n % 2 else None), counted(unit, None), policy)


def change(row: Statistic, present: Counts, absent: Counts, policy: Policy) -> Change:
    """The difference between what two neighbours count."""
    public, private = differing(present, absent)
    cells = tuple(abs(with_it - without) for with_it, without in (*public, *private))
    declared = list(row.public_keys(policy))
    are_public = list(present[0]) == list(absent[0]) == declared
    return Change(row, cells, are_public)


Pairs = tuple[tuple[int, int], ...]
"""Cells that differ between two neighbours: the count with the visitor-day, and without."""


def differing(present: Counts, absent: Counts) -> tuple[Pairs, Pairs]:
    """The cells of public and of private keys that are not the same in two neighbours."""
    return _differing(present[0], absent[0]), _differing(present[1], absent[1])


def _differing(one: Mapping[Any, int], other: Mapping[Any, int]) -> Pairs:
    pairs = ((one.get(key, 0), other.get(key, 0)) for key in {**one, **other})
    return tuple(pair for pair in pairs if pair[0] != pair[1])


def heavy_and_others(log: Log, first: str, most: int) -> list[Unit]:
    """The visitor-days to remove: those of the heaviest visitors, then as many others as wanted."""
    units = dict.fromkeys(logs.unit_of(row) for row in log)
    return sorted(units, key=lambda unit: (not unit[0].startswith(first), unit))[:most]


def remove_one(site: Site, effort: Effort) -> Result:
    """Remove visitor-days from a large log and from tiny adversarial ones."""
    found = list(_neighbours(site, effort))
    points = []
    for row in site.rows:
        longest = max(change.length for change in found if change.statistic is row)
        points.append(Point(row.name, longest, longest, longest, row.l2 + 1e-9))
    broken = [each for each in found if not each.is_within]
    names = dict.fromkeys(each.statistic.name for each in broken)
    reached = [point for point in points if point.value >= point.bound - 1e-6]
    neighbours = sum(change.statistic is site.rows[0] for change in found)
    return Result(
        f"{neighbours} visitor-days removed: "
        + (
            f"{', '.join(names)} changed by more than declared" if names else "every change within its bounds"
        ),
        not broken,
        f"{len(reached)} of {len(points)} bounds are reached exactly by the heaviest visitor",
        bool(reached),
        tuple(points),
    )


def _neighbours(site: Site, effort: Effort) -> Iterator[Change]:
    others = [*logs.attentive("!c", site.policy.budget), *logs.scattered(1500, 60)]
    large = [*logs.own_pages("!a"), *logs.choosing("!a"), *logs.heaviest("!b"), *others]
    small = [logs.tiny(seed) for seed in range(effort.tiny_logs)]
    with Engine() as engine:
        engine.database.execute("SET threads = 1")  # for a handful of rows
        # The operator's own versions mask fields and join consents: the heaviest visitor under them as well.
        own = site.policy.versions[-1].id
        for policy, log, most in (
            (site.finest, large, effort.removals),
            *((site.finest, each, effort.units) for each in [*logs.adversarial(), *small]),
            (site.policy, [row | {"policy": own, "consent": own} for row in large], 2),
        ):
            units = heavy_and_others(log, "!", most)
            directory = site.directory("removal")
            files = logs.split(directory, (row for row in log if logs.unit_of(row) in set(units)))
            rest = [row for row in log if logs.unit_of(row) not in files]
            kept = [logs.write(directory / "rest.parquet", rest)] if rest else []
            yield from changes(engine, site.rows, policy, files, units, kept)
        today = [row for row in [*logs.steady("!"), *large] if day_of(row["ts_ms"]) == str(DAY)]
        units = heavy_and_others(today, "!", 2 * effort.units)
        for row in site.rows:
            if row.kind == "realtime":
                directory = site.directory("removal")
                yield from changes_of_hours(engine, row, site.finest, directory, today, units)
