"""One line mounts the collector on every ASGI framework, and their answers stay what they were."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from collector import Collector, MemorySink
from collector.policy import Policy
from collector.record import Record, decode, frames
from tests.asgi import call, http_scope
from tests.policies import measured, policy, version

PAGE = "<!doctype html><title>Hello</title>"
RULES: Policy = policy(version(measured({"cookie": "daily", "page": "path"})))


Mount = Callable[[MemorySink | None], Any]


def starlette(sink: MemorySink | None) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    app = Starlette(routes=[Route("/item/{id}", lambda request: HTMLResponse(PAGE))])
    if sink:
        app.add_middleware(Collector, policy=RULES, sink=sink)
    return app


def fastapi(sink: MemorySink | None) -> Any:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    app = FastAPI()

    @app.get("/item/{id}", response_class=HTMLResponse)
    def item(id: str) -> str:
        return PAGE

    if sink:
        app.add_middleware(Collector, policy=RULES, sink=sink)
    return app


def litestar(sink: MemorySink | None) -> Any:
    from litestar import Litestar, MediaType
    from litestar import get as route
    from litestar.middleware import DefineMiddleware
    from litestar.params import FromPath

    @route("/item/{id:str}", media_type=MediaType.HTML)
    async def item(id: FromPath[str]) -> str:
        return PAGE

    return Litestar(
        [item], middleware=[DefineMiddleware(Collector, policy=RULES, sink=sink)], openapi_config=None
    )


def quart(sink: MemorySink | None) -> Any:
    from quart import Quart

    app = Quart("tests")

    @app.get("/item/<id>")
    async def item(id: str) -> str:
        return PAGE

    if sink:
        app.asgi_app = Collector(app.asgi_app, policy=RULES, sink=sink)  # type: ignore[method-assign]
    return app


def django(sink: MemorySink | None) -> Any:
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    def item(request: HttpRequest, id: str) -> HttpResponse:
        return HttpResponse(PAGE)

    if not settings.configured:
        settings.configure(ROOT_URLCONF=(path("item/<id>", item),), ALLOWED_HOSTS=["*"], SECRET_KEY="test")
    app = get_asgi_application()
    return Collector(app, policy=RULES, sink=sink) if sink else app


def bare(sink: MemorySink | None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
        )
        await send({"type": "http.response.body", "body": PAGE.encode()})

    return Collector(app, policy=RULES, sink=sink) if sink else app


def written(sink: MemorySink) -> list[Record]:
    """Wait for the writer thread of a collector that a framework keeps to itself."""

    async def wait() -> None:
        while not sink.frames:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(wait(), timeout=10))
    (day,) = sink.frames.values()
    return [decode(found.payload) for frame in day for found in frames(frame) if found.payload]


@pytest.mark.parametrize(
    ("mount", "route"),
    [
        (starlette, "/item/{id}"),
        (fastapi, "/item/{id}"),
        (litestar, "/item/{id}"),
        (quart, None),
        (django, None),
        (bare, None),
    ],
)
def test_a_page_is_served_and_recorded(mount: Mount, route: str | None) -> None:
    """The page, and one view with its path; the route where the framework tells it."""
    sink = MemorySink()
    answer = asyncio.run(call(mount(sink), http_scope("/item/7")))
    assert (answer.status, answer.body) == (200, PAGE.encode())
    (view,) = written(sink)
    assert (view.kind, view.path, view.route) == ("view", "/item/7", route)


@pytest.mark.parametrize("mount", [starlette, fastapi, litestar, quart, django, bare])
@pytest.mark.parametrize(
    "request_line", [("/item/7", "GET"), ("/item/7", "HEAD"), ("/nowhere", "GET"), ("/item/7", "PUT")]
)
def test_no_answer_changes(mount: Mount, request_line: tuple[str, str]) -> None:
    """Pages, HEAD, 404 and 405: the same messages with the collector as without it."""
    without, around = (
        asyncio.run(call(mount(sink), http_scope(*request_line))) for sink in (None, MemorySink())
    )
    assert around.messages == without.messages
