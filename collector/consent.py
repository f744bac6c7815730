"""Consent: the cookie that holds a visitor's choice, and the decision every request gets.

Precedence: explicit choice > Sec-GPC > DNT > the policy's default. A choice covers the purposes that
the version it was made under named, and nothing that a later version added.
"""

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property

from collector.policy import Levels, Policy, Version, fields_within
from collector.record import DAY_MS, LEVELS, Field, date_of

COOKIE = "__Host-consent"
GRANT_DAYS = 395  # 13 months: the CNIL's ceiling for a tracker and its consent (deliberation 2020-091)
MAX_COOKIE_BYTES = 256  # the longest value that _COOKIE matches is shorter
REFUSAL_DAYS = 182  # 6 months without asking again (Digital Omnibus, proposed art. 88a)

_COOKIE = re.compile(
    rb"1\|(?P<version>[A-Za-z0-9._-]{1,32})\|(?P<day>\d{4}-\d\d-\d\d)\|(?P<granted>[a-z+]{0,80})"
    rb"(?:-(?P<refused>[a-z+]{1,80}))?\|(?P<began>none|daily|long-lived)\|(?P<via>form|fetch)"
)


class Reason(StrEnum):
    """Why a decision is what it is."""

    CHOICE = "choice"
    GPC = "gpc"
    DNT = "dnt"
    DEFAULT = "default"
    NO_POLICY = "no_policy"
    """No version of the policy is in force yet."""


@dataclass(frozen=True)
class Choice:
    """What a visitor chose, as the cookie carries it: no identifier, and no more than a day of time."""

    version: str
    day: date
    granted: frozenset[str]
    began: str = "none"
    """The cookie level under which this day's records began before the choice (see identity.mode)."""
    via: str = "fetch"
    """fetch, or form: a form leads back to the page it was on."""
    refused: frozenset[str] = frozenset()
    """What was turned off under a newer version: it is off there, and is not asked for again."""

    def cookie(self) -> str:
        """The cookie's value."""
        purposes = "+".join(sorted(self.granted))
        if self.refused:
            purposes += f"-{'+'.join(sorted(self.refused))}"
        return f"1|{self.version}|{self.day}|{purposes}|{self.began}|{self.via}"

    def repeats(self, other: "Choice | None") -> bool:
        """Whether another one of the same day says the same, in whatever way it was made."""
        return other is not None and replace(other, began=self.began, via=self.via) == self

    @property
    def lifetime_days(self) -> int:
        """How long the choice holds."""
        return GRANT_DAYS if self.granted else REFUSAL_DAYS


def read_choice(cookie: bytes | None, policy: Policy, today: date) -> Choice | None:
    """The choice a cookie holds; None for none, an unreadable, a future or an outlived one.

    One under a version that this policy does not know (another worker may be ahead) grants nothing: that
    it was a refusal cannot be ruled out.
    """
    match = _COOKIE.fullmatch(cookie or b"")
    if match is None:
        return None
    try:
        day = date.fromisoformat(match["day"].decode())
    except ValueError:
        return None
    granted, refused = _purposes(match["granted"]), _purposes(match["refused"])
    version = policy.version(match["version"].decode())
    if version is not None:
        granted &= refusable(version)
    began, via = match["began"].decode(), match["via"].decode()
    choice = Choice(match["version"].decode(), day, granted, began, via, refused)
    if not day <= today < day + timedelta(days=choice.lifetime_days):
        return None
    return choice if version else replace(choice, granted=frozenset())


def _purposes(text: bytes | None) -> frozenset[str]:
    return frozenset(filter(None, (text or b"").decode().split("+")))


def refusable(version: Version) -> frozenset[str]:
    """The purposes of a version that a visitor can turn on and off."""
    return frozenset(name for name, purpose in version.purposes.items() if purpose.refusable)


