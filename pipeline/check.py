"""What a policy means for the statistics: what would go wrong, and how exact they will be."""

from collections.abc import Iterator
from dataclasses import dataclass

from collector.consent import GRANT_DAYS
from collector.errors import PolicyError
from collector.policy import Policy
from pipeline.spec import Mechanism, mechanism
from pipeline.statistics import PURPOSE, STATISTICS, Statistic, enabled, nano_rho, rows
from pipeline.windows import LENGTHS, TIERS, Tier


@dataclass(frozen=True)
class Precision:
    """How exact one statistic is in one tier."""

    statistic: Statistic
    tier: Tier
    window: str
    mechanism: Mechanism


def tiers(policy: Policy) -> tuple[Tier, ...]:
    """The tiers that a site may be in under its policy."""
    return tuple(tier for tier in TIERS if policy.budget.tier in ("auto", tier.name))


def mistakes(policy: Policy) -> list[str]:
    """What the statistics cannot live with in a policy that is valid otherwise; each with its remedy."""
    found = []
    try:
        enabled(policy)
    except PolicyError as error:
        found += error.mistakes
    windows = {window for tier in tiers(policy) for window in (tier.total, tier.list) if window}
    longest = max(LENGTHS[window] for window in windows)
    for version in policy.versions:
        purpose = version.purposes.get(PURPOSE)
        if purpose is None or not any(purpose.levels.values()):
            continue
        # A window is released when its last day closes: its first day's records must still be there.
        kept = {f"purposes.{PURPOSE}": purpose.retention_days}
        kept |= {f"services.{each.name}": each.retention_days for each in version.services.values()}
        found += [
            f"versions.{version.id}.{name}.retention_days is {days}, but a {policy.budget.tier} site counts "
            f"windows of {longest} days: use at least {longest}, or a larger tier"
            for name, days in kept.items()
            if days < longest
        ]
    return found


def remarks(policy: Policy) -> Iterator[str]:
    """What is allowed, but perhaps not meant."""
    if policy.controller.proof_days < GRANT_DAYS:
        yield (
            f"controller.proof_days is {policy.controller.proof_days}, but a consent holds for {GRANT_DAYS} "
            "days: for the rest of them nothing will prove it"
        )
    for name in policy.budget.shares:
        if not any(STATISTICS[name].window(tier) for tier in tiers(policy)):
            yield f"budget.shares.{name} buys nothing: a {policy.budget.tier} site does not publish {name}"
    for version in policy.versions:
        purpose = version.purposes.get(PURPOSE)
        if purpose is None:
            yield f"version {version.id} has no purpose {PURPOSE}: nothing is counted under it"
        elif not purpose.level("cookie"):
            yield f'version {version.id} counts nobody: give {PURPOSE} cookie = "daily" or "long-lived"'


def precisions(policy: Policy) -> Iterator[Precision]:
    """The noise of every enabled statistic in every tier that releases it."""
    shares = enabled(policy)
    for name, row in rows(policy).items():
        for tier in tiers(policy):
            if window := row.window(tier):
                yield Precision(row, tier, window, mechanism(row, nano_rho(shares[name], tier.nano_rho)))
