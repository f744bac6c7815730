"""The keys of lists that are known without looking at traffic. Publishing them tells nothing about anyone."""

from math import inf

UNKNOWN = "(unknown)"
OTHER = "(other)"
NONE = "(none)"
"""No link led here, or no campaign."""

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

SYSTEMS = ("Android", "Chrome OS", "Linux", "Mac OS X", "Ubuntu", "Windows", "iOS")

DURATIONS = (
    "0-3 s",
    "3-10 s",
    "10-30 s",
    "30-60 s",
    "60-120 s",
    "120-300 s",
    "300-600 s",
    "600-1200 s",
    "1200-1800 s",
    "1800+ s",
)
"""Bins of seconds, closed below and open above. A visit of one event lasts 0 s."""


def edges(key: str) -> tuple[float, float]:
    """The bounds of a bin in seconds, closed below, open above: "3-10 s", "1800+ s"."""
    low, _, high = key.removesuffix(" s").removesuffix("+").partition("-")
    return float(low), float(high or inf)


AGES = (*map(str, range(12)), "12+")
"""Whole weeks since a visitor granted a long-lived pseudonym: 0 in the same ISO week, or window."""

HOURS = tuple(f"{hour:02}" for hour in range(24))
"""Of the UTC day."""
