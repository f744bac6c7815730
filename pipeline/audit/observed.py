"""Attacks beside the numbers: does the work done, a file's name or size, or a line depend on anyone?

A run is watched in a process of its own, in which the noise is replaced by fixed values: whatever then
differs between neighbours is told by something else.
"""

import hashlib
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from collector.policy import Policy
from collector.record import KEYS, LOGS, day_of, encode
from pipeline import terminal
from pipeline.audit import logs, sampler
from pipeline.audit.apart import in_a_process
from pipeline.audit.logs import Log
from pipeline.audit.result import Result
from pipeline.audit.site import DAY, FULL, Effort, Site
from pipeline.commitment import KEY
from pipeline.engine import Engine
from pipeline.ledger import LEDGER, Ledger
from pipeline.published import HEAD, PUBLISHED
from pipeline.run import run_once
from pipeline.store import private_directory, replace_private
from pipeline.windows import BLOCK, CLOSES_AFTER_MS, LENGTHS, Window

_HEX = re.compile(r"[xX]?'[0-9a-fA-F]{32,}'")
_INPUTS = re.compile(rb'"inputs":"[0-9a-f]{64}"')
_ASIDE = re.compile(r"\.\d+\.tmp$")
# Of the operator's own store: how many records were read, and how many days had some.
_PRIVATE_LINES = ("Read ", "Removed ")
_WATCHED = ("open", "os.rename", "os.mkdir", "os.remove")


@dataclass(frozen=True)
class Seen:
    """Everything that a run leaves or does where somebody might look, but for the noise."""

    steps: tuple[str, ...]
    """SQL steps, statements to the ledger and files written, in order."""
    said: tuple[str, ...]
    """What `run` prints of what it published."""
    files: dict[str, tuple[int, str]]
    """Published file → size, and hash; of the commitments to the inputs, which are alike."""
    charges: tuple[tuple[Any, ...], ...]


def work(site: Site, effort: Effort) -> Result:
    """Is another amount of work done, or in another order, where a visitor-day is missing?"""
    return _compared(site, effort, lambda seen: (seen.steps,), "steps of work and their order")


def side_outputs(site: Site, effort: Effort) -> Result:
    """Do names, sizes and contents of published files, charges, or what a run says tell a visitor-day?"""
    return _compared(
        site, effort, lambda seen: (seen.files, seen.charges, seen.said), "files, charges and lines"
    )


def _compared(site: Site, effort: Effort, part: Callable[[Seen], tuple[Sized, ...]], what: str) -> Result:
    seen = _neighbours(site, effort)
    alike = [part(present) == part(absent) for present, absent in seen.pairs]
    size = sum(len(each) for present, _ in seen.pairs for each in part(present))
    shown = seen.bare.files != seen.pairs[0][0].files
    return Result(
        f"{size:,} {what}: "
        + ("the same for both neighbours" if all(alike) else "they tell neighbours apart"),
        all(alike),
        "exact counts in place of the noise are seen" if shown else "exact counts are not seen",
        shown,
    )


@dataclass(frozen=True)
class _Neighbours:
    """Runs with and without a visitor-day, and one in which the data shows through."""

    pairs: tuple[tuple[Seen, Seen], ...]
    bare: Seen


@cache
def _neighbours(site: Site, effort: Effort) -> _Neighbours:
    """One who is among others, and one who is alone on their day; both come on the day that is open, too."""
    site = site if effort is FULL else site.narrowed()
    today = _open_day(site.policy)
    whole = logs.scattered(150, 30)
    empty_day = str(DAY + timedelta(1))
    others = [row for row in whole if day_of(row["ts_ms"]) != empty_day]
    heavy = [*logs.heaviest("victim"), logs.event(day=today, visitor="victim")]
    alone = [logs.event(day=day, visitor="alone") for day in (DAY + timedelta(1), today)]
    runs = [[*whole, *heavy], whole, [*others, *alone], others, [*whole, *heavy]]
    data = [site.directory("observed") for _ in runs]
    *seen, bare = in_a_process(_observe_all, data, site.finest, runs)
    return _Neighbours(((seen[0], seen[1]), (seen[2], seen[3])), bare)


