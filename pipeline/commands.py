"""The commands. Each imports what it runs when it runs, so that `--help` answers at once."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from collector.errors import ConfigurationError
from collector.policy_file import load
from collector.record import now_ms
from pipeline import terminal
from pipeline.audit.command import audit
from pipeline.boundary import FAILED, in_a_line, interruptible, is_expected
from pipeline.demo.command import demo
from pipeline.errors import NothingPublished
from pipeline.options import POLICY, data_option, format_option
from pipeline.policy_commands import policy
from pipeline.rights_commands import rights

if TYPE_CHECKING:
    from pipeline.rights.requests import Watch
    from pipeline.status import Status

_UNITS_S = {"s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60}
_LOG = click.Path(exists=True, dir_okay=False, allow_dash=True)
_LOOK_S = 1.0  # how often --watch looks whether somebody waits
_DAY = click.DateTime(["%Y-%m-%d"])


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and give back its exit status."""
    try:
        status = impersonal.main(list(arguments), prog_name="impersonal", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    return int(status or 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="impersonal", prog_name="impersonal")
def impersonal() -> None:
    """First-party web analytics: consent enforced at capture, statistics that say nothing about anyone.

    \b
    A site in three commands:
      impersonal init                          write data/policy.toml, then mount the collector
      impersonal run --every 1h                read the logs, publish what is due
      impersonal report --by page              published numbers, each with its 95 % interval

    Exit status: 0 done, 1 refused or failed (one line says why and what to do), 2 wrong usage.
    """


@impersonal.command()
@data_option
def init(data: Path) -> None:
    """Write a commented policy that works as it is, and the private directory it stands in.

    \b
    impersonal init
    impersonal init --data /var/lib/shop
    """
    target = data / POLICY
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    today = datetime.now(UTC).date().isoformat()
    template = files("pipeline").joinpath(POLICY).read_text(encoding="utf-8")
    try:
        target.touch(mode=0o600, exist_ok=False)
        target.write_text(template.replace("1970-01-01", today), encoding="utf-8")
    except FileExistsError:
        raise ConfigurationError(
            f"{target} exists and stays as it is: edit it, or name another --data"
        ) from None
    click.echo(f"Wrote {target}. Put your name and words in, then:")
    click.echo(f"  impersonal policy check --data {data}")
    click.echo(f'  app.add_middleware(Collector, policy="{target}", data="{data}")')


@impersonal.command()
@click.option(
    "--every", metavar="TIME", callback=lambda *given: _seconds(given[-1]), help="Go on: 30m, 1h, 1d."
)
@click.option("--watch", is_flag=True, help="Go on, and do within seconds what visitors ask for.")
@data_option
def run(every: int | None, watch: bool, data: Path) -> int:
    """Read the logs, seal the days that are over, publish the statistics that are due.

    Also does what visitors asked for on the privacy page, and removes what is over its retention. Once, or
    for ever with --every; cron does as well. With --watch visitors wait for seconds, not for the next round,
    also while a round is at work (which an erasure follows): a process beside cron, or together with --every
    the only one. Where publishing fails, what visitors asked for is done and what is over its retention is
    removed all the same, and the exit status is 1. Whatever stops it leaves nothing half done. Doing it again
    changes nothing that is published.

    \b
    impersonal run
    impersonal run --every 1h --watch --data /var/lib/shop
    """
    # A service manager stops it as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    if every is None and not watch:
        _round(data)
        return 0
    try:
        _go_on(data, every, watch)
    except KeyboardInterrupt:
        click.echo("Stopped; nothing is half done.")
    return 0


@impersonal.command()
@click.argument("release")
@click.option("--why", required=True, help="What was wrong; published with the correction.")
@data_option
def correct(release: str, why: str, data: Path) -> None:
    """Publish a release once more, from the records as they are now.

    A number that was published stays published, so a correction is a second look at the same days: they pay
    for it with what they have left of their budget, and it is less exact. Both files stay; answers are given
    from the newest. RELEASE is a name as `impersonal status --format json` lists it.

    \b
    impersonal correct visitors/day/2026-11-24 --why "bots of one network were counted"
    """
    from pipeline.release import correct as correct_release  # noqa: PLC0415
    from pipeline.store import exclusive  # noqa: PLC0415

    loaded = load(data / POLICY)
    with interruptible(), exclusive(data):
        outcome = correct_release(data, loaded, now_ms, release, why)
    click.echo(f"Published {outcome.release_id}; what was published before stays beside it")


@impersonal.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_LOG)
@click.option(
    "--ground",
    type=click.Choice(["legitimate_interests", "contract", "law"]),  # whatever a policy knows but consent
    required=True,
    help="What justifies counting these visits, as the policy says it. A log holds no consent.",
)
@click.option(
    "--mmdb",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A GeoLite2, GeoIP2 or DB-IP database instead of the embedded country table.",
)
@click.option("--report", "reports", is_flag=True, help="Print the totals then, as `impersonal report` does.")
@data_option
def import_(files: Sequence[str], ground: str, mmdb: Path | None, reports: bool, data: Path) -> None:
    """Take page views from access logs of Apache or Nginx, then publish what is due.

    Common or combined format, plain, .gz, .zst, or "-" for standard input. A day is taken whole by one call:
    name all files that hold it, newest and rotated ones alike. A file that has grown or was renamed goes on
    where the last import ended. Addresses and agents are never written. Who opted out is not in a log.

    \b
    impersonal import --ground legitimate_interests --report /var/log/nginx/access.log*
    zcat old/*.gz | impersonal import --ground law -
    """
    from collector.enrich import Enricher  # noqa: PLC0415
    from pipeline import access_log  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _interrupt)
    loaded = load(data / POLICY)
    with _telling_what_was_done(), interruptible(), terminal.progress() as progress:
        found = access_log.import_logs(data, loaded, files, ground, now_ms, progress, Enricher(mmdb))
    for line in access_log.in_words(found):
        click.echo(line)
    for line in terminal.round_lines(found.round) if found.round else ():
        click.echo(line)
    if reports and found.counted:
        _report_of(data / "published", *found.counted)


