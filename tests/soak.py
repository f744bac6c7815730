"""A site under traffic and random faults, for as long as you like: python -m tests.soak --minutes 20

Workers are killed, stopped, paused and starved, their disk fills, fails, stalls and turns read-only, their
clock jumps, `impersonal run` is killed at any moment; a day passes every few minutes. Clients note what they
were answered, a watcher notes every whole frame it finds in the logs. In the end each answered consent, each
view that was written before its worker died, and each noted frame must be in the private events exactly
once. Prints a table; exit status 1 where anything was lost. As root the disk is a filesystem of its own.
"""

import argparse
import errno
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from collector.record import frames
from pipeline.engine import connect
from pipeline.ledger import Ledger
from pipeline.published import place
from pipeline.run import run_once
from pipeline.status import read_status
from tests.asgi import FIREFOX
from tests.fast_clock import FastClock
from tests.faults.conftest import attached, compiled, fill
from tests.faults.host import Host
from tests.serve import RULES

SPEED = 576  # a day in 150 seconds, and 12 from its end to its close
WINDOW_S = 0.2  # how old a view may be that a kill loses
RECOVERY_S = 6.0  # after a fault of the disk
HOUR_MS = 3_600_000
YOUNG_S = 60
GROWTH = (16, 4)
"""How much the first worker may grow after its first minute: MiB, descriptors."""
DISK_BYTES = "96m"
TOLD = ("late", "torn")
"""What may become of frames: a fault cut them off, or kept them until their day was sealed; counted."""


@dataclass
class Life:
    """One worker from its start to its end, and the browser that looks at it."""

    host: Host
    views: list[tuple[str, float]] = field(default_factory=list)
    consents: int = 0
    slowest_s: float = 0.0
    troubles: list[tuple[float, float]] = field(default_factory=list)
    """When its disk, or it itself, did not work: from, to."""
    ended_s: float = 0.0
    failure: str = ""
    """What went wrong between a browser and a worker that was alive."""

    def browse(self, pause_s: float) -> None:
        """Look at pages until the worker is gone; every twentieth time, consent."""
        try:
            while not self.ended_s:
                started_s = time.monotonic()
                self.host.view(path=f"/{self.host.pid}")
                self.views.append((self.host.paths[-1], time.monotonic()))
                self.slowest_s = max(self.slowest_s, self.views[-1][1] - started_s)
                if len(self.views) % 20 == 0 and self.host.consent() == 200:
                    self.consents += 1
                time.sleep(pause_s)
        except Exception as error:  # `end` closes the connection under its reader, who may find anything
            if not self.ended_s:  # nobody had touched it
                self.failure = repr(error)

    def due(self) -> list[str]:
        """The views that must have been written: answered a moment before the end, or the last trouble."""
        late = [start for start, end in self.troubles if end > self.ended_s - RECOVERY_S]
        until_s = min([self.ended_s, *late]) - WINDOW_S
        return [path for path, answered_s in self.views if answered_s < until_s]


