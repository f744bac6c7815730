"""Threads and processes that die, fork, stop and share, and clocks that jump: nothing promised is lost."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from collector import Collector, MemorySink
from collector.identity import Pseudonyms
from collector.record import DAY_MS
from pipeline.ingest import ingest
from pipeline.run import run_once
from pipeline.status import read_status
from tests.asgi import FIREFOX, call, get, http_scope, post
from tests.collector.test_middleware import SITE
from tests.fast_clock import FastClock
from tests.faults.conftest import Disk
from tests.faults.host import Host, eventually, read
from tests.policies import EXEMPT
from tests.serve import RULES

Serve = Callable[..., Host]
NOON_MS = 20_781 * DAY_MS + DAY_MS // 2  # 2026-11-24 12:00 UTC
KIND = [("content-type", "application/json")]
OTHER = [*KIND, ("user-agent", FIREFOX.replace("140", "139"))]
"""Of another browser: the refusal of this one would end what is counted without a choice."""


def view(site: Collector, times: int, start: int = 0) -> None:
    async def run() -> None:
        for number in range(start, start + times):
            await call(site, http_scope(f"/product/{number}"))

    asyncio.run(run())


def settled(site: Collector) -> bool:
    return not site.writer.counters()["queued"]


def writers() -> set[threading.Thread]:
    """The threads that write; those in which a host answers may take their time to end."""
    return {thread for thread in threading.enumerate() if thread.name == "impersonal-writer"}


# ---- the writer thread ---------------------------------------------------------------------------------


class Sink(MemorySink):
    """Does harm once, then keeps what it is given."""

    def __init__(self, harm: Callable[[Sequence[bytes]], int | None]) -> None:
        super().__init__()
        self.harm: Callable[[Sequence[bytes]], int | None] | None = harm

    def write(self, day: str, frames: Sequence[bytes]) -> int:
        """Do harm, or keep."""
        if self.harm and (said := self.harm(frames)) is not None:
            return said
        return super().write(day, frames)

    def kept(self) -> list[bytes]:
        """Every frame."""
        return [frame for frames in self.frames.values() for frame in frames]


def test_a_writer_thread_that_is_killed_is_followed_by_another() -> None:
    """SystemExit out of a sink ends the thread; the next view starts one, and nothing is lost."""

    def die(frames: Sequence[bytes]) -> int:
        raise SystemExit

    sink = Sink(die)
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    view(site, 50)
    eventually(lambda: "SystemExit" in site.writer.counters()["errors"])
    assert post(site, "/_impersonal/consent", b'{"act": "refuse"}', OTHER).status == 503
    sink.harm = None
    view(site, 50, start=50)
    assert post(site, "/_impersonal/consent", b'{"act": "refuse"}', OTHER).status == 200
    eventually(lambda: settled(site))
    assert len(set(sink.kept())) == len(sink.kept()) == 101


@pytest.mark.parametrize("said", [0, -1, 10_000])
def test_a_sink_that_miscounts_is_not_believed(said: int) -> None:
    """No consent is answered as stored, and the thread does not spin."""
    sink = Sink(lambda frames: said)
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    view(site, 10)
    assert post(site, "/_impersonal/consent", b'{"act": "grant"}', KIND).status == 503
    assert site.writer.counters()["queued"] == 10
    sink.harm = None
    eventually(lambda: settled(site))
    assert len(sink.kept()) == site.writer.counters()["written"] == 10


def test_a_sink_that_takes_less_is_asked_again() -> None:
    """Three frames at a time: all are stored, in order, once."""
    sink = Sink(lambda frames: None)
    sink.harm = lambda frames: MemorySink.write(sink, "day", frames[:3])
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    view(site, 100)
    site.writer.stop()
    assert len(set(sink.kept())) == len(sink.kept()) == 100


def test_a_stop_while_the_store_hangs_leaves_one_thread() -> None:
    """The thread that hangs goes on when it can; views that come meanwhile are written once."""
    go_on = threading.Event()
    sink = Sink(lambda frames: None if go_on.wait() else 0)
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    others = writers()
    view(site, 10)
    time.sleep(0.3)
    started_s = time.monotonic()
    site.writer.stop()
    assert 1.5 < time.monotonic() - started_s < 6
    view(site, 500, start=10)
    (thread,) = writers() - others
    go_on.set()
    thread.join(10)
    view(site, 1, start=510)
    eventually(lambda: settled(site))
    assert len(set(sink.kept())) == len(sink.kept()) == 511


def test_a_stop_waits_while_something_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow store, or a busy machine: two seconds and more, and nothing is lost."""

    def one_by_one(frames: Sequence[bytes]) -> int:
        time.sleep(0.01)
        return MemorySink.write(sink, "day", frames[:1])

    sink = Sink(one_by_one)
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    view(site, 200)
    monkeypatch.setattr("collector.writer.STOP_S", 0.3)
    site.writer.stop()
    assert len(sink.kept()) == 200


