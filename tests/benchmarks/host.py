"""The host that benchmarks measure: a small Starlette app, bare and with the collector around it.

Requests go straight to the ASGI app, without a network: what is left is the app's own work. Figures of the
event loop are CPU time of its thread, so that other threads and processes count only for the caches they
take. What they cost even so is kept out by taking the cases in turns, in slices of a few milliseconds, and
of each case the best slice: the others were disturbed.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collector import Collector
from tests.asgi import App, Message, call, cookie_header, http_scope
from tests.policies import CONSENTED

SLICE = 50  # requests: about 1 ms
ROUNDS = 400
CHROME = [
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/140.0.0.0 Safari/537.36",
    ),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.9"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cache-control", "max-age=0"),
    ("sec-ch-ua", '"Chromium";v="140", "Not=A?Brand";v="24"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Windows"'),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "none"),
    ("sec-fetch-user", "?1"),
    ("upgrade-insecure-requests", "1"),
    ("connection", "keep-alive"),
]


async def page(request: Request) -> Response:
    """A small page."""
    return HTMLResponse("<!doctype html><title>Hello</title>")


async def report(request: Request) -> Response:
    """What a host would write to take a beacon: read the body, parse it, answer 204."""
    await request.json()
    return Response(status_code=204)


SITE = Starlette(
    routes=[Route("/", page), Route("/product/{id}", page), Route("/event", report, methods=["POST"])]
)


async def receive() -> Message:
    """No body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """A server without a network."""


@asynccontextmanager
async def collecting(data: str | Path, app: App = SITE, **options: Any) -> AsyncIterator[Collector]:
    """The collector around an app, started and stopped by its lifespan, as a server does."""
    around = Collector(app, policy=CONSENTED, data=data, **options)
    told: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    life = asyncio.create_task(
        around({"type": "lifespan", "asgi": {"version": "3.0"}}, told.get, answers.put)
    )
    for kind in ("startup", "shutdown"):
        await told.put({"type": f"lifespan.{kind}"})
        assert (await answers.get())["type"] == f"lifespan.{kind}.complete"
        if kind == "startup":
            yield around
    await life


async def granted(around: Collector) -> tuple[str, str]:
    """The Cookie header of a browser that has granted statistics."""
    headers = [("sec-fetch-site", "same-origin"), ("content-type", "application/json")]
    scope = http_scope("/_impersonal/consent", "POST", headers)
    return cookie_header(await call(around, scope, b'{"act": "grant", "purposes": ["statistics"]}'))


async def drained(around: Collector) -> None:
    """Wait until nothing is queued."""
    while around.writer.counters()["queued"]:
        await asyncio.sleep(0.02)


async def loop_us(cases: Mapping[str, Callable[[int], Awaitable[None]]]) -> dict[str, float]:
    """µs of the event loop's thread a request, of the best slice of each case; a case makes n requests."""
    best = dict.fromkeys(cases, float("inf"))
    for case in cases.values():
        await case(10 * SLICE)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for name, case in cases.items():
                await case(5)  # the caches are another case's
                started_s = time.thread_time()
                await case(SLICE)
                best[name] = min(best[name], (time.thread_time() - started_s) / SLICE * 1e6)
            await asyncio.sleep(0.002)  # for the writer thread, or its queue grows without an end
    finally:
        gc.enable()
        gc.unfreeze()
    return best
