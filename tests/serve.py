"""A real site in processes that tests may kill: python -m tests.serve DATA [POLICY of tests.policies]

Prints the port it listens on; each line on standard input forks a worker that serves until it is killed,
and prints its process id. The workers share the listening socket, as under a preloading server.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collector import Collector
from tests import policies
from tests.policies import EVERYTHING, NECESSARY, measured, policy, purpose, version

RULES = policy(
    version(
        NECESSARY,
        measured({"cookie": "daily", "time": "second", "page": "path"}),
        purpose("advertising", EVERYTHING),
    )
)


def page(request: Request) -> Response:
    """Every address is a page."""
    return HTMLResponse("<!doctype html><title>page</title>")


def main(data: str, rules: str = "") -> None:
    """Serve until standard input ends."""
    under = getattr(policies, rules) if rules else RULES
    app = Collector(Starlette(routes=[Route("/{path:path}", page)]), policy=under, data=data)
    app.warm()
    # asyncio turns Nagle's delay off only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        worker = os.fork()
        if worker == 0:
            config = uvicorn.Config(app, log_level="critical", lifespan="on")
            asyncio.run(uvicorn.Server(config).serve([listener]))
            os._exit(0)
        print(worker, flush=True)


class Site:
    """The serving process, from the test's side."""

    def __init__(self, data: Path, rules: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve", str(data), rules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def start_worker(self) -> int:
        """Fork a worker; gives its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())

    def end_workers(self, workers: Iterable[int], within_s: float = 10) -> None:
        """SIGTERM, and wait until each has written what it held."""
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        deadline_s = time.monotonic() + within_s
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def close(self) -> None:
        """End the serving process; workers end by `kill`."""
        self._process.communicate(timeout=10)


if __name__ == "__main__":
    main(*sys.argv[1:])
