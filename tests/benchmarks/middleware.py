"""What one page view costs the host: the same app bare and with the collector, in one run."""

import asyncio
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from collector import Collector
from tests.asgi import App, cookie_header, http_scope, post
from tests.benchmarks.table import Row
from tests.policies import CONSENTED

REQUESTS = 3000
ROUNDS = 9  # the best of these counts: the others were disturbed
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


async def receive() -> dict[str, Any]:
    """No body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """A server without a network."""


async def costs(app: App, headers: Sequence[tuple[str, str]], site: Collector) -> tuple[float, float]:
    """µs a request: of the event loop's thread, and of all threads until the queue is empty."""
    scope = http_scope("/product/7", headers=headers)
    loop_s, all_s = time.thread_time(), time.process_time()
    for _ in range(REQUESTS):
        await app(dict(scope), receive, send)
    loop_s = time.thread_time() - loop_s
    while site.writer.counters()["queued"]:
        time.sleep(0.05)
    all_s = time.process_time() - all_s
    return loop_s / REQUESTS * 1e6, all_s / REQUESTS * 1e6


def rows() -> list[Row]:
    """The cost of a view without consent and with full consent."""
    site = Starlette(routes=[Route("/", page), Route("/product/{id}", page)])
    with TemporaryDirectory() as data:
        around = Collector(site, policy=CONSENTED, data=data)
        around.warm()
        body = b'{"act": "grant", "purposes": ["statistics"]}'
        grant = post(around, "/_impersonal/consent", body, [("content-type", "application/json")])
        consented = [*CHROME, cookie_header(grant)]
        cases: dict[str, tuple[App, Sequence[tuple[str, str]]]] = {
            "bare": (site, CHROME),
            "refused": (around, CHROME),
            "granted": (around, consented),
        }
        best = dict.fromkeys(cases, (float("inf"), float("inf")))
        for _ in range(ROUNDS):
            for name, (app, headers) in cases.items():
                measured = asyncio.run(costs(app, headers, around))
                best[name] = (min(best[name][0], measured[0]), min(best[name][1], measured[1]))
        around.writer.stop()
    (bare, bare_all), (refused, _), (granted, granted_all) = best["bare"], best["refused"], best["granted"]
    return [
        Row(
            "page view without consent, event loop",
            f"{refused:.1f} µs",
            "bare Starlette app",
            refused / bare,
            1.5,
        ),
        Row(
            "page view with full consent, event loop",
            f"{granted:.1f} µs",
            "bare Starlette app",
            granted / bare,
            2.0,
        ),
        Row("CPU per consented view, all threads", f"{granted_all - bare_all:.1f} µs", "", None, None),
    ]
