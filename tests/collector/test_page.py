"""The page of a request: its canonical path, what is blanked in it, and the app's own route template."""

from __future__ import annotations

import secrets
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar import Router as LitestarRouter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles

from collector.page import MAX_PATH, Routed, page_path, personal, route_template, routed

HOSTILE_TEXT = st.one_of(
    st.text(max_size=300), st.text("\x00\r\n\x1b\u2028\ud800@%/:?#[]{}.,;=&\\ 0aA", max_size=300)
)
HOSTILE_BYTES = st.one_of(
    st.binary(max_size=300), HOSTILE_TEXT.map(lambda text: text.encode(errors="surrogatepass"))
)


@pytest.mark.parametrize(
    ("raw", "page"),
    [
        # queries, absolute form
        (b"/", "/"),
        (b"/a?x=/b", "/a"),
        (b"/a#x", "/a"),
        (b"?x", "/"),
        (b"http://evil.example/x", "/x"),
        (b"http://evil.example", "/"),
        (b"HTTP://evil.example?x", "/"),
        (b"*", "/*"),
        (b"relative", "/relative"),
        # one spelling
        (b"/%7euser/%41-%2D_.~", "/~user/A--_.~"),
        (b"/caf%c3%a9", "/caf%C3%A9"),
        ("/café".encode(), "/caf%C3%A9"),
        (b"/%ff\xff", "/%FF%FF"),
        (b"/100%/%zz/%4", "/100%25/%25zz/%254"),
        (b"/a%2Fb", "/a%2Fb"),
        (b"/a%0d%0aINJ:%201", "/a%0D%0AINJ:%201"),
        (b"/\x00\x1b[31m\r\n", "/%00%1B%5B31m%0D%0A"),
        (b"/%E2%80%A8", "/%E2%80%A8"),
        (b'/"<script>', "/%22%3Cscript%3E"),
        (b"/{email}", "/%7Bemail%7D"),
        # slashes and dots
        (b"//a///b", "/a/b"),
        (b"/a/./b/../c", "/a/c"),
        (b"/a/%2e%2E/b", "/b"),
        (b"/../../etc/passwd", "/etc/passwd"),
        (b"/a/..", "/"),
        (b"/a/b/.", "/a/b/"),
        (b"/a", "/a"),
        (b"/a/", "/a/"),
    ],
)
def test_one_page_has_one_spelling(raw: bytes, page: str) -> None:
    """The query goes, escapes are normalised, dots and slashes resolved, a trailing slash stays."""
    assert page_path(raw, "ignored") == page


@pytest.mark.parametrize(
    ("raw", "path", "root", "page"),
    [
        (b"/api/x", "/api/x", "/api", "/api/x"),  # uvicorn: path holds the root
        (b"/x", "/x", "/api", "/api/x"),  # a proxy took it away
        (b"/api/x", "/x", "/api", "/api/x"),  # older mounts: raw_path whole, path cut
        (None, "/x", "/api", "/api/x"),
        (None, "/api/x", "/api", "/api/x"),
        (b"/apix", "/apix", "/api", "/api/apix"),
        (b"/api", "/api", "/api", "/api"),
        (b"", "", "/api", "/api"),
        (b"/", "/", "/api", "/api/"),
        (b"/api/", "/api/", "/api/", "/api/"),
        (b"/v%31/%C3%A9/x", "", "/v1/é", "/v1/%C3%A9/x"),
        (None, "/a?b%2F\n", "", "/a%3Fb%252F%0A"),
        (None, "http://evil.example/x", "", "/x"),
    ],
)
def test_the_root_path_appears_exactly_once(raw: bytes | None, path: str, root: str, page: str) -> None:
    """Whether a server leaves the root in the path or takes it out, the page is the same."""
    assert page_path(raw, path, root) == page


