"""What a release will do before it does it: its noise, its cost, and a hash that identifies both."""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version

from pipeline import noise, sql
from pipeline.published import Manifest
from pipeline.statistics import Statistic
from pipeline.windows import Hour, Window

CODE_VERSION = version("impersonal")

STEPS = (
    *("units", "scoped", "events", "visits", "visitor_days"),
    *("chosen_pages", "pings", "acts", "cohorts"),
)
"""What is built for a window before its statistics are counted, in order."""

VIEWS = ("scoped", "chosen_pages", "pings", "acts", "cohorts")
"""Those of them that are only made where a statistic asks for them."""


@dataclass(frozen=True)
class Mechanism:
    """The noise of one statistic and what it costs each day. ρ in billionths, δ in units of 1e-18."""

    sigma: float
    threshold: int | None
    """Private keys are published from this noisy value on."""
    nano_rho: int
    atto_delta: int


@cache
def mechanism(statistic: Statistic, budget_nano_rho: int) -> Mechanism:
    """The least noise that a budget of ρ buys.

    A statistic with declared and private keys runs two mechanisms of the same σ on disjoint cells of one
    vector. What a visitor-day changes in both has length l2 at most, and ρ grows with the square of that
    length, so the halves' costs add up to the cost of the whole, which is charged once.
    """
    row = statistic
    sigma = noise.sigma_within(row.l2, budget_nano_rho)
    threshold = None
    if row.is_private:
        threshold = noise.threshold_within(row.l0, row.l2, row.linf, sigma, row.atto_delta)
    return Mechanism(sigma, threshold, *cost(row.l0, row.l2, row.linf, sigma, threshold))


@cache
def cost(l0: int, l2: float, linf: int, sigma: float, threshold: int | None) -> tuple[int, int]:
    """What noise of this σ, and this threshold, cost each day under these bounds: ρ in 1e-9, δ in 1e-18."""
    delta = 0 if threshold is None else noise.atto_delta(l0, l2, linf, sigma, threshold)
    return noise.nano_rho(l2, sigma), delta


@dataclass(frozen=True)
class Spec:
    """One statistic over one window."""

    statistic: Statistic
    window: Window
    mechanism: Mechanism
    public_keys: tuple[str | None, ...]
    number: int = 1
    """1, or which correction of the release this is, from 2 on."""
    why: str = ""

    @property
    def release_id(self) -> str:
        """The name of the release: visitors/day/2026-11-24, and visitors/day/2026-11-24/2 corrected."""
        first = f"{self.statistic.name}/{self.window.name}/{self.window.label}"
        return first if self.number == 1 else f"{first}/{self.number}"

    @property
    def paid_by(self) -> str:
        """The release that pays for it: itself, but for an hour, which the first one of its day pays for."""
        window = self.window
        return replace(self, window=window.first).release_id if isinstance(window, Hour) else self.release_id

    @property
    def hash(self) -> str:
        """Identifies what is run: its bounds, its SQL, its noise and its public keys; 64 hex digits."""
        row = self.statistic
        steps = [sql.text(f"counting.{step}") for step in STEPS] + [sql.text(f"statistics.{row.name}")]
        spec = (row, self.window.name, self.mechanism, self.public_keys, steps)
        return hashlib.sha256(repr(spec).encode()).hexdigest()

    def manifest(self, inputs: str) -> Manifest:
        """What the release says of itself, with the commitment to its inputs."""
        row, drawn = self.statistic, self.mechanism
        learnt = f"from traffic, at {drawn.threshold} or more" if row.is_private else ""
        return Manifest(
            release=self.release_id,
            days=list(self.window.days),
            definition=row.definition,
            l0=row.l0,
            linf=row.linf,
            l2=row.l2,
            sigma=drawn.sigma,
            threshold=drawn.threshold,
            nano_rho=drawn.nano_rho,
            atto_delta=drawn.atto_delta,
            keys="; others ".join(filter(None, ("known beforehand" if self.public_keys else "", learnt))),
            public_keys=list(self.public_keys),
            spec_hash=self.hash,
            code_version=CODE_VERSION,
            inputs=inputs,
            why=self.why,
        )
