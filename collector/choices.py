"""Consent: what holds for a browser, and its choices, each durable before it is answered."""

from collections.abc import Iterable
from datetime import date
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collector import consent, identity
from collector.beacons import is_view_id
from collector.capture import Headers, picked
from collector.consent import Choice, Decision
from collector.identity import VisitorId
from collector.observer import Observer, Scope
from collector.policy import Version
from collector.rate_limit import RateLimit
from collector.record import DAY_MS, LEVELS, date_of
from collector.rights import Rights
from collector.subjects import Subjects, Who
from collector.threads import Threads
from collector.visitor_pages import language_of
from collector.web import (
    NO_STORE,
    is_json,
    is_same_origin,
    lead_back,
    read_body,
    read_form,
    referring_page,
    refusal,
    set_cookie,
)
from collector.writer import Writer

STANDING_DAYS = consent.GRANT_DAYS + 7  # an id is believed for that long: its cookie tells the week


class ConsentForm(msgspec.Struct, frozen=True):
    """What a form or a fetch posts to `consent`."""

    act: Literal["grant", "refuse", "withdraw", "choose"]
    purposes: list[str] = []
    """grant: these hold from now on, or all; withdraw: these end, or all; choose: exactly these hold."""
    w: str = ""
    u: str = ""
    r: str = ""
    back: str = ""
    """Where a form leads afterwards: a path of this site."""
    by: Literal["", "banner", "page", "signal"] = ""
    """What was used: the banner, the privacy page, or the banner that told of the browser's own signal."""


class Choices:
    """Answers for consent."""

    def __init__(
        self, observer: Observer, writer: Writer, rights: Rights, subjects: Subjects, threads: Threads
    ) -> None:
        self._observer = observer
        self._writer = writer
        self._rights = rights
        self._subjects = subjects
        self._threads = threads
        self._limit = RateLimit()  # each is a sync of the disk

    async def show(self, request: Request) -> Response:
        """What holds for this browser, and whether it is still to be asked."""
        decision = self._observer.decide(picked(request.scope["headers"]), self._observer.clock())
        return JSONResponse(_state(decision), headers=NO_STORE)

    async def take(self, request: Request) -> Response:
        """Grant, refuse, withdraw or choose."""
        if not is_same_origin(request.scope, self._observer.own_hosts):
            return refusal(403, "this request came from another site: choose on the site's own page")
        head = picked(request.scope["headers"])
        if not self._limit.allows(self._observer.address(request.scope, head)):
            return refusal(429, "too many choices from this address: please wait a moment and try again")
        body = await read_body(request.receive)
        form = read_form(request, body, ConsentForm, ("purposes",)) if body is not None else None
        if form is None:
            return refusal(400, "send act=grant, refuse, withdraw or choose, and the purposes it is about")
        before = self._observer.decide(head, self._observer.clock())
        if before.version is None:
            return refusal(409, "no version of the policy is in force yet: nothing is collected")
        unknown = set(form.purposes) - consent.refusable(before.version)
        if unknown:
            return refusal(
                400, "a purpose is not one of " + ", ".join(sorted(consent.refusable(before.version)))
            )
        return await self._choose(request, head, form, before, before.version)

    async def _choose(
        self, request: Request, head: Headers, form: ConsentForm, before: Decision, version: Version
    ) -> Response:
        now_ms = self._observer.clock()
        today = date_of(now_ms)
        via = "fetch" if is_json(request) else "form"
        choice = _choice(form, via, before, version, today)
        after = self._observer.decide_on(choice, head, now_ms)
        try:
            held, is_held_back = await self._held(request.scope, head, before, after, now_ms)
        except OSError as error:
            self._writer.failed(error)
            self._writer.refuse("not_durable")
            return _not_stored(request, is_held_back=False)
        reached = version.scope(after.granted, after.consented)["cookie"]
        wanted = LEVELS["cookie"][reached] == "long-lived"
        visitor = held
        if wanted and not (held and form.act == "withdraw"):  # which prolongs nothing
            visitor = identity.granted_id(held, today)
        page = form.u or referring_page(request)

        record = self._observer.reported(request.scope, head, after, "consent", page)
        record.id_cookie = visitor.cookie().encode() if visitor else None
        record.act, record.via = _act(form, choice), form.by or via
        is_new = before.choice is None and self._observer.visitor_id(head, now_ms) is None
        record.first = True if is_new else None
        if not await self._writer.durable(record):
            return _not_stored(request, is_held_back)
        # The privacy page is none of the site's pages and is not counted.
        if page and form.by != "page" and after.fields and not before.fields:
            self._report_granting_view(request, head, after, record.id_cookie, page, form)

        response = _answer(after, via, form.back or page)
        set_cookie(response, consent.COOKIE, choice.cookie(), choice.lifetime_days)
        if wanted and visitor and visitor != held:
            set_cookie(response, identity.COOKIE, visitor.cookie(), consent.GRANT_DAYS)
        elif not wanted and identity.COOKIE in request.cookies:
            set_cookie(response, identity.COOKIE, "", 0)
        return response

    async def _held(
        self, scope: Scope, head: Headers, before: Decision, after: Decision, now_ms: int
    ) -> tuple[VisitorId | None, bool]:
        """The id that the browser holds, none where it was erased or taken away; what it withdraws ends
        everywhere, and whether something did.

        Before the record, so that a withdrawal holds even where that cannot be written.

        Raises  OSError where that could not be stored
        """
        is_narrower = not set(before.granted) <= set(after.granted)

        def stand() -> tuple[bool, bool]:
            subject, today = self._subjects.browser(head, now_ms), None
            if is_narrower or subject is None:
                today = self._subjects.of_the_day(scope, head, now_ms)
                self._stand_today(today, after.granted, subject is not None, is_narrower, now_ms)
            who = self._subjects.proven(Who(subject, has_id=True)) if subject else None
            if who is None or not who.has_id:
                return False, is_narrower and today is not None
            if is_narrower or who.standing is not None:
                self._rights.narrow(who.browser, after.granted, now_ms, now_ms + STANDING_DAYS * DAY_MS)
            return True, is_narrower

        has_id, is_held_back = await self._threads.run(stand)
        return self._observer.visitor_id(head, now_ms) if has_id else None, is_held_back

    def _stand_today(
        self, subject: str | None, granted: Iterable[str], has_id: bool, is_narrower: bool, now_ms: int
    ) -> None:
        """Hold whoever comes without an id to a choice, as long as the day's pseudonym lives.

        Made with an id, a choice narrows what others of the same pseudonym said, and never widens it.
        """
        standing = self._rights.standing(subject) if subject else None
        if has_id and isinstance(standing, frozenset):
            granted = standing.intersection(granted)
        if subject and (is_narrower or standing is not None):
            self._rights.narrow(subject, granted, now_ms, now_ms + DAY_MS)

    def _report_granting_view(
        self,
        request: Request,
        head: Headers,
        after: Decision,
        id_cookie: bytes | None,
        page: str,
        form: ConsentForm,
    ) -> None:
        """The page on which consent was given was shown before it could be counted: count it now, once.

        Where some purpose already held, the server has counted it.
        """
        view = self._observer.reported(request.scope, head, after, "view", page, form.r)
        view.id_cookie = id_cookie
        view.view = form.w if is_view_id(form.w) else ""
        self._writer.put(view)


