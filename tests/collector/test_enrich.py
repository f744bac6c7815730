"""What an address and a user agent tell: families, device, bot category, country, network."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import crawleruseragents
import is_bot
import pytest
import ua_parser
import user_agents
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver
from user_agents import parsers

from collector.enrich import BOT_CATEGORIES, BROWSERS, DEVICES, SYSTEMS, Agent, Enricher
from collector.errors import ConfigurationError

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
PEOPLE = {
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36": (
        "Chrome",
        "142",
        "Windows",
        "desktop",
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/142.0.0.0": (
        "Edge",
        "142",
        "Windows",
        "desktop",
    ),
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/18.1 Safari/605.1.15": (
        "Safari",
        "18",
        "Mac OS X",
        "desktop",
    ),
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0": (
        "Firefox",
        "145",
        "Ubuntu",
        "desktop",
    ),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36": (
        "Chrome",
        "142",
        "Chrome OS",
        "desktop",
    ),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {WEBKIT} Version/18.1 Mobile/1 Safari/604.1": (
        "Mobile Safari",
        "18",
        "iOS",
        "mobile",
    ),
    f"Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) {WEBKIT} Version/17.6 Mobile/15E148 Safari/604.1": (
        "Mobile Safari",
        "17",
        "iOS",
        "tablet",
    ),
    f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36": (
        "Chrome Mobile",
        "142",
        "Android",
        "mobile",
    ),
    f"Mozilla/5.0 (Linux; Android 13; SM-X200) {CHROME} Safari/537.36": (
        "Chrome",
        "142",
        "Android",
        "tablet",
    ),
    "Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0": (
        "Firefox Mobile",
        "145",
        "Android",
        "mobile",
    ),
    f"Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S921B) {CHROME} SamsungBrowser/28.0 Mobile Safari/537.36": (
        "Samsung Internet",
        "28",
        "Android",
        "mobile",
    ),
    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1)": ("IE", "8", "Windows", "desktop"),
    "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80/191.308; U; en) Presto/2.5.25": (
        "Opera Mini",
        "9",
        None,
        "mobile",
    ),
}
TELEVISIONS = [
    f"Mozilla/5.0 (Linux; Android 12; BRAVIA 4K VH2 Build/STT2) {CHROME} Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 9; AFTWMST22 Build/PS7) {CHROME} Safari/537.36",
    f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) {CHROME} Safari/537.36",
    f"Mozilla/5.0 (Web0S; Linux/SmartTV) {CHROME} Safari/537.36",
]
BOTS = {
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "search",
    "Mozilla/5.0 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)": "ai",
    "Mozilla/5.0 (compatible; OAI-SearchBot/1.0; +https://openai.com/searchbot)": "ai",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)": "social",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)": "seo",
    "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)": "monitoring",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/142.0.0.0 Safari/537.36": "automation",
    "curl/8.11.0": "automation",
    "python-requests/2.32.3": "automation",
    "W3C-checklink/4.5 [4.160] libwww-perl/5.823": "monitoring",
    "MyOwnCrawler/0.1 (+http://crawler.example/)": "other",
}


@pytest.fixture(scope="module")
def enricher() -> Enricher:
    """One warmed enricher."""
    enricher = Enricher()
    enricher.warm()
    return enricher


@pytest.mark.parametrize(("text", "expected"), PEOPLE.items())
def test_people_have_a_browser_a_system_and_a_device(
    enricher: Enricher, text: str, expected: tuple[str, str, str | None, str]
) -> None:
    """Family, major version, system and device class of common browsers."""
    assert enricher.agent(text.encode()) == Agent(*expected, bot=None)


@pytest.mark.parametrize("text", PEOPLE)
def test_families_and_devices_are_those_of_user_agents(enricher: Enricher, text: str) -> None:
    """The Rust result under user-agents' rules says what the package's own slow parse() says."""
    parsed = user_agents.parse(text)
    agent = enricher.agent(text.encode())
    assert agent.browser == parsed.browser.family
    assert agent.browser_major == str(parsed.browser.version[0])
    assert agent.os == (parsed.os.family if parsed.os.family in SYSTEMS else None)
    assert agent.device == device(parsed)


def test_the_legacy_parser_is_loaded_by_whom_it_serves_only() -> None:
    """An Enricher leaves its patterns uncompiled, and an app that asks user-agents gets its answer."""
    script = (
        "import sys; from collector.enrich import Enricher; Enricher().warm();"
        "print([name for name in sys.modules if 'regexes' in name or 'user_agent_parser' in name]);"
        "import user_agents; print(user_agents.parse('Mozilla/5.0 Firefox/140.0').browser.family);"
        "from ua_parser import user_agent_parser; print(user_agent_parser.__file__ is not None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "Firefox", "True"]


def ua_words() -> list[str]:
    """What agents are made of: pieces of browsers, televisions and crawlers, and ua-parser's own names."""
    crawlers = [text for row in crawleruseragents.CRAWLER_USER_AGENTS_DATA for text in row["instances"]]
    texts = [*PEOPLE, *TELEVISIONS, *BOTS, *crawlers]
    pieces = {piece for text in texts for piece in re.split(r"(?<=[;()/ ])", text)}
    patterns = (matcher.regex.replace("\\", "") for matchers in load_lazy_builtins() for matcher in matchers)
    names = {name for pattern in patterns for name in re.findall("[A-Za-z][A-Za-z0-9 ._-]{2,}", pattern)}
    odd = {
        "RT 8.1; ",
        "Win 9x 4.90; ",
        "Windows ME; ",
        "/00142.",
        "/99999.1 ",
        "J2ME/MIDP ",
        "iPhone;",
        "Touch; ",
    }
    return sorted(pieces | names | odd)


