"""`impersonal import` against goaccess: the same made-up log, from the file to a report."""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.benchmarks.table import Row

LINES = 2_000_000
TURNS = 2  # of which the better counts, of each: the other was disturbed
DAYS = 7  # whole UTC days; the last one is yesterday
VISITS = 400_000
ADDRESSES = 135_000
AGENTS = 34_000
PAGES, FILES, SITES = 5_000, 1_200, 3_000
QUOTE = r"\x22"

Chance = np.random.Generator
Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]

_WORDS = ("garden", "river", "paper", "silver", "winter", "market", "kitchen", "travel", "bread", "music")
_SYSTEMS = ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64")
_CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Feedly/1.0 (+http://www.feedly.com/fetcher.html; 16 subscribers)",
)
_CRAWLER_EVERY = 9  # of so many addresses one is a crawler's
_KINDS = ("page", "file", "missing", "moved", "form", "head")
_SHARES = (0.24, 0.63, 0.04, 0.04, 0.03, 0.02)


def zipf(chance: Chance, size: int, count: int, exponent: float) -> list[int]:
    """`count` numbers below `size`, the first the most frequent."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    edges = np.cumsum(weights / weights.sum())
    found: list[int] = np.minimum(np.searchsorted(edges, chance.random(count)), size - 1).tolist()
    return found


def agents(chance: random.Random) -> Iterator[str]:
    """Agents of browsers, of as many versions as there are about; some come twice."""
    webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
    for _ in range(AGENTS):
        major, build, system = chance.randrange(100, 146), chance.randrange(7500), chance.choice(_SYSTEMS)
        chrome = f"Chrome/{major}.0.{build}.{build % 230}"
        model = f"{chance.choice(('SM-A', 'SM-G', 'Pixel ', 'CPH'))}{chance.randrange(100, 999)}"
        android = f"Linux; Android {chance.randrange(8, 16)}; {model}"
        ios = f"{chance.randrange(14, 19)}_{chance.randrange(8)}"
        phone = f"iPhone; CPU iPhone OS {ios} like Mac OS X"
        mobile = f"Version/{ios.replace('_', '.')} Mobile/{chance.randrange(15, 22)}E{chance.randrange(400)}"
        yield chance.choice(
            (
                f"Mozilla/5.0 ({system}) {webkit} {chrome} Safari/537.36",
                f"Mozilla/5.0 ({android}) {webkit} {chrome} Mobile Safari/537.36",
                f"Mozilla/5.0 ({phone}) AppleWebKit/605.1.15 (KHTML, like Gecko) {mobile} Safari/604.1",
                f"Mozilla/5.0 ({system}; rv:{major}.0) Gecko/20100101 Firefox/{major}.{build % 9}",
                f"Mozilla/5.0 ({system}) {webkit} {chrome} Safari/537.36 Edg/{major}.0.{build}.{build % 99}",
            )
        )


def visitors(chance: random.Random) -> list[tuple[str, str]]:
    """Addresses, each with its agent."""
    browsers = list(agents(chance))
    found = []
    for n in range(ADDRESSES):
        address = ".".join(str(chance.randrange(11, 250)) for _ in range(4))
        popular = int(len(browsers) * chance.random() ** 1.6)
        found.append((address, browsers[popular] if n % _CRAWLER_EVERY else chance.choice(_CRAWLERS)))
    return found


def targets(chance: random.Random) -> tuple[list[str], list[str], list[str], list[str]]:
    """Paths of pages, of files, of pages that are missing, and referrers."""
    pages = ["/"] + [
        f"/{chance.choice(_WORDS)}/{chance.choice(_WORDS)}-{chance.choice(_WORDS)}-{n}/" for n in range(PAGES)
    ]
    kinds = ("css", "js", "png", "jpg", "woff2", "svg", "ico")
    files = [f"/static/{chance.choice(_WORDS)}.{n:x}.{kinds[n % 7]}" for n in range(FILES)]
    # Some are looked for by scanners, whose quotes a server writes as \x22: a thousandth of all lines.
    missing = [f"/{chance.choice(_WORDS)}{n}{QUOTE if n % 40 == 9 else ''}.php" for n in range(FILES)]
    sites = ["-", "https://www.google.com/", "https://www.bing.com/"] + [
        f"https://{chance.choice(_WORDS)}.example.net/{chance.choice(_WORDS)}/{n}" for n in range(SITES)
    ]
    return pages, files, missing, sites


def queries(chance: random.Random) -> Iterator[str]:
    """What stands behind a page's path, for ever: mostly nothing."""
    while True:
        kind, number = chance.random(), chance.getrandbits(60)
        if kind < 0.9:
            yield ""
        elif kind < 0.94:
            yield f"?utm_source=letter&utm_medium=email&utm_campaign=week-{number % 52}"
        elif kind < 0.96:
            yield f"?fbclid=IwAR{number:x}"
        elif kind < 0.98:
            yield f"?q={_WORDS[number % 10]}+{_WORDS[number // 10 % 10]}"
        else:
            yield f"?page={number % 40}"


