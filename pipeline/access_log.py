"""Access logs of a web server → private events: `impersonal import`.

A log was written without asking anyone, so its ground is never consent: the operator names the ground, and
a day is taken only where the policy in force on it counts visits on that ground by default. What is recorded
is what that policy grants to statistics, as from the collector.

A day is taken whole by one call, or not at all. Its visitors are told apart under a salt that is made for
the call, held in memory and gone with it, so a later call could not recognise them: a day that an import
has filled is closed to the next one, and lines of a day that is not over wait. Nothing is written until all
files are read; then each day appears by one rename, and with it how far each file is consumed.
"""

import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

from collector.enrich import Enricher
from collector.errors import ImpersonalError, PolicyError
from collector.policy import Policy
from collector.record import DAY_MS, KEYS, Clock, day_of
from pipeline import check
from pipeline.engine import Engine, shared
from pipeline.log_batches import Batch, Columns, batches
from pipeline.log_days import CLOSED, IMPORTED, NO_POLICY, TAKEN, WAITING, LogDay, LogDays
from pipeline.log_events import LogEvents, granted_fields
from pipeline.log_files import PREFIX_BYTES, STDIN, LogFile, known_as, name_of
from pipeline.log_lines import Lines, shape
from pipeline.log_reader import Reader
from pipeline.log_split import form_of
from pipeline.log_workers import read_in_order
from pipeline.retention import expire
from pipeline.run import Round, run_once
from pipeline.store import (
    EVENTS,
    Progress,
    consumed_bytes,
    days_of,
    exclusive,
    manifests,
    private_directory,
    replace_private,
)
from pipeline.terminal import span
from pipeline.windows import BLOCK, CLOSES_AFTER_MS, window_of

KEY = "import.key"
_SHOWN = 5  # samples of malformed lines
_ONE_CALL = "name all files that hold a day in one call"
_TWICE = f"{{}} was imported before and its salt is gone, visitors would count twice: {_ONE_CALL}"


class AccessLogError(ImpersonalError):
    """A log is none, or nothing of it may be imported."""


@dataclass(frozen=True)
class Imported:
    """What one call did; exact, and the operator's only."""

    files: dict[str, str]
    """File → its format, or "empty"."""
    days: LogDays
    round: Round | None
    """What was sealed, released and expired then; None where no day was imported."""

    @property
    def imported(self) -> tuple[date, date] | None:
        """The first and the last day that this call or an earlier one imported of the files."""
        days = [date.fromisoformat(each.day) for each in self.days.of(TAKEN, IMPORTED)]
        return (days[0], days[-1]) if days else None

    @property
    def counted(self) -> tuple[date, date] | None:
        """The first day that was imported, and the last one that was sealed with them: weeks end later."""
        if not (self.imported and self.round):
            return None
        first, last = self.imported
        return first, max([last, *map(date.fromisoformat, self.round.sealed)])


def import_logs(
    data: Path,
    policy: Policy,
    names: Sequence[str],
    ground: str,
    clock: Clock,
    progress: Progress,
    enricher: Enricher,
) -> Imported:
    """Import files, then seal, release and expire as `run` does.

    That round ends with the 28 days that hold the last imported day, or now: old logs are published whole,
    and the years since then only by the next `impersonal run`.

    Raises  AccessLogError, LogFileError, BusyError, StoreError, LedgerError, PolicyError, OSError
    """
    if mistakes := check.mistakes(policy):
        raise PolicyError(mistakes)
    now_ms = clock()
    with exclusive(data):
        call = _Call(data, policy, ground, now_ms, enricher)
        call.read(names, progress)
        call.commit(progress)
    found = Imported(call.files, call.days, None)
    if not found.imported:
        return found
    _, last_day = found.imported
    until_ms = min(now_ms, window_of(BLOCK, last_day).span_ms[1] + CLOSES_AFTER_MS)
    done = run_once(data, policy, lambda: until_ms, progress)
    with exclusive(data):
        done.expired.add(expire(data, policy, lambda: now_ms))
    return replace(found, round=done)


@dataclass
class _Log:
    """A file that is read."""

    name: str
    """What it is known as."""
    place: str
    """What people call it."""
    start: int
    """Where reading began."""
    day: LogDay
    """Of the last line so far."""


class _Part(NamedTuple):
    """Some lines of a log."""

    log: _Log
    end: int
    """Where they end in the log."""
    done: int
    """Bytes of all files that were read before."""


