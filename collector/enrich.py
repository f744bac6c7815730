"""What an address and a user agent tell: country and network; browser, system, device, bot category.

Runs in the writer thread. Raw agents are cached in memory, bounded, and never written. The heavy packages
(0.1 s together) are imported when they are first needed, so that `import collector` stays light.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from importlib import import_module
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from collector.capture import PRINTED_IPV4
from collector.errors import ConfigurationError

MAX_AGENT = 512  # bytes of an agent that are read at all (uap-core's CVE-2020-5243 needed thousands)
_CACHED_AGENTS = 4_096
_CACHED_COUNTRIES = 8_192

# Families that may be recorded, as ua-parser spells them. It takes some names from the agent itself
# (televisions, unknown apps): a closed list keeps visitors' text out of the log and gives public keys.
# fmt: off
BROWSERS = frozenset((
    "AVG", "Amazon Silk", "Android", "Avast Secure Browser", "Baidu Browser", "BlackBerry WebKit", "Brave",
    "Chrome", "Chrome Mobile", "Chrome Mobile WebView", "Chrome Mobile iOS", "Chromium", "Coc Coc",
    "DuckDuckGo", "DuckDuckGo Mobile", "Ecosia", "Ecosia Android", "Ecosia iOS", "Edge", "Edge Mobile",
    "Epiphany", "Facebook", "Facebook Messenger", "Firefox", "Firefox Mobile", "Firefox iOS", "Google",
    "HeyTap Browser", "Huawei Browser", "IE", "IE Mobile", "Instagram", "Iron", "KakaoTalk", "Kiwi",
    "Konqueror", "LINE", "LinkedIn", "Mail.ru Chromium Browser", "Maxthon", "Mint Browser", "MiuiBrowser",
    "Mobile Safari", "Mobile Safari UI/WKWebView", "Nokia Browser", "Norton", "Oculus Browser", "Opera",
    "Opera GX", "Opera Mini", "Opera Mobile", "Opera Touch", "Outlook", "Pale Moon", "Pinterest", "Puffin",
    "QQ Browser", "QQ Browser Mobile", "Quark", "Safari", "Sailfish Browser", "Samsung Internet",
    "Sber Browser", "SeaMonkey", "Snapchat", "Sogou Explorer", "Steam Client", "Telegram", "Thunderbird",
    "TikTok", "Tizen Browser", "Twitter", "UC Browser", "Vivaldi", "WeChat Browser", "Weibo", "Whale",
    "Yandex Browser", "webOS Browser",
))
SYSTEMS = frozenset((
    "ATV OS X", "Android", "Arch Linux", "Bada", "BlackBerry OS", "BlackBerry Tablet OS", "Chrome OS",
    "Chromecast Android", "Debian", "Fedora", "Firefox OS", "FreeBSD", "HarmonyOS", "KaiOS", "Kindle",
    "Linux", "Linux Mint", "Mac OS X", "MeeGo", "NetBSD", "OpenBSD", "Roku", "Sailfish", "Solaris",
    "Symbian OS", "Tizen", "Ubuntu", "WatchOS", "Windows", "Windows Phone", "iOS", "openSUSE", "tvOS",
    "webOS",
))
# fmt: on
DEVICES = ("mobile", "tablet", "desktop", "other")
# crawler-user-agents' tags → categories. The first that applies wins; libraries come last, because a crawler
# that names itself often names its library too.
_CATEGORY_OF_TAG = {
    "ai-crawler": "ai",
    "search-engine": "search",
    "social-preview": "social",
    "seo": "seo",
    "advertising": "advertising",
    "monitoring": "monitoring",
    "scanner": "security",
    "feed-reader": "feed",
    "archiver": "archive",
    "academic": "archive",
    "browser-automation": "automation",
    "http-library": "automation",
}
BOT_CATEGORIES = (*dict.fromkeys(_CATEGORY_OF_TAG.values()), "other")
# user-agents takes every Android without "Mobile Safari" for a tablet; televisions are Androids too.
_TELEVISION = (
    r"(?i)\b(?:smart-?tv|hbbtv|google ?tv|android ?tv|appletv|bravia|aft[a-z]{1,3}|crkey|roku|netcast|web0s)"
)
_CONDITION = r"\(\?<?[!=](?P<within>(?:\\.|[^()\\]|\((?&within)\))*)\)"  # of what stands before or behind
_NUMBER = re.compile("[0-9]+")
_NO_COUNTRY = {"EU", "AP", "ZZ", "XX"}  # registries' codes that name no country


class Agent(NamedTuple):
    """What a user agent tells; None where it tells nothing that is on the lists above."""

    browser: str | None
    browser_major: str | None
    os: str | None
    device: str
    bot: str | None


Search = Callable[[Sequence[str]], list[str | None]]
"""What is found in each of some texts."""

_UNKNOWN = Agent(None, None, None, "other", None)


class Enricher:
    """Agents, countries and networks, for one writer thread or one pipeline process.

    Takes   mmdb: an operator's GeoLite2, GeoIP2 or DB-IP database; None for the embedded country table
    Raises  ConfigurationError naming the file and the remedy, at once
    """

    def __init__(self, mmdb: Path | None = None) -> None:
        self._agent = lru_cache(_CACHED_AGENTS)(self._read_agent)
        self._bot = lru_cache(_CACHED_AGENTS)(self._read_bot)
        # The embedded table answers in 0.2 µs: a cache would only keep addresses for longer.
        self._country = lru_cache(_CACHED_COUNTRIES)(_database(mmdb)) if mmdb else None

    def warm(self) -> None:
        """Build everything that is built lazily, before traffic: about 0.3 s once."""
        # A whole browser's agent: a shorter one leaves most of the patterns uncompiled.
        self.agent(b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        self.agent(b"Googlebot/2.1")
        self.country("192.0.2.1")

    def agent(self, agent: bytes) -> Agent:
        """Browser, system, device class and bot category of a User-Agent header.

        An empty agent and "-" (how access logs write a missing one) are unknown, not bots.
        """
        return self._agent(agent[:MAX_AGENT])

    def browsers(self, agents: Iterable[bytes]) -> list[Agent]:
        """What many agents tell, none of them a bot's: in half the time that one by one takes.

        Each kind of pattern is asked for all of them, so that it is still in the processor's cache.
        """
        return self._classify([_text(agent[:MAX_AGENT]) for agent in agents])

    def bot(self, agent: bytes) -> str | None:
        """The bot category alone: a tenth of the time that `agent` takes for a browser not seen before."""
        return self._bot(agent[:MAX_AGENT])

    def bots(self, agents: Iterable[bytes]) -> list[str | None]:
        """The bot category of many agents, as `browsers` reads them."""
        return self._read_bots([_text(agent[:MAX_AGENT]) for agent in agents])

    def country(self, address: str | None) -> str | None:
        """ISO 3166-1 alpha-2 code of an address; None for unknown, private or no address."""
        if address is None:
            return None
        code = self._country(address) if self._country else self._embedded(address)
        known = code is not None and len(code) == 2 and code.isascii() and code.isupper()
        return code if known and code not in _NO_COUNTRY else None

    def network(self, address: str | None) -> str | None:
        """The /24 (IPv4) or /48 (IPv6) an address lies in, as text; None for no address."""
        if address and PRINTED_IPV4.fullmatch(address):
            return address.rpartition(".")[0] + ".0/24"
        try:
            parsed = ip_address(address or "")
        except ValueError:
            return None
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        bits, prefix = (32, 24) if isinstance(parsed, IPv4Address) else (128, 48)
        return f"{type(parsed)(int(parsed) >> bits - prefix << bits - prefix)}/{prefix}"

    def _read_agent(self, agent: bytes) -> Agent:
        if _text(agent) in ("", "-"):
            return _UNKNOWN
        if category := self.bot(agent):
            return _UNKNOWN._replace(bot=category)
        return self._classify([_text(agent)])[0]

    def _read_bot(self, agent: bytes) -> str | None:
        return self._read_bots([_text(agent)])[0]

    def _read_bots(self, texts: Sequence[str]) -> list[str | None]:
        categories: list[str | None] = [None] * len(texts)
        for n, found in enumerate(self._are_bots(texts)):
            if found and texts[n] not in ("", "-"):
                [category] = self._bot_categories([texts[n]])
                categories[n] = category or "other"
        return categories

    @cached_property
    def _embedded(self) -> Callable[[str], str | None]:
        from iptocc import country_code  # noqa: PLC0415

        return country_code

    @cached_property
    def _are_bots(self) -> Search:
        from is_bot import Bots  # noqa: PLC0415

        return _first_of([(f"(?i:{pattern})", "bot") for pattern in sorted(Bots().patterns)])

    @cached_property
    def _bot_categories(self) -> Search:
        from crawleruseragents import CRAWLER_USER_AGENTS_DATA  # noqa: PLC0415

        ranks = {tag: rank for rank, tag in enumerate(_CATEGORY_OF_TAG)}
        ranked = sorted(
            (min(ranks.get(tag, len(ranks)) for tag in (*row["tags"], "")), row["pattern"])
            for row in CRAWLER_USER_AGENTS_DATA
        )
        categories = [*_CATEGORY_OF_TAG.values(), "other"]
        return _first_of([(pattern, categories[rank]) for rank, pattern in ranked])

    @cached_property
    def _classify(self) -> Callable[[Sequence[str]], list[Agent]]:
        return _classifier()


def _text(agent: bytes) -> str:
    return agent.decode("latin-1").strip()


def _first_of(rows: Iterable[tuple[str, str]]) -> Search:
    """A search for the name of the first row (pattern, name) that matches.

    Rust's linear-time engine with its literal prefilter takes 1 µs for 1,500 patterns where one combined
    Python pattern takes 250. The few it refuses (look-around) are tried one by one, 1 µs each, where one
    would match without its conditions: in no browser's agent.
    """
    import regex  # noqa: PLC0415 - is-bot's engine, for its look-behinds
    from ua_parser_rs import UserAgentExtractor  # noqa: PLC0415

    linear, wider, others = [], [], []
    for pattern, name in rows:
        row = (pattern, name, None, None, None, None)
        try:
            UserAgentExtractor([row])
            linear.append(row)
        except ValueError:
            others.append((regex.compile(pattern), name))
            wider.append((regex.sub(_CONDITION, "", pattern), *row[1:]))
    certain, possible = UserAgentExtractor(linear), UserAgentExtractor(wider)

    def find(text: str, sure: Any, may: Any) -> str | None:
        if sure:
            name: str = sure.family
            return name
        return next((name for pattern, name in others if pattern.search(text)), None) if may else None

    def search(texts: Sequence[str]) -> list[str | None]:
        # Lists: a search is through with all texts before the next one begins.
        sure, may = list(map(certain.extract, texts)), list(map(possible.extract, texts))
        return list(map(find, texts, sure, may))

    return search


def _classifier() -> Callable[[Sequence[str]], list[Agent]]:
    """ua-parser's Rust patterns, with user-agents' device rules on top of what they find.

    `user_agents.parse()` itself calls ua-parser's legacy module in pure Python (600 µs an agent), and
    ua-parser's `parse()` makes five objects of each answer (20 µs): the class is filled from the Rust answers
    instead, with what its rules read and no more.
    """
    from ua_parser.loaders import load_lazy_builtins  # noqa: PLC0415
    from ua_parser.regex import Resolver  # noqa: PLC0415

    # user-agents imports ua-parser's legacy module, which nothing here asks: to compile its 1,273 patterns
    # takes a third of the time that an Enricher needs to be ready.
    legacy = _Later("ua_parser.user_agent_parser")
    sys.modules.setdefault(legacy.__name__, legacy)
    from user_agents import parsers  # noqa: PLC0415

    legacy.leave()

    class Classified(parsers.UserAgent):  # type: ignore[misc]
        def __init__(self, text: str, browser: str, system: str, version: str, device: str) -> None:
            self.ua_string = text
            self.browser = parsers.Browser(browser, (), "")
            self.os = parsers.OperatingSystem(system, (), version)
            self.device = parsers.Device(device, None, None)

    rust = Resolver(load_lazy_builtins())
    searches = rust.ua.extract, rust.os.extract, rust.de.extract
    televisions = _first_of([(_TELEVISION, "other")])

    def classify(texts: Sequence[str]) -> list[Agent]:
        found = [list(map(search, texts)) for search in searches]
        return list(map(read, texts, *found, televisions(texts)))

    def read(text: str, browser: Any, system: Any, device: Any, television: str | None) -> Agent:
        family = browser.family if browser else _OTHER
        os = system.family if system else _OTHER
        is_listed = browser and family in BROWSERS
        return Agent(
            family if is_listed else None,
            _major(browser) if is_listed else None,
            os if os in SYSTEMS else None,
            television
            or _device(Classified(text, family, os, _version(system), device.family if device else _OTHER)),
            None,
        )

    return classify


class _Later(ModuleType):
    """A module that is loaded when something of it is asked for."""

    def leave(self) -> None:
        """Let the module itself be imported."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def __getattr__(self, name: str) -> Any:
        self.leave()
        return getattr(import_module(self.__name__), name)


