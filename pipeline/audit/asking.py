"""Attacks by asking again: averaging, differencing, erasure, and a site that changes its size."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from pipeline.audit import logs
from pipeline.audit.membership import combined
from pipeline.audit.result import Result, in_percent
from pipeline.audit.site import DAY, Effort, Site
from pipeline.engine import Engine
from pipeline.ledger import LEDGER, Charge, Ledger
from pipeline.published import PUBLISHED
from pipeline.release import Door, Outcome, noisy_cells, release_due
from pipeline.statistics import ATTO_DELTA_PER_DAY, Statistic
from pipeline.store import EVENTS, events_of
from pipeline.windows import BLOCK, CLOSES_AFTER_MS, LENGTHS, TIERS, Tier, Window, tier_of, window_of

_ASKED = 1_000
_OPENINGS = 10


def average(site: Site, _effort: Effort) -> Result:
    """Ask a thousand times for a release, the ledger opened anew between: does the noise average out?"""
    site, data = site.narrowed(), site.directory("average")
    logs.store(data, logs.scattered(200, 40))
    _release(site, data)
    before = published(data)
    row, window = site.released(site.tier)[0]
    for _ in range(_OPENINGS):
        with _door(site, data) as door:
            for _ in range(_ASKED // _OPENINGS):
                door.release(window, [row], site.tier)
    again = _release(site, data)
    same = published(data) == before and {outcome.state for outcome in again} == {"known"}
    twice = _under_other_names(site, data)
    drawn = site.mechanism(row, site.tier)
    with Ledger(data / LEDGER) as ledger:
        charged_once = ledger.charges(f"{row.name}/{window.name}/{window.start}") == (
            drawn.nano_rho,
            drawn.atto_delta,
        )
    fresh = [cell.value for cell in noisy_cells(row, window, drawn, ({str(n): 0 for n in range(_ASKED)}, {}))]
    return Result(
        f"{_ASKED:,} answers for {row.name}: "
        + ("one and the same" if same else "not all the same")
        + (", charged once" if charged_once else ", charged more than once")
        + (f"; under other names again: {', '.join(twice)}" if twice else "; none under another name"),
        same and charged_once and not twice,
        f"fresh noise would average to within {abs(float(np.mean(fresh))):.1f}, of σ = {drawn.sigma:.1f}",
        len(set(fresh)) > 1 and abs(float(np.mean(fresh))) < 5 * drawn.sigma / _ASKED**0.5,
    )


def _under_other_names(site: Site, data: Path) -> list[str]:
    """What is released again of a day where the policy names other windows, shares, keys and purposes."""
    shares = {name: share / 2 for name, share in site.shares.items()}
    pages = (*site.policy.budget.pages, "/another")
    for tier in TIERS:
        budget = replace(site.policy.budget, tier=tier.name, shares=shares, pages=pages)
        _release(replace(site, policy=replace(site.policy, budget=budget)), data)
    with Ledger(data / LEDGER) as ledger:
        released = [(name.split("/")[0], day) for name, days in ledger.releases().items() for day in days]
    return sorted({name for name, day in released if released.count((name, day)) > 1})


def difference(site: Site, effort: Effort) -> Result:
    """Take released numbers from one another, and a day before an erasure from the same day after it."""
    points = tuple(combined(site, site.tier, effort))
    is_same, is_fresh = _erased(site.narrowed())
    twice = _is_charged_twice(site)
    return Result(
        "; ".join(
            (
                in_percent(points) or "nothing to subtract",
                "erasure changes no byte" if is_same else "erasure changed published bytes",
                "a week beside its days is charged" if twice else "a week beside its days was free",
            )
        ),
        all(point.is_held for point in points) and is_same and twice,
        "without the ledger the same release comes out with other bytes",
        is_fresh,
        points,
    )


def _erased(site: Site) -> tuple[bool, bool]:
    """Whether an erasure leaves the published bytes as they are, and whether it does without a ledger."""
    data, other = site.directory("erasure"), site.directory("forgetful")
    logs.store(data, [*logs.scattered(200, 40), *logs.heaviest("victim")])
    _release(site, data)
    before = published(data)
    shutil.rmtree(events_of(data, str(DAY)))
    shutil.copytree(data / EVENTS, other / EVENTS)
    for each in (data, other):
        _release(site, each)
    return published(data) == before, published(other) != before


def switch(site: Site, _effort: Effort) -> Result:
    """Two sites with the same published files and different visitors: is their next tier the same?"""
    site = site.narrowed()
    follows = replace(site, policy=replace(site.policy, budget=replace(site.policy.budget, tier="auto")))
    few, many = follows.directory("switch"), follows.directory("switch")
    logs.store(few, logs.scattered(200, 40))
    _release(follows, few)
    shutil.copytree(few, many, dirs_exist_ok=True)
    visitors = 1_000
    logs.crowd(events_of(many, str(DAY + timedelta(LENGTHS[BLOCK]))) / "000001.parquet", visitors)
    blocks = [window_of(BLOCK, DAY + timedelta(n * LENGTHS[BLOCK])) for n in range(2)]
    tiers = []
    for data in (few, many):
        with _door(follows, data) as door:
            tiers.append([door.tier(block).name for block in blocks])
    exact = {tier_of(size).name for size in (0, visitors)}
    return Result(
        f"with and without {visitors:,} visitors today: {' then '.join(tiers[0])}"
        + ("" if tiers[0] == tiers[1] else f", or {' then '.join(tiers[1])}"),
        tiers[0] == tiers[1],
        f"chosen from today's visitors it would be {' or '.join(sorted(exact))}",
        len(exact) > 1,
    )


def _release(site: Site, data: Path) -> list[Outcome]:
    """Release the first windows of the site's tier."""
    last = max((window.end for _, window in site.released(site.tier)), default=DAY)
    now_ms = Window("day", last).span_ms[1] + CLOSES_AFTER_MS
    return release_due(data, site.finest, lambda: now_ms, DAY)


@contextmanager
def _door(site: Site, data: Path) -> Iterator[Door]:
    with Ledger(data / LEDGER) as ledger, Engine() as engine:
        yield Door(data, site.finest, ledger, engine)


def published(data: Path) -> dict[str, bytes]:
    """Every published file."""
    files = sorted(file for file in (data / PUBLISHED).rglob("*") if file.is_file())
    return {str(file.relative_to(data)): file.read_bytes() for file in files}


def _is_charged_twice(site: Site) -> bool:
    """Whether a day that is released alone and within its week pays for both."""
    row = site.rows[0]
    with Ledger(site.directory("twice") / LEDGER) as ledger:
        charges = [_charge(site, row, site.tier, Window(name, DAY)) for name in ("day", "week")]
        for number, charge in enumerate(charges):
            ledger.once(f"{row.name}/{number}", charge, lambda: b"")
        return ledger.spent(str(DAY))[0] == sum(charge.nano_rho for charge in charges)


def _charge(site: Site, row: Statistic, tier: Tier, window: Window) -> Charge:
    drawn = site.mechanism(row, tier)
    half = max(drawn.nano_rho // 2, 1)
    return Charge(window.days, half, 0, tier.nano_rho, ATTO_DELTA_PER_DAY, "", "")
