"""The command line as users meet it: real processes, exit statuses, and never a traceback."""

import contextlib
import csv
import io
import json
import math
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from collector.policy_file import load
from pipeline import cli, terminal
from pipeline.query import RATIOS
from pipeline.report import statistic_named
from pipeline.statistics import DEFAULT, STATISTICS, enabled
from pipeline.store import exclusive
from pipeline.windows import Window
from tests.pipeline.logs import frame, write
from tests.pipeline.published import put

CODE = "from pipeline.cli import main; main()"
TODAY = datetime.now(UTC).date()
MONDAY = TODAY - timedelta(TODAY.weekday() + 7)
"""Of the last whole ISO week: closed, unless this runs on a Monday before 02:00 UTC."""
COMMANDS: list[list[str]] = [
    [],
    *(["policy", name] for name in ["check", "show", "history", "diff", "register"]),
    *(["rights", name] for name in ["receipt", "transfer", "transfers", "accesses"]),
    ["audit"],
    ["audit", "verify"],
    *([name] for name in ["init", "run", "correct", "import", "report", "status", "demo"]),
]


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def impersonal(*arguments: str | Path) -> Done:
    """Run a command in this process, which has loaded the engine already."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.run([str(each) for each in arguments])
    finally:
        signal.signal(signal.SIGTERM, before)
    return Done(status, *(each.buffer.getvalue().decode() for each in (out, err)))


def start(*arguments: str | Path, code: str = CODE, **options: Any) -> subprocess.Popen[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a process to end."""
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


def failed(done: Done, status: int = 1) -> str:
    """What a refused command said; it must be lines for people."""
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    return done.stderr


def site(data: Path, shares: str = "{ visitors = 0.5 }") -> Path:
    """A site that was initialised on the Monday that `visits` begin on."""
    assert impersonal("init", "--data", data).returncode == 0
    file = data / "policy.toml"
    text = file.read_text().replace(TODAY.isoformat(), str(MONDAY))
    file.write_text(text.replace('tier = "auto"', f'tier = "medium"\nshares = {shares}'))
    return data


def visits(data: Path, days: int = 7, each: int = 60) -> None:
    """A week of page views."""
    for n in range(days):
        day = str(MONDAY + timedelta(n))
        write(data, [frame(i, day, policy="1", consent="1") for i in range(each)], day=day)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose last week is published."""
    data = site(tmp_path_factory.mktemp("site") / "data", shares="{}")
    visits(data)
    done = impersonal("run", "--data", data)
    assert done.returncode == 0, done.stderr
    assert "Read 420 new records" in done.stdout
    assert "Sealed" in done.stdout
    assert "releases of visitors, pageviews" in done.stdout
    assert "Removed 7 log segments" in done.stdout
    return data


def week(*more: str | Path) -> list[str]:
    return ["--from", str(MONDAY), "--to", str(MONDAY + timedelta(6)), *map(str, more)]


def test_help_is_light() -> None:
    """Neither `--help` nor a command's own help loads the engine, the noise or the terminal's colours."""
    heavy = ("duckdb", "pandas", "numpy", "opendp", "rich", "uvicorn")
    code = (
        "import sys; from pipeline.cli import run\n"
        f"for command in {COMMANDS}: run([*command, '--help'])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert finish(start(code=code)).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS[1:-1])
def test_help_teaches_by_example(command: list[str]) -> None:
    """Every command's help shows how it is called, and each example is a command that exists."""
    done = impersonal(*command, "--help")
    examples = [line.split() for line in done.stdout.splitlines() if line.startswith("  impersonal ")]
    assert examples
    for _, *words in examples:
        assert words[: len(command)] == command