@given(st.lists(st.sampled_from(ua_words()), min_size=1, max_size=14).map("".join))
@settings(max_examples=300)
def test_any_agent_reads_as_the_two_packages_read_it(text: str) -> None:
    """What ua-parser's whole result tells, in user-agents' whole class, is what the short way tells."""
    # Without the spaces around it, as every header.
    parsed = parsed_in_full(text[:512].encode("latin-1", "replace").decode("latin-1").strip())
    [agent] = SHARED.browsers([parsed.ua_string.encode("latin-1")])
    listed = parsed.browser.family in BROWSERS
    major = str(parsed.browser.version[0]) if listed and parsed.browser.version else ""
    assert agent.browser == (parsed.browser.family if listed else None)
    assert agent.browser_major == (major if re.fullmatch("[0-9]{1,4}", major) else None)
    assert agent.os == (parsed.os.family if parsed.os.family in SYSTEMS else None)
    assert agent.device == device(parsed)


@given(st.lists(st.lists(st.sampled_from(ua_words()), max_size=14).map("".join), max_size=5))
@settings(max_examples=50)
def test_many_agents_say_what_each_says(texts: list[str]) -> None:
    """Together and one by one, whatever bots leave of them."""
    agents = [text.encode("latin-1", "replace") for text in texts]
    people = [agent for agent in agents if SHARED.bot(agent) is None]
    assert SHARED.browsers(people) == [SHARED.agent(agent) for agent in people]


def parsed_in_full(text: str) -> parsers.UserAgent:
    """user-agents' class, filled from ua-parser's result instead of its slow legacy module."""
    result = WHOLE.parse(text).with_defaults()
    browser, system = result.user_agent, result.os
    filled: parsers.UserAgent = parsers.UserAgent.__new__(parsers.UserAgent)
    filled.ua_string = text
    filled.browser = parsers.parse_browser(browser.family, browser.major, browser.minor, browser.patch)
    filled.os = parsers.parse_operating_system(system.family, system.major, system.minor, system.patch)
    filled.device = parsers.parse_device(result.device.family, result.device.brand, result.device.model)
    return filled


WHOLE = ua_parser.Parser(Resolver(load_lazy_builtins()))
TELEVISION = re.compile(
    r"\b(?:smart-?tv|hbbtv|google ?tv|android ?tv|appletv|bravia|aft[a-z]{1,3}|crkey|roku|netcast|web0s)",
    re.IGNORECASE,
)


def device(parsed: parsers.UserAgent) -> str:
    """user-agents' verdicts, the first that holds; televisions apart."""
    if TELEVISION.search(parsed.ua_string):
        return "other"
    if parsed.is_tablet:
        return "tablet"
    if parsed.is_mobile:
        return "mobile"
    return "desktop" if parsed.is_pc else "other"


@pytest.mark.parametrize("text", TELEVISIONS)
def test_televisions_are_no_tablets(enricher: Enricher, text: str) -> None:
    """A television that runs Android is `other`, and not a bot."""
    agent = enricher.agent(text.encode())
    assert (agent.device, agent.bot) == ("other", None)


