"""Who a record is about, without saying who: the id cookie, the daily salt and the pseudonym.

No grant, no identifier. After a grant, 128 random bits in a first-party cookie; what is logged is a keyed
hash of them. In daily mode (a measurement exemption), a hash under a salt that dies with its day.

A choice that a browser sends twice before it holds an answer makes the same id twice: its bits are a hash,
under the day's salt, of a random value that comes with the choice.
"""

import contextlib
import os
import re
import secrets
from dataclasses import dataclass, replace
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path

from collector.consent import GRANT_DAYS, Decision
from collector.files import KEY_BYTES, shared_key
from collector.record import DAY_MS, KEYS, LEVELS, day_of, iso_week

COOKIE = "__Host-id"
PSEUDONYM_BYTES = 16
ONCE = re.compile(r"[0-9a-f]{32}")
"""The value by which a repeat of a choice is told: 128 random bits, made by the browser that chooses."""
SALT_GRACE_MS = 30 * 60 * 1000  # queued records of yesterday are written long before 00:30

_COOKIE = re.compile(rb"([0-9a-f]{32})\.(\d{4})-W(\d\d)")


@dataclass(frozen=True, slots=True)
class VisitorId:
    """The id cookie: 128 random bits and the ISO week in which the visitor last granted them."""

    bits: str
    """32 hex digits; never logged."""
    cohort: str
    """ISO week, as 2026-W47."""

    def cookie(self) -> str:
        """The cookie's value."""
        return f"{self.bits}.{self.cohort}"


@dataclass(frozen=True, slots=True)
class Begun:
    """What a choice begins, the same for each of its repeats and for nothing else."""

    bits: str
    """Of the id, if it is granted one and holds none: 32 hex digits."""
    subject: str
    """The pseudonym of that id."""
    seed: str
    """Of the ids of its records: 32 hex digits, from which nobody gets back to the bits."""

    def record_id(self, *told: object) -> str:
        """The id of a record, 32 hex digits: the same again for one that tells the same."""
        return blake2b(repr(told).encode(), key=bytes.fromhex(self.seed), digest_size=16).hexdigest()


def new_id(today: date) -> VisitorId:
    """An identifier for a visitor who just granted one."""
    return VisitorId(secrets.token_hex(16), iso_week(today))


def granted_id(held: VisitorId | None, begun: Begun | None, today: date) -> VisitorId:
    """The identifier of a visitor who grants one now: theirs for another 13 months, or a new one.

    It lasts as long as the consent that was just given; under the same bits access and erasure go on finding
    everything.
    """
    if held:
        return replace(held, cohort=iso_week(today))
    return VisitorId(begun.bits, iso_week(today)) if begun else new_id(today)


def read_id(cookie: bytes | None, today: date) -> VisitorId | None:
    """The id a cookie holds; None for none, a malformed or an outlived one.

    The week is the server's own check of the 13 months: a browser that keeps the cookie longer is not
    believed.
    """
    match = _COOKIE.fullmatch(cookie or b"")
    if match is None:
        return None
    try:
        monday = date.fromisocalendar(int(match[2]), int(match[3]), 1)
    except ValueError:
        return None
    if not monday <= today < monday + timedelta(days=GRANT_DAYS):
        return None
    return VisitorId(match[1].decode(), iso_week(monday))


def mode(decision: Decision, today: date) -> str:
    """The cookie level one visitor is known under on one UTC day: none, daily or long-lived.

    It never changes within a day, or one visitor would be two: a visitor who grants an id after records
    under the daily salt gets it from the next day on, and one who falls back from an id to the daily salt
    is not recorded until then.
    """
    level = decision.levels.get("cookie", 0)
    choice = decision.choice
    if choice is None or choice.day != today or choice.began == "none":
        return LEVELS["cookie"][level]
    began = LEVELS["cookie"].index(choice.began)
    return choice.began if began <= level else "none"


def began(decision: Decision, today: date) -> str:
    """What a choice made now must remember of the day so far (see `mode`)."""
    choice = decision.choice
    if choice is not None and choice.day == today and choice.began != "none":
        return choice.began
    return mode(decision, today)