@pytest.mark.parametrize(
    ("segment", "shown"),
    [
        ("jane@example.org", "{email}"),
        ("jane.doe+tag%40example.org", "{email}"),
        ("jane%2540example.org", "{email}"),
        ("jane%252540example.org", "{email}"),
        ("mailto:jane@localhost", "{email}"),
        ("jane%EF%BC%A0example.org", "{email}"),
        ("4f9d2c1a-7b3e-4c5d-8a6f-0123456789ab", "{token}"),
        ("4F9D2C1A7B3E4C5D8A6F0123456789AB", "{token}"),
        ("00000000-0000-0000-0000-000000000000", "{token}"),
        ("9f86d081884c7d65", "{token}"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.s5Dk", "{token}"),
        ("report-9f86d081884c7d659a2feaa0c55ad015.pdf", "{token}"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{token}"),
        ("V1StGXR8_Z5jdHi6B-myT", "{token}"),
        ("dXNlckBleGFtcGxlLmNvbQ%3D%3D", "{token}"),
        ("page;jsessionid=1", "{token}"),
        ("token=abc", "{token}"),
        ("1234567", "{number}"),
        ("%2B7-701-123-45-67", "{number}"),
        ("+1%20(555)%20010-9999", "{number}"),
        ("4111-1111-1111-1111", "{number}"),
        ("de89370400440532013000", "{token}"),
        ("123-45-6789", "{number}"),
        ("%D9%A1%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7", "{number}"),
        ("203.0.113.7", "{number}"),
        ("2001:db8::1", "{number}"),
        ("2001:db8:0:1:2:3:4:5", "{number}"),
        ("@51.5073509,-0.1277583", "{number}"),
    ],
)
def test_what_looks_personal_is_blanked(segment: str, shown: str) -> None:
    """E-mail addresses in any encoding, tokens and somebody's numbers never reach a record."""
    assert page_path(f"/account/{segment}/edit".encode(), "") == f"/account/{shown}/edit"


@pytest.mark.parametrize(
    "segment",
    [
        "how-to-build-a-privacy-first-site-in-2026",
        "2026-11-24",
        "20261124",
        "2026",
        "2025-2026",
        "top-10-laptops-2025-2026-under-500",
        "2026-11-24-500-companies-that-moved",
        "iphone15-pro-max-vs-galaxy-s24-ultra-5g",
        "rtx4090-vs-rx7900xtx-vs-rtx3080ti-benchmarks",
        "internationalization2026",
        "covid19-h1n1-and-web3-explained",
        "Template_CamelCase_Title_Of_A_Wiki_Page",
        "GettingStartedWithPython",
        "donaudampfschifffahrtsgesellschaft",
        "python-3.12.7-release-notes",
        "react@18.2.0",
        "@handle",
        "price@",
        "chapter-1-2-3",
        "10:30",
        "std::array",
        "MQ",
        "B08N5WRWNW",
        "dQw4w9WgXcQ",
        "item_123456",
        "caf%C3%A9-%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82",
        "index.html",
        "en-GB",
        "deadbeef",
        "1.2.3",
    ],
)
def test_ordinary_segments_stay(segment: str) -> None:
    """Slugs, dates, versions, handles and short identifiers are no secrets."""
    assert page_path(f"/{segment}".encode(), "") == f"/{segment}"


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/accounts/reset/MQ/set-password/", "/accounts/reset/{token}/set-password/"),
        ("/accounts/reset/MQ/c8v3xw-1f/", "/accounts/reset/{token}/{token}/"),
        ("/Password-Reset/k3jx", "/Password-Reset/{token}"),
        ("/invite/Ab12", "/invite/{token}"),
        ("/unsubscribe/u/77", "/unsubscribe/u/{token}"),
        ("/reset/done/", "/reset/done/"),
        ("/verify/email", "/verify/email"),
    ],
)
def test_keys_in_mailed_links_are_blanked(path: str, page: str) -> None:
    """After reset, invite, verify and their like, whatever holds a digit or a capital is a key."""
    assert page_path(path.encode(), "") == page


def test_random_tokens_are_recognised() -> None:
    """Of 500 tokens of each common kind (128 bits or more), at least 96 % are seen as such."""
    kinds: list[Callable[[], str]] = [
        lambda: secrets.token_urlsafe(16),
        lambda: secrets.token_hex(16),
        lambda: str(uuid.uuid4()),
    ]
    for kind in kinds:
        assert sum(personal(kind()) is None for _ in range(500)) <= 20
    assert sum(personal(secrets.token_urlsafe(32)) is None for _ in range(500)) <= 2