@pytest.mark.parametrize(("text", "category"), BOTS.items())
def test_bots_have_a_category_and_nothing_else(enricher: Enricher, text: str, category: str) -> None:
    """A bot is counted by category; what it pretends to run on is not read."""
    assert enricher.agent(text.encode()) == Agent(None, None, None, "other", category)


@pytest.mark.parametrize("agent", [b"", b"-", b"  ", b"\x00" * 0])
def test_a_missing_agent_is_unknown_not_a_bot(enricher: Enricher, agent: bytes) -> None:
    """Empty, blank and "-" say nothing."""
    assert enricher.agent(agent) == Agent(None, None, None, "other", None)


def test_bot_verdicts_are_is_bots_own(enricher: Enricher) -> None:
    """On every agent that crawler-user-agents ships, the fast engine and is-bot agree."""
    bots = is_bot.Bots()
    texts = [text for row in crawleruseragents.CRAWLER_USER_AGENTS_DATA for text in row["instances"]]
    short = [text for text in (*texts, *PEOPLE, *TELEVISIONS, *BOTS) if len(text) <= 512]
    assert len(short) > 1_500
    assert [
        text for text in short if (enricher.agent(text.encode()).bot is not None) != bots.is_bot(text)
    ] == []


def test_every_category_is_of_the_closed_list(enricher: Enricher) -> None:
    """All categories occur on crawler-user-agents' own examples, and no other."""
    texts = {text for row in crawleruseragents.CRAWLER_USER_AGENTS_DATA for text in row["instances"]}
    found = {enricher.agent(text.encode()).bot for text in texts} | {enricher.agent(b"SomeBot/1").bot}
    assert found - {None} == set(BOT_CATEGORIES)


def test_listed_families_are_names_that_ua_parser_gives() -> None:
    """A family that ua-parser renames would silently become unknown."""
    agents, systems, _ = load_lazy_builtins()
    rules: list[tuple[frozenset[str], list[Any]]] = [(BROWSERS, list(agents)), (SYSTEMS, list(systems))]
    for listed, matchers in rules:
        families = {matcher.family for matcher in matchers} | {"OpenBSD", "NetBSD"}  # (?:Free|Open|Net|…)BSD
        patterns = " ".join(matcher.regex for matcher in matchers).replace("\\", "")
        assert {family for family in listed if family not in families and family not in patterns} == set()


def test_a_name_taken_from_the_agent_does_not_pass(enricher: Enricher) -> None:
    """ua-parser reads a television's system from the agent: a visitor's own word there is not recorded."""
    text = "Mozilla/5.0 HbbTV/1.2.1 (; JaneDoe ; x 2015 y) Firefox/145.0"
    assert user_agents.parse(text).os.family == "JaneDoe"
    agent = enricher.agent(text.encode())
    assert (agent.os, agent.bot) == (None, None)


def test_only_the_first_512_bytes_are_read(enricher: Enricher) -> None:
    """What comes after them changes nothing, not even the verdict."""
    text = next(iter(PEOPLE)).encode().ljust(512)
    assert enricher.agent(text + b"Googlebot/2.1") == enricher.agent(text)


@given(
    st.one_of(st.binary(max_size=600), st.text("\x00\r\n\x1b\u2028;/()1aA. ", max_size=600).map(str.encode))
)
def test_any_agent_gives_listed_values(agent: bytes) -> None:
    """Whatever comes in, the result holds nothing but listed names and a short number."""
    result = SHARED.agent(agent)
    assert result.browser is None or result.browser in BROWSERS
    assert result.os is None or result.os in SYSTEMS
    assert result.browser_major is None or re.fullmatch("[0-9]{1,4}", result.browser_major)
    assert result.device in DEVICES
    assert result.bot is None or result.bot in BOT_CATEGORIES


SHARED = Enricher()


@pytest.mark.parametrize(
    "piece",
    [
        " ",
        ";",
        "1",
        "1.",
        "a/",
        "()",
        "aB",
        "aBo",
        "SM-",
        "; Build/",
        "Android ",
        "HbbTV/1.1.1 ( ;;a; ",
        "x C",
        "\xff",
    ],
)
def test_no_agent_takes_long(enricher: Enricher, piece: str) -> None:
    """Repetitions as in uap-core's CVE-2020-5243, 64 KiB of them, take no seconds of CPU."""
    for start in ("", "Mozilla/5.0 (Linux; Android 9; ", "Mozilla/5.0 "):
        agents = [(start + f"{nth} " + piece * 65_536).encode("latin-1")[:65_536] for nth in range(3)]
        assert min(seconds(enricher, agent) for agent in agents) < 0.1


