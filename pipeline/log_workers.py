"""Batches of a log, read by as many processes as there are processors."""

import gc
import mmap
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, cycle, islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from collector.errors import ImpersonalError
from pipeline.log_batches import BATCH_BYTES, Batch, Found, Row
from pipeline.log_files import READ_BYTES

_SHARED_BYTES = BATCH_BYTES + 2 * READ_BYTES  # no batch is longer: its last chunk is less than two blocks
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
        at_work: deque[tuple[Label, _Worker]] = deque()
        for worker, (label, batch) in zip(cycle(workers), chain(few, batches), strict=False):
            done = None
            if len(at_work) == len(workers):
                earlier, _ = at_work.popleft()  # this worker's
                done = earlier, worker.receive()
                for other in workers:
                    other.browsers |= done[1].browsers
            worker.send(batch)
            at_work.append((label, worker))
            if done:
                yield done
        yield from ((label, worker.receive()) for label, worker in at_work)


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
        self.browsers: dict[bytes, Row] = {}
        """What others have read of agents since it had its last batch."""
        self._ours, theirs = Pipe()
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
        self._ours.close()
        self._lines.close()
        os.kill(self._pid, signal.SIGKILL)  # it holds nothing
        os.waitpid(self._pid, 0)

    def send(self, batch: Batch) -> None:
        """Give it a batch, when it has none."""
        self._lines.seek(0)
        places = [(offset, self._lines.write(chunk)) for offset, chunk in batch.chunks]
        try:
            self._ours.send((batch.form, places, self.browsers))
        except ConnectionError:
            raise _gone() from None
        self.browsers = {}

    def receive(self) -> Found:
        """What its batch says."""
        try:
            answer: Found | Exception = self._ours.recv()
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
            form, places, browsers = connection.recv()
            lines.seek(0)
            chunks = [(offset, lines.read(size)) for offset, size in places]
            connection.send(_answer(read, Batch(form, chunks, browsers)))
    except (EOFError, ConnectionError):
        pass
    finally:
        os._exit(0)


def _answer(read: Read, batch: Batch) -> Found | Exception:
    try:
        return read(batch)
    except Exception as error:
        return error
