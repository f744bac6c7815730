"""Attacks on the ledger: races, kills, unknown days, restored back-ups, clocks that jump."""

import os
import shutil
import signal
import sqlite3
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from pipeline.audit import logs
from pipeline.audit.apart import in_a_process
from pipeline.audit.result import Result
from pipeline.audit.site import DAY, Effort, Site
from pipeline.errors import BudgetExhausted, LedgerError
from pipeline.ledger import LEDGER, Charge, Ledger
from pipeline.published import PUBLISHED
from pipeline.release import release_due
from pipeline.windows import CLOSES_AFTER_MS, Window

_CAP = 15_000_000
_PROCESSES = 8
_ASKS = 1_000
_PRICE = _CAP // 50
_DAYS = ("2026-06-01", "2026-06-02")


def faults(site: Site, _effort: Effort) -> Result:
    """Race for a day's budget, kill between steps, charge unknown days, put back-ups back, move the clock."""
    directory = site.directory("ledger")
    granted, spent = in_a_process(_race, directory / "race.sqlite")
    kills, halves = in_a_process(_kill, directory)
    few = site.narrowed()
    tried = {
        f"{_ASKS:,} charges from {_PROCESSES} processes: {granted} granted": granted == 50 and spent == _CAP,
        f"{kills} kills between steps": kills > 8 and not halves,
        "an unknown day": _refuses_unknown(directory / "unknown.sqlite"),
        "a restored back-up": _refuses_rewound(few, is_head_kept=True),
        "a clock that jumps ahead and back": _survives_jump(few),
    }
    broken = [name for name, is_safe in tried.items() if not is_safe]
    forgiving = _refuses_rewound(few, is_head_kept=False)
    return Result(
        "; ".join(tried) + (f"; not safe: {', '.join(broken)}" if broken else ": never over the cap"),
        not broken,
        "without the published head a back-up passes for the newest",
        not forgiving,
    )


def _charge(nano_rho: int = _PRICE) -> Charge:
    return Charge(_DAYS, nano_rho, 0, _CAP, 0, "", "")


def _race(path: Path) -> tuple[int, int]:
    """So many processes ask at once; how many releases were charged, and what the dearest day spent."""
    with Ledger(path):
        pass
    children = []
    for name in range(_PROCESSES):
        if not (child := os.fork()):
            _ask(path, name)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    with Ledger(path) as ledger:
        return len(ledger.releases()), max(ledger.spent(day)[0] for day in _DAYS)


def _ask(path: Path, name: int) -> None:
    with Ledger(path) as ledger:
        for n in range(_ASKS // _PROCESSES):
            with suppress(BudgetExhausted):
                ledger.once(f"{name}-{n}", _charge(), lambda: b"x")


def _kill(directory: Path) -> tuple[int, int]:
    """Die before each statement of a release in turn: how many times, and how often half of it stayed."""
    kills = halves = 0
    while kills < 100:
        path = directory / f"{kills}.sqlite"
        if not (child := os.fork()):
            _die(path, kills)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        with Ledger(path) as ledger:
            is_stored = ledger.output("a") == b"a"
            halves += ledger.releases() != ({"a": list(_DAYS)} if is_stored else {})
        if not os.WIFSIGNALED(status):
            break
        kills += 1
    return kills, halves


def _die(path: Path, after: int) -> None:
    steps = iter(range(after))

    def step(_statement: str) -> None:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    with Ledger(path) as ledger:
        ledger._database.set_trace_callback(step)
        ledger.once("a", _charge(), lambda: b"a")


def _refuses_unknown(path: Path) -> bool:
    """Whether a day without a cap cannot be charged, by whatever connection."""
    with Ledger(path) as ledger:
        ledger.once("a", _charge(), lambda: b"a")
    database = sqlite3.connect(path)
    try:
        database.execute("INSERT INTO charge VALUES ('b', '2030-01-01', 1, 0)")
    except sqlite3.IntegrityError:
        return True
    finally:
        database.close()
    return False


def _release(site: Site, data: Path, windows: int) -> None:
    """Release what is due when so many of the site's longest windows are closed."""
    longest = max((window.length for _, window in site.released(site.tier)), default=1)
    now_ms = Window("day", DAY + timedelta(windows * longest)).span_ms[0] + CLOSES_AFTER_MS
    release_due(data, site.finest, lambda: now_ms, DAY)


def _refuses_rewound(site: Site, is_head_kept: bool) -> bool:
    """Whether older ledger and files are refused beside the newest head, or without it."""
    data = site.directory("rewound")
    _release(site, data, 1)
    copy = site.directory("copy")
    shutil.copytree(data, copy, dirs_exist_ok=True)
    _release(site, data, 2)
    (copy / PUBLISHED / "head.json").unlink()
    if is_head_kept:
        shutil.copy(data / PUBLISHED / "head.json", copy / PUBLISHED)
    try:
        _release(site, copy, 2)
    except LedgerError:
        return True
    return False


def _survives_jump(site: Site) -> bool:
    """Whether days that a clock ahead of time released stay as they are, and within their caps."""
    data = site.directory("jump")
    _release(site, data, 2)
    with Ledger(data / LEDGER) as ledger:
        before = {name: ledger.output(name) for name in ledger.releases()}
    logs.store(data, logs.scattered(100, 20))
    _release(site, data, 1)
    with Ledger(data / LEDGER) as ledger:
        after = {name: ledger.output(name) for name in ledger.releases()}
        days = {day for days in ledger.releases().values() for day in days}
        return before == after and all(ledger.spent(day)[0] <= ledger.cap(day)[0] <= _CAP for day in days)