def in_time(chance: Chance) -> tuple[list[int], list[int]]:
    """The visit that each line belongs to, and its second since the first day began; in order of time."""
    shares = np.array([16, 16, 15, 15, 14, 11, 13]) / 100
    hours = np.clip(chance.normal(14.5, 4.8, VISITS), 0, 23.99)
    starts = chance.choice(DAYS, VISITS, p=shares) * 86_400.0 + hours * 3_600
    visits = np.concatenate([np.arange(VISITS), zipf(chance, VISITS, LINES - VISITS, 0.35)])
    later = np.where(np.arange(LINES) < VISITS, 0.0, chance.exponential(240, LINES))
    seconds = np.minimum(starts[visits] + later, DAYS * 86_400 - 1).astype(np.int64)
    order = np.argsort(seconds, kind="stable")
    return visits[order].tolist(), seconds[order].tolist()


def lines(first: date) -> Iterator[str]:
    """A week of a site's log, the same for every call on one day."""
    chance, other = np.random.default_rng(20261124), random.Random(20261124)
    visits, seconds = in_time(chance)
    people, asked = visitors(other), queries(other)
    pages, files, missing, sites = targets(other)
    who = [people[n] for n in zipf(chance, ADDRESSES, VISITS, 0.25)]
    kinds = [_KINDS[n] for n in chance.choice(len(_KINDS), LINES, p=_SHARES)]
    columns = [zipf(chance, len(each), LINES, 1.0) for each in (pages, files, missing, sites)]
    sizes = chance.integers(200, 90_000, LINES).tolist()
    midnight = datetime.combine(first, datetime.min.time())
    minutes = [(midnight + timedelta(minutes=n)).strftime("%d/%b/%Y:%H:%M:") for n in range(DAYS * 24 * 60)]
    for visit, second, kind, page, file, gone, site, size in zip(
        visits, seconds, kinds, *columns, sizes, strict=True
    ):
        path, referrer, method = pages[page], sites[site], "GET"
        status = 200 if size % 5 else 304
        if kind == "page":
            path += next(asked)
        elif kind == "file":
            path, referrer = files[file], f"https://example.org{path}"
        elif kind == "missing":
            path, status = missing[gone], 404
        elif kind == "moved":
            status = 301
        else:
            method = "POST" if kind == "form" else "HEAD"
        address, agent = who[visit]
        at = f"{minutes[second // 60]}{second % 60:02} +0000"
        yield f'{address} - - [{at}] "{method} {path} HTTP/1.1" {status} {size} "{referrer}" "{agent}"\n'


_POLICY = """
[controller]
name = "Example"
contact = "privacy@example.org"
hosts = ["example.org"]

[[versions]]
id = "1"
modified = 2020-01-01
effective = 2020-01-01
summary = "Counted without asking."

[versions.purposes.statistics]
access = "exempt"
basis = "legitimate_interests"
default = "granted"
text = "We count visits with a number that we forget every night."
retention_days = 90
fields = { cookie = "daily", browser = "family", time = "second", page = "path", ip = "country" }
"""


def run(*command: str) -> tuple[float, float]:
    """Seconds that a command takes, and MiB that it and its children need at most."""
    start_s, peak_kib = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak_kib = max(peak_kib, sum(map(memory_kib, family(process.pid))))
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)  # to look takes 10 ms, which one of two processors then lacks
    assert process.returncode == 0, command
    return time.monotonic() - start_s, peak_kib / 1024


def family(pid: int) -> Sequence[int]:
    """A process and its children."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return pid, *map(int, children.split())
    return (pid,)


def memory_kib(pid: int) -> int:
    """What a process needs; of what it shares with others, its part."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def rows() -> list[Row]:
    """From a week's log to a report: goaccess, and `impersonal import --report`, in turns."""
    goaccess = shutil.which("goaccess")
    if goaccess is None:
        print("left out: `impersonal import` against goaccess, which is not installed", file=sys.stderr)
        return []
    ours, theirs = [], []
    with TemporaryDirectory() as name:
        log = Path(name) / "access.log"
        last = datetime.now(UTC).date() - timedelta(1)
        with log.open("w", encoding="ascii") as file:
            file.writelines(lines(last - timedelta(DAYS - 1)))
        for turn in range(TURNS):
            page, data = Path(name) / "report.html", Path(name) / f"data{turn}"
            options = ("--log-format=COMBINED", "--no-global-config", "--no-progress", "-o", str(page))
            theirs.append(run(goaccess, str(log), *options))
            assert f'"valid_requests": {LINES}' in page.read_text()
            data.mkdir()
            (data / "policy.toml").write_text(_POLICY)
            command = (
                "import",
                str(log),
                "--ground",
                "legitimate_interests",
                "--report",
                "--data",
                str(data),
            )
            ours.append(run(str(Path(sys.prefix) / "bin" / "impersonal"), *command))
    (ours_s, peak_mib), (theirs_s, _) = min(ours), min(theirs)
    what = f"{LINES // 1_000_000} M lines of an access log, to the report"
    baseline = f"goaccess: {theirs_s:.0f} s"
    return [Row(what, f"{ours_s:.1f} s, {peak_mib:.0f} MiB", baseline, theirs_s / ours_s, at_least=5)]