def test_init_writes_a_private_policy_that_works(tmp_path: Path) -> None:
    """The template is valid, dated today and in force, readable by its owner only, and never overwritten."""
    data = tmp_path / "deep" / "data"
    done = impersonal("init", "--data", data)
    assert done.returncode == 0
    assert "add_middleware(Collector" in done.stdout
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "policy.toml").stat().st_mode) == 0o600
    policy = load(data / "policy.toml")
    current = policy.in_force(time.time_ns() // 10**6)
    assert current
    assert current.effective == TODAY
    statistics = current.purposes["statistics"]
    assert (statistics.access, statistics.default, statistics.retention_days) == ("consent", "refused", 90)
    assert dict(statistics.fields) == {
        **{"cookie": "long-lived", "browser": "family", "time": "second", "page": "path", "ip": "country"}
    }
    (data / "policy.toml").write_text("mine")
    assert "stays as it is" in failed(impersonal("init", "--data", data))
    assert (data / "policy.toml").read_text() == "mine"


def test_everything_the_template_offers_is_valid(tmp_path: Path) -> None:
    """Its commented tables work when the comment signs go."""
    impersonal("init", "--data", tmp_path / "data")
    lines = (tmp_path / "data" / "policy.toml").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if "Other purposes" in line)
    offered = re.compile(r'# (\[|\w+ = |"[^"]+" = )')
    bare = [
        line.removeprefix("# ") if n > start and offered.match(line) else line for n, line in enumerate(lines)
    ]
    (tmp_path / "all.toml").write_text("\n".join(bare))
    policy = load(tmp_path / "all.toml")
    assert len(policy.versions[0].purposes) == 6
    assert policy.versions[0].services["shop"].mount == "/shop"
    assert set(enabled(policy)) <= set(STATISTICS)
    assert policy.budget.goals and policy.budget.steps


def test_policy_check_says_what_a_policy_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, what is in force, purposes, and the noise of every statistic in every tier."""
    monkeypatch.setenv("IMPERSONAL_DATA", str(tmp_path))
    impersonal("init")
    done = impersonal("policy", "check")
    assert done.returncode == 0
    assert f"Version 1, effective {TODAY}, in force" in done.stdout
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["visitors", "large", "day", "39.5"] in words
    assert ["pages", "small", "week", "31.6", "240"] in words
    assert [line[:4] for line in words if line[:1] == ["statistics"]] == [
        ["statistics", "consent", "consent", "refused"]
    ]
    assert {line[0] for line in words if len(line) > 2 and line[2] in ("day", "week")} == set(DEFAULT)


@pytest.mark.parametrize(
    ("place", "wrong", "said"),
    [
        ("retention_days = 90", "retention_days = 0", r"retention_days is 0: use whole days"),
        ("retention_days = 90", "retention_days = 27", r"counts windows of 28 days: use at least 28"),
        (
            'tier = "auto"',
            'tier = "auto"\nshares = { horoscopes = 0.1 }',
            r"horoscopes is no statistic: use one",
        ),
    ],
)
def test_policy_check_refuses_with_place_and_remedy(
    tmp_path: Path, place: str, wrong: str, said: str
) -> None:
    """A mistake of the file, of a retention that no window fits into, and of an unknown statistic."""
    impersonal("init", "--data", tmp_path)
    file = tmp_path / "policy.toml"
    file.write_text(file.read_text().replace(place, wrong, 1))
    message = failed(impersonal("policy", "check", file))
    assert said in message
    assert str(file) in message
    assert said in failed(impersonal("run", "--data", tmp_path))


def test_report_gives_every_number_its_interval(published: Path) -> None:
    """JSON rows have exactly the promised names; a total's key is null and its value lies in its interval."""
    done = impersonal("report", *week("--format", "json", "--data", published))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["statistic"] for row in rows] == [
        *("visitors", "pageviews", "visits", "bounce_rate", "views_per_visit"),
        *("consent_rate", "duration_median", "duration_over_minute"),
    ]
    for row in rows:
        assert list(row) == ["statistic", "key", "start", "end", "value", "lower", "upper", "sigma"]
        assert row["key"] is None
        assert (row["start"], row["end"]) == (str(MONDAY), str(MONDAY + timedelta(6)))
        # A rate of so few visitors may be lost in the noise: null, and an interval without an end.
        if row["statistic"] in STATISTICS or row["value"] is not None:
            assert row["lower"] <= row["value"] <= (math.inf if row["upper"] is None else row["upper"])
    assert not [row for row in rows if row["statistic"] in STATISTICS and None in list(row.values())[4:]]
    # 60 visitors a day, σ of a week of daily releases 54: six of them on either side.
    assert abs(rows[0]["value"] - 420) < 330


