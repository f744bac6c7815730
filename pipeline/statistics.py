"""What is published: one row per statistic, its SQL in sql/statistics.<name>.sql.

The bounds are promises about those files: adding or removing one visitor-day (all events of one pseudonym
on one UTC day) changes at most `l0` cells, each by at most `linf`, all together by at most `l2`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from collector.enrich import DEVICES
from collector.errors import PolicyError
from collector.policy import Policy
from pipeline.channels import CHANNELS
from pipeline.keys import AGES, BROWSERS, COUNTRIES, DURATIONS, HOURS, NONE, OTHER, SYSTEMS, UNKNOWN
from pipeline.windows import LENGTHS, Hour, Tier, Window

PURPOSE = "statistics"
"""The purpose that records are counted for."""

ATTO_DELTA_PER_DAY = 1_000_000
"""δ of all thresholded lists of a day together, in units of 1e-18: 1e-12."""


@dataclass(frozen=True)
class Statistic:
    """One published statistic."""

    name: str
    title: str
    definition: str
    share: float
    """Part of a day's ρ, unless the policy says otherwise; 0: published only where the policy asks for it."""
    kind: str
    """total: a number or a few, list: one row per key, or realtime: hour by hour while the day is open."""
    l0: int = 1
    """Cells one visitor-day can change."""
    linf: int = 1
    """By how much it can change one of them."""
    l2: float = 1
    """Length of the whole change."""
    keys: tuple[str | None, ...] = (None,)
    """Keys known without looking at traffic: published always, zeros included. A total's one key is None."""
    declared: str = ""
    """Which list of the policy's [budget] names further such keys."""
    rest: str | None = None
    """The key that counts whatever has none of its own; None where there is nothing else to count."""
    is_private: bool = False
    """Other keys come from traffic and are published only above a threshold."""
    is_partition: bool = False
    """Every visitor-day counts under at most one key, so that the cells add up to a total."""
    is_closed: bool = False
    """What has none of the keys is not counted."""
    is_named: bool = False
    """A key begins with a goal's or funnel's name, up to a colon: a visitor-day changes one cell of each."""
    shortest: str = "day"
    """The shortest window it is published for."""

    def window(self, tier: Tier) -> str | None:
        """The window it is published for in a tier; None where it is not."""
        found = tier.window(self.kind)
        return found and max(found, self.shortest, key=LENGTHS.__getitem__)

    def public_keys(self, policy: Policy) -> tuple[str | None, ...]:
        """The keys that are published always, with those that the policy declares."""
        declared = getattr(policy.budget, self.declared) if self.declared else ()
        return tuple(dict.fromkeys((*self.keys, *declared)))

    def keys_of(self, window: Window, policy: Policy) -> tuple[str | None, ...]:
        """Those of them that are published for a window: an hour has its own alone."""
        return (window.key,) if isinstance(window, Hour) else self.public_keys(policy)

    def under(self, keys: Collection[str | None]) -> "Statistic":
        """With the bounds that hold for these public keys: fewer names are fewer cells to change."""
        if not self.is_named:
            return self
        l0 = min(self.l0, len({str(key).partition(":")[0] for key in keys}))
        return replace(self, l0=l0, l2=self.linf * l0**0.5)

    def again(self, keys: Collection[str | None]) -> "Statistic":
        """As a correction counts it: under keys that are published already, for a day's δ is spent."""
        if not (self.is_private or self.is_closed):
            return self
        return replace(self.under(keys), keys=tuple(keys), declared="", is_private=False, is_closed=True)

    @property
    def atto_delta(self) -> int:
        """The part of a day's δ the statistic may spend, in units of 1e-18."""
        return ATTO_DELTA_PER_DAY // len(PRIVATE) if self.is_private else 0


def _of_source(name: str, title: str, what: str, share: float, declared: str = "") -> Statistic:
    """A list of where first visits came from. Anybody can make up a link, so its keys are private."""
    return Statistic(
        name,
        title,
        f"Visitor-days by {what} of the first page of their first visit.",
        share,
        "list",
        keys=(NONE,),
        declared=declared,
        is_private=True,
        is_partition=True,
    )


