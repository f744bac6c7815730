"""One bounded queue and one writer thread per process: observations in, durable frames out.

A record is *queued* (in memory), *written* (survives kill -9) or *synced* (survives a loss of power).
Always: accepted = written + dropped{reason} + queued; written records whose sync failed are *in doubt*.
Page views are queued and written within 0.2 s; consent and rights records are synced before their answer.
"""

import atexit
import contextlib
import errno
import os
import secrets
import threading
import time
import weakref
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import anyio.to_thread

from collector.consent import Reason
from collector.observation import Assembler, Dropped, Observation
from collector.quota import QUOTA_BYTES, Quota
from collector.record import Clock
from collector.sinks import Sink
from collector.status import StatusFile

QUEUE_LIMIT = 16_384  # observations, of about 1 KiB and at most 3
LONG_LIMIT = 1024  # behind so many, none of the long ones: they weigh up to 12 KiB
BATCH = 512  # observations a write
TICK_S = 0.1  # how long a view may wait for its write
SYNC_S = 1.0
REFRESH_S = 0.1  # how soon a worker knows of a withdrawal that another one took
PERSIST_S = 1.0
RETRY_S = 0.5  # after a sink that failed
STOP_S = 2.0  # how long a stop may wait for a thread that gets nowhere
STOPPED_S = 10.0  # at most, while it gets on: servers are given 10 s or more
STRETCH_S = 0.0004  # how long the thread works on before it lets the event loop in
LET_IN_S = 0.00005
RAN_S = 0.00001  # CPU of other threads since the last pause, from which on one of them is at work
QUIET = 8  # pauses in a row without that
ALONE_S = 0.002  # the stretch from then on
BACKLOG_S = 0.001  # between two turns of a long queue: a fork, or the event loop, may come in
HOLD_S = 1.0  # how long a fork may wait for the writer thread to pause
BUILD_S = 30.0  # the same while it builds its tables: 0.3 s, but for a busy machine
DURABLE_S = 5.0  # how long a consent may wait for the disk before its visitor is told to try again
URGENT_LIMIT = 256  # consents that may wait at once
ASK_S = (0.001, 0.05)  # how soon a waiting consent looks again: at first, at most


