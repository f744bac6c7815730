"""A site in a process of its own, to which a test does harm: python -m tests.faults.host DATA HTTP [CLOCK]

Prints two ports: the site with the collector around it, and the same site bare. Ends with SIGTERM.
"""

import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from collector import Collector
from collector.record import Record, decode, frames, now_ms
from tests.asgi import FIREFOX, call, http_scope
from tests.fast_clock import FastClock
from tests.serve import RULES

BROWSER = {"User-Agent": FIREFOX, "Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
OTHER = FIREFOX.replace("140", "139")
GRANT = json.dumps({"act": "grant", "purposes": ["advertising"]})


def page(request: Request) -> Response:
    """Every address is a page; a plain function, so it runs in the threads that handlers share."""
    return HTMLResponse("<!doctype html><title>page</title>")


def listener() -> socket.socket:
    """A port nobody else listens on."""
    # asyncio turns Nagle's delay off only where the protocol is named.
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.bind(("127.0.0.1", 0))
    opened.listen()
    return opened


async def main(data: str, http: str, clock: str = "") -> None:
    """Serve both sites until SIGTERM; `clock` is a FastClock's file."""
    site: Collector

    async def counters(request: Request) -> Response:
        return JSONResponse(site.writer.counters())

    async def burst(request: Request) -> Response:
        """A rush of views, faster than any client sends them."""
        for number in range(int(request.query_params["views"])):
            await call(site, http_scope(f"/burst/{number}"))
        return JSONResponse(site.writer.counters())

    routes = [Route("/counters", counters), Route("/burst", burst), Route("/{path:path}", page)]
    bare = Starlette(routes=routes)
    site = Collector(bare, policy=RULES, data=data, clock=FastClock(Path(clock)) if clock else now_ms)
    sites: list[tuple[Any, socket.socket]] = [(site, listener()), (bare, listener())]
    kind: Any = http

    def server(app: Any) -> uvicorn.Server:
        # Kept alive over any pause of a busy machine: a browser would ask again, `Host` does not.
        config = uvicorn.Config(app, http=kind, log_level="critical", lifespan="on", timeout_keep_alive=300)
        return uvicorn.Server(config)

    print(*(opened.getsockname()[1] for _, opened in sites), flush=True)
    await asyncio.gather(*(server(app).serve([opened]) for app, opened in sites))


class Host:
    """The site's process, from the test's side, with one browser's connection to it."""

    def __init__(
        self, data: Path, http: str = "h11", environment: dict[str, str] | None = None, clock: str | Path = ""
    ) -> None:
        self.data = data
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.host", str(data), http, str(clock)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.port, self.bare_port = map(int, self._process.stdout.readline().split())
        self._connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.paths: list[str] = []

    def view(self, times: int = 1, path: str = "/page") -> float:
        """Look at pages, each at its own address; every one is served. Gives the slowest, in seconds."""
        slowest_s = 0.0
        for _ in range(times):
            started_s = time.monotonic()
            target = f"{path}/{len(self.paths)}"
            self._connection.request("GET", target, headers=BROWSER)
            answer = self._connection.getresponse()
            assert (answer.status, answer.read()[:9]) == (200, b"<!doctype")
            self.paths.append(target)
            slowest_s = max(slowest_s, time.monotonic() - started_s)
        return slowest_s

    def consent(self) -> int:
        """Grant a purpose, as another browser would; the status of the answer.

        From the one that looks at pages, it would end what holds there without a choice.
        """
        # Its own connection, its own thread perhaps: it may have to wait for the disk.
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = BROWSER | {"Content-Type": "application/json", "User-Agent": OTHER}
        connection.request("POST", "/_impersonal/consent", GRANT, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    def json(self, target: str) -> dict[str, Any]:
        """What one of the site's own routes tells."""
        self._connection.request("GET", target)
        found: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return found

    def counters(self) -> dict[str, Any]:
        """The collector's counters, which always add up."""
        found = self.json("/counters")
        assert found["accepted"] == found["written"] + found["queued"] + sum(found["dropped"].values())
        return found

    def limit(self, kind: int, soft: int) -> None:
        """Change a resource limit of the running process."""
        resource.prlimit(self.pid, kind, (soft, resource.prlimit(self.pid, kind)[1]))

    def descriptors(self) -> int:
        """How many descriptors the process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def rss_bytes(self) -> int:
        """Its memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def send(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def end(self, within_s: float = 15) -> float:
        """SIGTERM, and wait; how long it took."""
        self._connection.close()
        started_s = time.monotonic()
        self._process.terminate()
        try:
            self._process.communicate(timeout=within_s)
        finally:
            self._process.kill()
        return time.monotonic() - started_s


def read(data: Path) -> tuple[list[Record], int]:
    """Every whole record of the logs, and how many frames are damaged."""
    found = [frame for path in (data / "logs").rglob("*.log") for frame in frames(path.read_bytes())]
    whole = [decode(frame.payload) for frame in found if frame.payload]
    return whole, len(found) - len(whole)


def eventually(condition: Callable[[], object], within_s: float = 30) -> None:
    """Wait until something is so; on a busy machine that may take a while."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen"
        time.sleep(0.02)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