def _choice(form: ConsentForm, via: str, before: Decision, version: Version, today: date) -> Choice:
    named = frozenset(form.purposes) or consent.refusable(version)
    granted = refused = frozenset[str]()
    if form.act == "grant":
        granted = named
    elif form.act == "choose":
        granted = frozenset(form.purposes)
    elif form.act == "withdraw":
        version, granted, refused = _left(before, version, named)
    return Choice(version.id, today, granted, identity.began(before, today), via, refused)


def _left(
    before: Decision, version: Version, ended: frozenset[str]
) -> tuple[Version, frozenset[str], frozenset[str]]:
    """What a withdrawal leaves, under which version, and what it turns off there: never consent to more than
    was asked about.

    The version of the consent stays, so that what has widened since is still asked. It cannot where nothing
    is left, which ends the asking as a refusal does.
    """
    left = (frozenset(before.granted) & consent.refusable(version)) - ended
    choice, consented = before.choice, before.consented
    if choice and consented and consented is not version and left:
        return consented, left & consent.refusable(consented), choice.refused | ended
    return version, left, frozenset()


def _act(form: ConsentForm, choice: Choice) -> str:
    """What a record says was done; a form of checkboxes grants or refuses by what is ticked."""
    if form.act != "choose":
        return form.act
    return "grant" if choice.granted else "refuse"


def _state(decision: Decision) -> dict[str, object]:
    return {
        "ask": decision.ask,
        "granted": decision.granted,
        "reason": decision.reason,
        "policy": decision.version.id if decision.version else None,
    }


def _not_stored(request: Request, is_held_back: bool) -> Response:
    """That a choice could not be stored, and what became of it nevertheless."""
    return refusal(503, language_of(request)("banner.failed_held" if is_held_back else "banner.failed"))


def _answer(decision: Decision, via: str, back: str) -> Response:
    if via == "fetch":
        return JSONResponse(_state(decision), headers=NO_STORE)
    return lead_back(back)
