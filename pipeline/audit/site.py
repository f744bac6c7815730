"""Whose configuration is attacked, and how hard."""

from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from collector.policy import Policy, Purpose, Version
from collector.record import LEVELS
from pipeline import check, spec
from pipeline.spec import Mechanism
from pipeline.statistics import PURPOSE, Statistic, enabled, nano_rho, rows
from pipeline.windows import BLOCK, START, Tier, Window, tier_named, window_of

DAY = window_of(BLOCK, date(2026, 6, 1)).start
"""The day the synthetic visitors come: a Monday on which windows of every length begin."""


@dataclass(frozen=True)
class Effort:
    """How much is tried."""

    guesses: int
    """Releases of either neighbour that a guesser sees."""
    removals: int
    """Visitor-days removed from a large log, one at a time."""
    tiny_logs: int
    units: int
    """Visitor-days removed from a small log, one at a time."""
    lures: int
    """Keys that one visitor-day alone has, per list."""
    releases: int
    """Of each statistic, for its intervals."""
    draws: int
    """Of noise, for its distribution."""
    attacks: int
    """On single records."""


QUICK = Effort(1_000, 4, 3, 2, 20_000, 120, 15_000, 400)
FULL = Effort(20_000, 200, 100, 10, 100_000, 2_000, 400_000, 2_000)


@dataclass(frozen=True, eq=False)
class Site:
    """One configuration: what is in force here is what is attacked."""

    policy: Policy
    scratch: Path
    """An empty directory for synthetic data."""
    rows: tuple[Statistic, ...] = ()
    """The statistics it publishes."""
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def finest(self) -> Policy:
        """The same budget, where everything is recorded as precisely as there is.

        What a coarser policy publishes is drawn from some log with fewer fields: what holds here holds there.
        """
        levels = {category: names[-1] for category, names in LEVELS.items()}
        purpose = Purpose(PURPOSE, "consent", "consent", "refused", "Everything.", 365, (), levels)
        version = Version("audit", date(1970, 1, 1), date(1970, 1, 1), "Everything.", {PURPOSE: purpose})
        return Policy(self.policy.controller, (version,), self.policy.budget)

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers it may be in."""
        return check.tiers(self.policy)

    @property
    def tier(self) -> Tier:
        """The tier it begins in."""
        name = self.policy.budget.tier
        return tier_named(START if name == "auto" else name)

    def released(self, tier: Tier) -> list[tuple[Statistic, Window]]:
        """What a tier releases, each over its window that holds DAY."""
        found = [(row, row.window(tier)) for row in self.rows]
        return [(row, window_of(name, DAY)) for row, name in found if name]

    def mechanism(self, row: Statistic, tier: Tier) -> Mechanism:
        """The noise that a statistic gets."""
        return spec.mechanism(row, nano_rho(self.shares[row.name], tier.nano_rho))

    def narrowed(self) -> "Site":
        """The same with three statistics of closed days only, where every run of a release counts."""
        closed = [row for row in self.rows if row.kind != "realtime"]
        learnt = [row for row in closed if row.is_private]
        rows = tuple(dict.fromkeys((*closed[:2], *learnt[:1], *closed)))[:3]
        shares = {row.name: self.shares[row.name] for row in rows}
        policy = replace(self.policy, budget=replace(self.policy.budget, shares=shares))
        return replace(self, policy=policy, rows=rows, shares=shares)

    def directory(self, name: str) -> Path:
        """A new directory for synthetic data."""
        path = self.scratch / f"{name}-{len(list(self.scratch.iterdir()))}"
        path.mkdir(mode=0o700)
        return path


def site_of(policy: Policy, scratch: Path) -> Site:
    """What a policy publishes, with the statistics as they are in force.

    Raises  PolicyError for a share of what is no statistic
    """
    return Site(policy, scratch, tuple(rows(policy).values()), dict(enabled(policy)))
