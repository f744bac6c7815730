"""THE ONE DOOR: nothing about visitors leaves the private events except through here.

charge the ledger → bound each visitor-day → count → add noise → store → publish

A release is one statistic over one window, made once. Adding or removing one visitor-day changes what a
release is drawn from by at most the statistic's bound, and each day it covers pays for that.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

from collector.policy import Policy
from collector.record import Clock, date_of
from pipeline import intervals, noise, publish
from pipeline.commitment import begins_with, commitment, consumed, contents
from pipeline.counting import Counts, bounded_counts, build
from pipeline.engine import Engine
from pipeline.errors import BudgetExhausted, LedgerError, StoreError
from pipeline.kept_policy import as_kept, kept
from pipeline.ledger import LEDGER, Charge, Ledger
from pipeline.publish import Cell
from pipeline.published import PUBLISHED, firsts, head_of, keys_in, manifest_in, place, sum_in
from pipeline.spec import CODE_VERSION, Mechanism, Spec, mechanism
from pipeline.statistics import ATTO_DELTA_PER_DAY, PURPOSE, STATISTICS, Statistic, enabled, nano_rho, rows
from pipeline.store import EXPIRED, Progress, batch_files, events_of, is_sealed, manifests
from pipeline.terms import purpose_days
from pipeline.windows import (
    BLOCK,
    HOUR,
    START,
    Hour,
    Tier,
    Window,
    hours_over,
    last_closed_day,
    open_days,
    tier_named,
    tier_of,
    window_named,
    window_of,
)

_THREADS = 2  # that draw noise


@dataclass(frozen=True)
class Outcome:
    """What became of one release that was due."""

    release_id: str
    state: str
    """known (made before this run), released (made by it) or refused (over a day's budget)."""
    reason: str = ""


def noisy_cells(statistic: Statistic, window: Window, drawn: Mechanism, counts: Counts) -> list[Cell]:
    """The cells to publish: every public key, and the private keys that reach the threshold."""
    public, private = counts
    sigma, threshold = drawn.sigma, drawn.threshold

    def cell(key: str | None, value: int, interval: tuple[float, float], thresholded: bool) -> Cell:
        place = (statistic.name, key, window.name, window.start, window.end)
        return Cell(*place, value, *interval, sigma, thresholded)

    values = noise.gaussian(list(public.values()), sigma)
    cells = [
        cell(key, value, intervals.plain(value, sigma), False)
        for key, value in zip(public, values, strict=True)
    ]
    if threshold is not None:
        released = noise.gaussian_threshold(private, sigma, threshold)
        cells += [
            cell(key, value, intervals.truncated(value, sigma, threshold), True)
            # Sorted: the order in which keys were counted is not for publication.
            for key, value in sorted(released.items())
        ]
    return cells


class Door:
    """One run over one data directory."""

    def __init__(self, data: Path, policy: Policy, ledger: Ledger, engine: Engine) -> None:
        self._data = data
        self._published = data / PUBLISHED
        self._policy = policy
        self._shares = enabled(policy)
        self._rows = rows(policy)
        self._ledger = ledger
        self._engine = engine
        self._loaded: Window | None = None
        self._held = b""
        self.known = ledger.releases()
        self._taken = {(_statistic_of(name), day) for name, days in self.known.items() for day in days}

    def restore(self) -> None:
        """Publish what a run that was interrupted had stored.

        Raises  LedgerError where something is published that the ledger does not know: it was put back to
                an older state
        """
        known = head_of(self._published)
        if known.number and self._ledger.head(known.number) != known:
            raise LedgerError(
                f"{self._published} knows of {known.number} releases that {LEDGER} does not have: "
                f"put the newest {LEDGER} back, an older one would pay for the same days again"
            )
        places = {place(self._published, name): name for name in self.known}
        for file in sorted(set(self._published.glob("*/*.parquet")) - set(places)):
            raise LedgerError(
                f"{file} was published but the ledger does not know it: put the newest {LEDGER} back, "
                "an older one would pay for the same days again"
            )
        for file, release_id in places.items():
            if not file.exists() and (content := self._ledger.output(release_id)) is not None:
                publish.write(file, content)
        self._publish_head()

    def _publish_head(self) -> None:
        head = self._ledger.head()
        if head != head_of(self._published):
            publish.write_head(self._published, head)

    def tier(self, block: Window) -> Tier:
        """The tier of a block: as the policy says, or from what was published for the block before."""
        if self._policy.budget.tier != "auto":
            return tier_named(self._policy.budget.tier)
        before = window_of(BLOCK, block.start - timedelta(1))
        # As first released: a correction must not change the windows of a block that has begun.
        found = firsts(self._published, "visitors")
        files = {window: file for window, file in found.items() if window_of(BLOCK, window.start) == before}
        if not files:
            return tier_named(START)
        seen = sum_in(self._engine.database, list(files.values()))
        return tier_of(seen / sum(window.length for window in files))

    def first_due(self, first_day: date) -> date:
        """The first day whose windows may still be released.

        What an earlier run passed by, because its policy named other statistics or another tier, is not
        made up later: the events of those days may be gone by then. The hours of an open day are ahead of
        the releases of the days before it.
        """
        closed = [days for name, days in self.known.items() if not _is_hour(name)]
        return max([first_day, *(date.fromisoformat(days[-1]) for days in closed)])

    def due(self, block: Window, tier: Tier, first_day: date, now_ms: int) -> list[tuple[Window, Statistic]]:
        """What a block's windows owe so far, in order of time; no day of a statistic comes out twice."""
        owed = [
            (window, row)
            for name, row in self._rows.items()
            if (length := row.window(tier)) and length != HOUR
            for window in block.inside(length)
            if window.end >= first_day and window.is_closed(now_ms)
            if not any((name, day) in self._taken for day in window.days)
        ]
        return sorted(owed, key=lambda pair: (pair[0].end, pair[0].length))

    def release(self, window: Window, statistics: Iterable[Statistic], tier: Tier) -> list[Outcome]:
        """Make the releases of a window, but for those that another process made meanwhile."""
        return self._publish([self._spec(row, window, tier) for row in statistics], tier.nano_rho)

    def _spec(self, row: Statistic, window: Window, tier: Tier) -> Spec:
        drawn = mechanism(row, nano_rho(self._shares[row.name], tier.nano_rho))
        return Spec(row, window, drawn, row.keys_of(window, self._policy))

    def release_hours(self, day: date, now_ms: int) -> list[Outcome]:
        """Make the releases of the hours of an open day that are over, where its tier has any.

        A visitor-day is first seen in one hour, so all hours of a day together are one vector of which it
        changes one cell by one: the first pays for all. Whoever turns up with records of an hour that is
        released is in none. Never out of order, and no hour once the records behind it are not what
        earlier hours were drawn from: then who was counted could be counted again.
        """
        block = window_of(BLOCK, day)
        # The tier is not known before the last day that it follows from is released.
        is_tier_known = window_of("day", block.start - timedelta(1)).is_closed(now_ms)
        hours = hours_over(day, now_ms)
        if not (is_tier_known and hours) or is_sealed(self._data, str(day)):
            return []
        tier = self.tier(block)
        outcomes = []
        for row in self._rows.values():
            specs = [self._spec(row, hour, tier) for hour in hours] if row.window(tier) == HOUR else []
            new = [spec for spec in specs if spec.release_id not in self.known]
            if not new:
                continue
            if why := self._broken_off(specs[0], specs[: -len(new)]):
                outcomes.append(Outcome(new[0].release_id, "refused", why))
            else:
                outcomes += self._publish(new, tier.nano_rho)
        return outcomes

    def _broken_off(self, first: Spec, known: Sequence[Spec]) -> str:
        """Why no more hours of a day are released; empty where they go on, or begin."""
        if not known:
            return ""
        last, day = known[-1].release_id, first.window.start
        if self._ledger.spec_hash(first.release_id) != first.hash:
            return f"the hours of {day} began under other shares, or by another version: on with tomorrow's"
        files = batch_files(events_of(self._data, str(day)))
        lines = consumed(self._engine.database, files)
        with self._stored(last) as file:
            inputs = manifest_in(self._engine.database, file).inputs
        if not begins_with(self._data, last, inputs, lines):
            return (
                f"the records of {day} are not those that {last} was counted from, with more: they were put "
                "back from a copy or read anew; on with tomorrow's hours"
            )
        return ""

    def correct(self, release_id: str, why: str) -> Outcome:
        """Make a release once more: a second charge to its days, of what they have left, and a second file.

        Raises  LedgerError where there is no such release; BudgetExhausted where its days have nothing left
        """
        if release_id not in self.known:
            raise LedgerError(f"{release_id} was never released: name one like visitors/day/2026-11-24")
        name, length, start, *_ = release_id.split("/")
        statistic, window = STATISTICS[name], window_named(length, start)
        if window is None or isinstance(window, Hour):
            raise LedgerError(f"{release_id} was of an open day: correct what its day has been released as")
        first = f"{name}/{length}/{start}"
        number = 1 + sum(f"{known}/".startswith(f"{first}/") for known in self.known)
        caps = {day: self._ledger.cap(day)[0] for day in window.days}
        left = min(cap - self._ledger.spent(day)[0] for day, cap in caps.items())
        budget = min(left, self._ledger.charges(first)[0])
        if budget < 1:
            raise BudgetExhausted(f"the days of {first} have spent their whole budget: it stays as it is")
        again = statistic.again(self._keys(first))
        if not again.keys:
            raise LedgerError(f"{first} names no key, so there is nothing to correct: it stays as it is")
        drawn, keys = mechanism(again, budget), again.public_keys(self._policy)
        [outcome] = self._publish([Spec(again, window, drawn, keys, number, why)], min(caps.values()))
        if outcome.state == "refused":
            raise BudgetExhausted(outcome.reason)
        return outcome

    def _keys(self, release_id: str) -> list[str | None]:
        """The keys that a release named, as the ledger has it."""
        with self._stored(release_id) as file:
            return keys_in(self._engine.database, file)

    @contextmanager
    def _stored(self, release_id: str) -> Iterator[Path]:
        """A file with what the ledger has of a release."""
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            file.write(self._ledger.output(release_id) or b"")
            file.flush()
            yield Path(file.name)

    def _publish(self, specs: Sequence[Spec], cap_nano_rho: int) -> list[Outcome]:
        """Charge, make, store and publish releases of one window, but for those that are known."""
        by_name = {spec.release_id: spec for spec in specs}
        new: set[str] = set()

        def make(names: Sequence[str]) -> Iterator[bytes]:
            new.update(names)
            return self._make([by_name[name] for name in names])

        charges = {name: self._charge(spec, cap_nano_rho) for name, spec in by_name.items()}
        outcomes = []
        for name, made in self._ledger.each_once(charges, make).items():
            if isinstance(made, BudgetExhausted):
                outcomes.append(Outcome(name, "refused", str(made)))
            else:
                publish.write(place(self._published, name), made)
                outcomes.append(Outcome(name, "released" if name in new else "known"))
        self._publish_head()
        return outcomes

    def _charge(self, spec: Spec, cap_nano_rho: int) -> Charge:
        cost = spec.mechanism.nano_rho, spec.mechanism.atto_delta
        cap = cap_nano_rho, ATTO_DELTA_PER_DAY
        return Charge(spec.window.days, *cost, *cap, spec.hash, CODE_VERSION, spec.paid_by)

    def _make(self, specs: Sequence[Spec]) -> Iterator[bytes]:
        """The files of releases of one window, each with its noise. To be asked for when they are paid."""
        self._load(specs[0].window)

        def drawn(spec: Spec, inputs: str, counts: Counts) -> bytes:
            public = {key: counts[0][key] for key in spec.public_keys}
            cells = noisy_cells(spec.statistic, spec.window, spec.mechanism, (public, counts[1]))
            return publish.encode(cells, spec.manifest(inputs))

        sealed = [commitment(self._data, spec.release_id, self._held) for spec in specs]
        # OpenDP and DuckDB let other threads run: the next statistic is counted while noise is drawn.
        with ThreadPoolExecutor(_THREADS) as threads:
            counts = (bounded_counts(self._engine, spec.statistic, self._policy) for spec in specs)
            yield from threads.map(drawn, specs, sealed, counts)

    def _load(self, window: Window) -> None:
        """Build a window's visitor-days, unless the last release was of the same."""
        if self._loaded == window:
            return
        files = [file for day in window.days for file in batch_files(events_of(self._data, day))]
        if isinstance(window, Hour):
            # Whose record counts must not change between two hours: as the policy said first. Of the whole
            # day, for nobody is first seen in an hour who was there before.
            policy = as_kept(self._policy, kept(self._data))
            build(self._engine, files, policy, window_of("day", window.start))
            self._held = b"".join(consumed(self._engine.database, files))
        else:
            build(self._engine, files, self._policy, window)
            self._held = contents(files)
        self._loaded = window


def release_due(
    data: Path,
    policy: Policy,
    clock: Clock,
    first_day: date,
    progress: Progress | None = None,
    between: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Release every window that is due and not yet out, in order of time; doing it again changes nothing.

    Closed days first, then the hours of open ones that are over.

    first_day   the site's first day; later days are released even when nothing happened on them
    between     what else is done after each window; it may remove records, none of them is in use then
    Raises      LedgerError, PolicyError; a release over budget is an outcome, not an error
    """
    now_ms = clock()
    last_day = last_closed_day(now_ms)
    report = progress or (lambda what, done, total: None)
    spill = data / "spill"
    shutil.rmtree(spill, ignore_errors=True)  # of a run that was killed: it holds private events
    with Ledger(data / LEDGER) as ledger, Engine(spill) as engine:
        door = Door(data, policy, ledger, engine)
        door.restore()
        outcomes = [Outcome(release_id, "known") for release_id in door.known]
        first_due = door.first_due(first_day)
        total = max((last_day - first_due).days + 1, 0)
        block = window_of(BLOCK, first_due)
        while block.start <= last_day:
            tier = door.tier(block)
            due = door.due(block, tier, first_due, now_ms)
            for window, pairs in groupby(due, key=lambda pair: pair[0]):
                report("releasing statistics", (window.end - first_due).days, total)
                outcomes += door.release(window, [statistic for _, statistic in pairs], tier)
                between()
            block = window_of(BLOCK, block.end + timedelta(1))
        for day in open_days(now_ms):
            if day >= first_day:
                outcomes += door.release_hours(day, now_ms)
        report("releasing statistics", total, total)
    shutil.rmtree(spill, ignore_errors=True)
    return outcomes


def correct(data: Path, policy: Policy, clock: Clock, release_id: str, why: str) -> Outcome:
    """Make one release once more, for all to see: what was published stays, and its days pay again.

    why     what was wrong, published with the correction
    Raises  LedgerError, BudgetExhausted; StoreError where records of its days are gone
    """
    spill = data / "spill"
    with Ledger(data / LEDGER) as ledger, Engine(spill) as engine:
        door = Door(data, policy, ledger, engine)
        door.restore()
        now_ms = clock()
        today = date_of(now_ms)
        for day in door.known.get(release_id, ()):
            age = (today - date.fromisoformat(day)).days
            found = manifests(engine.database, events_of(data, day))
            is_less = any(EXPIRED in each.removed or each.cut for each in found)
            if is_less or age > purpose_days(policy, day, PURPOSE, now_ms):
                raise StoreError(f"records of {day} are over their retention: not all is left to count")
        outcome = door.correct(release_id, why)
    shutil.rmtree(spill, ignore_errors=True)
    return outcome


def _statistic_of(release_id: str) -> str:
    return release_id.split("/", maxsplit=1)[0]


def _is_hour(release_id: str) -> bool:
    return release_id.split("/")[1] == HOUR
