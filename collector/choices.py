"""Consent: what holds for a browser, and its choices, each durable before it is answered."""

from collections.abc import Iterable
from datetime import date
from typing import Literal, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from collector import consent, identity
from collector.beacons import is_view_id
from collector.capture import Headers, picked
from collector.consent import Choice, Decision
from collector.declarations import held_to
from collector.identity import Begun, VisitorId
from collector.observer import Observer, Scope, mounted
from collector.policy import Version
from collector.rate_limit import RateLimit
from collector.record import DAY_MS, date_of
from collector.rights import Rights
from collector.subjects import Subjects, Who
from collector.threads import Threads
from collector.visitor_pages import Places, refuse
from collector.web import (
    NO_STORE,
    is_json,
    is_same_origin,
    lead_back,
    read_body,
    read_form,
    referring_page,
    set_cookie,
)
from collector.writer import Writer

STANDING_DAYS = consent.GRANT_DAYS + 7  # an id is believed for that long: its cookie tells the week


class ConsentForm(msgspec.Struct, frozen=True):
    """What a form or a fetch posts to `consent`."""

    act: Literal["grant", "refuse", "withdraw", "choose", "keep"]
    purposes: list[str] = []
    """grant: these hold from now on, or all; withdraw: these end, or all; choose: exactly these hold.
    keep: what was chosen before holds under the version in force as well."""
    w: str = ""
    u: str = ""
    r: str = ""
    back: str = ""
    """Where a form leads afterwards: a path of this site."""
    by: Literal["", "banner", "page", "signal"] = ""
    """What was used: the banner, the privacy page, or the banner that told of the browser's own signal."""
    once: str = ""
    """A random value of this choice alone (`identity.ONCE`), by which a repeat of it is told."""


class _Met(NamedTuple):
    """What a choice met."""

    held: VisitorId | None
    """The id that the browser holds, none where it was erased or taken away."""
    begun: Begun | None
    repeats: Literal["", "stored", "ended"] = ""
    """Whether it was taken before: it is stored, as the browser's cookies say, or what it began has ended."""
    is_held_back: bool = False
    """Whether something was withdrawn that no worker records any more."""


