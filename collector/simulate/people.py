"""Who visits: attitudes towards consent, browsers, countries with real addresses, and bots.

Every share is made up; what an agent or an address stands for is checked against the collector by a test.
"""

import random
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import iptocc

ATTITUDES: dict[str, int] = {
    "grants by fetch": 38,
    "grants by form": 7,
    "grants improvement only": 2,
    "grants, with GPC on": 1,
    "withdraws later": 4,
    "refuses": 22,
    "ignores the bar": 16,
    "sends GPC": 6,
    "sends DNT": 4,
}
"""What people do about consent, and how many in a hundred do it."""

ONE_PURPOSE = "grants improvement only"
"""Whose records are kept, for another purpose than statistics."""


@dataclass(frozen=True)
class Agent:
    """A browser as it names itself, and what a reader of that name must find."""

    text: str
    browser: str
    device: str
    os: str
    weight: int


_MOZILLA = "Mozilla/5.0"
_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"
_WINDOWS = f"{_MOZILLA} (Windows NT 10.0; Win64; x64"
_MAC = f"{_MOZILLA} (Macintosh; Intel Mac OS X 10_15_7)"
_IPHONE = f"{_MOZILLA} (iPhone; CPU iPhone OS 18_5 like Mac OS X)"
_IPAD = f"{_MOZILLA} (iPad; CPU OS 18_5 like Mac OS X)"
_ANDROID = f"{_MOZILLA} (Linux; Android 15; Pixel 9)"
_CHROME = f"{_BLINK} Chrome/142.0.0.0"
_SAFARI = f"{_APPLE} Version/18.5"
_MOBILE_SAFARI = f"{_SAFARI} Mobile/15E148 Safari/604.1"

AGENTS = (
    Agent(f"{_WINDOWS}) {_CHROME} Safari/537.36", "Chrome", "desktop", "Windows", 26),
    Agent(f"{_MAC} {_SAFARI} Safari/605.1.15", "Safari", "desktop", "Mac OS X", 10),
    Agent(f"{_WINDOWS}; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox", "desktop", "Windows", 9),
    Agent(f"{_WINDOWS}) {_CHROME} Safari/537.36 Edg/142.0.0.0", "Edge", "desktop", "Windows", 8),
    Agent(f"{_IPHONE} {_MOBILE_SAFARI}", "Mobile Safari", "mobile", "iOS", 22),
    Agent(f"{_ANDROID} {_CHROME} Mobile Safari/537.36", "Chrome Mobile", "mobile", "Android", 20),
    Agent(f"{_IPAD} {_MOBILE_SAFARI}", "Mobile Safari", "tablet", "iOS", 5),
)

_COMPATIBLE = f"{_MOZILLA} (compatible;"
BOTS: dict[str, tuple[str, ...]] = {
    "bot: search": (
        f"{_COMPATIBLE} Googlebot/2.1; +http://www.google.com/bot.html)",
        f"{_COMPATIBLE} bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    ),
    "bot: monitoring": (f"{_COMPATIBLE} UptimeRobot/2.0; http://www.uptimerobot.com/)",),
    "bot: ai": (
        f"{_MOZILLA} {_BLINK}; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        f"{_COMPATIBLE} ClaudeBot/1.0; +claudebot@anthropic.com)",
    ),
}

COUNTRIES: dict[str, int] = {
    "DE": 24,
    "US": 18,
    "FR": 13,
    "GB": 11,
    "NL": 7,
    "ES": 6,
    "IT": 6,
    "PL": 5,
    "SE": 4,
    "JP": 3,
    "BR": 2,
    "IN": 1,
}
"""Where people live, and how many in a hundred."""

KINDS = (*ATTITUDES, *BOTS)
"""Every kind of visitor."""

_IPV6_SHARE = 0.1
_IPV6_EUROPE = 0x2A0 << 116  # 2a00::/12, where addresses of many countries lie
_MIN_ADDRESS_CHARACTERS = 9  # shorter ones could stand in a file by accident and spoil a search for them


@dataclass(eq=False)
class Person:
    """One visitor with one browser; `cookies` is their jar, kept by whoever sends their requests."""

    number: int
    kind: str
    agent: str
    address: str
    about: Agent | None = None
    """What the agent says; None for a bot."""
    country: str = ""
    spoofed: str = ""
    """An address they write into X-Forwarded-For themselves, left of the one the proxy adds."""
    cookies: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    """Every value of the id cookie they were ever given."""

    @property
    def uses_form(self) -> bool:
        """Whether they choose by the plain form, as without JavaScript."""
        return self.kind == "grants by form" or (self.kind == "refuses" and self.number % 2 == 0)

    @property
    def signal(self) -> str:
        """The header with which their browser asks not to be followed."""
        signals = {"sends GPC": "Sec-GPC", "grants, with GPC on": "Sec-GPC", "sends DNT": "DNT"}
        return signals.get(self.kind, "")


class Crowd:
    """Makes people; the same generator makes the same ones."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0
        self._addresses: dict[str, list[str]] = {country: [] for country in COUNTRIES}

    def person(self) -> Person:
        """Somebody new."""
        country = weighted(self._rng, COUNTRIES)
        agent = self._rng.choices(AGENTS, [agent.weight for agent in AGENTS])[0]
        spoofed = self._address(weighted(self._rng, COUNTRIES)) if self._rng.random() < 0.1 else ""
        kind = weighted(self._rng, ATTITUDES)
        return Person(self._next(), kind, agent.text, self._address(country), agent, country, spoofed)

    def bot(self) -> Person:
        """A program that reads the site."""
        kind = self._rng.choice(list(BOTS))
        return Person(self._next(), kind, self._rng.choice(BOTS[kind]), self._address("US"))

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _address(self, country: str) -> str:
        """An address of a country, used once: random ones, until the country table places one there."""
        while not self._addresses[country]:
            bits = self._rng.getrandbits(116)
            v6 = self._rng.random() < _IPV6_SHARE
            candidate = str(IPv6Address(_IPV6_EUROPE | bits) if v6 else IPv4Address(bits >> 84))
            place = iptocc.country_code(candidate)
            if place in self._addresses and len(candidate) >= _MIN_ADDRESS_CHARACTERS:
                self._addresses[place].append(candidate)
        return self._addresses[country].pop()


def weighted(rng: random.Random, weights: dict[str, int]) -> str:
    """One key, as often as its weight says."""
    return rng.choices(list(weights), list(weights.values()))[0]
