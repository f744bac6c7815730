"""What the pages for visitors share: where they lie, their language and their headers."""

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from collector import pages
from collector.record import date_of
from collector.web import NO_STORE
from collector.words import Words, languages, preferred, words

SECURITY = {
    **NO_STORE,
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Places(msgspec.Struct, frozen=True):
    """Paths of the site, below its own root path."""

    base: str
    """The collector's own."""
    privacy: str
    """Where the privacy page is shown to visitors."""


def language_of(request: Request) -> Words:
    """The words of the language that ?lang= names, or that the browser likes best."""
    wanted = request.query_params.get("lang", "").lower()
    known = wanted in languages()
    return words(wanted if known else preferred(request.headers.get("accept-language", "")))


def answer_page(
    request: Request, template: str, places: Places, said: Words, *, status: int = 200, **values: object
) -> Response:
    """A page of the collector's own, which no cache keeps and no other site frames."""
    root = request.scope.get("root_path", "")
    html = pages.render(
        template,
        words=said,
        languages=[(language, words(language)) for language in languages()],
        query="?lang=" + said.language if "lang" in request.query_params else "",
        home=root + "/",
        base=root + places.base,
        privacy=root + places.privacy,
        date_of=date_of,
        **values,
    )
    headers = {**SECURITY, "content-language": said.language, "vary": "accept-language, cookie"}
    return HTMLResponse(html, status, headers)
