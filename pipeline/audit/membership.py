"""Attacks by likelihood: was this visitor-day in the data? ρ says how often a guesser may be right."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from statistics import NormalDist

from pipeline.audit import logs
from pipeline.audit.guess import Clue, clues, cost, guess, louder
from pipeline.audit.result import Point, Result, Z, guessing_bound, guessing_distance, in_percent
from pipeline.audit.site import DAY, Effort, Site
from pipeline.spec import Mechanism
from pipeline.statistics import STATISTICS
from pipeline.windows import Tier, Window, tier_named

_CROWD = 1_200
_DISTINCT = 0.25
"""A distance of two truths, in halves of a standard error, of which seven times as much is plain to see."""
_EXACT = 0.05
"""A σ that is none: what counts without noise would tell."""

_UNIQUE: logs.Row = {"country": "AQ", "browser": "Opera Mobile", "os": "Chrome OS", "device": "tablet"}
_COMBINED = ("countries", "browsers", "operating_systems", "devices")


def membership(site: Site, effort: Effort) -> Result:
    """Guess from everything that is published about a day whether its heaviest visitor was there."""
    crowd = logs.crowd(site.directory("membership") / "crowd.parquet", _CROWD)
    victim = logs.write(crowd.with_name("victim.parquet"), logs.heaviest())
    points, dearest = [], list[Clue]()
    for names, tier in _different(site).items():
        known = clues(site, tier, [crowd, victim], [crowd])
        points.append(guess(names, known, effort.guesses, guessing_bound(cost(known))))
        dearest = max(dearest, known, key=cost)
    times, bound = _told_by(cost(dearest), effort), guessing_bound(cost(dearest))
    control = guess(f"1/{times:.1f} of the noise", louder(dearest, times), effort.guesses, bound)
    return _judged(points, control)


def unique_combination(site: Site, effort: Effort) -> Result:
    """The same for a visitor whose country, browser, system and device nobody else has."""
    crowd = logs.crowd(site.directory("unique") / "crowd.parquet", _CROWD)
    victim = logs.write(crowd.with_name("victim.parquet"), logs.heaviest(**_UNIQUE))
    points, known = [], list[Clue]()
    for names, tier in _different(site).items():
        known = clues(site, tier, [crowd, victim], [crowd], _COMBINED)
        if known:
            points.append(guess(names, known, effort.guesses, guessing_bound(cost(known))))
    free = [_alone(name, 1, 0) for name in _COMBINED]
    return _judged(points, guess("exact counts", free, effort.guesses, guessing_bound(cost(free))))


def sybils(site: Site, effort: Effort) -> Result:
    """Fake visitors bring keys to their threshold but for one: does the victim tip them over?"""
    points = []
    for names, tier in _different(site).items():
        for row, window in site.released(tier):
            drawn = site.mechanism(row, tier)
            if drawn.threshold is not None:
                lured = ((drawn.threshold, drawn.threshold - 1),) * row.l0
                bound = guessing_bound(drawn.nano_rho, drawn.atto_delta)
                known = [Clue(row, window, drawn, private=lured)]
                points.append(guess(f"{names}: {row.name}", known, effort.guesses, bound))
    gate = Clue(STATISTICS["pages"], Window("day", DAY), Mechanism(0.3, 10, 0, 0), private=((10, 9),))
    return _judged(points, guess("an exact gate at 10", [gate], effort.guesses, guessing_bound(0)))


def several_days(site: Site, effort: Effort) -> Result:
    """A visitor on all days of a week: kρ over separate days, k²ρ inside one window, and no more."""
    directory = site.directory("several")
    crowd = logs.crowd(directory / "crowd.parquet", _CROWD)
    once = logs.write(directory / "once.parquet", logs.heaviest())
    week = [row for n in range(7) for row in logs.heaviest(day=DAY + timedelta(n))]
    often = logs.write(directory / "often.parquet", week)
    few, trials = [row.name for row in site.rows[:2]], effort.guesses // 2
    points = []
    for names, tier in _different(site, by_window=True).items():
        known, bound_rho = list[Clue](), 0
        for each in clues(site, tier, [crowd, often], [crowd], few):
            is_daily = each.window.length == 1
            known += [each] * 7 if is_daily else [each]
            bound_rho += each.mechanism.nano_rho * (7 if is_daily else 49)
        if known:
            points.append(guess(names, known, trials, guessing_bound(bound_rho)))
    # A week of days in one window must tell more than one day may: days add up, as the README says.
    weekly = clues(site, tier_named("small"), [crowd, often], [crowd], few)
    single = clues(site, tier_named("small"), [crowd, once], [crowd], few)
    times = _DISTINCT / guessing_distance(cost(single))
    bound = guessing_bound(cost(single) * times * times)
    name = f"a week against the bound of a day, at 1/{times:.1f} of the noise"
    return _judged(points, guess(name, louder(weekly, times), effort.guesses, bound))


def combined(site: Site, tier: Tier, effort: Effort) -> list[Point]:
    """Differencing: a total against its parts, and a week against six of its days."""
    directory = site.directory("combined")
    crowd = logs.crowd(directory / "crowd.parquet", _CROWD)
    victim = logs.write(directory / "victim.parquet", logs.heaviest())
    parts = [row.name for row in site.rows if row.is_partition or row.name == "visitors"]
    whole = clues(site, tier, [crowd, victim], [crowd], parts)
    points = [guess("total − parts", whole, effort.guesses, guessing_bound(cost(whole)))] if whole else []
    first = [each for each in whole if each.statistic.kind == "total"][:1]
    # Had both been released, each would have been charged.
    both = [replace(each, window=Window(name, DAY)) for each in first for name in ("day", "week")]
    if both:
        points.append(guess("week − 6 days", both, effort.guesses, guessing_bound(cost(both))))
    return points


def _told_by(nano_rho: int, effort: Effort) -> float:
    """By how much noise must shrink, at least to a quarter, for so many guesses to show it surely."""
    surely = guessing_bound(nano_rho) + 2 * Z * 0.5 / (2 * effort.guesses) ** 0.5
    return max(4.0, NormalDist().inv_cdf(min(surely, 0.99)) / guessing_distance(nano_rho))


def _alone(name: str, present: int, absent: int) -> Clue:
    return Clue(STATISTICS[name], Window("day", DAY), Mechanism(_EXACT, None, 0, 0), ((present, absent),))


def _different(site: Site, by_window: bool = False) -> dict[str, Tier]:
    """The tiers that differ in what they draw, each under the names of all that are alike."""
    alike: dict[object, list[Tier]] = {}
    for tier in site.tiers:
        drawn = tuple((row.name, site.mechanism(row, tier)) for row, _ in site.released(tier))
        alike.setdefault((drawn, (tier.total, tier.list) if by_window else ()), []).append(tier)
    return {", ".join(tier.name for tier in tiers): tiers[0] for tiers in alike.values()}


def _judged(points: Sequence[Point], control: Point) -> Result:
    return Result(
        in_percent(tuple(points)) or "nothing of the kind is published",
        all(point.is_held for point in points),
        f"{control.name}: {control.value:.1%}",
        not control.is_held,
        tuple(points),
    )