def test_a_long_path_is_cut_between_segments_and_says_so() -> None:
    """The cut is visible, the bound holds, and no half of a segment is left."""
    path = page_path(b"/" + b"/".join([b"segment"] * 200), "")
    assert path.endswith("/segment/{cut}")
    assert len(path) <= MAX_PATH
    assert page_path(b"/start/" + b"a" * 5_000, "") == "/start/{cut}"
    assert page_path(b"/" + b"x/" * 1_020 + b"jane@example.org", "").endswith("/x/{cut}")
    assert page_path(b"/a?" + b"x" * 5_000, "") == "/a"


@given(st.one_of(st.none(), HOSTILE_BYTES), HOSTILE_TEXT, HOSTILE_TEXT)
def test_any_path_becomes_a_clean_page(raw: bytes | None, path: str, root: str) -> None:
    """Whatever comes in: ASCII, printable, bounded, absolute, without query, and stable when read again."""
    page = page_path(raw, path, root)
    assert page.startswith("/")
    assert page.isascii()
    assert page.isprintable()
    assert len(page) <= MAX_PATH
    assert not set(page) & set(' ?#"<>\\')
    assert not {".", ".."} & set(page.split("/"))
    forged = page.replace("{", "%7B").replace("}", "%7D")  # a placeholder that a visitor sends is not ours
    assert page_path(page.encode(), "") == forged or len(forged) > MAX_PATH - 8


@given(
    HOSTILE_TEXT,
    HOSTILE_TEXT,
    HOSTILE_TEXT,
    st.dictionaries(st.sampled_from(["id", "path"]), st.one_of(HOSTILE_TEXT, st.integers(), st.uuids())),
)
def test_any_route_result_becomes_a_template_or_nothing(
    template: str, path: str, mounted: str, parameters: dict[str, Any]
) -> None:
    """Whatever a framework leaves in the scope, nothing is raised and the answer is printable and bounded."""
    for shown in (template, "/item/{id}", "/{path}"):
        for whole in (True, False):
            page = route_template(Routed(shown, whole, parameters, mounted), path, mounted)
            assert page is None or (page.isprintable() and len(page) <= MAX_PATH and page.startswith("/"))


@pytest.mark.parametrize(
    "piece", [b"a", b"1", b"a1", b"aA", b"@", b"%40", b"%25", b".", b"/", b"/..", b"1-", b"\xff"]
)
def test_huge_paths_take_no_more_than_linear_time(piece: bytes) -> None:
    """64 KiB of anything takes milliseconds; backtracking would take seconds."""
    huge = (piece * 65_536)[:65_536]
    taken = []
    for _ in range(3):
        start = time.thread_time()
        page_path(huge, "")
        page_path(None, huge.decode("latin-1"), huge.decode("latin-1")[:1_000])
        personal(huge[:8_192].decode("latin-1"))
        taken.append(time.thread_time() - start)
    assert min(taken) < 0.2


# ---------- routes, from the frameworks themselves


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse("page")


async def template_of(app: Any, path: str, root: str = "") -> str | None:
    """What `route_template` says after a framework has handled a request, read when its response starts."""
    seen: list[Routed | None] = []
    asked: list[bool] = []
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root,
        "headers": [(b"host", b"site.example")],
        "client": ("192.0.2.1", 1),
        "server": ("site.example", 80),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        if asked:
            await anyio.sleep_forever()  # the client stays connected
        asked.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.append(routed(scope))

    await app(scope, receive, send)
    return route_template(seen[0], path, root)


ITEMS = [Route("/item/{id:int}", page), Route("/", page), Route("/file/{name:path}", page)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "root", "template"),
    [
        ("/", "", "/"),
        ("/product/7", "", "/product/{id}"),
        ("/shop/item/3", "", "/shop/item/{id}"),
        ("/shop/", "", "/shop/"),
        ("/shop/file/a/b.txt", "", "/shop/file/{name}"),
        ("/org/acme/item/5", "", "/org/{org}/item/{id}"),
        ("/org/item/item/5", "", "/org/{org}/item/{id}"),
        ("/org/5/item/5", "", "/org/{org}/item/{id}"),
        ("/org/org/item/007", "", "/org/{org}/item/{id}"),
        ("/range/1-2", "", "/range/{low}-{high}"),
        ("/api/shop/item/3", "/api", "/api/shop/item/{id}"),
        ("/product/3", "/api", "/api/product/{id}"),
        ("/number/007/item/3", "", None),  # the mount's value is 7: no telling where it stood
        ("/nowhere", "", None),
    ],
)
async def test_starlette_templates_include_mounts(path: str, root: str, template: str | None) -> None:
    """Mounts with and without parameters, converters and root paths give one template."""
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/product/{id:int}", page),
            Route("/range/{low}-{high}", page),
            Mount("/shop", routes=ITEMS),
            Mount("/org/{org}", app=Starlette(routes=ITEMS)),
            Mount("/number/{n:int}", routes=ITEMS),
        ]
    )
    assert await template_of(app, path, root) == template