class Soak:
    """The site, its faults and its witnesses."""

    def __init__(self, place: Path, shim: Path, own_disk: bool, workers: int, chance: random.Random) -> None:
        self.data = place / "disk" / "data"
        self.own_disk = own_disk
        self.chance = chance
        self.done: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.lives: list[Life] = []
        self.over = threading.Event()
        self.young: tuple[int, int] = (0, 0)
        self.old: tuple[int, int] = (0, 0)
        self._place = place
        self._clock = FastClock.make(place / "clock", SPEED)
        self._disk = attached(shim, place / "faults")
        self._read: dict[Path, int] = {}
        self._threads: list[threading.Thread] = []
        self.workers = [self._start() for _ in range(workers)]

    # ---- what is harmed -----------------------------------------------------------------------------

    def _start(self) -> Life:
        host = Host(self.data, environment=self._disk.environment, clock=self._place / "clock")
        life = Life(host)
        self.lives.append(life)
        self.spawn(life.browse, 0.01)
        return life

    def spawn(self, act: Callable[..., object], *arguments: object) -> None:
        """Do something beside all else, to its end."""
        thread = threading.Thread(target=act, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _replace(self, end: Callable[[Life], object]) -> None:
        number = self.chance.randrange(1, len(self.workers))  # the first one grows old
        life = self.workers[number]
        end(life)
        life.ended_s = life.ended_s or time.monotonic()
        self.workers[number] = self._start()

    @contextmanager
    def _trouble(self, *lives: Life) -> Iterator[None]:
        started_s = time.monotonic()
        yield
        for life in lives or self.workers:
            life.troubles.append((started_s, time.monotonic()))

    def _wait(self) -> None:
        self.over.wait(self.chance.uniform(0.5, 6))

    # ---- faults -------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL."""

        def end(life: Life) -> None:
            life.ended_s = time.monotonic()
            life.host.send(signal.SIGKILL)

        self._replace(end)

    def terminate(self) -> None:
        """SIGTERM, and whatever is queued is written."""

        def end(life: Life) -> None:
            life.ended_s = time.monotonic()
            life.host.end()

        self._replace(end)

    def pause(self) -> None:
        """SIGSTOP, SIGCONT."""
        life = self.chance.choice(self.workers)
        with self._trouble(life):
            life.host.send(signal.SIGSTOP)
            self._wait()
            life.host.send(signal.SIGCONT)

    def fail_writes(self) -> None:
        """EIO or ENOSPC from write."""
        with self._trouble():
            self._disk.write_error = self.chance.choice((errno.EIO, errno.ENOSPC))
            self._wait()
            self._disk.write_error = 0

    def fail_syncs(self) -> None:
        """EIO from fdatasync."""
        with self._trouble():
            self._disk.sync_error = errno.EIO
            self._wait()
            self._disk.sync_error = 0

    def fail_once(self) -> None:
        """One operation, soon."""
        with self._trouble():
            self._disk.fail_at = self.chance.randrange(1, 50)
            self._wait()
            self._disk.fail_at = 0

    def stall(self) -> None:
        """No answer from the disk."""
        with self._trouble():
            self._disk.stalled = 1
            self._wait()
            self._disk.stalled = 0

    def fill_up(self) -> None:
        """A full filesystem, for the workers and for whatever runs."""
        with self._trouble():
            filler = fill(self.data.parent)
            self._wait()
            filler.unlink()

    def remount(self) -> None:
        """Read-only for a while: only where nobody writes at this moment will the kernel do it."""
        with self._trouble():
            if self._mount("remount,ro"):
                self._wait()
            self._mount("remount,rw")

    def _mount(self, options: str) -> bool:
        command = ["mount", "-o", options, str(self.data.parent)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def limit_files(self) -> None:
        """RLIMIT_FSIZE: short writes, then none."""
        life = self.chance.choice(self.workers)
        with self._trouble(life):
            life.host.limit(resource.RLIMIT_FSIZE, self.chance.randrange(100_000))
            self._wait()
            life.host.limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)

    def jump(self) -> None:
        """The clock, an hour to and fro."""
        by_ms = self.chance.choice((-HOUR_MS, HOUR_MS))
        self._clock.jump(by_ms)
        self._wait()
        self._clock.jump(-by_ms)

    def faults(self) -> list[Callable[[], None]]:
        """What may happen here."""
        own = [self.fill_up, self.remount] if self.own_disk else []
        anywhere = [
            self.fail_writes,
            self.fail_syncs,
            self.fail_once,
            self.stall,
            self.limit_files,
            self.jump,
        ]
        return [self.kill, self.kill, self.terminate, self.pause, *anywhere, *own]

    def harm(self) -> None:
        """One fault, and some rest."""
        fault = self.chance.choice(self.faults())
        self.done[fault.__name__] += 1
        fault()
        self._wait()

    # ---- what goes on meanwhile ---------------------------------------------------------------------

    def size_of_first(self) -> tuple[int, int]:
        """Memory in MiB and open descriptors of the worker that nobody kills."""
        host = self.workers[0].host
        return host.rss_bytes() // 1024**2, host.descriptors()

    def watch(self) -> None:
        """Note the id of every whole frame, as often as can be."""
        while not self.over.is_set():
            for path in self.data.glob("logs/*/*.log"):
                with suppress(FileNotFoundError):
                    self._note(path)
            self.over.wait(0.3)

    def _note(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(data)
        for frame in frames(data):
            if frame.payload:
                self.seen.add(frame.payload.partition(b'"id":"')[2].partition(b'"')[0].decode())

    def run_often(self) -> None:
        """`impersonal run` again and again, a third of the time to its death."""
        command = [sys.executable, "-m", "tests.soak", "--run-in", str(self._place)]
        while not self.over.is_set():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.chance.uniform(0.3, 3) if self.chance.random() < 1 / 3 else 120)
            process.kill()
            said = process.communicate()[1]
            self.done[f"run ended with {process.returncode}"] += 1
            if "Traceback" in said and "OSError" not in said and "duckdb" not in said:
                print(said, file=sys.stderr)
            self.over.wait(self.chance.uniform(1, 5))

    def finish(self) -> None:
        """Heal all, stop all, let the last day close and read everything."""
        self.over.set()
        time.sleep(RECOVERY_S)
        self.old = self.size_of_first()
        for life in self.workers:
            life.ended_s = time.monotonic()
            life.host.end()
        for thread in self._threads:
            thread.join()
        self.over.clear()
        for path in self.data.glob("logs/*/*.log"):
            self._note(path)
        self._clock.jump(30 * HOUR_MS)
        run_in(self._place)


def run_in(place: Path) -> None:
    """One round of the pipeline at the site's own time."""
    run_once(place / "disk" / "data", RULES, FastClock(place / "clock"), lambda what, done, total: None)


# ---- the verdict -----------------------------------------------------------------------------------------


def verdict(soak: Soak) -> Iterator[tuple[str, object, bool]]:
    """What is to be known, its value, and whether it is as promised."""
    with connect() as database:
        files = [str(path) for path in soak.data.glob("events/*/*.parquet")]
        rows = database.execute(
            "SELECT id, kind, path FROM read_parquet(?, union_by_name=true)", [files]
        ).fetchall()
    ids, paths = [row[0] for row in rows], {row[2] for row in rows}
    outcomes = read_status(soak.data).outcomes
    missing = soak.seen - set(ids)
    due = [path for life in soak.lives for path in life.due()]
    yield "faults", dict(soak.done), True
    yield "views answered", sum(len(life.views) for life in soak.lives), True
    yield "slowest page, s (a paused worker's included)", max(life.slowest_s for life in soak.lives), True
    failures = [life.failure for life in soak.lives if life.failure]
    yield "pages that a living worker failed to serve", failures or 0, not failures
    grown = f"{soak.young[0]} → {soak.old[0]} MiB, {soak.young[1]} → {soak.old[1]} descriptors"
    is_flat = all(new - old <= most for old, new, most in zip(soak.young, soak.old, GROWTH, strict=True))
    yield "the first worker after a minute and at the end", grown, is_flat or not any(soak.young)
    yield "frames seen in the logs", len(soak.seen), len(soak.seen) > 0
    yield "rows of private events", len(ids), len(ids) > 0
    yield "rows twice", len(ids) - len(set(ids)), len(ids) == len(set(ids))
    yield "frames not kept, by reason", dict(outcomes), set(outcomes) <= {"rows", *TOLD}
    yield "written and lost", max(len(missing) - outcomes["late"], 0), len(missing) <= outcomes["late"]
    lost = [path for path in due if path not in paths]
    yield f"views due {len(due):,}, lost", max(len(lost) - outcomes["late"], 0), len(lost) <= outcomes["late"]
    consents, stored = sum(life.consents for life in soak.lives), sum(row[1] == "consent" for row in rows)
    yield f"consents answered {consents:,}, stored", stored, stored >= consents - outcomes["late"]
    yield "syncs tried again", soak._disk.repeated_syncs, soak._disk.repeated_syncs == 0
    yield from ledger_verdict(soak)
    yield "agent on the disk", grep(soak.data, FIREFOX.encode()), not grep(soak.data, FIREFOX.encode())


def ledger_verdict(soak: Soak) -> Iterator[tuple[str, object, bool]]:
    """Every release is paid for, and published as it was stored."""
    with Ledger(soak.data / "ledger.sqlite") as ledger:
        releases = ledger.releases()
        published = [
            place(soak.data / "published", name).read_bytes() == ledger.output(name) for name in releases
        ]
        spent = max((ledger.spent(day)[0] for days in releases.values() for day in days), default=0)
    yield "releases published as stored", f"{sum(published)} of {len(published)}", all(published)
    yield "most that a day spent, ρ", spent * 1e-9, 0 < spent <= 15_000_000


def grep(directory: Path, text: bytes) -> int:
    """Files that hold a text."""
    return sum(text in path.read_bytes() for path in directory.rglob("*") if path.is_file())


@contextmanager
def own_filesystem(path: Path) -> Iterator[bool]:
    """Mount a small filesystem, where that is permitted."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "impersonal-soak", str(path)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield mounted
    if mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=False)


def main() -> None:
    """Soak, and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="how long (20)")
    parser.add_argument("--workers", type=int, default=3, help="processes that serve (3)")
    parser.add_argument("--seed", type=int, default=None, help="repeat the faults of an earlier soak")
    parser.add_argument("--run-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_in:
        run_in(options.run_in)
        return
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    with TemporaryDirectory(prefix="soak-") as directory, own_filesystem(Path(directory) / "disk") as mounted:
        place = Path(directory)
        shim = compiled(Path(__file__).parent / "faults" / "faulty_disk.c", place)
        soak = Soak(place, shim, mounted, options.workers, random.Random(seed))
        soak.spawn(soak.watch)
        soak.spawn(soak.run_often)
        started_s = time.monotonic()
        while time.monotonic() < started_s + options.minutes * 60:
            soak.harm()
            if not any(soak.young) and time.monotonic() > started_s + YOUNG_S:
                soak.young = soak.size_of_first()
        soak.finish()
        found = list(verdict(soak))
    for what, value, as_promised in found:
        print(f"{'' if as_promised else 'NOT AS PROMISED: '}{what}: {value}")
    sys.exit(not all(as_promised for _, _, as_promised in found))


if __name__ == "__main__":
    main()
