"""The privacy page: what is held about a visitor, and the switches. Only id cookie or account opens it.

    GET   privacy             the page
    GET   privacy/data.json   everything that is at hand, to take along; 404 for whoever proves nothing
    GET   privacy/data.csv    the same as a table
    POST  privacy/request     gather the rest: the pipeline answers within a minute
    POST  privacy/declared    alter, publish or erase declared values
    POST  privacy/erase       erase everything, or all that belongs to this browser

Every act is same-origin, durable before its answer, and changes nothing when it comes twice.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from collector import consent, downloads, holdings, identity
from collector.capture import Headers, picked
from collector.choices import STANDING_DAYS
from collector.consent import Choice, Decision
from collector.declarations import Declarations, held_to
from collector.declared import read as read_value
from collector.errors import DeclarationError
from collector.holdings import Holdings
from collector.observer import Observer, Scope
from collector.policy import Attribute, Policy
from collector.privacy_view import Seen, view_of
from collector.rate_limit import RateLimit
from collector.record import DAY_MS, date_of
from collector.rights import Receipt, Rights, receipt_of
from collector.subjects import Subjects, Who
from collector.threads import Threads
from collector.visitor_pages import Places, answer_page, language_of, refuse
from collector.web import NO_STORE, is_same_origin, read_body, read_form, refusal, set_cookie
from collector.words import languages
from collector.writer import Writer

RECEIPT_COOKIE = "__Host-receipt"
RECEIPT_DAYS = 30
# By one address, at once and a second after that; an office behind one address has many people.
READS = (60.0, 5.0)
ACTS = (40.0, 2.0)

_NUMBER = re.compile(r"[0-9a-f]{32}")
_OFTEN = "privacy.problems.often"
_NOTHING = "nothing is at hand for this browser: open the privacy page"

Act = Literal["save", "erase", "erase_all"]


class DeclaredForm(msgspec.Struct, frozen=True):
    """What the page posts to `privacy/declared`."""

    act: Act
    name: str = ""
    value: str = ""
    public: str = ""
    """on: others may see it."""


class EraseForm(msgspec.Struct, frozen=True):
    """What the page posts to `privacy/erase`."""

    what: Literal["all", "browser"]
    """all: the account's declared values as well."""
    once: str = ""
    """The number of the receipt, so that an erasure sent twice leaves one; without it another each time."""