def test_views_after_a_stop_are_written(tmp_path: Path) -> None:
    """Stopped, used and stopped again: the second thread does not stumble over the first one's segments."""
    site = Collector(SITE, policy=EXEMPT, data=tmp_path)
    for turn in range(3):
        view(site, 5, start=5 * turn)
        site.writer.stop()
    assert site.writer.counters()["errors"] == {}
    assert len({record.path for record in read(tmp_path)[0]}) == 15


def test_the_counters_add_up_at_every_moment() -> None:
    """Read from another thread, thousands of times, while views are queued, written, dropped and refused."""
    site = Collector(SITE, policy=EXEMPT, sink=MemorySink())
    site.writer._limit = 100
    done = threading.Event()

    def traffic() -> None:
        async def run() -> None:
            for number in range(1000):
                agent = [("user-agent", "Googlebot/2.1")] if number % 3 == 0 else []
                await call(site, http_scope(f"/product/{number}", headers=agent))
                site.writer.refuse(f"reason {number % 50}")

        asyncio.run(run())
        done.set()

    thread = threading.Thread(target=traffic)
    thread.start()
    looks, before = 0, 0
    while not done.is_set():
        seen = site.writer.counters()
        assert seen["accepted"] == seen["written"] + seen["queued"] + sum(seen["dropped"].values())
        assert seen["queued"] >= 0 and seen["synced"] + seen["in_doubt"] <= seen["written"]
        assert seen["accepted"] >= before
        looks, before = looks + 1, seen["accepted"]
    thread.join()
    site.writer.stop()
    assert looks > 500
    assert site.writer.counters()["accepted"] == 2000 and settled(site)


def test_a_flood_of_agents_keeps_no_consent_waiting() -> None:
    """Thousands of glances and views in the queue: what is urgent, and the stop, come between two batches."""
    site = Collector(SITE, policy=EXEMPT, sink=MemorySink())
    get(site)
    for number in range(16_000):
        site.writer.glance(b"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0 %d" % number)
    eventually(lambda: len(site.writer._glances) < 16_000)
    assert post(site, "/_impersonal/consent", b'{"act": "grant"}', KIND).status == 200
    assert len(site.writer._glances) > 8_000


# ---- processes -----------------------------------------------------------------------------------------


def test_sigterm_writes_what_is_queued(disk: Disk, serve: Serve) -> None:
    """10,000 views in the queue when the signal comes: all are on disk when the process is gone."""
    host = serve(environment=disk.environment)
    host.view()
    eventually(lambda: host.counters()["queued"] == 0)
    disk.stalled = 1
    queued = host.json("/burst?views=10000")["queued"]
    disk.stalled = 0
    host.end()
    records, damaged = read(host.data)
    assert queued >= 10_000 and len(records) == 10_001 and damaged == 0


def test_processes_share_a_directory(serve: Serve, tmp_path: Path) -> None:
    """Two servers and two collectors of a third process: files of their own, one salt, every view once."""
    hosts = [serve(), serve()]
    mounted = [Collector(SITE, policy=EXEMPT, data=hosts[0].data) for _ in range(2)]
    views = [threading.Thread(target=host.view, args=(150, f"/{host.port}")) for host in hosts]
    views += [threading.Thread(target=view, args=(site, 150)) for site in mounted]
    for thread in views:
        thread.start()
    for thread in views:
        thread.join()
    for site in mounted:
        site.writer.stop()
    for host in hosts:
        host.end()
    records, damaged = read(hosts[0].data)
    assert damaged == 0 and len(records) == len({record.id for record in records}) == 600
    assert len({path.name.split("-")[0] for path in (hosts[0].data / "logs").rglob("*.log")}) == 4
    assert len(list((hosts[0].data / "keys").glob("*salt-*"))) == 1


FORKED = """
import asyncio, os, sys, threading, time
import anyio._backends._asyncio  # forked while another thread imports it, a child would wait for that thread
from collector import Collector
from tests.asgi import call, http_scope
from tests.collector.test_middleware import SITE
from tests.policies import EXEMPT

def views(site, name, times):
    async def run():
        for number in range(times):
            await call(site, http_scope(f"/product/{name}-{number}"))
    asyncio.run(run())

site = Collector(SITE, policy=EXEMPT, data=sys.argv[1])
site.warm()
traffic = threading.Thread(target=views, args=(site, "parent", 3000))
traffic.start()
children, slowest_s = [], 0
for turn in range(6):
    time.sleep(0.05)
    started_s = time.monotonic()
    child = os.fork()
    if child == 0:
        views(site, turn, 100)
        site.writer.stop()
        os._exit(0)
    slowest_s = max(slowest_s, time.monotonic() - started_s)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
traffic.join()
print(slowest_s)
"""