_OTHER = "Other"  # as ua-parser names what none of its patterns match


def _parts(found: Any) -> list[str]:
    """The parts of a version that there are."""
    return [part for part in (found.major, found.minor, found.patch) if part is not None]


def _version(system: Any) -> str:
    return ".".join(_parts(system)) if system else ""


def _major(browser: Any) -> str | None:
    """A version's first part as user-agents writes it, where it is a number of at most four digits."""
    first = next(iter(_parts(browser)), "")
    if not _NUMBER.fullmatch(first):
        return None
    number = str(int(first))
    return number if len(number) <= 4 else None


def _device(agent: Any) -> str:
    if agent.is_tablet:
        return "tablet"
    if agent.is_mobile:
        return "mobile"
    return "desktop" if agent.is_pc else "other"


def _database(path: Path) -> Callable[[str], str | None]:
    """A look-up in an operator's MMDB; geoip2 (with aiohttp and requests) is imported only here."""
    try:
        from geoip2.database import Reader  # noqa: PLC0415
        from maxminddb import InvalidDatabaseError, open_database  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(f'{path} needs geoip2: pip install "impersonal[geo]"') from None
    try:
        reader = Reader(path, locales=["en"])
        with open_database(path) as networks:
            first, _ = next(iter(networks))
        kind = reader.metadata().database_type
        read = next(getattr(reader, schema.lower()) for schema in _SCHEMAS if schema in kind)
        read(str(first.network_address)).country.iso_code  # noqa: B018 - a flat record fails here
    except (OSError, InvalidDatabaseError) as error:
        raise ConfigurationError(f"cannot read {path} as an MMDB ({error}): download it again") from None
    except (StopIteration, TypeError, AttributeError, ValueError):
        raise ConfigurationError(
            f"{path} has no countries in MaxMind's schema: "
            "use a Country or City database of GeoLite2, GeoIP2 or DB-IP"
        ) from None

    def country(address: str) -> str | None:
        try:
            code: str | None = read(address).country.iso_code
        except (LookupError, RuntimeError, ValueError, TypeError, AttributeError):
            return None  # not in the database, no address, a damaged record
        return code

    return country


_SCHEMAS = ("Country", "City", "Enterprise")  # of geoip2's readers that hold a country