def _observe_all(data: Sequence[Path], policy: Policy, runs: Sequence[Log]) -> list[Seen]:
    """Observe one run after the other, the last one without any noise."""
    steps: list[str] = []
    _watch(steps)
    found = []
    for n, (each, rows) in enumerate(zip(data, runs, strict=True)):
        sampler.silence(is_exact=n == len(runs) - 1)
        steps.clear()
        found.append(observe(each, policy, rows, steps))
    return found


def observe(data: Path, policy: Policy, rows: Log, steps: Sequence[str]) -> Seen:
    """Write a log, run once on it, and note all that happens."""
    _write_logs(data, rows)
    private_directory(data / KEYS)
    replace_private(data / KEYS / KEY, "0" * 64)
    now_ms = Window("day", _open_day(policy)).span_ms[0] + CLOSES_AFTER_MS
    done = run_once(data, policy, lambda: now_ms, lambda _what, _done, _total: None)
    said = [line for line in terminal.round_lines(done) if not line.startswith(_PRIVATE_LINES)]
    return Seen(tuple(steps), tuple(said), dict(_files(data / PUBLISHED)), tuple(_charges(data)))


def _open_day(policy: Policy) -> date:
    """The day of the run, two hours old: the windows of the days before it are closed."""
    return DAY + timedelta(LENGTHS[BLOCK] if policy.budget.tier == "tiny" else LENGTHS["week"])


def _write_logs(data: Path, rows: Log) -> None:
    """The events as a worker would have logged them."""
    days: dict[str, Log] = {}
    for row in rows:
        days.setdefault(day_of(row["ts_ms"]), []).append(row)
    for day, found in days.items():
        private_directory(data / LOGS / day)
        frames = [
            encode({"v": 1, **{key: value for key, value in row.items() if value is not None}})
            for row in found
        ]
        (data / LOGS / day / "aa-000001.log").write_bytes(b"".join(frames))


def _watch(steps: list[str]) -> None:
    """Note every SQL step, every statement to the ledger and every file written among the published."""

    def file_event(event: str, arguments: tuple[Any, ...]) -> None:
        is_read = event == "open" and arguments[1] in ("r", "rb")
        if event in _WATCHED and not is_read:
            _, among, name = str(arguments[0]).partition(f"/{PUBLISHED}/")
            if among:
                steps.append(f"{event} {_ASIDE.sub('.tmp', name)}")

    def step(engine: Engine, name: str, into: str) -> None:
        steps.append(f"{name} into {into}")
        original_step(engine, name, into)

    def rows(engine: Engine, name: str) -> list[tuple[Any, ...]]:
        steps.append(name)
        return original_rows(engine, name)

    def opened(ledger: Ledger, path: Path) -> None:
        original_ledger(ledger, path)
        ledger._database.set_trace_callback(lambda statement: steps.append(_HEX.sub("'…'", statement)))

    original_step, original_rows, original_ledger = Engine.step, Engine.rows, Ledger.__init__
    # setattr: a type checker does not let methods be replaced, and nowhere else should they be.
    for owner, name, watched in (
        (Engine, "step", step),
        (Engine, "rows", rows),
        (Ledger, "__init__", opened),
    ):
        setattr(owner, name, watched)
    sys.addaudithook(file_event)


def _files(published: Path) -> Iterator[tuple[str, tuple[int, str]]]:
    numbers: dict[bytes, int] = {}

    def numbered(inputs: re.Match[bytes]) -> bytes:
        # Neighbours' commitments differ. That two files have the same one tells, and stays to be seen.
        return b"%064d" % numbers.setdefault(inputs[0], len(numbers))

    for file in sorted(each for each in published.rglob("*") if each.is_file() and each.name != HEAD):
        content = _INPUTS.sub(numbered, file.read_bytes())
        yield str(file.relative_to(published)), (len(content), hashlib.sha256(content).hexdigest())


def _charges(data: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(data / LEDGER) as database:
        return database.execute("SELECT * FROM charge ORDER BY release_id, day").fetchall()