STATISTICS: dict[str, Statistic] = {
    row.name: row
    for row in (
        Statistic(
            "visitors",
            "Visitors",
            "Visitor-days: pseudonyms per UTC day that made a visit. Days add up; people are not told apart.",
            share=0.08,
            kind="total",
        ),
        Statistic(
            "pageviews",
            "Page views",
            "Pages shown, at most 10 of each visitor-day.",
            share=0.12,
            kind="total",
            linf=10,
            l2=10,
        ),
        Statistic(
            "clipped",
            "Visitor-days cut at 10 page views",
            "Visitor-days that saw more than the 10 pages which count: what `pageviews` misses.",
            share=0.01,
            kind="total",
        ),
        Statistic(
            "visits",
            "Visits",
            "Stretches of events without a gap of more than 30 minutes, at most 2 of each visitor-day.",
            share=0.05,
            kind="total",
            linf=2,
            l2=2,
        ),
        Statistic(
            "bounce",
            "Bounces",
            "First visits of a visitor-day that had one page view and no interactive event, and the others.",
            share=0.05,
            kind="total",
            keys=("bounced", "stayed"),
            is_partition=True,
        ),
        Statistic(
            "consents",
            "First choices",
            "Browsers that were asked and chose for the first time; who ignores the question is in neither.",
            share=0.02,
            kind="total",
            keys=("granted", "refused"),
        ),
        Statistic(
            "durations",
            "Visit durations",
            "First visits of a visitor-day by the time from their first to their last event.",
            share=0.06,
            kind="total",
            keys=DURATIONS,
            is_partition=True,
        ),
        Statistic(
            "engaged",
            "Engaged time",
            "First visits of a visitor-day by the time for which their pages were visible and focused.",
            share=0,
            kind="total",
            keys=DURATIONS,
            is_partition=True,
        ),
        Statistic(
            "goals",
            "Goals",
            "Visitor-days that reached the goal, for at most 3 goals of each.",
            share=0,
            kind="total",
            l0=3,
            l2=3**0.5,
            keys=(),
            declared="goals",
            is_closed=True,
            is_named=True,
        ),
        Statistic(
            "funnels",
            "Funnels",
            "Visitor-days by the furthest step of the funnel that they reached, one after the other.",
            share=0,
            kind="total",
            l0=3,
            l2=3**0.5,
            keys=(),
            declared="steps",
            is_closed=True,
            is_named=True,
        ),
        Statistic(
            "returning",
            "New and returning visitors",
            "Visitors who granted a long-lived pseudonym, each once: new in the window, or from before.",
            share=0,
            kind="total",
            keys=("new", "returning"),
            shortest="week",
        ),
        Statistic(
            "retention",
            "Retention",
            "Visitors who granted a long-lived pseudonym, each once, by the weeks since they did.",
            share=0,
            kind="list",
            keys=AGES,
            shortest="week",
        ),
        Statistic(
            "pages",
            "Pages",
            "Visitor-days that saw the page, for at most 6 pages of each; cells do not add up to a total.",
            share=0.20,
            kind="list",
            l0=6,
            l2=6**0.5,
            keys=(),
            declared="pages",
            is_private=True,
        ),
        Statistic(
            "page_seconds",
            "Seconds on a page",
            "Seconds a page was visible and focused, at most 120 on each of 6 pages of a visitor-day.",
            share=0,
            kind="list",
            l0=6,
            linf=120,
            l2=120 * 6**0.5,
            keys=(),
            declared="pages",
            is_closed=True,
        ),
        Statistic(
            "page_scroll",
            "Per cent of a page scrolled to",
            "Per cent of a page that were scrolled to, at most 100 of each of 6 pages of a visitor-day.",
            share=0,
            kind="list",
            l0=6,
            linf=100,
            l2=100 * 6**0.5,
            keys=(),
            declared="pages",
            is_closed=True,
        ),
        Statistic(
            "entry_pages",
            "Entry pages",
            "Visitor-days whose first visit began on the page.",
            share=0.04,
            kind="list",
            keys=(),
            declared="pages",
            is_private=True,
            is_partition=True,
        ),
        Statistic(
            "exit_pages",
            "Exit pages",
            "Visitor-days whose last visit ended on the page.",
            share=0.03,
            kind="list",
            keys=(),
            declared="pages",
            is_private=True,
            is_partition=True,
        ),
        _of_source("referrers", "Referrers", "the host of the link to", share=0.09),
        _of_source("utm_sources", "Campaign sources", "the utm_source (or source, or ref)", 0.014),
        _of_source("utm_mediums", "Campaign mediums", "the utm_medium", 0.013),
        _of_source("utm_campaigns", "Campaigns", "the utm_campaign", 0.013, declared="campaigns"),
        Statistic(
            "channels",
            "Channels",
            "Visitor-days by the kind of source of their first visit: paid, organic, social, direct, ….",
            share=0,
            kind="list",
            keys=CHANNELS,
            is_partition=True,
        ),
        Statistic(
            "hours",
            "Hours",
            "Visitor-days by the UTC hour of their first event.",
            share=0.05,
            kind="list",
            keys=HOURS,
            is_partition=True,
        ),
        Statistic(
            "realtime",
            "Visitors by the hour, today",
            "Visitor-days by the UTC hour they were first seen in, as known when that hour was released.",
            share=0,
            kind="realtime",
            keys=HOURS,
        ),
        Statistic(
            "countries",
            "Countries",
            "Visitor-days by the country of their first event, ISO 3166-1 alpha-2.",
            share=0.07,
            kind="list",
            keys=(*COUNTRIES, UNKNOWN),
            rest=UNKNOWN,
            is_partition=True,
        ),
        Statistic(
            "browsers",
            "Browsers",
            "Visitor-days by the browser family of their first event.",
            share=0.03,
            kind="list",
            keys=(*BROWSERS, OTHER, UNKNOWN),
            rest=OTHER,
            is_partition=True,
        ),
        Statistic(
            "operating_systems",
            "Operating systems",
            "Visitor-days by the operating system of their first event.",
            share=0.02,
            kind="list",
            keys=(*SYSTEMS, OTHER, UNKNOWN),
            rest=OTHER,
            is_partition=True,
        ),
        Statistic(
            "devices",
            "Devices",
            "Visitor-days by the device class of their first event.",
            share=0.02,
            kind="list",
            keys=(*DEVICES, UNKNOWN),
            rest="other",
            is_partition=True,
        ),
    )
}
"""By name, in the order of release. What their shares leave is for what a policy adds."""