def test_forks_under_traffic_share_nothing(tmp_path: Path) -> None:
    """Six forks while views are queued and written: each view once, no number twice, no child hangs."""
    run = subprocess.run(
        [sys.executable, "-c", FORKED, tmp_path], check=True, timeout=60, capture_output=True, text=True
    )
    records, damaged = read(tmp_path)
    assert damaged == 0 and len(records) == len({record.id for record in records}) == 3600
    assert len({record.path for record in records}) == 3600
    assert float(run.stdout) < 2


def test_a_worker_that_hung_over_the_close_of_its_day_is_late(
    disk: Disk, serve: Serve, tmp_path: Path
) -> None:
    """Its disk stalled and itself stopped (SIGSTOP) until the day is sealed: what it held is late."""
    clock = FastClock.make(tmp_path / "clock", speed=1)
    clock.jump(DAY_MS // 2 - clock() % DAY_MS)  # noon
    host = serve(clock=tmp_path / "clock", environment=disk.environment)
    other = serve(clock=tmp_path / "clock")

    def run() -> Counter[str]:
        return run_once(host.data, RULES, clock, lambda what, done, total: None).ingested

    host.view(10)
    other.view(10)
    for each in (host, other):
        eventually(lambda each=each: each.counters()["queued"] == 0)  # type: ignore[misc]
    disk.stalled = 1
    host.view(5)
    host.send(signal.SIGSTOP)
    clock.jump(DAY_MS)
    assert run() == {"rows": 20}
    other.view(3)  # nothing waits for the one that hangs
    eventually(lambda: other.counters()["queued"] == 0)
    assert run() == {"rows": 3}
    host.send(signal.SIGCONT)
    disk.stalled = 0
    eventually(lambda: host.counters()["queued"] == 0)
    assert run() == {"late": 5}
    status = read_status(host.data)
    assert status.outcomes == {"rows": 23, "late": 5} and status.lost == {"late": 5}


# ---- clocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps_ms", [[0, -3_600_000], [43_100_000, 43_300_000, 39_700_000], [0, 3_600_000]])
def test_a_clock_that_jumps_costs_no_record(tmp_path: Path, steps_ms: list[int]) -> None:
    """An hour back, back over midnight, forward: ids unique, each record in its day, none quarantined."""
    now = [NOON_MS]
    site = Collector(SITE, policy=EXEMPT, data=tmp_path, clock=lambda: now[0])
    for turn, step_ms in enumerate(steps_ms):
        now[0] = NOON_MS + step_ms
        view(site, 20, start=20 * turn)
        eventually(lambda: settled(site))
    site.writer.stop()
    assert site.writer.counters()["errors"] == {}
    records, damaged = read(tmp_path)
    assert damaged == 0 and len({record.id for record in records}) == 20 * len(steps_ms)
    taken = ingest(tmp_path, lambda: now[0], lambda what, done, total: None)
    assert dict(taken) == {"rows": 20 * len(steps_ms)}


def test_a_clock_that_ran_ahead_leaves_no_salt_behind(tmp_path: Path) -> None:
    """Salts of days to come are destroyed too, but for tomorrow's, which another worker may already use."""
    pseudonyms = Pseudonyms(tmp_path)
    for days in (0, 1, 2, 400):
        pseudonyms.of_day(NOON_MS + days * DAY_MS, "192.0.2.1", b"")
    pseudonyms.forget_past_days(NOON_MS)
    left = sorted(path.name for path in (tmp_path / "keys").iterdir())
    assert left == ["salt-2026-11-24", "salt-2026-11-25"]


def test_workers_agree_again_after_their_keys_were_replaced(tmp_path: Path) -> None:
    """A restored or removed directory: within a second every worker has the key that lies there."""
    workers = [Pseudonyms(tmp_path) for _ in range(2)]
    before = [worker.of_id("ab" * 16) for worker in workers]
    (tmp_path / "keys" / "pseudonym.key").unlink()
    for worker in workers:
        worker.forget_past_days(NOON_MS)
    after = [worker.of_id("ab" * 16) for worker in workers]
    assert len(set(before)) == len(set(after)) == 1 and before != after


def test_the_thread_goes_on_when_the_clock_fails() -> None:
    """A clock that raises costs the views it was asked for, nothing else."""
    now: list[Any] = [NOON_MS]

    def clock() -> int:
        if isinstance(now[0], Exception):
            raise now[0]
        return int(now[0])

    sink = MemorySink()
    site = Collector(SITE, policy=EXEMPT, sink=sink, clock=clock)
    others = writers()
    view(site, 5)
    now[0] = RuntimeError("no clock")
    view(site, 5, start=5)
    time.sleep(1.5)  # the thread's own errands ask the clock once a second
    (thread,) = writers() - others
    now[0] = NOON_MS
    view(site, 5, start=10)
    eventually(lambda: settled(site))
    assert thread.is_alive()
    assert sum(map(len, sink.frames.values())) == 10