def _report_of(published: Path, first: date, last: date) -> None:
    """Print the totals up to a day, of 28 days at least: shorter ranges may lack what weeks say."""
    from pipeline.report import rows  # noqa: PLC0415

    try:
        said = rows(published, None, min(first, last - timedelta(27)), last)
    except NothingPublished as error:
        click.echo(str(error), err=True)
    else:
        _print_table(*said)


def _print_table(rows: list[dict[str, Any]], notes: list[str]) -> None:
    """Print what is more than noise, and how to read it."""
    from pipeline import report as published  # noqa: PLC0415

    shown, hidden = published.distinct(rows)
    click.echo(terminal.REPORTS["table"](shown))
    _print_notes([*hidden, *notes])


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(note, err=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _round(data: Path) -> None:
    from pipeline.run import run_once  # noqa: PLC0415

    loaded = load(data / POLICY)
    with _telling_what_was_done(), interruptible(), terminal.progress() as progress:
        done = run_once(data, loaded, now_ms, progress)
    for line in terminal.round_lines(done):
        click.echo(line)


@contextmanager
def _telling_what_was_done() -> Iterator[None]:
    """Of a round that went wrong, say what it did before the error is said."""
    from pipeline.run import Unfinished  # noqa: PLC0415

    try:
        yield
    except Unfinished as error:
        for line in terminal.round_lines(error.done, is_unfinished=True):
            click.echo(line)
        raise


def _go_on(data: Path, every: int | None, watch: bool) -> None:
    """A round now and then, and all the while what visitors wait for. Ends by KeyboardInterrupt only."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(_watch, data, ended) if watch else None
        try:
            while not ended.is_set():
                started_s = time.monotonic()
                _attempt(lambda: _round(data))
                ended.wait(None if every is None else max(0.0, started_s + every - time.monotonic()))
        finally:
            ended.set()
        if watching:
            watching.result()  # a bug ends it, and is not to go unnoticed


def _watch(data: Path, ended: threading.Event) -> None:
    from pipeline.rights.requests import Watch  # noqa: PLC0415

    requests, wrong = Watch(data), ""
    try:
        while not ended.wait(_LOOK_S):
            wrong = _attempt(lambda: _do_asked(requests), wrong)
    finally:
        ended.set()


def _attempt(act: Callable[[], None], known: str = "") -> str:
    """Do something and go on; give back what a user can cause to go wrong, said unless it is known."""
    try:
        act()
    except Exception as error:
        if not is_expected(error):
            raise
        wrong = in_a_line(error)
        if wrong != known:
            click.echo(f"impersonal: {wrong}", err=True)
        return wrong
    return ""


def _do_asked(requests: "Watch") -> None:
    for line in terminal.request_lines(requests.look(now_ms)):
        click.echo(line)


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text[:-1].isdecimal() and text[-1:] in _UNITS_S and int(text[:-1])):
        raise click.BadParameter('use a number and s, m, h or d, like "1h"')
    return int(text[:-1]) * _UNITS_S[text[-1]]


@impersonal.command()
@click.option(
    "--by",
    metavar="WHAT",
    help="page, entry page, country, browser, bounce rate, realtime, …; the totals unless given.",
)
@click.option(
    "--from", "start", type=_DAY, help="First UTC day.  [default: 27 before the last; of realtime, the last]"
)
@click.option("--to", "end", type=_DAY, help="Last UTC day.  [default: yesterday; of realtime, today]")
@click.option("--each", is_flag=True, help="Every released window by itself instead of their sum.")
@click.option("--consistent", is_flag=True, help="For display: nothing below zero, lists add up to totals.")
@click.option("--against", type=_DAY, help="Compare with as many days from this UTC day on.")
@format_option("table", "json", "csv")
@data_option
def report(
    by: str | None,
    start: datetime | None,
    end: datetime | None,
    each: bool,
    consistent: bool,
    against: datetime | None,
    form: str,
    data: Path,
) -> None:
    """Print published statistics over a range of days, each number with its 95 % interval.

    Reads published files only: asking is free and says nothing about anyone. The table leaves out counts
    below 3 σ and keys of rates that may be anything: they are mostly noise, and csv and json have them.

    \b
    impersonal report --from 2026-11-16 --to 2026-11-22
    impersonal report --from 2026-11-16 --to 2026-11-22 --against 2026-11-09
    impersonal report --by page --from 2026-11-16 --to 2026-11-22 --format csv
    impersonal report --by countries --consistent --format json
    impersonal report --by realtime
    """
    from pipeline import report as published  # noqa: PLC0415

    is_of_today = published.is_of_today(by)
    last = end.date() if end else datetime.now(UTC).date() - timedelta(not is_of_today)
    first = start.date() if start else last - timedelta(0 if is_of_today else 27)
    if first > last:
        raise click.BadParameter(f"{first} is after {last}: swap them", param_hint="--from")
    if against and (each or consistent):
        raise click.UsageError("--against compares sums of raw numbers: leave out --each and --consistent")
    rows, notes = published.rows(
        data / "published",
        by,
        first,
        last,
        each=each,
        consistent=consistent,
        against=against.date() if against else None,
    )
    if form == "table" and not against:
        _print_table(rows, notes)
        return
    click.echo((terminal.COMPARISONS if against else terminal.REPORTS)[form](rows))
    _print_notes(notes)


@impersonal.command()
@format_option("table", "json", "prometheus")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Replace this file, for its owner only, instead of printing: for a monitor that reads files.",
)
@data_option
def status(form: str, to: Path | None, data: Path) -> int:
    """Say what became of every event: the operator's private view, exact and never to be published.

    What workers counted is kept for 28 days after they ended. Files of the data directory that others could
    read or change are named, and versions of the policy that were changed after their first use, each with
    its remedy. Exit status 1 where there are any, or something was lost.

    \b
    impersonal status
    impersonal status --format json
    impersonal status --format prometheus --to /var/lib/monitor/impersonal.prom
    """
    from pipeline import status as operator  # noqa: PLC0415
    from pipeline.store import replace_private  # noqa: PLC0415

    if not data.is_dir():
        raise ConfigurationError(f"{data} does not exist: name the site's data directory with --data")
    found = operator.read_status(data)
    text = _status_text(found, form)
    if to:
        replace_private(to, f"{text}\n")
    else:
        click.echo(text)
    return 0 if found.is_well else FAILED


def _status_text(found: "Status", form: str) -> str:
    from pipeline import status as operator  # noqa: PLC0415

    if form == "prometheus":
        from pipeline.metrics import as_prometheus  # noqa: PLC0415

        return as_prometheus(found).removesuffix("\n")
    return (
        terminal.as_json(operator.as_json(found)) if form == "json" else "\n".join(operator.in_words(found))
    )


impersonal.add_command(audit)
impersonal.add_command(demo)
impersonal.add_command(policy)
impersonal.add_command(rights)
