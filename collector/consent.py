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
from collector.record import DAY_MS, Field, date_of

COOKIE = "__Host-consent"
GRANT_DAYS = 395  # 13 months: the CNIL's ceiling for a tracker and its consent (deliberation 2020-091)
MAX_COOKIE_BYTES = 256  # the longest value that _COOKIE matches is shorter
REFUSAL_DAYS = 182  # 6 months without asking again (Digital Omnibus, proposed art. 88a)

_COOKIE = re.compile(
    rb"1\|(?P<version>[A-Za-z0-9._-]{1,32})\|(?P<day>\d{4}-\d\d-\d\d)\|(?P<granted>[a-z+]{0,128})"
    rb"\|(?P<began>none|daily|long-lived)\|(?P<via>form|fetch)"
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

    def cookie(self) -> str:
        """The cookie's value."""
        return f"1|{self.version}|{self.day}|{'+'.join(sorted(self.granted))}|{self.began}|{self.via}"

    @property
    def lifetime_days(self) -> int:
        """How long the choice holds."""
        return GRANT_DAYS if self.granted else REFUSAL_DAYS


def read_choice(cookie: bytes | None, policy: Policy, today: date) -> Choice | None:
    """The choice a cookie holds; None for none, an unreadable, a future or an outlived one."""
    match = _COOKIE.fullmatch(cookie or b"")
    if match is None:
        return None
    try:
        day = date.fromisoformat(match["day"].decode())
    except ValueError:
        return None
    version = policy.version(match["version"].decode())
    if version is None:
        return None
    chosen = frozenset(match["granted"].decode().split("+")) & refusable(version)
    choice = Choice(version.id, day, chosen, match["began"].decode(), match["via"].decode())
    alive = day <= today < day + timedelta(days=choice.lifetime_days)
    return choice if alive else None


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

    @cached_property
    def levels(self) -> Levels:
        """The precision reached in each category."""
        return self.version.scope(self.granted, self.consented) if self.version else {}

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The rows of FIELDS that may be recorded: empty when nothing is."""
        return fields_within(self.levels) if self.version else ()

    def within(self, granted: frozenset[str]) -> "Decision":
        """The same decision without the purposes that a visitor can refuse and that are not among these."""
        if self.version is None:
            return self
        purposes = self.version.purposes
        kept = tuple(name for name in self.granted if name in granted or not purposes[name].refusable)
        return self if kept == self.granted else replace(self, granted=kept)

    @cached_property
    def ask(self) -> bool:
        """Whether the visitor is still to be asked: no choice yet, or the policy has widened since."""
        if self.version is None or not refusable(self.version):
            return False
        return self.consented is None or self.version.exceeds(self.consented)


def decide(
    policy: Policy, ts_ms: int, cookie: bytes | None = None, *, gpc: bool = False, dnt: bool = False
) -> Decision:
    """Which purposes hold for one request, and why."""
    version = policy.in_force(ts_ms)
    if version is None:
        return Decision(None, (), Reason.NO_POLICY)
    choice = read_choice(cookie, policy, date_of(ts_ms))
    consented = policy.version(choice.version) if choice else None
    opted_out = gpc or dnt
    granted = []
    for name, purpose in version.purposes.items():
        if not purpose.refusable:
            granted.append(name)
        elif choice and consented and name in consented.purposes:
            if name in choice.granted:
                granted.append(name)
        elif purpose.default == "granted" and not opted_out:
            granted.append(name)
    if choice:
        reason = Reason.CHOICE
    elif opted_out:
        reason = Reason.GPC if gpc else Reason.DNT
    else:
        reason = Reason.DEFAULT
    return Decision(version, tuple(sorted(granted)), reason, choice, consented)


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
