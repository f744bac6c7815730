"""When statistics are released, and for which stretches of days: fixed beforehand, for every site alike.

Nothing here reads data. Which tier a site is in follows from its policy or from what it has published.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from collector.record import DAY_MS, date_of

CLOSES_AFTER_MS = 2 * 60 * 60 * 1000
"""A UTC day closes two hours after its end, whatever has arrived by then."""

LENGTHS = {"day": 1, "week": 7, "28-days": 28}
"""Window → days. Each window is a whole number of the shorter ones."""

BLOCK = "28-days"
"""The window within which a site's tier does not change."""

_MONDAY = date(1970, 1, 5)
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Window:
    """A stretch of UTC days that one release sums. Weeks are ISO weeks; 28-day blocks are four of them."""

    name: str
    start: date

    @property
    def length(self) -> int:
        """Days."""
        return LENGTHS[self.name]

    @property
    def end(self) -> date:
        """The last day."""
        return self.start + timedelta(self.length - 1)

    @property
    def days(self) -> tuple[str, ...]:
        """Every day, as 2026-11-24."""
        return tuple((self.start + timedelta(n)).isoformat() for n in range(self.length))

    @property
    def span_ms(self) -> tuple[int, int]:
        """The first millisecond, and the first one after."""
        start = (self.start - _EPOCH).days * DAY_MS
        return start, start + self.length * DAY_MS

    @property
    def closes_ms(self) -> int:
        """The first millisecond at which every day is closed: no record of it can arrive any more."""
        return self.span_ms[1] + CLOSES_AFTER_MS

    def is_closed(self, now_ms: int) -> bool:
        """Whether every day is closed."""
        return now_ms >= self.closes_ms

    def inside(self, name: str) -> Iterator["Window"]:
        """The shorter windows of one name that this one is made of."""
        for n in range(0, self.length, LENGTHS[name]):
            yield Window(name, self.start + timedelta(n))


def window_of(name: str, day: date) -> Window:
    """The window of that name which a day lies in."""
    return Window(name, day - timedelta((day - _MONDAY).days % LENGTHS[name]))


def last_closed_day(now_ms: int) -> date:
    """The latest UTC day that is closed."""
    return date_of(now_ms - CLOSES_AFTER_MS) - timedelta(1)


@dataclass(frozen=True)
class Tier:
    """How much a site of one size releases and spends: a larger site needs less budget for finer windows."""

    name: str
    visitors_per_day: int
    """The fewest published visitors per day that put a site here."""
    nano_rho: int
    """ρ of zCDP that one UTC day may spend in all, in billionths."""
    total: str
    """The window of single numbers."""
    list: str | None
    """The window of lists; None: none are released."""

    def window(self, kind: str) -> str | None:
        """The window of a statistic's kind; None where it is not released."""
        return self.total if kind == "total" else self.list


TIERS = (
    Tier("tiny", 0, 15_000_000, "28-days", None),
    Tier("small", 50, 15_000_000, "week", "week"),
    Tier("medium", 1_000, 15_000_000, "day", "week"),
    Tier("large", 10_000, 4_000_000, "day", "day"),
)

START = "small"
"""The tier of a site that has published nothing to tell its size by."""


def tier_named(name: str) -> Tier:
    """A row of TIERS by its name."""
    return next(tier for tier in TIERS if tier.name == name)


def tier_of(visitors_per_day: float) -> Tier:
    """The tier of a site that publishes so many visitors per day."""
    return [tier for tier in TIERS if visitors_per_day >= tier.visitors_per_day or tier is TIERS[0]][-1]
