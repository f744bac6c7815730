"""Access logs into private events: hand-counted, resumed, refused, killed, and never with an address."""

import gzip
import io
import math
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.enrich import Enricher
from collector.policy import Policy, Service
from collector.record import DAY_MS
from pipeline import access_log, cli, log_batches, log_events, log_files
from pipeline.access_log import AccessLogError, Imported, import_logs, in_words
from pipeline.days import seal
from pipeline.demo.disk import found_on_disk
from pipeline.ingest import ingest
from pipeline.log_days import CLOSED, IMPORTED, TAKEN, WAITING, LogDay
from pipeline.log_files import LogFileError
from pipeline.log_lines import NO_TIME, Lines, shape, unescaped
from pipeline.log_split import form_of
from pipeline.retention import Expired
from pipeline.run import Round
from pipeline.status import in_words as status_in_words
from pipeline.status import read_status
from pipeline.store import ImportedDay, is_sealed, sync
from tests import matchers
from tests.forks import alone, ended, forked
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms, time_of, write
from tests.pipeline.test_cli import Done, impersonal
from tests.policies import EVERYTHING, measured, policy, purpose, version

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Mobile/15E148 Safari/604.1"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
COARSE = {"cookie": "daily", "browser": "family", "time": "minute", "page": "path", "ip": "country"}
FINE = {**EVERYTHING, "cookie": "daily"}
START = date.fromisoformat(DAY)
LEGITIMATE = "legitimate_interests"
ENRICHER = Enricher()
"""Shared: its patterns take a third of a second to build."""


def site(fields: dict[str, str] | None = None, *, effective: date = START, **more: Any) -> Policy:
    return policy(version(measured(fields or COARSE), effective=effective, **more), tier="small")


def line(
    request: str = "GET / HTTP/1.1",
    address: str = "8.8.8.8",
    at: str = "24/Nov/2026:10:00:00 +0000",
    status: int = 200,
    referrer: str = "-",
    agent: str = FIREFOX,
) -> str:
    return f'{address} - - [{at}] "{request}" {status} 512 "{referrer}" "{agent}"'