class Choices:
    """Answers for consent."""

    def __init__(
        self,
        observer: Observer,
        writer: Writer,
        rights: Rights,
        subjects: Subjects,
        places: Places,
    ) -> None:
        self._places = places
        self._observer = observer
        self._writer = writer
        self._rights = rights
        self._subjects = subjects
        self._threads = Threads()
        self._limit = RateLimit()  # each is a sync of the disk

    async def show(self, request: Request) -> Response:
        """What holds for this browser, whatever an older cookie says, and whether it is still to be asked."""
        return JSONResponse(_state(mounted(request.scope).decision(request.scope)), headers=NO_STORE)

    async def take(self, request: Request) -> Response:
        """Grant, refuse, withdraw or choose."""
        if not is_same_origin(request.scope, self._observer.own_hosts):
            return refuse(request, self._places, 403, "privacy.problems.foreign")
        head = picked(request.scope["headers"])
        if not self._limit.allows(self._observer.address(request.scope, head)):
            return refuse(request, self._places, 429, "privacy.problems.often")
        body = await read_body(request.receive)
        form = read_form(request, body, ConsentForm, ("purposes",)) if body is not None else None
        if form is None:
            line = "send act=grant, refuse, withdraw, choose or keep, and the purposes it is about"
            return refuse(request, self._places, 400, "privacy.problems.unreadable", line)
        before = self._observer.decide(head, self._observer.clock())
        if before.version is None:
            return refuse(request, self._places, 409, "privacy.none_in_force")
        known = consent.refusable(before.version)
        if not known.issuperset(form.purposes):
            line = "a purpose is not one of " + ", ".join(sorted(known))
            return refuse(request, self._places, 400, "privacy.problems.unreadable", line)
        return await self._choose(request, head, form, before, before.version)

    async def _choose(
        self, request: Request, head: Headers, form: ConsentForm, before: Decision, version: Version
    ) -> Response:
        now_ms = self._observer.clock()
        today = date_of(now_ms)
        via = "fetch" if is_json(request) else "form"
        try:
            holds = frozenset[str]()
            if form.act in ("keep", "withdraw"):  # the others say all that is to hold
                holds = await self._threads.run(self._holds, request.scope, head, before, now_ms)
            choice = _choice(form, via, before, holds, version, today)
            after = self._observer.decide_on(choice, head, now_ms)
            met = await self._met(request.scope, head, before, after, form.once, now_ms)
        except OSError as error:
            self._writer.failed(error)
            self._writer.refuse("not_durable")
            return refuse(request, self._places, 503, "banner.failed")
        if met.repeats == "ended":
            return refuse(request, self._places, 409, "banner.ended")
        page = form.u or referring_page(request)
        if met.repeats == "stored":
            return _answer(mounted(request.scope).decision(request.scope), via, form.back or page)
        wanted, visitor = after.grants_id, met.held
        if wanted and not (met.held and form.act == "withdraw"):  # which prolongs nothing
            visitor = identity.granted_id(met.held, met.begun, today)
        id_cookie = visitor.cookie().encode() if visitor else None

        record = self._observer.reported(request.scope, head, after, "consent", page)
        record.id_cookie = id_cookie
        record.act, record.via = _act(form, choice), form.by or via
        is_new = before.choice is None and self._observer.visitor_id(head, now_ms) is None
        record.first = True if is_new else None
        if met.begun:
            record.record_id = met.begun.record_id(record.act, choice.cookie(), is_new)
        if not await self._writer.durable(record):
            return refuse(
                request, self._places, 503, "banner.failed_held" if met.is_held_back else "banner.failed"
            )
        # The privacy page is none of the site's pages and is not counted.
        if page and form.by != "page" and after.fields and not before.fields:
            self._report_granting_view(request, head, after, id_cookie, page, form, met.begun)

        response = _answer(after, via, form.back or page)
        set_cookie(response, consent.COOKIE, choice.cookie(), choice.lifetime_days)
        if wanted and visitor and visitor != met.held:
            set_cookie(response, identity.COOKIE, visitor.cookie(), consent.GRANT_DAYS)
        elif not wanted and identity.COOKIE in request.cookies:
            set_cookie(response, identity.COOKIE, "", 0)
        return response

    def _holds(self, scope: Scope, head: Headers, before: Decision, now_ms: int) -> frozenset[str]:
        """What holds before a choice, whatever an older cookie says. Raises OSError"""
        subject = self._subjects.held_to(scope, head, now_ms, remembered=False)
        return frozenset(held_to(before, self._rights.standing(subject) if subject else None).granted)

    async def _met(
        self, scope: Scope, head: Headers, before: Decision, after: Decision, once: str, now_ms: int
    ) -> _Met:
        """What a choice meets; what it withdraws ends everywhere. A repeat changes nothing.

        Before the record, so that a withdrawal holds even where that cannot be written.

        Raises  OSError where that could not be stored
        """
        is_narrower = not set(before.granted) <= set(after.granted)

        def meet() -> _Met:
            subject, today = self._subjects.browser(head, now_ms), None
            who = self._subjects.proven(Who(subject, has_id=True)) if subject else None
            held = self._observer.visitor_id(head, now_ms) if who and who.has_id else None
            begun = self._subjects.begun(scope, head, once, now_ms)
            if begun and (repeats := self._repeats(begun, held, before, after)):
                return _Met(held, begun, repeats)
            if is_narrower or subject is None:
                today = self._subjects.of_the_day(scope, head, now_ms)
                self._stand_today(today, after.granted, subject is not None, is_narrower, now_ms)
            if who is None or not who.has_id:
                return _Met(None, begun, is_held_back=is_narrower and today is not None)
            if is_narrower or who.standing is not None:
                self._rights.narrow(who.browser, after.granted, now_ms, now_ms + STANDING_DAYS * DAY_MS)
            return _Met(held, begun, is_held_back=is_narrower)

        return await self._threads.run(meet)

    def _repeats(
        self, begun: Begun, held: VisitorId | None, before: Decision, after: Decision
    ) -> Literal["", "stored", "ended"]:
        """Whether a choice came before (see `_Met`).

        One whose answer was lost comes without the id that it began, and is taken once more: the same id, and
        a record that counts as a duplicate. Where the id was erased since, or something withdrawn under it,
        the newer word stands.
        """
        if held:
            choice = after.choice
            is_stored = held.bits == begun.bits and choice is not None and choice.repeats(before.choice)
            return "stored" if is_stored else ""
        has_ended = after.grants_id and self._rights.stood(begun.subject) is not None
        return "ended" if has_ended else ""

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
        begun: Begun | None,
    ) -> None:
        """The page on which consent was given was shown before it could be counted: count it now, once.

        Where some purpose already held, the server has counted it.
        """
        view = self._observer.reported(request.scope, head, after, "view", page, form.r)
        view.id_cookie = id_cookie
        view.view = form.w if is_view_id(form.w) else begun.record_id("view") if begun else ""
        self._writer.put(view)


def _choice(
    form: ConsentForm, via: str, before: Decision, holds: frozenset[str], version: Version, today: date
) -> Choice:
    """What was chosen; `holds` is what was granted until then (see `Choices._holds`)."""
    named = frozenset(form.purposes) or consent.refusable(version)
    granted = refused = frozenset[str]()
    if form.act == "grant":
        granted = named
    elif form.act == "choose":
        granted = frozenset(form.purposes)
    elif form.act == "keep" and before.choice:
        granted = (before.choice.granted & holds) - before.widened
    elif form.act == "withdraw":
        version, granted, refused = _left(before, holds, version, named)
    return Choice(version.id, today, granted, identity.began(before, today), via, refused)


def _left(
    before: Decision, holds: frozenset[str], version: Version, ended: frozenset[str]
) -> tuple[Version, frozenset[str], frozenset[str]]:
    """What a withdrawal leaves, under which version, and what it turns off there: never consent to more than
    was asked about.

    The version of the consent stays, so that what has widened since is still asked. It cannot where nothing
    is left, which ends the asking as a refusal does.
    """
    left = (holds & consent.refusable(version)) - ended
    choice, consented = before.choice, before.consented
    if choice and consented and consented is not version and left:
        return consented, left & consent.refusable(consented), choice.refused | ended
    return version, left, frozenset()


def _act(form: ConsentForm, choice: Choice) -> str:
    """What a record says was done; what is chosen or kept is granted or refused by what is in it."""
    if form.act not in ("choose", "keep"):
        return form.act
    return "grant" if choice.granted else "refuse"


def _state(decision: Decision) -> dict[str, object]:
    return {
        "ask": decision.ask,
        "granted": decision.granted,
        "reason": decision.reason,
        "policy": decision.version.id if decision.version else None,
    }


def _answer(decision: Decision, via: str, back: str) -> Response:
    if via == "fetch":
        return JSONResponse(_state(decision), headers=NO_STORE)
    return lead_back(back)