def test_the_same_question_gets_the_same_answer(published: Path) -> None:
    """Asking again, and running again, changes no published number."""
    ask = ["report", *week("--by", "browser", "--format", "json", "--data", published)]
    first = impersonal(*ask).stdout
    again = impersonal("run", "--data", published)
    assert "Nothing new was due" in again.stdout
    assert impersonal(*ask).stdout == first


def test_formats_agree(published: Path) -> None:
    """Table, CSV and JSON tell the same cells; the table leaves out what is mostly noise, and says so."""
    ask = ["report", *week("--by", "device", "--data", published)]
    rows = json.loads(impersonal(*ask, "--format", "json").stdout)
    read = list(csv.DictReader(io.StringIO(impersonal(*ask, "--format", "csv").stdout)))
    assert [[row["key"], float(row["value"])] for row in read] == [[row["key"], row["value"]] for row in rows]
    done = impersonal(*ask)
    table, clear = done.stdout.splitlines(), [row for row in rows if row["value"] >= 3 * row["sigma"]]
    assert 0 < len(clear) < len(rows)
    assert table[0].split() == ["statistic", "key", "from", "to", "value", "95", "%", "interval", "σ"]
    assert all(str(row["key"]) in line for row, line in zip(clear, table[1:], strict=True))
    assert f"{len(rows) - len(clear)} of {len(rows)} numbers are mostly noise" in done.stderr


def test_the_table_leaves_out_rates_that_may_be_anything(tmp_path: Path) -> None:
    """An exit rate of a page that perhaps nobody saw is not shown; csv has it, with all that it may be."""
    published: dict[str, dict[str | None, int]] = {
        "exit_pages": {"/": 900, "/b": 8},
        "pages": {"/": 2000, "/b": 9},
    }
    for name, cells in published.items():
        put(tmp_path / "published", name, Window("week", MONDAY), cells, sigma=50.0)
    ask = ["report", *week("--by", "exit-rate", "--data", tmp_path)]
    shown, rows = impersonal(*ask), impersonal(*ask, "--format", "csv").stdout.splitlines()
    assert [line.split()[1] for line in shown.stdout.splitlines()[1:]] == ["/"]
    assert "1 of 2 numbers are mostly noise" in shown.stderr
    assert len(rows) == 3 and rows[1].startswith("exit_rate,")


def test_each_tells_the_windows_apart(published: Path) -> None:
    """With --each a week of daily visitors is seven rows."""
    done = impersonal("report", "--by", "visitor", "--each", *week("--format", "json", "--data", published))
    assert [row["start"] for row in json.loads(done.stdout)] == [str(MONDAY + timedelta(n)) for n in range(7)]


