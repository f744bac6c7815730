"""What is published: one row per statistic, its SQL in sql/statistics.<name>.sql.

The bounds are promises about those files: adding or removing one visitor-day (all events of one pseudonym
on one UTC day) changes at most `l0` cells, each by at most `linf`, all together by at most `l2`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from collector.enrich import DEVICES
from collector.errors import PolicyError
from collector.policy import Policy

UNKNOWN = "(unknown)"
OTHER = "(other)"

# ISO 3166-1 alpha-2, the 249 codes officially assigned.
_ISO_3166 = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV
    BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES
    ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE
    IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY
    MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU
    NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM
    SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE
    VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = tuple(_ISO_3166.split())

# The most used of the families the collector records: every further cell would mostly hold noise.
BROWSERS = (
    "Chrome",
    "Chrome Mobile",
    "Chrome Mobile iOS",
    "Chrome Mobile WebView",
    "Edge",
    "Edge Mobile",
    "Firefox",
    "Firefox Mobile",
    "Firefox iOS",
    "Mobile Safari",
    "Mobile Safari UI/WKWebView",
    "Opera",
    "Opera Mobile",
    "Safari",
    "Samsung Internet",
)

ATTO_DELTA_PER_DAY = 1_000_000
"""δ of all thresholded lists of a day together, in units of 1e-18: 1e-12."""


@dataclass(frozen=True)
class Statistic:
    """One published statistic."""

    name: str
    title: str
    definition: str
    l0: int
    """Cells one visitor-day can change."""
    linf: int
    """By how much it can change one of them."""
    l2: float
    """Length of the whole change."""
    share: float
    """Part of a day's ρ, unless the policy says otherwise."""
    kind: str
    """total: a number or two, or list: one row per key."""
    keys: tuple[str | None, ...] = (None,)
    """Keys known without looking at traffic: published always, zeros included. A total's one key is None."""
    rest: str | None = None
    """The key that counts whatever has none of its own; None where there is nothing else to count."""
    is_private: bool = False
    """Other keys come from traffic and are published only above a threshold."""
    is_partition: bool = False
    """Every visitor-day counts under at most one key, so that the cells add up to a total."""

    def public_keys(self, policy: Policy) -> tuple[str | None, ...]:
        """The keys that are published always; of pages, those the policy declares."""
        return tuple(dict.fromkeys(policy.budget.pages)) if self.is_private else self.keys

    @property
    def atto_delta(self) -> int:
        """The part of a day's δ the statistic may spend, in units of 1e-18."""
        return ATTO_DELTA_PER_DAY // len(PRIVATE) if self.is_private else 0


STATISTICS: dict[str, Statistic] = {
    row.name: row
    for row in (
        Statistic(
            "visitors",
            "Visitors",
            "Visitor-days: pseudonyms per UTC day that made a visit. Days add up; people are not told apart.",
            l0=1,
            linf=1,
            l2=1,
            share=0.08,
            kind="total",
        ),
        Statistic(
            "pageviews",
            "Page views",
            "Pages shown, at most 10 of each visitor-day.",
            l0=1,
            linf=10,
            l2=10,
            share=0.12,
            kind="total",
        ),
        Statistic(
            "visits",
            "Visits",
            "Stretches of events without a gap of more than 30 minutes, at most 2 of each visitor-day.",
            l0=1,
            linf=2,
            l2=2,
            share=0.05,
            kind="total",
        ),
        Statistic(
            "bounce",
            "Bounces",
            "First visits of a visitor-day that had one page view and no interactive event, and the others.",
            l0=1,
            linf=1,
            l2=1,
            share=0.05,
            kind="total",
            keys=("bounced", "stayed"),
            is_partition=True,
        ),
        Statistic(
            "pages",
            "Pages",
            "Visitor-days that saw the page, for at most 6 pages of each; cells do not add up to a total.",
            l0=6,
            linf=1,
            l2=6**0.5,
            share=0.20,
            kind="list",
            keys=(),
            is_private=True,
        ),
        Statistic(
            "entry_pages",
            "Entry pages",
            "Visitor-days whose first visit began on the page.",
            l0=1,
            linf=1,
            l2=1,
            share=0.04,
            kind="list",
            keys=(),
            is_private=True,
            is_partition=True,
        ),
        Statistic(
            "countries",
            "Countries",
            "Visitor-days by the country of their first event, ISO 3166-1 alpha-2.",
            l0=1,
            linf=1,
            l2=1,
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
            l0=1,
            linf=1,
            l2=1,
            share=0.03,
            kind="list",
            keys=(*BROWSERS, OTHER, UNKNOWN),
            rest=OTHER,
            is_partition=True,
        ),
        Statistic(
            "devices",
            "Devices",
            "Visitor-days by the device class of their first event.",
            l0=1,
            linf=1,
            l2=1,
            share=0.02,
            kind="list",
            keys=(*DEVICES, UNKNOWN),
            rest="other",
            is_partition=True,
        ),
    )
}
"""By name, in the order of release. The shares are those of a default set of sixteen, these nine among it."""

PRIVATE = tuple(name for name, row in STATISTICS.items() if row.is_private)


def enabled(policy: Policy) -> Mapping[str, float]:
    """Statistic → share of a day's ρ: the policy's [budget.shares], or everything at its own share.

    Raises  PolicyError for a name that is no statistic
    """
    shares = policy.budget.shares
    unknown = [name for name in shares if name not in STATISTICS]
    if unknown:
        known = ", ".join(STATISTICS)
        raise PolicyError([f"budget.shares.{name} is no statistic: use one of {known}" for name in unknown])
    return shares or {name: row.share for name, row in STATISTICS.items()}


def nano_rho(share: float, nano_rho_per_day: int) -> int:
    """A share of a day's budget in billionths of ρ, rounded down: the shares never exceed the day."""
    return int(Fraction(str(share)) * nano_rho_per_day)