class Pseudonyms:
    """Keyed hashes of identifiers. Keys live in data/keys, 0600, one per site and one per UTC day.

    Every worker of a site shares them: the first one writes, the others read. What is remembered of them is
    read and set as a whole: the event loop asks while the writer thread forgets.
    """

    def __init__(self, data: Path) -> None:
        self._keys = data / KEYS
        self._key = b""
        self._keyed: blake2b | None = None  # the hash after its key: a copy takes half of the time
        self._salt = ("", b"")  # the day's, with its day

    def of_id(self, bits: str) -> str:
        """The pseudonym of an id cookie, 32 hex digits."""
        keyed = self._keyed
        if keyed is None:
            keyed = self._keyed = blake2b(key=self._known_key(), digest_size=PSEUDONYM_BYTES)
        pseudonym = keyed.copy()
        pseudonym.update(bytes.fromhex(bits))
        return pseudonym.hexdigest()

    def of_account(self, account: str) -> str:
        """The pseudonym of a signed-in user, 32 hex digits, given the host's opaque id."""
        text, key = account.encode("utf-8", "surrogatepass"), self._known_key()
        return blake2b(text, key=key, digest_size=PSEUDONYM_BYTES, person=b"account").hexdigest()

    def _known_key(self) -> bytes:
        key = self._key
        if not key:
            key = self._key = shared_key(self._keys / "pseudonym.key")
        return key

    def anew(self) -> "Pseudonyms":
        """The same without anything remembered: for one look-up in a thread, after which no salt stays."""
        return Pseudonyms(self._keys.parent)

    def of_day(self, ts_ms: int, address: str, agent: bytes) -> str:
        """The pseudonym of an address and agent on one UTC day, 32 hex digits."""
        text = address.encode() + b"\0" + agent
        return blake2b(text, key=self._day_salt(ts_ms), digest_size=PSEUDONYM_BYTES).hexdigest()

    def of_choice(self, ts_ms: int, address: str, agent: bytes, once: str) -> Begun:
        """What a choice begins that came with a value as ONCE describes it.

        The value opens the id as the cookie does, and scripts of the page can read it, which they cannot the
        cookie. So it is good for its UTC day only, and for the address and agent that it came from.
        """
        text, salt = f"{once}{self.of_day(ts_ms, address, agent)}".encode(), self._day_salt(ts_ms)
        bits, seed = (
            blake2b(text, key=salt, digest_size=16, person=part).hexdigest() for part in (b"id", b"record")
        )
        return Begun(bits, self.of_id(bits), seed)

    def _day_salt(self, ts_ms: int) -> bytes:
        day = day_of(ts_ms)
        salt = self._salt
        if salt[0] != day:
            salt = self._salt = day, shared_key(self._keys / f"salt-{day}")
        return salt[1]

    def forget_past_days(self, now_ms: int) -> None:
        """Destroy every salt whose day is over, in memory and on disk.

        Runs in every worker's writer thread and in `impersonal run`, so a salt lives less than 25 hours. The
        keys in memory are read anew afterwards: workers agree again soon after their directory was replaced.
        """
        self._key, self._keyed, self._salt = b"", None, ("", b"")
        if now_ms % DAY_MS < SALT_GRACE_MS:
            return
        # A clock that once ran ahead has made salts of days to come; tomorrow's may be another worker's.
        today, tomorrow = day_of(now_ms), day_of(now_ms + DAY_MS)
        # A worker killed while it made a salt leaves a copy aside, as .salt-<day>-<random>.
        for salt in (*self._keys.glob("salt-*"), *self._keys.glob(".salt-*")):
            if not today <= salt.name.lstrip(".").removeprefix("salt-")[: len(today)] <= tomorrow:
                destroy(salt)


def destroy(key: Path) -> None:
    """Overwrite a key file, then unlink it; another worker may have been first."""
    with contextlib.suppress(FileNotFoundError):
        with key.open("r+b") as file:
            file.write(bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        key.unlink()
