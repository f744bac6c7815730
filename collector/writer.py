"""One bounded queue and one writer thread per process: observations in, durable frames out.

A record is *queued* (in memory), *written* (survives kill -9) or *synced* (survives a loss of power).
Always: accepted = written + dropped{reason} + queued; written records whose sync failed are *in doubt*.
Page views are queued and written within 0.2 s; consent and rights records are synced before their answer.
"""

import atexit
import contextlib
import fcntl
import os
import secrets
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec

from collector.files import private_directory, replace
from collector.observation import Assembler, Dropped, Observation
from collector.record import STATUS, Clock
from collector.sinks import Sink

QUEUE_LIMIT = 16_384  # observations; at their longest about 4 KiB each
BATCH = 512  # observations a write
TICK_S = 0.1  # how long a view may wait for its write
SYNC_S = 1.0
PERSIST_S = 1.0
RETRY_S = 0.5  # after a sink that failed
STOP_S = 2.0
HOLD_S = 1.0  # how long a fork may wait for the writer thread to pause
DURABLE_S = 5.0  # how long a consent may wait for the disk before its visitor is told to try again


class Writer:
    """Accepts observations from the event loop and stores them from its own thread.

    The thread starts with the first observation, in whichever process that happens; a forked child starts
    its own. Nothing it does raises into the host.
    """

    def __init__(
        self,
        assembler: Callable[[], Assembler],
        sink: Callable[[str], Sink],
        clock: Clock,
        data: Path | None = None,
        limit: int = QUEUE_LIMIT,
    ) -> None:
        """Prepare to write.

        Takes  assembler, sink: makers, called once per process; the sink's gets the worker's name.
               data: where the counters are persisted, None to keep them in memory
        """
        self._make_assembler = assembler
        self._make_sink = sink
        self._clock = clock
        self._data = data
        self._limit = limit
        self._begin()
        # The interpreter keeps these for ever, the writer only as long as its site.
        hold, go_on, forked, stop = (
            _weakly(method) for method in (self._hold, self._go_on, self._forked, self.stop)
        )
        os.register_at_fork(before=hold, after_in_parent=go_on, after_in_child=forked)
        atexit.register(stop)

    def _begin(self) -> None:
        """The state of a process that has written nothing."""
        self.worker = secrets.token_hex(8)
        self.decisions: Counter[str] = Counter()
        self._queue: deque[Observation] = deque()
        self._glances: deque[bytes] = deque(maxlen=self._limit)
        self._urgent: deque[tuple[Observation, Future[None]]] = deque()
        self._refused: Counter[str] = Counter()  # counted on the event loop
        self._dropped: Counter[str] = Counter()  # counted in the writer thread
        self._bots: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._popped = self._written = self._synced = self._in_doubt = 0
        self._pending: deque[tuple[str, bytes]] = deque()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._working = threading.Lock()  # held by the writer thread but while it waits
        self._wake = threading.Event()
        self._warm = threading.Event()
        self._stopping = False
        self._started_ms = self._clock()
        self._persisted: dict[str, Any] = {}
        self._lock_file = -1

    # ---- event loop -----------------------------------------------------------------------------------

    def put(self, seen: Observation) -> None:
        """Queue an observation, or drop and count it when the queue is full."""
        if self._thread is None:
            self.start()
        if len(self._queue) >= self._limit:
            self._refused["queue_full"] += 1
        else:
            self._queue.append(seen)

    def glance(self, agent: bytes) -> None:
        """Note the agent of a page view that nothing may be recorded of: bots are counted, people are not."""
        if self._thread is None:
            self.start()
        self._glances.append(agent)

    def refuse(self, reason: str) -> None:
        """Count an event that is dropped before it becomes an observation."""
        self._refused[reason] += 1

    def failed(self, error: BaseException) -> None:
        """Count a fault of the collector itself, by its type: its text might hold a visitor's data."""
        self._errors[type(error).__name__] += 1

    async def durable(self, seen: Observation) -> bool:
        """Write and sync one observation; False if the store could not within DURABLE_S."""
        if self._thread is None:
            self.start()
        future: Future[None] = Future()
        self._urgent.append((seen, future))
        self._wake.set()
        return await anyio.to_thread.run_sync(_settled, future)

    async def warmed(self) -> None:
        """Start the thread and wait until its resolvers are built."""
        self.start()
        await anyio.to_thread.run_sync(self._warm.wait, STOP_S)

    def start(self) -> None:
        """Start the writer thread unless it runs."""
        with self._starting:
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="impersonal-writer", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Write what is queued, seal the segment and end the thread; a later `put` starts a new one."""
        thread = self._thread
        if thread is None:
            return
        self._stopping = True
        self._wake.set()
        thread.join(STOP_S)
        self._thread = None

    def counters(self) -> dict[str, Any]:
        """What became of every accepted observation (the equation in the module's docstring)."""
        dropped = self._dropped + self._refused
        # `popped` is read before the queue: an observation may be counted late, never twice.
        popped, queued = self._popped, len(self._queue) + len(self._urgent)
        return {
            "accepted": popped + queued + self._refused.total(),
            "written": self._written,
            "synced": self._synced,
            "in_doubt": self._in_doubt,
            "queued": popped + queued - self._written - self._dropped.total(),
            "dropped": dict(dropped),
            "bots": dict(self._bots),
            "decisions": dict(self.decisions),
            "errors": dict(self._errors),
        }

    # ---- writer thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._working:
            assembler, sink = self._make_assembler(), self._make_sink(self.worker)
            self._attempt(assembler.warm)
            self._attempt(self._take_lock)
        self._warm.set()
        synced_s = persisted_s = time.monotonic()
        while not self._stopping:
            self._wake.wait(TICK_S)
            self._wake.clear()
            with self._working:
                self._attempt(self._drain, assembler, sink)
                now_s = time.monotonic()
                if now_s - synced_s >= SYNC_S:
                    synced_s = now_s
                    self._attempt(self._sync, sink)
                if now_s - persisted_s >= PERSIST_S:
                    persisted_s = now_s
                    self._attempt(self._persist)
                    self._attempt(assembler.maintain, self._clock())
        with self._working:
            self._attempt(self._drain, assembler, sink)
            self._attempt(self._sync, sink)
            self._attempt(sink.close)
            self._attempt(self._persist)

    def _attempt(self, act: Callable[..., object], *arguments: object) -> None:
        """A fault ends one act, never the thread."""
        try:
            act(*arguments)
        except Exception as error:
            self.failed(error)
            if isinstance(error, OSError):
                time.sleep(RETRY_S if not self._stopping else 0)

    def _drain(self, assembler: Assembler, sink: Sink) -> None:
        self._write_urgent(assembler, sink)
        while self._queue or self._pending:
            self._assemble(assembler)
            self._write_pending(sink)
            self._write_urgent(assembler, sink)
        while self._glances:
            if category := assembler.bot(self._glances.popleft()):
                self._bots[category] += 1

    def _assemble(self, assembler: Assembler) -> None:
        while self._queue and len(self._pending) < BATCH:
            seen = self._queue.popleft()
            self._popped += 1
            frame = self._frame(assembler, seen)
            if frame is not None:
                self._pending.append(frame)

    def _frame(self, assembler: Assembler, seen: Observation) -> tuple[str, bytes] | None:
        try:
            return assembler.frame(seen)
        except Dropped as drop:
            self._dropped[drop.reason] += 1
            if drop.bot:
                self._bots[drop.bot] += 1
        except Exception as error:
            self._dropped["error"] += 1
            self.failed(error)
        return None

    def _write_pending(self, sink: Sink) -> None:
        """Write what waits, a run of one day at a time; what the sink did not take keeps waiting."""
        while self._pending:
            day = self._pending[0][0]
            frames = []
            for other, frame in self._pending:
                if other != day:
                    break
                frames.append(frame)
            written = sink.write(day, frames)
            self._written += written
            for _ in range(written):
                self._pending.popleft()

    def _write_urgent(self, assembler: Assembler, sink: Sink) -> None:
        """Write and sync what somebody waits for; all that came together share one sync."""
        waiting: list[Future[None]] = []
        try:
            while self._urgent:
                seen, future = self._urgent.popleft()
                self._popped += 1
                waiting.append(future)
                frame = self._frame(assembler, seen)
                if frame is None:
                    waiting.pop().set_exception(Dropped("error"))
                else:
                    self._write_one(sink, *frame)
            if waiting:
                self._sync(sink)
        except Exception as error:
            for future in waiting:
                future.set_exception(error)
            raise
        for future in waiting:
            future.set_result(None)

    def _write_one(self, sink: Sink, day: str, frame: bytes) -> None:
        try:
            self._written += sink.write(day, [frame])
        except OSError:
            self._dropped["not_durable"] += 1
            raise

    def _sync(self, sink: Sink) -> None:
        unsynced = self._written - self._synced - self._in_doubt
        if unsynced == 0:
            return
        try:
            sink.sync()
        except OSError:
            self._in_doubt += unsynced
            raise
        self._synced += unsynced

    # ---- the operator's view --------------------------------------------------------------------------

    def _take_lock(self) -> None:
        """Hold a lock while this process lives, so that a reader can tell a dead worker from a quiet one."""
        if self._data is None or self._lock_file >= 0:
            return
        directory = self._data / STATUS
        private_directory(directory)
        self._lock_file = os.open(directory / f"{self.worker}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _persist(self) -> None:
        """Keep the counters where `impersonal status` reads them, when they changed."""
        counters = self.counters()
        if self._data is None or counters == self._persisted:
            return
        about = {
            "worker": self.worker,
            "pid": os.getpid(),
            "started_ms": self._started_ms,
            "updated_ms": self._clock(),
        }
        path = self._data / STATUS / f"{self.worker}.json"
        replace(path, msgspec.json.encode(about | counters))
        self._persisted = counters

    # ---- fork ----------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Let the thread finish what it does: a lock it holds during a fork is held for ever in the child."""
        self._held = self._working.acquire(timeout=HOLD_S)

    def _go_on(self) -> None:
        if self._held:
            self._working.release()

    def _forked(self) -> None:
        """A child shares nothing with its parent: not the queue, the numbering, the segment or the lock."""
        if self._lock_file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._lock_file)
        self._begin()


def _settled(future: Future[None]) -> bool:
    try:
        future.result(DURABLE_S)
    except Exception:
        return False
    return True


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if bound := reference():
            bound()

    return call
