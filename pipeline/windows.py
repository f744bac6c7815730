"""When statistics are released, and for which stretches of days: fixed beforehand, for every site alike.

Nothing here reads data. Which tier a site is in follows from its policy or from what it has published.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from collector.record import DAY_MS, date_of

CLOSES_AFTER_MS = 2 * 60 * 60 * 1000
"""A UTC day closes two hours after its end, whatever has arrived by then."""

HOUR = "hour"
HOUR_MS = 60 * 60 * 1000
SETTLES_AFTER_MS = 60 * 1000
"""An hour of an open day is released from a minute after its end on: a worker writes within a second."""

LENGTHS = {HOUR: 1, "day": 1, "week": 7, "28-days": 28}
"""Window → days that pay for it. Each window is a whole number of the shorter ones."""

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
    def label(self) -> str:
        """How a release's name says when it begins: 2026-11-24."""
        return self.start.isoformat()

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


@dataclass(frozen=True)
class Hour(Window):
    """One hour of a UTC day, released while the day is open; its `start` and `end` are that day."""

    number: int
    """0 to 23."""

    @property
    def key(self) -> str:
        """The one key that is released of it: 00 to 23."""
        return f"{self.number:02}"

    @property
    def label(self) -> str:
        """How a release's name says when it begins: 2026-11-24T05."""
        return f"{self.start}T{self.key}"

    @property
    def first(self) -> "Hour":
        """The first hour of its day."""
        return Hour(self.name, self.start, 0)

    @property
    def span_ms(self) -> tuple[int, int]:
        """The first millisecond, and the first one after."""
        start = super().span_ms[0] + self.number * HOUR_MS
        return start, start + HOUR_MS

    @property
    def closes_ms(self) -> int:
        """The first millisecond at which it is released; records that arrive later are in no hour."""
        return self.span_ms[1] + SETTLES_AFTER_MS


def hours_over(day: date, now_ms: int) -> list[Hour]:
    """The hours of a day that may be released, from the first on."""
    hours = (Hour(HOUR, day, number) for number in range(DAY_MS // HOUR_MS))
    return [hour for hour in hours if hour.is_closed(now_ms)]


def open_days(now_ms: int) -> list[date]:
    """The UTC days that have begun and are not closed: today, and until 02:00 yesterday."""
    since, today = last_closed_day(now_ms) + timedelta(1), date_of(now_ms)
    return [since + timedelta(n) for n in range((today - since).days + 1)]


def window_named(name: str, label: str) -> Window | None:
    """The window that a release's name tells, such as week and 2026-11-23; None for one that is none."""
    day, _, number = label.partition("T")
    try:
        start = date.fromisoformat(day)
        found = Hour(name, start, int(number)) if name == HOUR else Window(name, start)
    except ValueError:
        return None
    return found if name in LENGTHS and found.label == label else None


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
    realtime: str | None = None
    """The window of what is released while its day is open; None: nothing is."""

    def window(self, kind: str) -> str | None:
        """The window of a statistic's kind; None where it is not released."""
        found: str | None = getattr(self, kind)
        return found


TIERS = (
    Tier("tiny", 0, 15_000_000, "28-days", None),
    Tier("small", 50, 15_000_000, "week", "week"),
    Tier("medium", 1_000, 15_000_000, "day", "week"),
    Tier("large", 10_000, 4_000_000, "day", "day", HOUR),
)

START = "small"
"""The tier of a site that has published nothing to tell its size by."""


def tier_named(name: str) -> Tier:
    """A row of TIERS by its name."""
    return next(tier for tier in TIERS if tier.name == name)


def tier_of(visitors_per_day: float) -> Tier:
    """The tier of a site that publishes so many visitors per day."""
    return [tier for tier in TIERS if visitors_per_day >= tier.visitors_per_day or tier is TIERS[0]][-1]
