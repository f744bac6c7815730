"""What the pages for visitors share: where they lie, their language and their headers."""

from functools import lru_cache

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from collector import pages
from collector.policy import Controller
from collector.record import date_of
from collector.web import NO_STORE, is_json, refusal
from collector.words import Words, languages, preferred, words

SECURITY = {
    **NO_STORE,
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Places(msgspec.Struct, frozen=True):
    """Paths of the site, below its own root path, and whose they are."""

    base: str
    """The collector's own."""
    privacy: str
    """Where the privacy page is shown to visitors."""
    controller: Controller


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
    html = _html(template, places, root, said.language, "lang" in request.query_params, **values)
    return _page(html, said, status)


def refuse(request: Request, places: Places, status: int, why: str, line: str = "") -> Response:
    """Why a request was not taken, in the visitor's words: as a page, or as a line for a script.

    Takes  why: the key of the words; line: what helps who wrote the script, instead
    """
    said = language_of(request)
    if is_json(request):
        return refusal(status, line or said(why))
    root = request.scope.get("root_path", "")
    return _page(_refused(places, root, said.language, "lang" in request.query_params, why), said, status)


@lru_cache(maxsize=256)  # or whoever is told to wait costs more than what they asked for
def _refused(places: Places, root: str, language: str, is_named: bool, why: str) -> str:
    return _html("refused", places, root, language, is_named, page="privacy", problem=words(language)(why))


def _html(template: str, places: Places, root: str, language: str, is_named: bool, **values: object) -> str:
    return pages.render(
        template,
        words=words(language),
        languages=[(known, words(known)) for known in languages()],
        query=f"?lang={language}" if is_named else "",
        home=root + "/",
        base=root + places.base,
        privacy=root + places.privacy,
        controller=places.controller,
        date_of=date_of,
        **values,
    )


def _page(html: str, said: Words, status: int) -> Response:
    headers = {**SECURITY, "content-language": said.language, "vary": "accept-language, cookie"}
    return HTMLResponse(html, status, headers)
