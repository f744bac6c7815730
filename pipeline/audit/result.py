"""What an attack found: measured against its bound, with a control that shows it can find something."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

Z = 4.75
"""Standard errors that a measurement may stray: an audit that is right fails one comparison in a million."""


@dataclass(frozen=True)
class Point:
    """One measured number with its interval, beside what it may be at most."""

    name: str
    value: float
    low: float
    high: float
    bound: float

    @property
    def is_held(self) -> bool:
        """Whether the measurement is at the bound, or not surely above it."""
        return self.low <= self.bound


@dataclass(frozen=True)
class Result:
    """The outcome of one attack."""

    measured: str
    is_held: bool
    control: str
    """The same attack where it must succeed."""
    is_control_caught: bool
    points: tuple[Point, ...] = ()

    @property
    def verdict(self) -> str:
        """held, exceeded, or control missed: then nothing follows from what was measured."""
        if not self.is_held:
            return "exceeded"
        return "held" if self.is_control_caught else "control missed"


def proportion(name: str, hits: float, trials: int, bound: float) -> Point:
    """A measured share with Wilson's interval."""
    share, z2 = hits / trials, Z * Z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z * sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return Point(name, share, max(middle - half, 0.0), min(middle + half, 1.0), bound)


def guessing_bound(nano_rho: float, atto_delta: float = 0) -> float:
    """How often the best guesser with even odds is right, where noise costs ρ: Φ(√(2ρ) / 2), and δ."""
    return NormalDist().cdf(guessing_distance(nano_rho)) + atto_delta * 1e-18


def guessing_distance(nano_rho: float) -> float:
    """√(2ρ) / 2: how far from the middle between two truths each of them is, in σ."""
    return sqrt(2 * nano_rho * 1e-9) / 2


def worst(points: tuple[Point, ...]) -> Point:
    """The point that is least far below its bound, or furthest above."""
    return max(points, key=lambda point: point.low - point.bound)


def in_percent(points: tuple[Point, ...]) -> str:
    """The measured shares in words; of many, the one nearest to its bound."""
    if len(points) > 4:
        return f"{len(points)} compared, nearest {in_percent((worst(points),))}"
    return "; ".join(
        f"{point.name} {point.value:.1%} ({point.low:.1%}–{point.high:.1%}) of {point.bound:.1%}"
        for point in points
    )