@pytest.fixture
def two_weeks(tmp_path: Path) -> Path:
    """A site with two published weeks: more visitors in the second, as many countries as ever."""
    for week, visitors in ((MONDAY - timedelta(7), 700), (MONDAY, 1200)):
        put(tmp_path / "published", "visitors", Window("week", week), {None: visitors})
        bounces: dict[str | None, int] = {"bounced": visitors // 2 + 1, "stayed": visitors // 2}
        put(tmp_path / "published", "bounce", Window("week", week), bounces)
        put(tmp_path / "published", "countries", Window("week", week), {"PT": 700, "=FR": -12, "DE": 4})
    return tmp_path


def test_two_periods_are_compared_in_plain_words(two_weeks: Path) -> None:
    """Table, JSON and CSV say more, less or within the noise; what is left out is said on the side."""
    before = str(MONDAY - timedelta(7))
    ask = ["report", *week("--against", before, "--data", two_weeks)]
    done = impersonal(*ask, "--format", "json")
    rows = json.loads(done.stdout)
    found = {row["statistic"]: row["change"] for row in rows}
    assert found == {"visitors": "more", "bounce_rate": "within the noise"}
    assert (rows[0]["before"], rows[0]["difference"], rows[0]["distinguishable"]) == (700, 500, True)
    assert (rows[0]["before_start"], rows[0]["start"]) == (before, str(MONDAY))
    assert "as for a small site: weekly figures" in done.stderr
    table = impersonal(*ask).stdout.splitlines()
    assert table[0].split() == [
        *("statistic", "key", "from", "to", "value", "before", "difference", "95", "%", "interval", "change")
    ]
    assert table[1].split()[3:6] == ["1,200", "700", "500"]
    assert [line.rsplit("  ", 1)[1].strip() for line in table[1:]] == ["more", "within the noise"]
    listed = impersonal(*ask, "--by", "country", "--format", "csv").stdout
    assert [(row["key"], row["change"]) for row in csv.DictReader(io.StringIO(listed))] == [
        (key, "within the noise") for key in ("PT", "DE", "'=FR")
    ]


def test_what_is_displayed_agrees(two_weeks: Path) -> None:
    """With --consistent nothing is below zero, and lists and totals add up, in the sum and week by week."""
    ask = ["report", *week("--consistent", "--format", "json", "--data", two_weeks)]
    for more in ([], ["--each"]):
        total, *_ = json.loads(impersonal(*ask, *more).stdout)
        cells = json.loads(impersonal(*ask, *more, "--by", "country").stdout)
        assert [cell["key"] for cell in cells] == ["PT", "(small)"]
        assert sum(cell["value"] for cell in cells) == total["value"]
        assert min(cell["value"] for cell in cells) >= 0


def test_what_cannot_be_said_is_null(tmp_path: Path) -> None:
    """A rate lost in the noise is null in JSON, which knows no NaN, and a dash in a table."""
    put(tmp_path / "published", "pageviews", Window("week", MONDAY), {None: 30})
    put(tmp_path / "published", "visits", Window("week", MONDAY), {None: -4})
    ask = ["report", "--by", "views per visit", *week("--data", tmp_path)]
    (row,) = json.loads(impersonal(*ask, "--format", "json").stdout, parse_constant=pytest.fail)
    assert (row["value"], row["lower"], row["upper"], row["sigma"]) == (None, 0, None, None)
    assert impersonal(*ask).stdout.splitlines()[1].split()[3:] == ["–", "0.000", "…", "–", "–"]


def test_an_empty_list_is_no_error(tmp_path: Path) -> None:
    """Weeks in which no page reached its threshold are a table without rows, and so is their comparison."""
    before = MONDAY - timedelta(7)
    for start in (before, MONDAY):
        put(tmp_path / "published", "pages", Window("week", start), {})
    for more in ([], ["--each"], ["--consistent"], ["--against", str(before)]):
        done = impersonal("report", "--by", "page", *week("--format", "json", "--data", tmp_path), *more)
        assert (done.returncode, done.stdout) == (0, "[]\n")


def test_other_words_for_rates() -> None:
    """A median or a share of durations, and what people say instead of a list's name."""
    assert statistic_named("median-duration") == statistic_named("median") == "duration_median"
    assert statistic_named("over a minute") == statistic_named("duration over minute")
    assert statistic_named("page views per visit") == "views_per_visit"
    assert statistic_named("campaign") == statistic_named("campaigns") == "utm_campaigns"


@pytest.mark.parametrize("name", [*STATISTICS, *RATIOS])
def test_singular_and_plural_mean_the_same(name: str) -> None:
    """page and pages, country and countries, entry page and entry-pages."""
    singular = name.removesuffix("ies") + "y" if name.endswith("ies") else name.removesuffix("s")
    words = {name, singular, singular.replace("_", " "), name.replace("_", "-"), name.upper()}
    assert {statistic_named(word) for word in words} == {name}
    assert statistic_named("entry") == "entry_pages"


def test_a_key_from_traffic_is_no_formula() -> None:
    """CSV cells that a spreadsheet would run get an apostrophe; numbers stay numbers."""
    keys = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "/fine", "a,b"]
    rows = [{"key": key, "value": -3} for key in keys]
    read = list(csv.DictReader(io.StringIO(terminal.as_csv(rows), newline="")))
    shown = [key.replace("\t", "\N{REPLACEMENT CHARACTER}") for key in keys]
    shown = [key.replace("\r", "\N{REPLACEMENT CHARACTER}") for key in shown]
    assert [row["key"] for row in read] == [f"'{key}" for key in shown[:6]] + shown[6:]
    assert {row["value"] for row in read} == {"-3"}
    assert terminal.as_csv([]) == ""