DEFAULT = {name: row.share for name, row in STATISTICS.items() if row.share}
"""Statistic → share of what is published unless the policy says otherwise."""

PRIVATE = tuple(name for name, row in STATISTICS.items() if row.is_private)


def enabled(policy: Policy) -> Mapping[str, float]:
    """Statistic → share of a day's ρ: the policy's [budget.shares], or the default set.

    Raises  PolicyError for a name that is no statistic, and for one that the policy leaves without a key
    """
    shares = policy.budget.shares
    mistakes = [_mistake(name, policy) for name in shares]
    if any(mistakes):
        raise PolicyError([mistake for mistake in mistakes if mistake])
    return shares or DEFAULT


def _mistake(name: str, policy: Policy) -> str:
    """What is wrong with a share; empty for nothing."""
    if name not in STATISTICS:
        return f"budget.shares.{name} is no statistic: use one of {', '.join(STATISTICS)}"
    row = STATISTICS[name]
    if row.is_closed and not row.public_keys(policy):
        table = {"steps": "funnels"}.get(row.declared, row.declared)
        return f"budget.shares.{name} counts nothing: name what it is to count in budget.{table}"
    return ""


def rows(policy: Policy) -> dict[str, Statistic]:
    """The statistics that a policy publishes, in the order of release, with the bounds that its keys allow.

    Raises  PolicyError as `enabled`
    """
    shares = enabled(policy)
    return {name: row.under(row.public_keys(policy)) for name, row in STATISTICS.items() if name in shares}


def nano_rho(share: float, nano_rho_per_day: int) -> int:
    """A share of a day's budget in billionths of ρ, rounded down: the shares never exceed the day."""
    return int(Fraction(str(share)) * nano_rho_per_day)
