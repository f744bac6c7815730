"""What one report of the browser script costs, against a host that takes it by hand: the whole request."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from tempfile import TemporaryDirectory
from typing import Any

from tests.asgi import App, http_scope
from tests.benchmarks.host import CHROME, SITE, collecting, granted, loop_us, send
from tests.benchmarks.table import Row

BODY = (
    b'{"k":"event","u":"/product/7","w":"0123456789abcdef0123456789abcdef","n":"signup","p":{"plan":"pro"}}'
)
ADDRESSES = 4000  # a rate limit stands in front of events: no address may come too often
SENT = [
    CHROME[0],
    ("content-type", "text/plain;charset=UTF-8"),
    ("content-length", str(len(BODY))),
    ("accept", "*/*"),
    ("origin", "https://example.org"),
    ("referer", "https://example.org/product/7"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-dest", "empty"),
    *CHROME[2:4],
    *CHROME[5:8],
]


def rows() -> list[Row]:
    """A custom event of a visitor who consented."""
    return asyncio.run(measured())


async def measured() -> list[Row]:
    """The host's own endpoint and the collector's, in turns."""
    with TemporaryDirectory() as data:
        async with collecting(data) as around:
            headers = [*SENT, await granted(around)]
            cases = {
                "bare": reports(SITE, "/event", headers),
                "collecting": reports(around, "/_impersonal/event", headers),
            }
            best = await loop_us(cases)
            dropped = around.writer.counters()["dropped"]
            assert set(dropped) <= {"queue_full"}, dropped
    return [
        Row(
            "beacon request, event loop",
            f"{best['collecting']:.1f} µs",
            "bare Starlette endpoint that parses the JSON",
            best["collecting"] / best["bare"],
            2.0,
        )
    ]


def reports(app: App, target: str, headers: Sequence[tuple[str, str]]) -> Callable[[int], Awaitable[None]]:
    """Reports of many browsers."""
    scope = http_scope(target, "POST", headers)
    clients = cycle([(f"193.0.{number // 250}.{number % 250 + 1}", 50000) for number in range(ADDRESSES)])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def case(times: int) -> None:
        for _ in range(times):
            await app(scope | {"client": next(clients)}, receive, send)

    return case