def test_a_key_from_traffic_cannot_rewrite_the_terminal() -> None:
    """Control characters of a key are shown as replaced."""
    row = {"statistic": "pages", "key": "/\x1b[2J\n", "start": "", "end": "", "value": 1}
    table = terminal.as_table([row | {"lower": 0.0, "upper": 2.0, "sigma": 0.5}])
    assert table.count("\n") == 1
    assert "/\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}" in table


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["report", "--by", "horoscope"], 1, "horoscope is no statistic: use one of visitors"),
        (["report", "--from", "2001-01-01", "--to", "2001-01-07"], 1, "no window of visitors lies inside"),
        (["report", "--from", "yesterday"], 2, "does not match the format"),
        (["report", "--from", "2026-02-02", "--to", "2026-01-01"], 2, "swap them"),
        (["report", "--against", "2001-01-01", "--each"], 2, "leave out --each and --consistent"),
        (["report", "--against", str(TODAY)], 1, "begin it on"),
        (["report", "--format", "xml"], 2, "'table', 'json', 'csv'"),
        (["run", "--every", "soon"], 2, 'like "1h"'),
        (["run", "--every", "0h"], 2, 'like "1h"'),
        (["dance"], 2, "No such command 'dance'"),
        (["policy", "check", "no.toml"], 1, "no.toml does not exist: write one with `impersonal init`"),
        (["status", "--data", "nowhere"], 1, "nowhere does not exist: name"),
        (["run", "--data", "nowhere"], 1, "does not exist: write one with `impersonal init`"),
    ],
)
def test_a_mistake_is_a_line_and_a_status(
    published: Path, arguments: list[str], status: int, said: str
) -> None:
    """1 where it cannot be done, 2 where it was asked for wrongly; the line says what to do."""
    options = (
        [] if "--data" in arguments or arguments[0] in ("policy", "dance") else ["--data", str(published)]
    )
    assert said in failed(impersonal(*arguments, *options), status)


def broken_events(data: Path) -> None:
    (data / "events").write_text("")


def broken_batch(data: Path) -> None:
    directory = data / "events" / f"day={MONDAY}"
    directory.mkdir(parents=True)
    (directory / "000001.parquet").write_bytes(b"PAR1")


def broken_ledger(data: Path) -> None:
    (data / "ledger.sqlite").write_bytes(b"no ledger" * 1000)


def broken_policy(data: Path) -> None:
    (data / "policy.toml").unlink()
    (data / "policy.toml").mkdir()