def log(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def take(
    data: Path, *files: Path, under: Policy | None = None, now_ms: int = 0, ground: str = LEGITIMATE
) -> Imported:
    """One import; at noon of the day after, unless told otherwise."""
    data.mkdir(exist_ok=True)
    names = [str(file) for file in files]
    clock_ms = now_ms or noon_ms(NEXT_DAY)
    return import_logs(data, under or site(), names, ground, lambda: clock_ms, lambda *_: None, ENRICHER)


def events(data: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    files = [str(path) for path in data.glob("events/*/*.parquet")]
    if not files:
        return []
    query = f"SELECT {columns} FROM read_parquet($files, hive_partitioning = false) ORDER BY ts_ms, id"
    return duckdb.execute(query, {"files": files}).fetchall()


def taken(found: Imported) -> LogDay:
    [day] = found.days.of(TAKEN)
    return day


MIXED = (
    line(),
    line("GET /a?utm_source=Letter&secret=1 HTTP/1.1", referrer="https://www.other.example.net/x?y"),
    line("GET /a HTTP/2.0", status=304, agent=PHONE, referrer="https://example.org/"),
    line("GET /a", address="host.example.net", agent="-"),
    line("GET /b HTTP/1.1", address="2001:4860:4860::8888", agent=""),
    line("GET /style.CSS?v=1 HTTP/1.1"),
    line("HEAD /photo.jpg HTTP/1.1"),
    line("HEAD / HTTP/1.1"),
    line("POST /form HTTP/1.1"),
    line("GET /gone HTTP/1.1", status=404),
    line("GET /old HTTP/1.1", status=301),
    line("-", status=408),
    line(agent=GOOGLEBOT),
    line("GET /style.css HTTP/1.1", agent=GOOGLEBOT),
    line(agent="curl/8.5.0"),
    "not a line at all",
    '9.9.9.9 - - [24/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 512 "-" "an agent that is cut',
    line(at="31/Feb/2026:10:00:00 +0000"),
)
"""Counted by hand: 18 lines, 3 malformed, 3 of bots, 2 assets, 5 other, 5 page views of 4 visitor-days."""


def test_lines_are_counted_as_by_hand(tmp_path: Path) -> None:
    """Every line is malformed, a bot's, for a file, something else or a page view."""
    day = taken(take(tmp_path / "data", log(tmp_path / "log", *MIXED)))
    assert (day.lines, day.malformed, day.assets, day.other) == (18, 3, 2, 5)
    assert day.bots == {"search": 2, "automation": 1}
    assert (len(day.times), len(day.visitors)) == (5, 4)
    status = read_status(tmp_path / "data")
    [found] = [each for each in status.days if each.imported]
    assert found.imported == ImportedDay(LEGITIMATE, 18, 3, 2, 5, {"search": 2, "automation": 1})
    assert found.outcomes == {"rows": 5}
    assert "from 18 lines of access logs: 5 other, 3 malformed, 3 of bots, 2 assets" in "\n".join(
        status_in_words(status)
    )


def test_page_views_become_private_events(tmp_path: Path) -> None:
    """The columns are the collector's, cut to what statistics are granted that day."""
    take(tmp_path / "data", log(tmp_path / "log", *MIXED))
    columns = "path, device, browser, country, referrer, utm_source"
    assert events(tmp_path / "data", columns) == [
        ("/", "desktop", "Firefox", "US", None, None),
        ("/a", "desktop", "Firefox", "US", "other.example.net", "letter"),
        ("/a", "mobile", "Mobile Safari", "US", None, None),
        ("/a", "other", None, None, None, None),
        ("/b", "other", None, "US", None, None),
    ]
    rows = events(tmp_path / "data", "kind, policy, consent, purposes, browser_major, network, ts_ms")
    assert set(map(repr, rows)) == {
        repr(("view", "v1", None, ["statistics"], None, None, noon_ms() - 2 * 3_600_000))
    }
    assert len(set(events(tmp_path / "data", "id"))) == 5
    assert len(set(events(tmp_path / "data", "visitor"))) == 4


@pytest.mark.parametrize(
    ("mount", "inside", "outside"),
    [
        ("/club/1234567", "/club/1234567/x", "/club/7654321/x"),
        ("/my-shop@home", "/my-shop%40home/x", "/my-shop@work/x"),
        ("/%D0%BC", "/%d0%bc/", "/%D0%BD"),
    ],
)
def test_a_mount_is_met_whatever_it_looks_like(tmp_path: Path, mount: str, inside: str, outside: str) -> None:
    """As by the collector: also where a record blanks it, and its neighbour of the same looks is outside. The
    version of the day decides."""
    club = Service("club", mount, {"path": "mandatory"}, 30)
    later = version(measured(FINE), version_id="v2", effective=date.fromisoformat(NEXT_DAY))
    under = policy(*site(FINE, services=(club,)).versions, later, tier="small")
    lines = [
        line(f"GET {asked} HTTP/1.1", at=f"{day}/Nov/2026:10:00:00 +0000")
        for day in (24, 25)
        for asked in (inside, outside)
    ]
    file = log(tmp_path / "log", *lines)
    take(tmp_path / "data", file, under=under, now_ms=noon_ms("2026-11-27"))
    found = events(tmp_path / "data", "policy, service, country")
    assert sorted(found, key=repr) == [
        ("v1", "club", None),
        ("v1", None, "US"),
        *2 * [("v2", None, "US")],
    ]
    shown = {path for (path,) in events(tmp_path / "data", "path")}
    assert not {path for path in shown if "1234567" in path or "@home" in path}, "blanked as ever"


def test_the_policy_of_the_day_cuts_the_fields(tmp_path: Path) -> None:
    """Finer levels record more, time is cut to its step, and a service keeps to its own fields."""
    at = line("GET /shop/x HTTP/1.1", at="24/Nov/2026:10:17:42 +0000")
    other = line(at="24/Nov/2026:10:17:43 +0000")
    shop = Service("shop", "/shop", {"visitor": "mandatory", "path": "mandatory"}, 30)
    file = log(tmp_path / "log", at, other)
    take(tmp_path / "fine", file, under=site(FINE, services=(shop,)))
    columns = "service, path, browser, browser_major, network, ts_ms % 60000"
    assert events(tmp_path / "fine", columns) == [
        ("shop", "/shop/x", None, None, None, 42_000),
        (None, "/", "Firefox", "140", "8.8.8.0/24", 43_000),
    ]
    take(tmp_path / "bare", file, under=site({"cookie": "daily"}))
    columns = "visitor IS NULL, path, browser, country, ts_ms % 3600000"
    assert events(tmp_path / "bare", columns) == [(False, None, None, None, 0)] * 2


@pytest.mark.parametrize("form", ["plain", "gz", "zst", "frames"])
def test_compressed_logs_hold_the_same(tmp_path: Path, form: str) -> None:
    """gzip and zstd are told by their bytes, several members or frames included."""
    half, rest = ("".join(f"{each}\n" for each in part).encode() for part in (MIXED[:7], MIXED[7:]))
    content = {
        "plain": half + rest,
        "gz": gzip.compress(half) + gzip.compress(rest),
        "zst": zstandard.compress(half + rest),
        "frames": zstandard.compress(half) + zstandard.compress(rest),
    }[form]
    (tmp_path / "log").write_bytes(content)
    day = taken(take(tmp_path / "data", tmp_path / "log"))
    assert (day.lines, len(day.times), day.bots.total()) == (18, 5, 3)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_cut_file_changes_nothing(tmp_path: Path, compress: Any) -> None:
    """A compressed log that ends too early or is damaged is refused, and no day of it appears."""
    chance = random.Random(7)
    lines = [line(address=f"8.8.{chance.randrange(256)}.{chance.randrange(256)}") for _ in range(30_000)]
    whole = compress("\n".join(lines).encode())
    for content in (whole[:-9], whole[: len(whole) // 2], whole[:2000] + b"damage" + whole[2006:]):
        (tmp_path / "log").write_bytes(content)
        with pytest.raises(LogFileError, match="whole copy"):
            take(tmp_path / "data", tmp_path / "log")
    assert not (tmp_path / "data" / "events").exists()


def test_the_common_format_has_neither_agent_nor_referrer(tmp_path: Path) -> None:
    """It is told by its first line; agents are unknown, and visitors are addresses."""
    lines = [line(address=f"8.8.8.{n % 3}").rsplit(' "', 2)[0] for n in range(7)]
    found = take(tmp_path / "data", log(tmp_path / "log", *lines, line(), "junk"))
    assert found.files == {"log": "common"}
    day = taken(found)
    assert (day.lines, day.malformed, len(day.times), len(day.visitors)) == (9, 2, 7, 3)
    assert set(events(tmp_path / "data", "browser, referrer")) == {(None, None)}


def test_what_else_logs_write(tmp_path: Path) -> None:
    """CRLF, user names with spaces, escaped quotes, more fields at the end, a missing last newline."""
    lines = [
        line() + "\r",
        line().replace("- - [", "- Jane Doe ["),
        line(agent=FIREFOX + r" \"x\" \\"),
        line(agent=FIREFOX + r" \x22x\x22"),
        line() + ' "10.0.0.1" rt=0.003',
        line("GET /with space HTTP/1.1"),
        line("GET /%D0%B0?x#y HTTP/1.1"),
        line("GET http://example.org/absolute HTTP/1.1"),
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    day = taken(take(tmp_path / "data", tmp_path / "log"))
    assert (day.lines, day.malformed, len(day.times)) == (8, 0, 8)
    paths = [path for (path,) in events(tmp_path / "data", "path")]
    assert paths == ["/"] * 5 + ["/with%20space", "/%D0%B0", "/absolute"]


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("24/Nov/2026:00:30:00 +0100", 23 * 3600 + 1800 - 86_400),
        ("23/Nov/2026:20:00:00 -0430", 1800),
        ("24/Nov/2026:23:59:60 +0000", 86_399),
        ("01/Jan/1970:00:00:00 +0000", -START.toordinal() * 86_400 + date(1970, 1, 1).toordinal() * 86_400),
        ("24/Nov/2026:24:00:00 +0000", None),
        ("24/Nov/2026:10:00:61 +0000", None),
        ("24/nov/2026:10:00:00 +0000", None),
        ("24/Nov/2027:10:00:00 +0000", None),
        ("01/Jan/0001:00:00:00 +0100", None),
        ("24/Nov/2026:10:00:00", None),
    ],
)
def test_times_are_utc(text: str, is_read: int | None) -> None:
    """Zones count, a leap second stays in its day, and what is no time or lies ahead is malformed."""
    start_ms = noon_ms() - DAY_MS // 2
    seen = time_of(Lines(ENRICHER, (), noon_ms(NEXT_DAY), False), text.encode())
    assert seen == (NO_TIME if is_read is None else start_ms + is_read * 1000)


def test_days_are_cut_in_utc_whatever_the_order(tmp_path: Path) -> None:
    """A line belongs to its own UTC day, across files and zones, with one pseudonym a visitor and day."""
    first = log(tmp_path / "b", line(at="25/Nov/2026:00:30:00 +0100"), line(at="25/Nov/2026:00:00:01 +0000"))
    second = log(tmp_path / "a", line(at="24/Nov/2026:00:00:00 +0000"))
    data = tmp_path / "data"
    found = take(data, first, second, now_ms=noon_ms(NEXT_DAY) + DAY_MS)
    assert [(day.day, day.lines, len(day.visitors)) for day in found.days.of(TAKEN)] == [
        (DAY, 2, 1),
        (NEXT_DAY, 1, 1),
    ]
    assert len(set(events(data, "visitor"))) == 2


def test_a_grown_and_renamed_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Lines of a day that is not over wait; next time they are taken, whatever the file is called then."""
    yesterday = [line(address=f"8.8.8.{n}") for n in range(60)]
    today = [line(at="25/Nov/2026:01:00:00 +0000", address=f"8.8.4.{n}") for n in range(5)]
    stray = line(at="24/Nov/2026:23:59:59 +0000")
    data, file = tmp_path / "data", log(tmp_path / "access.log", *yesterday, *today[:2])
    found = take(data, file)
    assert (taken(found).lines, found.days.of(WAITING)[0].lines) == (60, 2)
    again = take(data, file)
    assert [each.day for each in again.days.of(TAKEN)] == []
    log(file, *yesterday, *today, stray)
    rotated = tmp_path / "access.log.1.gz"
    rotated.write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    found = take(
        data, rotated, log(file, line(at="25/Nov/2026:23:00:00 +0000")), now_ms=noon_ms("2026-11-26")
    )
    assert (taken(found).day, taken(found).lines) == (NEXT_DAY, 6)
    assert len(events(data)) == 66


def test_a_log_is_read_on_from_its_offset(tmp_path: Path) -> None:
    """What is consumed is not even parsed again: only the chunk in which the new lines begin."""
    first = [line(address=f"8.8.{n // 256}.{n % 256}") for n in range(10_000)]
    data, file = tmp_path / "data", log(tmp_path / "access.log", *first)
    take(data, file)
    log(file, *first, line(at="25/Nov/2026:01:00:00 +0000"))
    found = take(data, file, now_ms=noon_ms("2026-11-26"))
    assert taken(found).lines == 1
    assert found.days.of(IMPORTED) == []


def test_one_log_under_two_names_is_refused(tmp_path: Path) -> None:
    """Rotated and compressed copies of each other would count twice."""
    file = log(tmp_path / "access.log", *MIXED)
    (tmp_path / "access.log.gz").write_bytes(gzip.compress(file.read_bytes()))
    with pytest.raises(AccessLogError, match="name each log once"):
        take(tmp_path / "data", file, tmp_path / "access.log.gz")
    assert not (tmp_path / "data" / "events").exists()


def test_sealed_and_collected_days_are_refused(tmp_path: Path) -> None:
    """Nothing is added to a sealed, a collected, an imported day, nor before the first."""
    file = log(tmp_path / "log", line())
    for name in ("sealed", "ingested", "logged", "first"):
        (tmp_path / name).mkdir()
    seal(tmp_path / "sealed", lambda: noon_ms(NEXT_DAY), START)
    write(tmp_path / "logged", [frame(1)])
    write(tmp_path / "ingested", [frame(1)])
    ingest(tmp_path / "ingested", noon_ms, lambda *_: None)
    (tmp_path / "ingested" / "logs").rename(tmp_path / "gone")
    (tmp_path / "first" / "first_day").write_text(NEXT_DAY)
    for name, reason in (
        ("sealed", "data directory of their own|of its own"),
        ("ingested", "did not run"),
        ("logged", "did not run"),
        ("first", "data directory of their own"),
    ):
        with pytest.raises(AccessLogError, match=reason):
            take(tmp_path / name, file)
    take(tmp_path / "imported", file)
    with pytest.raises(AccessLogError, match="in one call"):
        take(tmp_path / "imported", log(tmp_path / "new", line("GET /new HTTP/1.1")))
    assert len(events(tmp_path / "imported")) == 1


def test_other_days_of_a_call_are_taken(tmp_path: Path) -> None:
    """A refused day is left out and said, the others are imported."""
    data = tmp_path / "data"
    data.mkdir()
    write(data, [frame(1, NEXT_DAY)], day=NEXT_DAY)
    file = log(tmp_path / "log", line(), line(at="25/Nov/2026:10:00:00 +0000"))
    found = take(data, file, now_ms=noon_ms("2026-11-26") - DAY_MS // 2 + 1)
    assert taken(found).day == DAY
    assert found.days.of(CLOSED)[0].lines == 1
    assert "Left out 1 lines: 2026-11-25 holds records of the collector" in "\n".join(in_words(found))


@pytest.mark.parametrize(
    ("under", "ground", "reason"),
    [
        (policy(version(purpose("statistics", COARSE))), LEGITIMATE, "only after consent"),
        (policy(version(measured(COARSE, default="refused"))), LEGITIMATE, "only after consent"),
        (site(), "contract", "use --ground legitimate_interests"),
        (site(effective=date.fromisoformat(NEXT_DAY)), LEGITIMATE, "took effect by then"),
        (policy(version(purpose("advertising", EVERYTHING))), LEGITIMATE, "no purpose statistics"),
    ],
)
def test_the_policy_of_the_day_must_allow_it(tmp_path: Path, under: Policy, ground: str, reason: str) -> None:
    """Consent is no ground, the ground is the policy's, and a day without a policy has none."""
    with pytest.raises(AccessLogError, match=reason):
        take(tmp_path / "data", log(tmp_path / "log", line()), under=under, ground=ground)
    assert not (tmp_path / "data" / "events").exists()


def test_days_that_the_policy_refused_wait_for_a_new_one(tmp_path: Path) -> None:
    """Lines of a day without a policy are taken by a later call, once there is one."""
    file = log(tmp_path / "log", line(), line(at="25/Nov/2026:10:00:00 +0000"))
    now_ms = noon_ms(NEXT_DAY) + DAY_MS
    late = site(effective=date.fromisoformat(NEXT_DAY))
    assert taken(take(tmp_path / "data", file, under=late, now_ms=now_ms)).day == NEXT_DAY
    (tmp_path / "data" / "first_day").unlink()
    assert taken(take(tmp_path / "data", file, now_ms=now_ms)).day == DAY


def test_days_over_their_retention_are_released_then_expired(tmp_path: Path) -> None:
    """Old logs leave published statistics and no record; the years since then are not released."""
    lines = [
        line(at=f"{24 + n % 3}/Nov/2025:10:00:00 +0000", address=f"8.8.{n // 200}.{n % 200}")
        for n in range(900)
    ]
    data = tmp_path / "data"
    found = take(data, log(tmp_path / "log", *lines), under=site(effective=date(2025, 11, 1)))
    assert found.round is not None
    assert found.round.expired.days == ["2025-11-24", "2025-11-25", "2025-11-26"]
    assert events(data) == []
    [file] = (data / "published" / "visitors").glob("*2025-11-24.parquet")
    [(value, sigma)] = duckdb.execute("SELECT value, sigma FROM read_parquet(?)", [str(file)]).fetchall()
    assert abs(value - 900) < 6 * sigma
    assert max(path.name for path in data.glob("events/*")) < "day=2026"


def test_the_salt_is_gone(tmp_path: Path) -> None:
    """No key on disk makes the pseudonyms, and another import makes others."""
    file = log(tmp_path / "log", line(), line())
    pseudonyms = []
    for name in ("one", "two"):
        found = take(tmp_path / name, file)
        assert set(taken(found).salt) == {0}
        pseudonyms += list(set(events(tmp_path / name, "visitor")))
        [key] = (path for path in (tmp_path / name / "keys").iterdir())
        assert key.name == "import.key"
        text = b"8.8.8.8\0" + FIREFOX.encode()
        for salt in (bytes.fromhex(key.read_text()), key.read_bytes()[:64]):
            made = blake2b(text, key=salt, digest_size=16).hexdigest()
            assert (made,) not in pseudonyms
    assert len(set(pseudonyms)) == 2


def test_no_address_and_no_agent_is_on_disk(tmp_path: Path) -> None:
    """Not in the events, not in quarantine, not under any name; what may be there is found."""
    chance = random.Random(3)
    addresses = [f"80.{chance.randrange(100, 255)}.{chance.randrange(100, 255)}.{n}" for n in range(101, 150)]
    agents = [FIREFOX.replace("20100101", str(chance.randrange(10**8, 10**9))) for _ in addresses]
    lines = [
        line("GET /a-page-to-find HTTP/1.1", *pair, agent=agent)[: -(n % 2) * 30 or None]
        for n, (pair, agent) in enumerate(zip(((each,) for each in addresses), agents, strict=True))
    ]
    lines += [f"{address} {agent}" for address, agent in zip(addresses, agents, strict=True)]
    data = tmp_path / "data"
    day = taken(take(data, log(tmp_path / "log", *lines)))
    assert day.malformed == 24 + 49
    assert found_on_disk(data, [*addresses, *agents]) == {}
    assert set(found_on_disk(data, ["/a-page-to-find", "malformed", taken_visitor(data)])) >= {"malformed"}
    [path] = data.glob("quarantine/*/*.jsonl")
    assert msgspec.json.decode(path.read_bytes().splitlines()[-1])["shape"].startswith(
        "0.0.0.0 a/0.0 (a0; a a0_0"
    )


def taken_visitor(data: Path) -> str:
    return str(events(data, "visitor")[0][0])


def test_everything_is_private(tmp_path: Path) -> None:
    """Files 0600, directories 0700."""
    data = tmp_path / "data"
    take(data, log(tmp_path / "log", *MIXED))
    for path in (*data.glob("events/**/*"), *data.glob("quarantine/**/*"), *data.glob("keys/**/*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


DAYS_LATER_MS = noon_ms(NEXT_DAY) + 2 * DAY_MS


def import_to_death(directory: str, file: str) -> None:
    """Import into one directory after the other, killed at another step of writing three days each time."""
    ENRICHER.warm()
    for step in (0, 4, 8, 10, 12):
        to = Path(directory) / f"killed-{step}"
        assert ended(forked(partial(killed_import, to, Path(file), step))) == -signal.SIGKILL, step


def killed_import(data: Path, file: Path, left: int) -> None:
    def killing(act: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*given: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*given)

        return wrapped

    for module, name in ((log_events, "sync"), (log_events, "write_private"), (access_log, "run_once")):
        setattr(module, name, killing(getattr(module, name)))
    take(data, file, now_ms=DAYS_LATER_MS)


def seen(data: Path) -> list[tuple[Any, ...]]:
    """Events without what is drawn anew each time: ids, and the pseudonyms' own values."""
    columns = "ts_ms, path, browser, country, dense_rank() OVER (ORDER BY min_id)"
    inner = "*, min(id) OVER (PARTITION BY visitor) AS min_id"
    files = [str(path) for path in sorted(data.glob("events/*/*.parquet"))]
    source = f"(SELECT {inner} FROM read_parquet($files, hive_partitioning = false))"
    rows = duckdb.execute(f"SELECT {columns} FROM {source} ORDER BY ALL", {"files": files}).fetchall()
    return [row[:-1] for row in rows]


def test_a_killed_import_is_made_good_by_the_next(tmp_path: Path) -> None:
    """SIGKILL at every step of writing three days; run again, the events are those of an undisturbed run."""
    days = [f"{day}/Nov/2026:10:00:{n % 60:02} +0000" for day in (24, 25, 26) for n in range(40)]
    lines = [line(f"GET /{n % 7} HTTP/1.1", f"8.8.8.{n % 11}", at) for n, at in enumerate(days)]
    lines.insert(50, "malformed")
    file = log(tmp_path / "log", *lines)
    take(tmp_path / "whole", file, now_ms=DAYS_LATER_MS)
    alone(import_to_death, tmp_path, file)
    committed = Counter[int]()
    for data in tmp_path.glob("killed-*"):
        committed[len(list(data.glob("events/*/*.parquet")))] += 1
        take(data, file, now_ms=DAYS_LATER_MS)
        assert seen(data) == seen(tmp_path / "whole")
        assert len(list(data.glob("quarantine/*/*"))) == 1
        assert not list(data.glob("events/*/.*"))
    assert set(committed) == {0, 1, 2, 3}


def allow(data: Path) -> None:
    """Let a policy that `impersonal init` wrote count old visits without asking."""
    today = time.strftime("%Y-%m-%d")
    allowed = (data / "policy.toml").read_text().replace(today, "2026-01-01")
    allowed = allowed.replace(
        'access = "consent"\nbasis = "consent"\ndefault = "refused"',
        'access = "exempt"\nbasis = "legitimate_interests"\ndefault = "granted"',
        1,
    )
    (data / "policy.toml").write_text(allowed.replace('cookie = "long-lived"', 'cookie = "daily"', 1))


CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def import_in_steps(directory: str, file: str) -> None:
    """Import into 0, 1, …, killed before the 1st, 2nd, … last change of the disk; then into each again."""
    ENRICHER.warm()
    pytest.MonkeyPatch().setattr(
        access_log, "run_once", lambda *_: Round(Counter(), [], [], 0, Expired(), [])
    )
    for step in count():
        to = Path(directory) / f"{step}"
        code = ended(forked(partial(import_until, to, Path(file), step)))
        if code == 0:
            return
        assert code == -signal.SIGKILL
        assert ended(forked(partial(import_until, to, Path(file)))) == 0


def import_until(to: Path, file: Path, left: float = math.inf) -> None:
    """Import, but be killed before a change of the disk when so many have been made."""

    def kill(event: str, arguments: Any) -> None:
        nonlocal left
        changes = event in CHANGES or (event == "open" and arguments[2] & WRITING)
        if changes and str(arguments[0]).startswith(str(to)):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    take(to, file, now_ms=noon_ms(NEXT_DAY) + DAY_MS)


def test_a_kill_at_any_step_is_made_good(tmp_path: Path) -> None:
    """SIGKILL before each change of the disk by which two days come into the events; then the next call."""
    lines = [
        line(f"GET /{n % 7} HTTP/1.1", at=f"{24 + n // 20}/Nov/2026:10:00:{n:02} +0000") for n in range(40)
    ]
    lines.insert(25, "malformed")
    file = log(tmp_path / "log", *lines)
    (tmp_path / "data").mkdir()
    alone(import_in_steps, tmp_path / "data", file)
    killed = sorted((tmp_path / "data").iterdir(), key=lambda path: int(path.name))
    whole = seen(killed.pop())
    assert len(killed) > 12
    assert len(whole) == 40
    for path in killed:
        assert seen(path) == whole, path
        assert [len(list(path.glob(each))) for each in ("quarantine/*/*", "events/*/.*", "spill")] == [
            1,
            0,
            0,
        ]


SYNCS = range(1, 5)
"""Of what an import of two days writes: each of them is interrupted once."""


def import_interrupted(directory: str) -> None:
    """Import a log into 0, 1, …, interrupted at the n-th sync, at last while it reads; then into each again.

    Prints the exit statuses of the first time.
    """
    matchers.share()
    ENRICHER.warm()
    log_batches.BATCH_BYTES = 1  # a chunk is a batch: several processes read
    log_files.READ_BYTES = 32 * 1024
    place = Path(directory)
    text = os.open(place / "log", os.O_RDONLY)

    def imported(number: int, interrupt_at: int = 0) -> int:
        os.lseek(text, 0, os.SEEK_SET)
        return ended(forked(partial(import_stdin, place, number, text, interrupt_at)))

    print(*(imported(number, number) for number in (0, *SYNCS)))
    reading, writing = os.pipe()
    child = forked(partial(import_stdin, place, SYNCS.stop, reading, 0, writing))
    with os.fdopen(writing, "wb") as pipe:
        pipe.write((place / "log").read_bytes())
        pipe.flush()  # all but what the pipe holds is read when this returns
        os.kill(child, signal.SIGINT)
        print(ended(child))
    assert [imported(number) for number in (*SYNCS, SYNCS.stop)] == [0] * (len(SYNCS) + 1)


def import_stdin(place: Path, number: int, text: int, interrupt_at: int, unused: int = 0) -> None:
    """`impersonal import -`, interrupted by itself at one of the times that it syncs what it wrote."""
    left = interrupt_at

    def interrupting(path: Path) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        sync(path)

    pytest.MonkeyPatch().setattr(log_events, "sync", interrupting)
    if unused:
        os.close(unused)
    os.dup2(text, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(place / f"{number}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os._exit(cli.run(["import", "-", "--ground", LEGITIMATE, "--data", str(place / f"{number}")]))


def test_ctrl_c_leaves_nothing_half_done(tmp_path: Path) -> None:
    """SIGINT while a log is read and while its days are written: a line, and the next call makes it good."""
    days = [time.strftime("%d/%b/%Y", time.gmtime(time.time() - n * 86_400)) for n in (3, 2)]
    times = [f"{day}:10:00:{n % 60:02} +0000" for day in days for n in range(700)]
    log(
        tmp_path / "log",
        *(line(f"GET /{n % 9} HTTP/1.1", f"8.8.{n % 7}.1", at) for n, at in enumerate(times)),
    )
    assert impersonal("init", "--data", tmp_path / "0").returncode == 0
    allow(tmp_path / "0")
    numbers = [*SYNCS, SYNCS.stop]
    for number in numbers:
        shutil.copytree(tmp_path / "0", tmp_path / f"{number}")
    statuses = alone(import_interrupted, tmp_path).split()
    assert statuses == ["0", *["1"] * len(numbers)]
    stopped = "impersonal: stopped; nothing is half done, the next run goes on from here"
    said = [(tmp_path / f"{number}.said").read_text().strip() for number in (0, *numbers)]
    assert said == ["", *[stopped] * len(numbers)]
    assert len(seen(tmp_path / "0")) == len(times)
    for number in numbers:
        assert seen(tmp_path / f"{number}") == seen(tmp_path / "0"), number


def test_the_command_reads_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`impersonal import -` prints what was found and what it left out, and a refusal in one line."""
    data = tmp_path / "data"
    day = time.strftime("%d/%b/%Y", time.gmtime(time.time() - 86_400))
    assert impersonal("init", "--data", data).returncode == 0

    def imported(text: str) -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode()))))
        return impersonal("import", "-", "--ground", LEGITIMATE, "--data", data)

    text = "\n".join(MIXED).replace("24/Nov/2026", day)
    refused = imported(text)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("impersonal: no policy was in force")
    assert refused.stderr.count("\n") == 1
    allow(data)
    done = imported(text)
    assert done.returncode == 0, done.stderr
    assert "18  lines" in done.stdout
    assert "5  page views" in done.stdout
    assert "malformed, at byte" in done.stdout
    assert "9.9.9.9" not in done.stdout
    assert imported("no log").stderr.startswith("impersonal: standard input is neither in the common nor")


@pytest.mark.parametrize("days_ago", [1, 60])
def test_an_import_prints_the_totals_when_asked(tmp_path: Path, days_ago: int) -> None:
    """What `impersonal report` says then, of weeks that are released; else that nothing is published yet."""
    data, at = tmp_path / "data", datetime.now(UTC).date() - timedelta(days_ago)
    assert impersonal("init", "--data", data).returncode == 0
    allow(data)
    file = log(tmp_path / "log", *(each.replace("24/Nov/2026", f"{at:%d/%b/%Y}") for each in MIXED))
    done = impersonal("import", file, "--report", "--ground", LEGITIMATE, "--data", data)
    # The week of an old day is over, and sealed with it.
    after = [at + timedelta(days) for days in range(28)]
    last = max([at, *(day for day in after if is_sealed(data, str(day)))])
    said = impersonal("report", "--from", str(last - timedelta(27)), "--to", str(last), "--data", data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(said.stdout)
    assert said.stdout or days_ago == 1  # yesterday's week may be over, or not
    notes = said.stderr.splitlines()
    assert notes
    for note in notes:
        assert note.removeprefix("impersonal: ") in done.stderr


def test_shapes_say_nothing() -> None:
    """A shape keeps punctuation only, whatever the line holds."""
    assert shape(b"203.0.113.9 - J\xc3\xb6 [x] 2001:db8::1 \x00") == "0.0.0.0 - a? [a] 0:a0::0 ?"
    assert len(shape(b'"' * 10_000)) == 120


def test_escapes_are_undone() -> None:
    """Both servers' ways to write a quote, a control character or a backslash."""
    assert unescaped(rb"\"a\" \x22b\x22 \\ \t \z \x4") == b'"a" "b" \\ \t z x4'


JUNK = st.lists(
    st.one_of(
        st.binary(max_size=80),
        st.just(line().encode()),
        st.builds(
            lambda *parts: b'%b - - [24/Nov/2026:10:00:00 +0000] "%b" %b 1 "%b" "%b"' % parts,
            *(st.binary(max_size=20) for _ in range(5)),
        ),
        st.builds(lambda raw, at: raw[:at] + raw[at + 1 :], st.just(line().encode()), st.integers(0, 160)),
    ),
    max_size=12,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=JUNK, ending=st.sampled_from([b"\n", b"\r\n", b""]))
def test_any_bytes_are_counted(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], ending: bytes
) -> None:
    """Whatever stands in a log, each of its lines is counted once, and nothing crashes."""
    directory = tmp_path_factory.mktemp("any")
    content = line().encode() + b"\n" + ending.join(parts)
    (directory / "log").write_bytes(content)
    day = taken(take(directory / "data", directory / "log"))
    counted = day.malformed + day.assets + day.other + day.bots.total() + len(day.times)
    assert counted == day.lines == content.count(b"\n") + (not content.endswith(b"\n"))


@given(content=st.binary(max_size=400))
def test_any_file_is_a_log_or_not(content: bytes) -> None:
    """The format of arbitrary bytes is found or not, without a crash."""
    assert form_of(content, Lines(ENRICHER, (), 0, False)) is None


def test_long_lines_come_in_pieces(tmp_path: Path) -> None:
    """A line without end is malformed, and the lines after it are read."""
    content = "x" * 3_000_000
    day = taken(take(tmp_path / "data", log(tmp_path / "log", line(), content, line("GET /after HTTP/1.1"))))
    assert len(day.times) == 2
    assert day.malformed >= 1
    assert next((tmp_path / "data").glob("quarantine/*/*")).stat().st_size < 1000