@pytest.mark.anyio
async def test_static_files_have_one_template(tmp_path: Path) -> None:
    """A mount without routes of its own is one template, whatever file is asked for."""
    (tmp_path / "page.html").write_text("page")
    app = Starlette(routes=[Mount("/docs/{lang}", StaticFiles(directory=tmp_path, html=True))])
    assert await template_of(app, "/docs/en/page.html") == "/docs/{lang}/{path}"
    assert await template_of(app, "/api/docs/en/page.html", "/api") == "/api/docs/{lang}/{path}"


@pytest.mark.anyio
async def test_a_host_routes_parameter_does_not_hide_the_template() -> None:
    """A parameter taken from the Host header is not in the path, and is not needed there."""
    app = Starlette(routes=[Host("{name}.example", app=Starlette(routes=ITEMS))])
    assert await template_of(app, "/item/3") == "/item/{id}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "root", "template"),
    [
        ("/p/7", "", "/p/{id}"),
        ("/v1/r/q/zz", "", "/v1/r/q/{id}"),
        ("/v1/r/nest/mm/deep/nn", "", "/v1/r/nest/{m}/deep/{n}"),
        ("/sub/r/q/zz", "", "/sub/r/q/{id}"),
        ("/api/sub/r/nest/mm/deep/nn", "/api", "/api/sub/r/nest/{m}/deep/{n}"),
        ("/nowhere", "", None),
    ],
)
async def test_fastapi_templates_include_router_prefixes(path: str, root: str, template: str | None) -> None:
    """FastAPI tells the innermost route only; prefixes and sub-applications are put back."""
    deep, router, app, sub = APIRouter(), APIRouter(prefix="/r"), FastAPI(), FastAPI()

    @deep.get("/deep/{n}")
    async def deepest(n: str) -> str:
        return n

    @router.get("/q/{id}")
    async def quoted(id: str) -> str:
        return id

    @app.get("/p/{id}")
    async def plain(id: int) -> int:
        return id

    router.include_router(deep, prefix="/nest/{m}")
    app.include_router(router, prefix="/v1")
    sub.include_router(router)
    app.mount("/sub", sub)
    assert await template_of(app, path, root) == template


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "root", "template"),
    [
        ("/", "", "/"),
        ("/p/3", "", "/p/{id}"),
        ("/x/kk/p/4", "", "/x/{k}/p/{id}"),
        ("/p/3", "/api", "/api/p/{id}"),
        ("/nowhere", "", None),
    ],
)
async def test_litestar_tells_the_whole_template(path: str, root: str, template: str | None) -> None:
    """Litestar leaves the template in the scope."""

    @get("/p/{id:int}", media_type="text/html")
    async def plain(id: int) -> str:
        return str(id)

    @get("/", media_type="text/html")
    async def home() -> str:
        return "home"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Litestar's own deprecations
        app = Litestar([plain, home, LitestarRouter("/x/{k:str}", route_handlers=[plain])])
        assert await template_of(app, path, root) == template


def test_no_routing_is_no_template() -> None:
    """A bare ASGI app, Quart or Django leave nothing in the scope."""
    assert routed({"path": "/a"}) is None
    assert route_template(None, "/a") is None


def test_a_template_never_carries_what_the_visitor_wrote() -> None:
    """Where template and path do not fit, or a prefix looks personal, the text does not pass."""
    assert route_template(Routed("/item/{id}", False, {"id": "1"}, ""), "/jane") is None
    assert route_template(Routed("/item/{id}", False, {"id": "1"}, ""), "/other/1") is None
    prefixed = Routed("/item/{id}", False, {"id": "1"}, "")
    assert route_template(prefixed, "/jane@example.org/item/1") == "/{email}/item/{id}"
    assert route_template(Routed("/p/{id}", True, {"id": "1"}, "/org/acme"), "/org/acme/p/1") is None


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
