"""`impersonal import` against goaccess: one made-up combined log, from the file to a published report."""

import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.terminal import span
from tests.benchmarks.table import Row

LINES = 2_000_000
DAYS = 7  # whole UTC days, the last one yesterday
SESSIONS = 330_000
ADDRESSES = 170_000
BROWSER_AGENTS = 60_000  # to choose from; the rare ones are drawn by nobody
PAGES, ASSETS, SITES = 5_000, 1_200, 3_000
MIB = 1024 * 1024

Chance = np.random.Generator
Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]

_WORDS = (
    "garden river paper silver morning winter market kitchen travel bread music letter bridge summer forest "
    "glass coffee history window stone picture autumn island candle harbor valley meadow engine fabric copper"
).split()
_SYSTEMS = (
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; Linux x86_64",
    "X11; CrOS x86_64 14541.0.0",
)
_CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Feedly/1.0 (+http://www.feedly.com/fetcher.html; 16 subscribers)",
)
# Method and how the line is answered; weights are lines of a thousand.
_VIEW, _ASSET, _NOT_FOUND, _REDIRECT, _POST, _HEAD = range(6)
_MIX = (330, 570, 35, 30, 25, 10)


def zipf(chance: Chance, size: int, count: int, exponent: float = 1.0) -> Numbers:
    """`count` numbers below `size`, the first the most popular."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    edges = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(edges, chance.random(count)), size - 1).astype(np.int64)


def browser_agent(chance: np.random.Generator) -> str:
    """One browser's agent: a family, a system, and versions as they are found in the wild."""
    kind, major, minor = chance.integers(0, 10), chance.integers(100, 146), chance.integers(0, 7500)
    webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
    system = _SYSTEMS[chance.choice(4, p=(0.6, 0.25, 0.1, 0.05))]
    model = f"{('SM-A', 'SM-G', 'SM-S', 'Pixel ', 'CPH', 'M2101K')[minor % 6]}{chance.integers(100, 999)}B"
    ios = f"{chance.integers(14, 19)}_{chance.integers(0, 8)}_{chance.integers(0, 4)}"
    if kind < 3:
        return f"Mozilla/5.0 ({system}) {webkit} Chrome/{major}.0.{minor}.{minor % 230} Safari/537.36"
    if kind < 6:
        android = f"Linux; Android {chance.integers(8, 16)}; {model}"
        chrome = f"Chrome/{major}.0.{minor}.{minor % 230} Mobile Safari/537.36"
        return f"Mozilla/5.0 ({android}) {webkit} {chrome}"
    if kind < 8:
        phone = f"iPhone; CPU iPhone OS {ios} like Mac OS X"
        build = f"Mobile/{chance.integers(15, 22)}E{chance.integers(100, 400)}"
        version = ios.replace("_", ".")
        return (
            f"Mozilla/5.0 ({phone}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{version} {build} "
            "Safari/604.1"
        )
    if kind < 9:
        return f"Mozilla/5.0 ({system}; rv:{major}.0) Gecko/20100101 Firefox/{major}.{minor % 5}"
    edge = f"Chrome/{major}.0.0.0 Safari/537.36 Edg/{major}.0.{minor}.{minor % 99}"
    return f"Mozilla/5.0 ({system}) {webkit} {edge}"


def paths(chance: Chance, count: int) -> list[str]:
    """Addresses of articles."""
    words = chance.integers(0, len(_WORDS), (count, 5)).tolist()
    return ["/"] + [
        f"/{_WORDS[a]}/{2018 + n % 8}/{'-'.join(_WORDS[word] for word in slug)}/"
        for n, (a, *slug) in enumerate(words[1:])
    ]


def queries(chance: Chance, count: int) -> list[str]:
    """What stands behind an address: mostly nothing, else a campaign, a click number, a search, a page."""
    kinds, numbers = chance.random(count).tolist(), chance.integers(0, 1 << 62, count).tolist()
    found = []
    for kind, number in zip(kinds, numbers, strict=True):
        if kind < 0.88:
            found.append("")
        elif kind < 0.92:
            found.append(f"?utm_source=letter&utm_medium=email&utm_campaign=week-{number % 52}")
        elif kind < 0.94:
            found.append(f"?fbclid=IwAR{number:x}")
        elif kind < 0.97:
            found.append(f"?q={_WORDS[number % 30]}+{_WORDS[number // 30 % 30]}")
        else:
            found.append(f"?page={number % 40}")
    return found