@dataclass(frozen=True)
class Decision:
    """What one request may leave behind."""

    version: Version | None
    granted: tuple[str, ...]
    """Sorted purposes."""
    reason: Reason
    choice: Choice | None = None
    consented: Version | None = None
    """The version the choice was made under."""
    waiting: frozenset[str] = frozenset()
    """Of those granted, what is recorded from the next UTC day on only (see `_waits`)."""

    @cached_property
    def recorded(self) -> tuple[str, ...]:
        """The purposes that a record of now is for, sorted."""
        return tuple(name for name in self.granted if name not in self.waiting)

    @cached_property
    def levels(self) -> Levels:
        """The precision that records reach in each category."""
        return self.version.scope(self.recorded, self.consented) if self.version else {}

    @property
    def grants_id(self) -> bool:
        """Whether the browser may hold an id."""
        if self.version is None:
            return False
        reached = self.version.scope(self.granted, self.consented)["cookie"]
        return LEVELS["cookie"][reached] == "long-lived"

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The rows of FIELDS that may be recorded: empty when nothing is."""
        return fields_within(self.levels) if self.version else ()

    @cached_property
    def is_regulated(self) -> bool:
        """Whether any page belongs to a service, whose regulation then binds as well."""
        return any(version is not None and version.services for version in (self.version, self.consented))

    def within(self, granted: frozenset[str]) -> "Decision":
        """The same decision without the purposes that a visitor can refuse and that are not among these."""
        if self.version is None:
            return self
        purposes = self.version.purposes
        kept = tuple(name for name in self.granted if name in granted or not purposes[name].refusable)
        return self if kept == self.granted else replace(self, granted=kept)

    @cached_property
    def least(self) -> "Decision":
        """What is left of it when the visitor refuses all that can be refused; itself, where that is none."""
        return self.within(frozenset())

    @cached_property
    def widened(self) -> frozenset[str]:
        """The purposes that the visitor granted when they asked for less: never to be ticked beforehand."""
        version, choice, consented = self.version, self.choice, self.consented
        if version is None or choice is None or consented is None:
            return frozenset()
        return choice.granted & version.widened(consented)

    @cached_property
    def ask(self) -> bool:
        """Whether the visitor is still to be asked: no choice yet, or the policy has widened since."""
        if self.version is None or not refusable(self.version):
            return False
        if self.choice is None or self.consented is None:
            return True
        return bool(self.unanswered)

    @cached_property
    def unanswered(self) -> frozenset[str]:
        """The purposes that ask for more than the choice was about, but those that it turned off since."""
        if self.version is None or self.choice is None or self.consented is None:
            return frozenset()
        return self.version.widened(self.consented) - self.choice.refused

    @cached_property
    def tells(self) -> bool:
        """Whether the visitor is asked only because what cannot be refused has widened."""
        if self.version is None or not self.unanswered:
            return False
        return self.unanswered.isdisjoint(refusable(self.version))


def decide(
    policy: Policy, ts_ms: int, cookie: bytes | None = None, *, gpc: bool = False, dnt: bool = False
) -> Decision:
    """Which purposes hold for one request, and why."""
    version = policy.in_force(ts_ms)
    if version is None:
        return Decision(None, (), Reason.NO_POLICY)
    today = date_of(ts_ms)
    choice = read_choice(cookie, policy, today)
    consented = policy.version(choice.version) if choice else None
    opted_out = gpc or dnt
    unasked = _unasked(version, opted_out)
    granted = unasked
    if choice:
        known = frozenset(consented.purposes if consented else version.purposes)
        chosen = refusable(version) & (known | choice.refused)
        granted = (unasked - chosen) | (choice.granted & chosen)
    if opted_out and consented is None:
        reason = Reason.GPC if gpc else Reason.DNT
    else:
        reason = Reason.CHOICE if choice else Reason.DEFAULT
    decision = Decision(version, tuple(sorted(granted)), reason, choice, consented)
    return replace(decision, waiting=granted - unasked) if _waits(decision, today) else decision


def _unasked(version: Version, opted_out: bool) -> frozenset[str]:
    """What holds without a choice."""
    return frozenset(
        name
        for name, purpose in version.purposes.items()
        if not purpose.refusable or (purpose.default == "granted" and not opted_out)
    )


def _waits(decision: Decision, today: date) -> bool:
    """Whether what a choice of today granted is recorded from tomorrow on.

    A visitor who was known by the day's pseudonym keeps it until midnight, or one visitor would be two. What
    was granted together with an id must not stand under a name that no cookie opens: nobody could be shown
    those records, nor erase them.
    """
    choice = decision.choice
    is_of_today = choice is not None and choice.day == today and choice.began == "daily"
    return is_of_today and LEVELS["cookie"][decision.levels["cookie"]] == "long-lived"


class Decider:
    """`decide` with a bounded memory: a choice names no one, so a site sees few distinct ones a day."""

    def __init__(self, policy: Policy, limit: int = 1024) -> None:
        self._policy = policy
        self._limit = limit
        self._day = -1
        self._known: dict[tuple[int, bytes | None, bool, bool], Decision] = {}

    def __call__(self, ts_ms: int, cookie: bytes | None, gpc: bool, dnt: bool) -> Decision:
        """The decision for one request. Versions change at midnight UTC, so a day's answers hold."""
        known = self._known.get((ts_ms // DAY_MS, cookie, gpc, dnt))
        return known or self._decided(ts_ms, cookie, gpc, dnt)

    def _decided(self, ts_ms: int, cookie: bytes | None, gpc: bool, dnt: bool) -> Decision:
        if cookie is not None and len(cookie) > MAX_COOKIE_BYTES:
            return self(ts_ms, None, gpc, dnt)
        day = ts_ms // DAY_MS
        if day != self._day or len(self._known) >= self._limit:
            self._known = {}
            self._day = day
        decision = decide(self._policy, ts_ms, cookie, gpc=gpc, dnt=dnt)
        self._known[day, cookie, gpc, dnt] = decision
        return decision


def signals(gpc: bytes | None, dnt: bytes | None) -> tuple[bool, bool]:
    """Whether Sec-GPC and DNT opt out.

    Takes  the values of each header, one a line: GPC counts when any of them is exactly 1 (W3C, GPC §3.2)
    """
    return gpc is not None and b"1" in gpc.split(b"\n"), dnt is not None and b"1" in dnt.split(b"\n")