class _Call:
    """The files of one call on their way into the private events."""

    def __init__(self, data: Path, policy: Policy, ground: str, now_ms: int, enricher: Enricher) -> None:
        self.days = LogDays(data, policy, ground, now_ms)
        self.files: dict[str, str] = {}
        self._data = data
        self._ground = ground
        self._now_ms = now_ms
        networks = any("network" in granted_fields(version) for version in policy.versions)
        hosts, latest_ms = policy.controller.hosts, now_ms + DAY_MS
        self._lines = Lines(enricher, hosts, latest_ms, networks, policy.versions)
        self._reader = Reader(self.days)
        self._key = _key(data)
        with shared().cursor() as database:
            taken = [each for path, _ in days_of(data / EVENTS) for each in manifests(database, path)]
        self._consumed = consumed_bytes(taken)
        self._prefixes: list[bytes] = []
        self._is_new = False  # whether a file is read for the first time
        self._read: dict[str, tuple[int, int]] = {}
        """File, by what it is known as → where reading began, and where it ended."""

    def read(self, names: Sequence[str], progress: Progress) -> None:
        """Read every file to its end. What stays in memory are counts, and page views as numbers."""
        total = sum(Path(name).stat().st_size for name in names if name != STDIN)
        with closing(read_in_order(Columns(self._lines).read, self._parts(names))) as parts:
            for part, found in parts:
                log = part.log
                log.day = self._reader.take(found, log.name, log.place, log.day)
                self._read[log.name] = log.start, part.end
                progress("reading the logs", part.done, max(total, part.done))
        if self.days.of(TAKEN):
            return
        # What a log still says of an imported or sealed day after its import are stray lines, and no fault.
        for day in self.days.of(NO_POLICY, *((CLOSED, IMPORTED) if self._is_new else ())):
            raise AccessLogError(day.why or _TWICE.format(day.day))

    def _parts(self, names: Sequence[str]) -> Iterator[tuple["_Part", Batch]]:
        """The lines of all files."""
        before = 0
        for name in names:
            with LogFile(name) as file:
                if file.head:
                    log, form = self._begun(file)
                    for batch in batches(form, file.chunks(log.start)):
                        offset, chunk = batch.chunks[-1]
                        yield _Part(log, offset + len(chunk), before + file.done), batch
                else:
                    self.files[file.name] = "empty"
                before += file.done

    def _begun(self, file: LogFile) -> tuple["_Log", str]:
        """A log that is begun to be read, and its format."""
        form, day = self._first_line(file)
        self.files[file.name] = form
        known = known_as(file.head, self._key, self._consumed)
        self._is_new = self._is_new or not known
        start = max((self._consumed[each] for each in known), default=0)
        return _Log(name_of(file.head, self._key), file.name, start, day), form

    def _first_line(self, log: LogFile) -> tuple[str, LogDay]:
        """The format of a log and its first day. A malformed line goes with the day of the line before it."""
        prefix = log.head[:PREFIX_BYTES]
        if any(prefix.startswith(each) or each.startswith(prefix) for each in self._prefixes):
            raise AccessLogError(f"{log.name} begins like another file of this call: name each log once")
        self._prefixes.append(prefix)
        found = form_of(log.head, self._lines)
        if found is None:
            first = shape(log.head.split(b"\n", maxsplit=1)[0])
            raise AccessLogError(
                f"{log.name} is neither in the common nor in the combined format, its first line is like "
                f"{first}: name access logs of Apache or Nginx"
            )
        return found[0], self.days[day_of(found[1])]

    def commit(self, progress: Progress) -> None:
        """Write the days that are taken, oldest first, and destroy the salt of each."""
        days = self.days.of(TAKEN)
        spill = self._data / "spill"
        with Engine(spill) as engine:
            events = LogEvents(self._data, engine, self._reader.tables, self._read, self._ground)
            committed = events.commit(days, self.days.of(WAITING, NO_POLICY), self._now_ms)
            for done, day in enumerate(committed, 1):
                day.forget()
                progress("writing private events", done, len(days))
        shutil.rmtree(spill, ignore_errors=True)


def _key(data: Path) -> bytes:
    """The key that logs are known under, made by the first import."""
    path = data / KEYS / KEY
    if not path.exists():
        private_directory(path.parent)
        replace_private(path, secrets.token_hex(32))
    try:
        return bytes.fromhex(path.read_text())
    except ValueError:
        raise AccessLogError(f"{path} holds no key: restore it, or remove it for a new one") from None


def in_words(found: Imported) -> Iterator[str]:
    """What a call found, as lines to read: exact, so for the operator only."""
    days = found.days.of(TAKEN)
    forms = ", ".join(f"{name} ({form})" for name, form in found.files.items())
    yield f"Read {forms}. What was found is exact, so for you alone:"
    bots = sum((day.bots for day in days), Counter[str]())
    listed = ", ".join(f"{name} {count:,}" for name, count in bots.most_common())
    for title, count in (
        ("lines", sum(day.lines for day in days)),
        ("malformed", sum(day.malformed for day in days)),
        (f"of bots{': ' if bots else ''}{listed}", bots.total()),
        ("for files that are no pages", sum(day.assets for day in days)),
        ("other: not GET, or not answered by a page", sum(day.other for day in days)),
        ("page views", sum(len(day.times) for day in days)),
        ("visitor-days", sum(len(day.visitors) for day in days)),
    ):
        yield f"{count:12,}  {title}"
    for sample in [sample for day in days for sample in day.samples][:_SHOWN]:
        yield "  malformed, at byte {offset} of {file}: {shape}".format_map(sample)
    if days:
        yield f"Imported {span([day.day for day in days])}"
    for day in found.days.of(NO_POLICY, CLOSED):
        yield f"Left out {day.lines:,} lines: {day.why}"
    if earlier := sum(day.lines for day in found.days.of(IMPORTED)):
        yield f"Left out {earlier:,} lines of days that were imported before: {_ONE_CALL}"
    if waiting := sum(day.lines for day in found.days.of(WAITING)):
        yield f"{waiting:,} lines of days that are not over wait for the next import of their file"
