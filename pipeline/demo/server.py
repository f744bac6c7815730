"""Runs the site in a process of its own, as in real life; its clock reaches it through shared memory."""

import multiprocessing
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

from collector import ConfigurationError
from collector.record import now_ms

LOOPBACK = "127.0.0.1"
_START_S = 30.0
_STOP_S = 20.0


@dataclass(frozen=True)
class Running:
    """A running site."""

    url: str
    process: BaseProcess
    _clock: Any

    def set_clock(self, now_ms: int) -> None:
        """Put the site's clock; zero stands for the real time."""
        self._clock.value = now_ms


@contextmanager
def serving(data: Path, now_ms: int = 0) -> Iterator[Running]:
    """The site over one data directory, until the block ends; what it has recorded is then on disk.

    Takes   now_ms: where its clock starts, UTC milliseconds; zero for the real time
    Raises  ConfigurationError where it does not start
    """
    if find_spec("uvicorn") is None:
        raise ConfigurationError('uvicorn is not installed: pip install "impersonal[demo]"')
    # spawn: the site shares nothing with this process but the clock and the pipe.
    context = multiprocessing.get_context("spawn")
    clock = RawValue("q", now_ms)
    ours, theirs = context.Pipe()
    # No daemon: one would be killed before it has written what it holds.
    process = context.Process(target=_serve, args=(data, clock, theirs), name="impersonal-demo-site")
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_S):
            raise ConfigurationError("the demo's site does not start: look at what it printed above")
        port = ours.recv()
        yield Running(f"http://{LOOPBACK}:{port}", process, clock)
    except EOFError:
        raise ConfigurationError("the demo's site ended: look at what it printed above") from None
    finally:
        ours.close()
        process.join(_STOP_S)
        if process.is_alive():
            process.kill()
            process.join()
    if process.exitcode:
        raise ConfigurationError("the demo's site did not end in good order: start the demo again")


def _serve(data: Path, clock: Any, parent: Connection) -> None:
    """The site's process: serves until the parent lets go of the pipe, however that comes about."""
    import uvicorn  # noqa: PLC0415 - only this process serves

    from pipeline.demo.site import build  # noqa: PLC0415

    # Ctrl-C reaches every process of the terminal; it is the parent who ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def instant() -> int:
        return clock.value or now_ms()

    config = uvicorn.Config(
        build(data, instant),
        log_level="warning",
        access_log=False,  # it would print addresses
        proxy_headers=False,  # whom to believe is the collector's decision
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)

    def watch() -> None:
        with suppress(EOFError, OSError):
            parent.recv()
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    listener = _listener()
    parent.send(listener.getsockname()[1])
    server.run(sockets=[listener])


def _listener() -> socket.socket:
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer waits for an ACK (40 ms).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((LOOPBACK, 0))
    listener.listen()
    return listener
