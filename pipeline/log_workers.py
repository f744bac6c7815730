"""Batches of a log, read by as many processes as there are processors."""

import gc
import mmap
import os
import signal
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from collector.errors import ImpersonalError
from pipeline.log_batches import BATCH_BYTES, Batch, Found, Learned
from pipeline.log_files import READ_BYTES

_SHARED_BYTES = BATCH_BYTES + 2 * READ_BYTES  # no batch is longer: its last chunk is less than two blocks
_AHEAD = 2  # batches for each worker: what is found waits in memory for those before it
_MOST = 8  # processes: this one, which decompresses and sorts, feeds no more

Label = TypeVar("Label")
Read = Callable[[Batch], Found]


class WorkerError(ImpersonalError):
    """A process that reads for this one is gone."""


def read_in_order(
    read: Read, batches: Iterator[tuple[Label, Batch]]
) -> Generator[tuple[Label, Found], None, None]:
    """What each batch says, under its label. One batch alone is read in this process.

    Raises  WorkerError
    """
    few = list(islice(batches, 2))
    if len(few) < 2:
        yield from ((label, read(batch)) for label, batch in few)
        return
    with ExitStack() as stack:
        stack.enter_context(_without_gc())
        workers = [stack.enter_context(_Worker(read)) for _ in range(min(os.cpu_count() or 1, _MOST))]
        idle, waiting = deque(workers), deque[_Waiting[Label]]()
        for label, batch in chain(few, batches):
            if not idle:
                _receive(waiting, workers, idle)
            worker = idle.popleft()
            worker.send(batch)
            waiting.append(_Waiting(label, worker))
            yield from _first(waiting)
            while len(waiting) == _AHEAD * len(workers):
                _receive(waiting, workers, idle)
                yield from _first(waiting)
        while waiting:
            _receive(waiting, workers, idle)
            yield from _first(waiting)


@dataclass
class _Waiting(Generic[Label]):
    """A batch that is read, or waits until those before it are."""

    label: Label
    worker: "_Worker"
    found: Found | None = None


def _receive(
    waiting: Iterable[_Waiting[Label]], workers: Iterable["_Worker"], idle: deque["_Worker"]
) -> None:
    """Wait until some are done with their batches, take what they found, and tell the others."""
    at_work = [each for each in waiting if each.found is None]
    done = wait([each.worker.ours for each in at_work])
    for each in at_work:
        if each.worker.ours in done:
            each.found = each.worker.receive()
            idle.append(each.worker)
            for worker in workers:
                if worker is not each.worker:
                    worker.be_told(each.found.learned)


def _first(waiting: deque[_Waiting[Label]]) -> Iterator[tuple[Label, Found]]:
    """Those that wait for none any more."""
    while waiting and (found := waiting[0].found):
        yield waiting.popleft().label, found


@contextmanager
def _without_gc() -> Iterator[None]:
    """Nothing that is read or answered refers to itself, and to look for that takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Worker:
    """A child of this process. What they tell each other goes through memory and a pipe, never a file."""

    def __init__(self, read: Read) -> None:
        self._learned = defaultdict[str, dict[bytes, Any]](dict)
        """What others have read since it had its last batch."""
        self.ours, theirs = Pipe()
        self._lines = mmap.mmap(-1, _SHARED_BYTES)
        """The bytes of its batch: a pipe would copy them four times."""
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of threads whose locks a child would inherit: a child uses none of theirs.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pid = os.fork()
            if not self._pid:
                _serve(theirs, self._lines, read)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ours.close()
        self._lines.close()
        os.kill(self._pid, signal.SIGKILL)  # it holds nothing
        os.waitpid(self._pid, 0)

    def be_told(self, learned: Learned) -> None:
        """Tell it, with its next batch, what another has read."""
        for name, texts in learned.items():
            self._learned[name] |= texts

    def send(self, batch: Batch) -> None:
        """Give it a batch, when it has none."""
        self._lines.seek(0)
        places = [(offset, self._lines.write(chunk)) for offset, chunk in batch.chunks]
        try:
            self.ours.send((batch.form, places, dict(self._learned)))
        except ConnectionError:
            raise _gone() from None
        self._learned.clear()

    def receive(self) -> Found:
        """What its batch says."""
        try:
            answer: Found | Exception = self.ours.recv()
        except (EOFError, ConnectionError):
            raise _gone() from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _gone() -> WorkerError:
    return WorkerError("a process that read the logs was killed: nothing was imported, import them again")


def _serve(connection: Connection, lines: mmap.mmap, read: Read) -> NoReturn:
    """Be a worker, until the parent closes the pipe or dies."""
    try:
        # The terminal's Ctrl-C reaches children too; the parent decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # The parent's lock on the data directory, and its ends of the pipes, must go when it goes.
        os.closerange(3, connection.fileno())
        os.closerange(connection.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        while True:
            form, places, learned = connection.recv()
            lines.seek(0)
            chunks = [(offset, lines.read(size)) for offset, size in places]
            connection.send(_answer(read, Batch(form, chunks, learned)))
    except (EOFError, ConnectionError):
        pass
    finally:
        os._exit(0)


def _answer(read: Read, batch: Batch) -> Found | Exception:
    try:
        return read(batch)
    except Exception as error:
        return error