def seconds(enricher: Enricher, agent: bytes) -> float:
    """How long one agent takes, the first time it is seen."""
    start = time.thread_time()
    enricher.agent(agent)
    return time.thread_time() - start


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("8.8.8.8", "US"),
        ("2001:4860:4860::8888", "US"),
        ("193.0.6.139", "NL"),
        ("10.0.0.1", None),
        ("192.0.2.1", None),
        ("junk", None),
        ("", None),
        (None, None),
    ],
)
def test_the_embedded_table_knows_countries(
    enricher: Enricher, address: str | None, country: str | None
) -> None:
    """Public addresses have a country without any download; private, documentation and junk have none."""
    assert enricher.country(address) == country


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1234:5678::1", "2001:db8:1234::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("junk", None),
        ("203.0.113.0/24", None),
        ("", None),
        (None, None),
    ],
)
def test_a_network_is_a_truncated_address(
    enricher: Enricher, address: str | None, network: str | None
) -> None:
    """/24 for IPv4 and /48 for IPv6, in compressed text."""
    assert enricher.network(address) == network


def database(path: Path, kind: str, record: dict[str, Any]) -> Path:
    """A real MMDB with one network, 203.0.113.0/24."""
    writer = MMDBWriter(ip_version=4, database_type=kind, languages=["en"])
    writer.insert_network(IPSet(["203.0.113.0/24"]), record)
    writer.to_db_file(str(path))
    return path


@pytest.mark.parametrize("kind", ["GeoLite2-Country", "GeoIP2-City", "DBIP-City-Lite", "GeoIP2-Enterprise"])
def test_an_operators_database_replaces_the_table(tmp_path: Path, kind: str) -> None:
    """Country, City and Enterprise schemas answer; what they do not hold is unknown."""
    path = database(
        tmp_path / "geo.mmdb", kind, {"country": {"iso_code": "KZ", "names": {"en": "Kazakhstan"}}}
    )
    enricher = Enricher(path)
    enricher.warm()
    assert [enricher.country(address) for address in ("203.0.113.9", "8.8.8.8", "junk", None)] == [
        "KZ",
        None,
        None,
        None,
    ]


def test_a_record_without_a_country_is_unknown(tmp_path: Path) -> None:
    """Some networks have a continent only."""
    path = database(tmp_path / "geo.mmdb", "GeoLite2-Country", {"continent": {"code": "EU"}})
    assert Enricher(path).country("203.0.113.9") is None


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("GeoLite2-ASN", {"autonomous_system_number": 64500}),
        ("country ipvAll", {"country_code": "KZ"}),
        ("GeoLite2-Country", {"country": "KZ"}),
    ],
)
def test_a_database_of_another_schema_is_refused_by_name(
    tmp_path: Path, kind: str, record: dict[str, Any]
) -> None:
    """The error names the file and the remedy, when the collector is mounted, not at the first visit."""
    path = database(tmp_path / "other.mmdb", kind, record)
    with pytest.raises(ConfigurationError, match=r"other\.mmdb .* use a Country or City database"):
        Enricher(path)


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    """A missing, a damaged and a foreign file each end in one line."""
    whole = database(
        tmp_path / "whole.mmdb", "GeoLite2-Country", {"country": {"iso_code": "KZ"}}
    ).read_bytes()
    (tmp_path / "text.mmdb").write_text("404 Not Found")
    (tmp_path / "half.mmdb").write_bytes(whole[: len(whole) // 2])
    for name in ("missing.mmdb", "text.mmdb", "half.mmdb"):
        with pytest.raises(ConfigurationError, match=name):
            Enricher(tmp_path / name)


def test_heavy_packages_load_only_when_needed() -> None:
    """Importing the module loads no resolver, and geoip2 stays out where no database is configured."""
    code = (
        "import sys; from collector.enrich import Enricher;"
        "heavy = {'ua_parser', 'user_agents', 'is_bot', 'regex', 'crawleruseragents', 'iptocc'};"
        "geo = {'geoip2', 'aiohttp', 'maxminddb'}; assert not (heavy | geo) & set(sys.modules);"
        "Enricher().warm(); assert heavy <= set(sys.modules); assert not geo & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