def sessions(chance: Chance) -> tuple[Numbers, Numbers]:
    """The session of each line and its second since the first day began, in order of time."""
    day = chance.choice(DAYS, SESSIONS, p=np.array([16, 16, 15, 15, 14, 11, 13]) / 100)
    hour = np.clip(chance.normal(14.5, 4.8, SESSIONS), 0, 23.99)
    session = np.concatenate([np.arange(SESSIONS), zipf(chance, SESSIONS, LINES - SESSIONS, 0.35)])
    seconds = day * 86_400.0 + hour * 3_600
    at = seconds[session] + np.where(np.arange(LINES) < SESSIONS, 0.0, chance.exponential(240, LINES))
    at = np.minimum(at, DAYS * 86_400 - 1).astype(np.int64)
    order = np.argsort(at, kind="stable")
    return session[order], at[order]


def written(path: Path, first: date) -> None:
    """Write the log: the same for every call on the same day, about 400 MB."""
    chance = np.random.default_rng(20261124)
    session, at = sessions(chance)
    visitor_of = zipf(chance, ADDRESSES, SESSIONS, 0.25)
    octets = chance.integers(1, 255, (ADDRESSES, 4)).tolist()
    addresses = [f"{a % 200 + 11}.{b}.{c}.{d}" for a, b, c, d in octets]
    agents = [browser_agent(chance) for _ in range(BROWSER_AGENTS)]
    agent_of = [agents[n] for n in zipf(chance, BROWSER_AGENTS, ADDRESSES, 0.8)]
    for n in range(0, ADDRESSES, 25):  # crawlers: few addresses that ask for much
        agent_of[n] = _CRAWLERS[n // 25 % len(_CRAWLERS)]
    visitors = visitor_of[session].tolist()
    kinds = chance.choice(len(_MIX), LINES, p=np.array(_MIX) / 1000).tolist()
    pages, found = paths(chance, PAGES), zipf(chance, PAGES, LINES).tolist()
    asset_names = [
        f"/static/{_WORDS[n % 30]}-{n}.{('css', 'js', 'png', 'jpg', 'woff2', 'svg', 'ico')[n % 7]}"
        for n in range(ASSETS)
    ]
    assets = [asset_names[n] for n in zipf(chance, ASSETS, LINES)]
    sites = ["-", "https://www.google.com/", "https://www.example.org/"] + [
        f"https://{_WORDS[n % 30]}{n // 30}.example.net/{_WORDS[n // 7 % 30]}/{n}" for n in range(SITES)
    ]
    referrers = [sites[n] for n in zipf(chance, len(sites), LINES)]
    asked, sizes = queries(chance, LINES), chance.integers(200, 90_000, LINES).tolist()
    stamps = [
        (datetime.combine(first, datetime.min.time()) + timedelta(seconds=n)).strftime("%d/%b/%Y:%H:%M:%S")
        for n in range(0, DAYS * 86_400, 60)
    ]
    rows = zip(visitors, at.tolist(), kinds, found, assets, referrers, asked, sizes, strict=True)
    with path.open("w", encoding="ascii") as log:
        log.writelines(
            _line(addresses[who], agent_of[who], f"{stamps[s // 60][:-2]}{s % 60:02}", pages[page], *rest)
            for who, s, kind, page, *rest in ((w, s, k, p, k, *r) for w, s, k, p, *r in rows)
        )


def _line(
    address: str, agent: str, stamp: str, page: str, kind: int, asset: str, referrer: str, query: str, size: int
) -> str:
    method, target, status = "GET", page + query, 200
    if kind == _ASSET:
        target, referrer = asset, f"https://example.org{page}"
        status = 304 if size % 5 == 0 else 200
    elif kind == _NOT_FOUND:
        target, status = f"{page}{size}.php", 404
    elif kind == _REDIRECT:
        status = 301
    elif kind == _POST:
        method = "POST"
    elif kind == _HEAD:
        method = "HEAD"
    request = f"{method} {target} HTTP/{'1.1' if size % 3 else '2.0'}"
    return f'{address} - - [{stamp} +0000] "{request}" {status} {size} "{referrer}" "{agent}"\n'


if __name__ == "__main__":
    start = time.time()
    written(Path(sys.argv[1]), date.fromisoformat(sys.argv[2]))
    print(time.time() - start)