@pytest.mark.parametrize("damage", [broken_events, broken_batch, broken_ledger, broken_policy])
def test_a_damaged_data_directory_is_a_line(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Whatever is in the way, `run` names it."""
    visits(site(tmp_path), days=1, each=2)
    damage(tmp_path)
    assert str(tmp_path) in failed(impersonal("run", "--data", tmp_path))


def test_a_full_disk_is_a_line_and_loses_nothing(tmp_path: Path) -> None:
    """A run that cannot write says so; with space again the next one reads everything once."""
    visits(site(tmp_path), days=1, each=2000)

    def no_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    full = finish(start("run", "--data", tmp_path, preexec_fn=no_space))
    assert "space" in failed(full)
    assert "Read 2,000 new records" in impersonal("run", "--data", tmp_path).stdout


def test_status_exits_1_where_something_was_lost(tmp_path: Path) -> None:
    """A good record is fine, a torn one of a closed day is a loss and is listed."""
    data = site(tmp_path)
    visits(data, days=1, each=2)
    impersonal("run", "--data", data)
    fine = impersonal("status", "--data", data)
    assert (fine.returncode, "Nothing was lost." in fine.stdout) == (0, True)
    write(data, [b"junk"], day=str(MONDAY + timedelta(1)), worker="bb")
    (data / "events" / f"day={MONDAY + timedelta(1)}" / "_sealed").unlink()
    impersonal("run", "--data", data)
    lost = impersonal("status", "--data", data, "--format", "json")
    assert lost.returncode == 1
    assert json.loads(lost.stdout)["lost"] == {"torn": 1}


def test_a_monitor_finds_the_status_in_a_file(tmp_path: Path) -> None:
    """Prometheus text for the owner only, replaced whole; without the file's directory it is an error."""
    data, target = tmp_path / "data", tmp_path / "impersonal.prom"
    data.mkdir(mode=0o700)
    target.write_text("old")
    options: list[str | Path] = ["--data", data, "--format", "prometheus"]
    done = impersonal("status", *options, "--to", target)
    assert (done.returncode, done.stdout) == (0, "")
    assert "\nimpersonal_lost_total 0.0\n" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert impersonal("status", *options).stdout == target.read_text()
    failed(impersonal("status", *options, "--to", tmp_path / "nowhere" / "impersonal.prom"))


def test_a_second_run_is_refused(published: Path) -> None:
    """While one works on the data another says so and ends."""
    with exclusive(published):
        assert "is at work on" in failed(impersonal("run", "--data", published))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_goes_on_after_an_error_and_ends_when_told(tmp_path: Path, number: int) -> None:
    """A broken policy is reported, the mended one is run; SIGTERM and Ctrl-C end it with status 0."""
    data = tmp_path
    impersonal("init", "--data", data)
    good = (data / "policy.toml").read_text()
    (data / "policy.toml").write_text("broken")
    running = start("run", "--every", "1s", "--data", data)
    assert running.stdout
    assert running.stderr
    assert "not TOML" in running.stderr.readline()
    (data / "policy.toml").write_text(good)
    assert running.stdout.readline() == "Read 0 new records\n"
    running.send_signal(number)
    done = finish(running)
    assert done.returncode == 0, done
    assert "Stopped" in done.stdout
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_says_so_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """SIGTERM in the middle of a run ends it with a line; afterwards every record is read once."""
    data = site(tmp_path)
    visits(data, each=3000)
    running = start("run", "--data", data)
    deadline_s = time.monotonic() + 20
    while not list(data.glob("events/*/*.parquet")) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    running.terminate()
    message = failed(finish(running)).strip()
    assert message == "impersonal: stopped; nothing is half done, the next run goes on from here"
    assert impersonal("run", "--data", data).returncode == 0
    found = json.loads(impersonal("status", "--data", data, "--format", "json").stdout)
    assert found["outcomes"] == {"rows": 21000}


def test_a_reader_that_leaves_is_no_error(published: Path) -> None:
    """`impersonal report | head` ends without a word."""
    asking = start("report", *week("--by", "country", "--format", "json", "--data", published))
    assert asking.stdout
    assert asking.stderr
    asking.stdout.close()
    assert asking.stderr.read() == ""
    asking.wait()
    asking.stderr.close()


@pytest.mark.parametrize(
    ("name", "command"), [("click", "run"), ("duckdb", "run"), ("opendp", "run"), ("pandas", "report")]
)
def test_a_missing_extra_is_named(published: Path, name: str, command: str) -> None:
    """Where only the collector's own dependencies are installed, one line says what to install."""
    code = f"import sys; sys.modules[{name!r}] = None; from pipeline.cli import main; main()"
    done = finish(start(command, "--data", published, code=code))
    assert 'pip install "impersonal[pipeline]"' in failed(done)
    assert len(done.stderr.splitlines()) == 1


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no user can cause keeps its traceback."""

    def bug(_: object) -> int:
        raise KeyError("bug")

    monkeypatch.setattr("pipeline.commands.invoke", bug)
    with pytest.raises(KeyError):
        cli.run(["status"])


def test_days_before_the_first_are_not_asked_for(published: Path) -> None:
    """Days outside the released windows are named on the side, the rest is answered."""
    before = str(MONDAY - timedelta(60))
    done = impersonal(
        "report", "--by", "visitors", "--from", before, "--to", str(date.today()), "--data", published
    )
    assert done.returncode == 0
    assert "is not released in windows inside the range" in done.stderr
