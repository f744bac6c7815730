"""What the collector keeps in memory: a process that serves a million requests, with it and without.

Each case is a process of its own, and all run at once: memory does not mind. Every request is a page view of
one of many browsers who consented. The stalled store takes nothing until the end; what the queue then has no
room for is dropped and counted.
"""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from collector.consent import Choice
from collector.identity import new_id
from collector.sinks import LocalFiles
from collector.writer import Writer
from tests.asgi import App, http_scope
from tests.benchmarks.host import CHROME, collecting, receive, send
from tests.benchmarks.lag import new_agent
from tests.benchmarks.table import Row

REQUESTS = 1_000_000
AGENTS = 2000
CASES = ("bare", "writing", "stalled")
MIB = 1024 * 1024


def rows() -> list[Row]:
    """What is added to the bare app after a million events, and between the half and the whole of them."""
    half, whole = {}, {}
    command = [sys.executable, "-m", "tests.benchmarks.memory"]
    runs = {case: subprocess.Popen([*command, case], stdout=subprocess.PIPE, text=True) for case in CASES}
    for case, run in runs.items():
        output, _ = run.communicate()
        assert run.returncode == 0
        half[case], whole[case] = map(float, output.split())
    return [
        Row(
            f"memory added after 1 M events, {case} (target ≤ 64 MiB, flat)",
            f"{whole[case] - whole['bare']:.0f} MiB, of which since 0.5 M {whole[case] - half[case]:+.1f}",
            f"bare app: {whole['bare']:.0f} MiB",
        )
        for case in CASES[1:]
    ]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The least an app can do: a million requests are to be over soon."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<!doctype html>"})


class Stalled(LocalFiles):
    """A store that takes nothing until the end."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, "stalled")
        self.end = threading.Event()

    def write(self, day: str, frames: Sequence[bytes]) -> int:
        """Wait, then write."""
        self.end.wait()
        return super().write(day, frames)


async def measured(case: str) -> None:
    """Serve a million requests and print the memory in use after the half and the whole of them."""
    if case == "bare":
        await serve(app)
        return
    with TemporaryDirectory() as data:
        stalled = Stalled(Path(data))
        async with collecting(data, app, sink=stalled if case == "stalled" else None) as around:
            await serve(around, around.writer if case == "writing" else None)
            stalled.end.set()


async def serve(served: App, writer: Writer | None = None) -> None:
    """A million requests; with a writer, no faster than it writes."""
    today = datetime.now(UTC).date()
    choice = Choice("v1", today, frozenset({"statistics"}))
    cookies = f"__Host-consent={choice.cookie()}; __Host-id={new_id(today).cookie()}"
    scopes = browsers(("cookie", cookies))
    for _ in range(2):
        for number in range(REQUESTS // 2):
            await served(dict(scopes[number % AGENTS]), receive, send)
            if number % 500 == 0:
                await asyncio.sleep(0)
                while writer and writer.counters()["queued"] > 8000:
                    await asyncio.sleep(0.01)
        gc.collect()
        print(resident_mib())


def browsers(cookies: tuple[str, str]) -> list[dict[str, Any]]:
    """Requests of many browsers, each for a page of its own."""
    return [
        http_scope(f"/product/{number}", headers=[("user-agent", new_agent(number)), *CHROME[1:], cookies])
        for number in range(AGENTS)
    ]


def resident_mib() -> float:
    """The memory that is in use, of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


if __name__ == "__main__":
    asyncio.run(measured(sys.argv[1]))
