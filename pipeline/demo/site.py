"""A small real site: articles, a shop, an API, a streamed page; `Collector` is mounted in one line."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from collector import Collector, DeclarationError, alter, banner, declared, load
from pipeline.demo.content import ARTICLES, CLOUDS, MONTHS, PRODUCTS

HERE = Path(__file__).parent
PROXY = "127.0.0.1"
"""The simulator stands here, as a reverse proxy would."""

# Nothing runs or loads that this site did not serve; the collector's script needs no exception.
SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

Handler = Callable[[Request], Awaitable[Response]]


def build(data: Path, clock: Callable[[], int]) -> Starlette:
    """The site with the collector around it; `data` holds its policy.toml."""
    policy = load(data / "policy.toml")
    app = Starlette(
        routes=[
            Route("/", _page("home", "Home")),
            Route("/about", _about, methods=["GET"]),
            Route("/about", _tell, methods=["POST"]),
            Route("/articles", _articles),
            Route("/articles/{slug}", _article),
            Route("/clouds", _page("clouds", "Clouds")),
            Route("/clouds/{cloud}", _cloud),
            Route("/almanac", _almanac),
            Route("/shop", _shop),
            Mount(
                "/shop",
                routes=[
                    Route("/product/{number:int}", _product),
                    Route("/basket", _basket, methods=["GET"]),
                    Route("/basket", _add, methods=["POST"]),
                ],
            ),
            Route("/api/observations", _observations),
            Route("/blog", _moved),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        exception_handlers={404: _lost},
    )
    app.state.policy = policy
    app.add_middleware(
        Collector, policy=policy, data=data, privacy="/privacy", trusted_proxies=[PROXY], clock=clock
    )
    return app


# ---- pages --------------------------------------------------------------------------------------------


def _page(template: str, title: str) -> Handler:
    async def show(request: Request) -> Response:
        return _html(request, title, _render(template))

    return show


async def _articles(request: Request) -> Response:
    items = "".join(f'<li><a href="/articles/{slug}">{title}</a></li>' for slug, title in ARTICLES.items())
    return _html(request, "Articles", f"<h1>Articles</h1><ul>{items}</ul>")


async def _article(request: Request) -> Response:
    slug = request.path_params["slug"]
    if slug not in ARTICLES:
        raise HTTPException(404)
    return _html(request, ARTICLES[slug], _render(slug))


async def _cloud(request: Request) -> Response:
    if request.path_params["cloud"] not in CLOUDS:
        raise HTTPException(404)
    return _html(request, "Clouds", _render("clouds"))


async def _almanac(request: Request) -> Response:
    """Sent a row at a time: nothing between the site and the visitor may wait for the whole of it."""
    start, end = _layout(request, "Almanac", "\0").split("\0")

    async def rows() -> AsyncIterator[str]:
        yield start + "<h1>Almanac</h1><table><tr><th>Month</th><th>Mean, °C</th><th>Rain, mm</th></tr>"
        for month, mean, rain in MONTHS:
            yield f"<tr><td>{month}</td><td>{mean}</td><td>{rain}</td></tr>"
        yield "</table>" + end

    return StreamingResponse(rows(), media_type="text/html", headers=SECURITY)


async def _shop(request: Request) -> Response:
    products = "".join(
        f'<a href="/shop/product/{number}"><h2>{name}</h2><p>{price}</p></a>'
        for number, (name, _, price) in PRODUCTS.items()
    )
    return _html(request, "Shop", _render("shop", products=products))


async def _product(request: Request) -> Response:
    number = request.path_params["number"]
    if number not in PRODUCTS:
        raise HTTPException(404)
    name, text, price = PRODUCTS[number]
    return _html(request, name, _render("product", name=name, text=text, price=price, number=str(number)))


async def _basket(request: Request) -> Response:
    """The basket travels in the address: this site stores nothing of its own on anybody's device."""
    number = request.query_params.get("product", "")
    chosen = PRODUCTS.get(int(number)) if number.isdecimal() and len(number) < 4 else None
    content = f"<p>{chosen[0]}, {chosen[2]}</p>" if chosen else "<p>There is nothing in it yet.</p>"
    return _html(request, "Basket", _render("basket", content=content))


async def _add(request: Request) -> Response:
    body = (await request.body())[:64].decode("latin-1")
    number = "".join(filter(str.isdecimal, body.partition("=")[2]))
    return RedirectResponse(f"/shop/basket?product={number}", 303)


async def _observations(request: Request) -> Response:
    return JSONResponse([{"month": month, "mean_c": mean, "rain_mm": rain} for month, mean, rain in MONTHS])


async def _moved(request: Request) -> Response:
    return RedirectResponse("/articles", 301)


async def _lost(request: Request, error: Exception) -> Response:
    return _html(request, "Not found", "<h1>Not found</h1><p>No page of the diary has this address.</p>", 404)


# ---- declared -----------------------------------------------------------------------------------------


async def _about(request: Request) -> Response:
    """A question whose answer the visitor sees, alters and erases on the privacy page."""
    known = (await declared(request.scope)).get("age_band")
    said = f"You told us: {known.value}." if known else "You have not told us."
    return _html(request, "About", _render("about", said=said, options=_ages(request)))


async def _tell(request: Request) -> Response:
    """Stores nothing for a visitor who has not granted the purpose of the answer."""
    body = (await request.body())[:64].decode("latin-1")
    answer = parse_qs(body).get("age_band", [""])[0]
    with suppress(DeclarationError):
        await alter(request.scope, age_band=answer)
    return RedirectResponse("/about#age", 303)


def _ages(request: Request) -> str:
    version = request.app.state.policy.versions[-1]
    return "".join(f"<option>{option}</option>" for option in version.declared["age_band"].options)


# ---- rendering ----------------------------------------------------------------------------------------


def _html(request: Request, title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(_layout(request, title, body), status, headers=SECURITY)


def _layout(request: Request, title: str, body: str) -> str:
    return _render("layout", title=title, body=body, banner=banner(request.scope))


def _render(template: str, **values: str) -> str:
    """A template with its values; whoever passes a visitor's words escapes them."""
    return _template(template).substitute(values)


@cache
def _template(name: str) -> Template:
    return Template((HERE / "templates" / f"{name}.html").read_text(encoding="utf-8"))