class Privacy:
    """Answers for the privacy page."""

    def __init__(
        self,
        policy: Policy,
        observer: Observer,
        writer: Writer,
        rights: Rights,
        subjects: Subjects,
        declarations: Declarations,
        places: Places,
    ) -> None:
        self._policy = policy
        self._observer = observer
        self._writer = writer
        self._rights = rights
        self._data: Path = rights.path.parent
        self._subjects = subjects
        self._declarations = declarations
        self._places = places
        self._threads = Threads()  # of its own: a page that searches the log keeps no consent waiting
        self._reads = RateLimit(*READS)
        self._acts = RateLimit(*ACTS)

    # ---- to see ---------------------------------------------------------------------------------------

    async def show(self, request: Request) -> Response:
        """The page, for whoever asks: it tells what holds for this browser, and what is held."""
        if self._is_too_often(request, self._reads):
            return refuse(request, self._places, 429, _OFTEN)
        return await self._page(request)

    async def json(self, request: Request) -> Response:
        """Everything that is at hand as JSON."""
        return await self._download(request, "json")

    async def csv(self, request: Request) -> Response:
        """Everything that is at hand as CSV."""
        return await self._download(request, "csv")

    async def _download(self, request: Request, form: Literal["json", "csv"]) -> Response:
        """The file; the same 404 after the same work for no cookie, another's, an erased or a guessed one."""
        if self._is_too_often(request, self._reads):
            return refuse(request, self._places, 429, _OFTEN)
        now_ms = self._observer.clock()
        who = self._subjects.of(request.scope, picked(request.scope["headers"]), now_ms)
        who, held = await self._threads.run(self._find, who, now_ms)
        if held.is_empty:
            return refusal(404, _NOTHING)
        if form == "json":
            content, kind = (
                downloads.as_json(held, who.browser if who.has_id else None, now_ms),
                "application/json",
            )
        else:
            content, kind = downloads.as_csv(held), "text/csv; charset=utf-8"
        name = f'attachment; filename="privacy-{date_of(now_ms)}.{form}"'
        headers = {**NO_STORE, "content-disposition": name, "x-content-type-options": "nosniff"}
        return Response(content, media_type=kind, headers=headers)

    async def _page(self, request: Request, status: int = 200, problem: str = "") -> Response:
        head, now_ms = picked(request.scope["headers"]), self._observer.clock()
        who = self._subjects.of(request.scope, head, now_ms)
        number = request.cookies.get(RECEIPT_COOKIE, "")
        decision = self._observer.decide(head, now_ms)
        who, held, receipt = await self._threads.run(self._look, who, number, now_ms)
        seen = Seen(
            held_to(decision, who.standing),
            *consent.signals(head.get(b"sec-gpc"), head.get(b"dnt")),
            held,
            who,
            receipt,
            await self._threads.run(self._is_held_today, request.scope, head, decision, now_ms),
        )
        words = language_of(request)
        done = request.query_params.get("done", "")
        return answer_page(
            request,
            "privacy",
            self._places,
            words,
            status=status,
            page="privacy",
            problem=problem and words(f"privacy.problems.{problem}"),
            done=words.get(f"privacy.done.{done}", "") if done else "",
            view=view_of(seen, words),
            now=date_of(now_ms),
            once=secrets.token_hex(16),  # of this render alone: no cache keeps the page
        )

    def _find(self, who: Who, now_ms: int) -> tuple[Who, Holdings]:
        who = self._subjects.proven(who)
        return who, holdings.find(self._data, self._rights, who, now_ms)

    def _look(self, who: Who, number: str, now_ms: int) -> tuple[Who, Holdings, Receipt | None]:
        who, held = self._find(who, now_ms) if who.subjects else (who, Holdings())
        return who, held, self._rights.receipt(receipt_of(number)) if _NUMBER.fullmatch(number) else None

    def _is_held_today(self, scope: Scope, head: Headers, decision: Decision, now_ms: int) -> bool:
        """Whether what a visitor turned off today is off without the cookie as well.

        Of who was known by the day's pseudonym until then alone: nobody is told what a neighbour turned off.
        """
        choice, version = decision.choice, decision.version
        if choice is None or version is None or choice.day != date_of(now_ms) or choice.began != "daily":
            return False
        subject = self._subjects.of_the_day(scope, head, now_ms)
        standing = self._rights.standing(subject) if subject else None
        off = consent.refusable(version).difference(decision.granted)
        return bool(off) and isinstance(standing, frozenset) and off.isdisjoint(standing)

    # ---- to change ------------------------------------------------------------------------------------

    async def request(self, request: Request) -> Response:
        """Ask the pipeline for everything that no worker sees."""
        return await self._change(request, self._request)

    async def declared(self, request: Request) -> Response:
        """Alter, publish or erase declared values."""
        return await self._change(request, self._declared)

    async def erase(self, request: Request) -> Response:
        """Erase: the tombstone first, then the cookies; a receipt tells what becomes of the rest."""
        return await self._change(request, self._erased, "not_erased")

    async def _change(
        self, request: Request, act: Callable[[Request], Awaitable[Response]], problem: str = "not_stored"
    ) -> Response:
        """The answer to an act, or the problem where it could not be stored."""
        if refused := self._refused(request):
            return refused
        try:
            return await act(request)
        except OSError as error:
            self._writer.failed(error)
        try:
            return await self._page(request, 503, problem)
        except OSError:  # nothing can be read either
            return refuse(request, self._places, 503, f"privacy.problems.{problem}")

    async def _request(self, request: Request) -> Response:
        head, now_ms = picked(request.scope["headers"]), self._observer.clock()
        who = self._subjects.of(request.scope, head, now_ms)
        is_asked = await self._threads.run(self._ask, who, now_ms)
        return self._back(request, "asked" if is_asked else "nothing", "records")

    async def _declared(self, request: Request) -> Response:
        body = await read_body(request.receive)
        form = read_form(request, body, DeclaredForm) if body is not None else None
        head, now_ms = picked(request.scope["headers"]), self._observer.clock()
        decision = self._observer.decide(head, now_ms)
        attributes = decision.version.declared if decision.version else {}
        attribute = attributes.get(form.name) if form else None
        if form is None or (form.act == "save" and attribute is None):
            return await self._page(request, 400, "unreadable")
        if attribute and form.act == "save":
            return await self._save(request, attribute, form)
        if attribute and attribute.mandatory and form.act == "erase":
            return await self._page(request, 409, "mandatory")
        who = self._subjects.of(request.scope, head, now_ms)
        name = form.name if form.act == "erase" else None
        is_erased = await self._threads.run(self._forget, who, name, now_ms)
        return self._back(request, "erased_declared" if is_erased else "nothing", "declared")

    async def _save(self, request: Request, attribute: Attribute, form: DeclaredForm) -> Response:
        try:
            value = read_value(attribute, form.value)
        except DeclarationError:
            return await self._page(request, 400, f"misfit_{attribute.type}")
        is_public = form.public == "on"
        if not await self._declarations.alter(request.scope, {attribute.name: value}, is_public=is_public):
            return await self._page(request, 409, "not_granted")
        return self._back(request, "saved", "declared")

    async def _erased(self, request: Request) -> Response:
        body = await read_body(request.receive)
        form = read_form(request, body, EraseForm) if body is not None else None
        if form is None:
            return await self._page(request, 400, "unreadable")
        head, now_ms = picked(request.scope["headers"]), self._observer.clock()
        who = self._subjects.of(request.scope, head, now_ms)
        number = form.once if _NUMBER.fullmatch(form.once) else secrets.token_hex(16)
        decision = self._observer.decide(head, now_ms)
        if decision.least is not decision:  # so that an old consent cookie alone does not go on
            await self._threads.run(self._hold_today, request.scope, head, now_ms)
        if not await self._threads.run(self._erase, who, form.what, receipt_of(number), now_ms):
            return self._back(request, "nothing", "settings")
        response = self._back(request, "erased", "receipt")
        set_cookie(response, RECEIPT_COOKIE, number, RECEIPT_DAYS)
        set_cookie(response, identity.COOKIE, "", 0)
        refused_choice = _refusal(decision, date_of(now_ms))
        if refused_choice is not None:
            set_cookie(response, consent.COOKIE, refused_choice.cookie(), refused_choice.lifetime_days)
        return response

    # ---- in a thread ----------------------------------------------------------------------------------

    def _ask(self, who: Who, now_ms: int) -> bool:
        """Whether there is somebody to gather for."""
        who = self._subjects.proven(who)
        if who.has_id:
            self._rights.ask(who.browser, now_ms)
        return who.has_id

    def _forget(self, who: Who, name: str | None, now_ms: int) -> bool:
        """Whether there is somebody whose values these could be."""
        subjects = self._subjects.proven(who).subjects
        if subjects:
            self._rights.forget_declared(subjects, name, now_ms)
        return bool(subjects)

    def _hold_today(self, scope: Scope, head: Headers, now_ms: int) -> None:
        """Whoever comes without an id from the same address and browser has granted nothing, for a day."""
        if subject := self._subjects.of_the_day(scope, head, now_ms):
            self._rights.narrow(subject, (), now_ms, now_ms + DAY_MS)

    def _erase(self, who: Who, what: Literal["all", "browser"], receipt: bytes, now_ms: int) -> bool:
        """Whether there is somebody to erase."""
        proven = self._subjects.proven(who)
        account = who.account if what == "all" else None
        if proven.has_id or proven.standing == "erased":  # who sends the form twice gets the same answer
            # Old logs may come back from a back-up.
            days = max(STANDING_DAYS, self._policy.controller.proof_days)
            self._rights.erase(who.browser, receipt, now_ms, now_ms + days * DAY_MS, account)
            return True
        if account:
            self._rights.erase_account(account, receipt, now_ms)
        return account is not None

    # ---- shared ---------------------------------------------------------------------------------------

    def _refused(self, request: Request) -> Response | None:
        """Why an act is not even read."""
        if not is_same_origin(request.scope, self._observer.own_hosts):
            return refuse(request, self._places, 403, "privacy.problems.foreign")
        if self._is_too_often(request, self._acts):
            return refuse(request, self._places, 429, _OFTEN)
        return None

    def _is_too_often(self, request: Request, limit: RateLimit) -> bool:
        head: Headers = picked(request.scope["headers"])
        return not limit.allows(self._observer.address(request.scope, head))

    def _back(self, request: Request, done: str, place: str) -> Response:
        """To the page again, by GET, in the language it was in."""
        language = request.query_params.get("lang", "")
        chosen = f"&lang={language}" if language in languages() else ""
        target = f"{request.scope.get('root_path', '')}{self._places.privacy}?done={done}{chosen}#{place}"
        return RedirectResponse(target, 303, headers=NO_STORE)


def _refusal(decision: Decision, today: date) -> Choice | None:
    """The choice of who wants nothing more kept."""
    if decision.version is None:
        return None
    return Choice(decision.version.id, today, frozenset(), identity.began(decision, today), "form")