class Writer:
    """Accepts observations from the event loop and stores them from its own thread.

    The thread starts with the first observation, in whichever process that happens; a forked child starts
    its own, and one that ended, whatever ended it, is followed by another. Nothing it does raises into the
    host.
    """

    def __init__(
        self,
        assembler: Callable[[], Assembler],
        sink: Callable[[str], Sink],
        clock: Clock,
        data: Path | None = None,
        limit: int = QUEUE_LIMIT,
        quota_bytes: int = QUOTA_BYTES,
    ) -> None:
        """Prepare to write.

        Takes  assembler, sink: makers, called once per process; the sink's gets the worker's name.
               data: where the counters are persisted and logs are measured, None to keep all in memory
               quota_bytes: of log under `data`, from which on page views are dropped
        """
        self._make_assembler = assembler
        self._make_sink = sink
        self._clock = clock
        self._data = data
        self._limit = limit
        self._quota_bytes = quota_bytes
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
        self.decisions: dict[str, int] = dict.fromkeys(Reason, 0)
        self._queue: deque[Observation] = deque()
        self._glances: deque[bytes] = deque(maxlen=self._limit)
        self._urgent: deque[tuple[Observation, Future[None]]] = deque()
        self._refused: Counter[str] = Counter()  # counted on the event loop
        self._declined: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()  # counted in the writer thread
        self._bots: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._popped = self._written = self._synced = self._in_doubt = 0
        self._pending: defaultdict[str, list[bytes]] = defaultdict(list)  # frames by their day
        self._assembler: Assembler | None = None
        self._sink: Sink | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._working = threading.Lock()  # held by the writer thread but while it waits
        # Released to wake the thread: an Event takes ten times as long to set, and to wait for.
        self._sleep = threading.Lock()
        self._sleep.acquire()
        self._warm = threading.Event()
        self._is_built = False
        self._stopping = False
        self._status = StatusFile(self._data, self.worker, self._clock) if self._data else None
        self._quota = Quota(self._data, self._quota_bytes) if self._data else None
        self._pause_s = self._others_s = 0.0
        self._quiet = 0
        self._is_stuck = False  # the last turn failed: the next one waits its time
        self._is_dozing = False  # there was nothing to do: what comes next wakes the thread
        self._is_asked = False
        self.is_told_to_stop = False
        """Whether the server says when it ends: then views may wait for the next turn."""

    # ---- event loop -----------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the writer thread was started and has not ended."""
        return self._thread is not None

    def keep_looking(self) -> bool:
        """Have the thread learn each REFRESH_S who withdrew; whether it did, or was asleep."""
        self._is_asked = True
        if self._is_dozing:
            self._wake_up()
            return False
        return self.is_running

    def put(self, seen: Observation) -> None:
        """Queue an observation, or drop and count it when the queue is full."""
        waiting = len(self._queue)
        if waiting >= self._limit or (waiting >= LONG_LIMIT and seen.is_long):
            self._refused["queue_full"] += 1
        else:
            self._queue.append(seen)
            if self._is_dozing or not (self.is_told_to_stop or self._is_stuck):
                self._wake_up()
        if self._thread is None:
            self.start()

    def glance(self, agent: bytes) -> None:
        """Note the agent of a page view that nothing may be recorded of: bots are counted, people are not."""
        if self._thread is None:
            self.start()
        self._glances.append(agent)

    def refuse(self, reason: str) -> None:
        """Count an event that is dropped before it becomes an observation."""
        self._refused[reason] += 1

    def declined(self, reason: str, count: int) -> None:
        """Count declared values not stored: unknown_visitor, not_granted, visitors_own or erased."""
        if count:
            self._declined[reason] += count

    def failed(self, error: BaseException) -> None:
        """Count a fault of the collector itself, by its type: its text might hold a visitor's data."""
        self._errors[type(error).__name__] += 1

    async def durable(self, seen: Observation) -> bool:
        """Write and sync one observation; False if the store could not within DURABLE_S.

        It waits by looking again: the threads it could block in are those that the host's handlers run in.
        """
        if len(self._urgent) >= URGENT_LIMIT:
            self._refused["queue_full"] += 1
            return False
        if self._thread is None:
            self.start()
        future: Future[None] = Future()
        self._urgent.append((seen, future))
        self._wake_up()
        pause_s, longest_s = ASK_S
        with anyio.move_on_after(DURABLE_S):
            while not future.done():
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)
        # What the writer thread has not begun is taken back: it will not be written after all.
        return not future.cancel() and future.done() and future.exception() is None

    def _wake_up(self) -> None:
        if self._sleep.locked():
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._sleep.release()

    async def warmed(self) -> None:
        """Start the thread and wait until its resolvers are built."""
        self.start()
        await anyio.to_thread.run_sync(self._warm.wait, STOP_S)

    def start(self) -> None:
        """Start the writer thread unless it runs."""
        with self._starting:
            if self._thread is None:
                self._stopping = False
                thread = threading.Thread(target=self._run, name="impersonal-writer", daemon=True)
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Write what is queued, seal the segment and end the thread; a later `put` starts a new one.

        Returns after STOPPED_S at the latest, and after STOP_S in which nothing was written: a thread that
        hangs in its store ends when the store lets it go.
        """
        thread = self._thread
        if thread is None:
            return
        self._stopping = True
        self._wake_up()
        until_s, before, gets_on = time.monotonic() + STOPPED_S, self._written, True
        while gets_on and thread.is_alive() and time.monotonic() < until_s:
            thread.join(STOP_S)
            gets_on = before != self._written or not self._is_built
            before = self._written

    async def stopped(self) -> None:
        """`stop`, beside the event loop."""
        await anyio.to_thread.run_sync(self.stop)

    def counters(self) -> dict[str, Any]:
        """What became of every accepted observation (the equation in the module's docstring)."""
        # Both threads go on counting. Each number is read once, and from the end of the way to its start:
        # an observation on its way may be seen queued for longer than it was, never twice.
        synced, in_doubt, written = self._synced, self._in_doubt, self._written
        dropped, refused = self._dropped.copy(), self._refused.copy()
        popped = self._popped
        queued = popped + len(self._queue) + len(self._urgent) - written - dropped.total()
        return {
            "accepted": written + queued + dropped.total() + refused.total(),
            "written": written,
            "synced": synced,
            "in_doubt": in_doubt,
            "queued": queued,
            "dropped": dict(dropped + refused),
            "bots": dict(self._bots),
            "decisions": {reason: times for reason, times in self.decisions.items() if times},
            "errors": dict(self._errors),
            "declined": dict(self._declined),
            "unnamed": self._assembler.unnamed() if self._assembler else {},
        }

    # ---- writer thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._working:
                # Once per process: a second thread goes on with the numbering of the first.
                self._assembler = assembler = self._assembler or self._make_assembler()
                self._sink = sink = self._sink or self._make_sink(self.worker)
                self._attempt(assembler.warm)
                self._is_built = True
                self._attempt(lambda: assembler.refresh(self._clock()))
                self._attempt(self._persist)
                self._attempt(self._measure)
            self._warm.set()
            self._work(assembler, sink)
            with self._working:
                self._finish(assembler, sink)
        except BaseException as error:  # nobody is above to tell
            self.failed(error)
        finally:
            with self._starting:
                self._thread = None

    def _work(self, assembler: Assembler, sink: Sink) -> None:
        synced_s = persisted_s = refreshed_s = time.monotonic()
        pause_s = TICK_S
        while not self._stopping:
            self._sleep.acquire(timeout=pause_s)
            with self._working:
                now_s = time.monotonic()
                if now_s - refreshed_s >= REFRESH_S:
                    refreshed_s = now_s
                    self._attempt(lambda: assembler.refresh(self._clock()))
                self._is_dozing = False  # only now, or granted(scope) would trust what it knew before
                has_work, is_asked, self._is_asked = self._has_work(), self._is_asked, False
                stored = not has_work or self._attempt(self._drain, assembler, sink)
                now_s = time.monotonic()
                if now_s - synced_s >= SYNC_S:
                    synced_s = now_s
                    self._attempt(self._sync, sink)
                if now_s - persisted_s >= PERSIST_S:
                    persisted_s = now_s
                    self._attempt(self._persist)
                    self._attempt(self._measure)
                    self._attempt(lambda: assembler.maintain(self._clock()))
            self._is_stuck = not stored
            if not stored:
                pause_s = RETRY_S
            elif has_work or is_asked or self._is_called():
                pause_s = BACKLOG_S if len(self._queue) >= BATCH else TICK_S
            else:
                pause_s = max(0.0, min(synced_s + SYNC_S, persisted_s + PERSIST_S) - time.monotonic())

    def _is_called(self) -> bool:
        """Go to doze; whether somebody came before they could know that they have to wake the thread."""
        self._is_dozing = True
        if called := self._has_work() or self._is_asked:
            self._is_dozing = False
        return called

    def _finish(self, assembler: Assembler, sink: Sink) -> None:
        faults = 0
        while faults < 2 and self._has_work():
            faults += not self._attempt(self._drain, assembler, sink)  # after one: a new segment
        self._attempt(self._sync, sink)
        self._attempt(sink.close)
        self._attempt(self._persist)

    def _has_work(self) -> bool:
        return bool(self._urgent or self._queue or self._pending or self._glances)

    def _attempt(self, act: Callable[..., object], *arguments: object) -> bool:
        """A fault ends one act, never the thread."""
        try:
            act(*arguments)
        except Exception as error:
            self.failed(error)
            return False
        return True

    def _drain(self, assembler: Assembler, sink: Sink) -> None:
        """One turn: all that is urgent, a batch of observations, a batch of glances."""
        self._write_urgent(assembler, sink)
        try:
            self._assemble(assembler)
        finally:
            self._write_pending(sink)
        for _ in range(min(BATCH, len(self._glances))):
            if time.perf_counter() > self._pause_s:
                self._let_in()
            if category := assembler.bot(self._glances.popleft()):
                self._bots[category] += 1

    def _let_in(self) -> None:
        """Let go of the interpreter for a moment, between two records.

        An event loop that wakes up meanwhile would wait for 5 ms (`sys.getswitchinterval`), again and again:
        a browser never seen before takes 0.05 ms to recognise, and a site under attack sees many. Each pause
        costs 0.02 to 0.1 ms, so they are fewer while no other thread does anything.
        """
        if self._stopping:
            return
        time.sleep(LET_IN_S)
        others_s = time.process_time() - time.thread_time()  # of CPU, by all other threads
        self._quiet = self._quiet + 1 if others_s - self._others_s < RAN_S else 0
        self._others_s = others_s
        self._pause_s = time.perf_counter() + (STRETCH_S if self._quiet < QUIET else ALONE_S)

    def _assemble(self, assembler: Assembler) -> None:
        is_full = self._quota is not None and self._quota.is_reached
        waiting, pending = self._queue, self._pending
        room = BATCH - sum(map(len, pending.values()))
        for _ in range(min(room, len(waiting))):
            if time.perf_counter() > self._pause_s:
                self._let_in()
            try:
                if is_full:
                    raise Dropped("quota")
                day, frame = assembler.frame(waiting[0])
                pending[day].append(frame)
            except OSError:  # the keys cannot be read: it waits in the queue, as for the log
                raise
            except Dropped as drop:
                self._dropped[drop.reason] += 1
                if drop.bot:
                    self._bots[drop.bot] += 1
            except Exception as error:
                self._dropped["error"] += 1
                self.failed(error)
            waiting.popleft()
            self._popped += 1

    def _write_pending(self, sink: Sink) -> None:
        """Write what waits, day by day; what the sink did not take keeps waiting."""
        for day in [*self._pending]:
            while frames := self._pending[day]:
                self._pending[day] = frames[self._store(sink, day, frames) :]
            del self._pending[day]

    def _store(self, sink: Sink, day: str, frames: list[bytes]) -> int:
        written = sink.write(day, frames)
        if not 0 < written <= len(frames):
            raise OSError(errno.EIO, f"the sink says that it wrote {written} of {len(frames)} frames")
        self._written += written
        if self._quota:
            self._quota.add(sum(map(len, frames[:written])))
        return written

    def _write_urgent(self, assembler: Assembler, sink: Sink) -> None:
        """Write and sync what somebody waits for; all that came together share one sync."""
        waiting: list[Future[None]] = []
        try:
            for _ in range(len(self._urgent)):
                seen, future = self._urgent.popleft()
                self._popped += 1
                if future.set_running_or_notify_cancel():
                    waiting.append(future)
                    self._write_one(assembler, sink, seen)
                else:
                    self._dropped["not_durable"] += 1
            if waiting:
                self._sync(sink)
        except BaseException as error:
            for future in waiting:
                future.set_exception(error)
            raise
        for future in waiting:
            future.set_result(None)

    def _write_one(self, assembler: Assembler, sink: Sink, seen: Observation) -> None:
        try:
            day, frame = assembler.frame(seen)
            self._store(sink, day, [frame])
        except BaseException:
            self._dropped["not_durable"] += 1
            raise

    def _sync(self, sink: Sink) -> None:
        """Sync what is written; also when nothing is, so that an idle worker's old segment is sealed."""
        unsynced = self._written - self._synced - self._in_doubt
        try:
            sink.sync()
        except OSError:
            self._in_doubt += unsynced
            raise
        self._synced += unsynced

    def _persist(self) -> None:
        if self._status is not None:
            self._status.keep(self.counters())

    def _measure(self) -> None:
        if self._quota is not None:
            self._quota.measure()

    # ---- fork ----------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Let the thread finish what it does: a lock it holds during a fork is held for ever in the child.

        So are those of imports and of tables half built, without which a child would never write; unlike
        what a disk does, building comes to an end.
        """
        self._held = self._working.acquire(timeout=HOLD_S if self._is_built else BUILD_S)

    def _go_on(self) -> None:
        if self._held:
            self._working.release()

    def _forked(self) -> None:
        """A child shares nothing with its parent: not the queue, the numbering, the segment or the lock."""
        if self._status is not None:
            self._status.let_go()
        self._begin()


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if bound := reference():
            bound()

    return call
