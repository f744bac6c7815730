"""Whose data a request may open: the browser with the id cookie, and the account its host vouches for."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from collector import identity
from collector.capture import Headers
from collector.identity import Begun, Pseudonyms
from collector.observation import MAX_AGENT_BYTES
from collector.observer import Observer, Scope
from collector.policy import Policy
from collector.record import LEVELS, date_of
from collector.rights import Rights, Standing

Account = Callable[[Scope], str | None]
"""The host's answer to who is signed in: an opaque id, the same on every device."""


@dataclass(frozen=True, slots=True)
class Who:
    """Pseudonyms of 32 hex digits."""

    browser: str
    """That of the id cookie. Without one a random pseudonym, so that looking for nobody takes as long."""
    has_id: bool
    account: str | None = None
    standing: Standing | None = None
    """What the id cookie holds at most, once it was looked up (`Subjects.proven`)."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Under whom declared values stand: the account before the browser."""
        return (*((self.account,) if self.account else ()), *((self.browser,) if self.has_id else ()))


class Subjects:
    """Tells who a request is about. Nothing but the cookie, or the host, proves it."""

    def __init__(
        self,
        policy: Policy,
        observer: Observer,
        rights: Rights,
        pseudonyms: Pseudonyms,
        account: Account | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._policy = policy
        self._observer = observer
        self._rights = rights
        self._pseudonyms = pseudonyms
        self._account = account
        self._failed = failed

    def of(self, scope: Scope, head: Headers, now_ms: int) -> Who:
        """Who a request is about, given its `picked` headers. Raises OSError where the key cannot be read."""
        held = self._observer.visitor_id(head, now_ms)
        bits = (held or identity.new_id(date_of(now_ms))).bits
        account = self._signed_in(scope)
        return Who(
            self._pseudonyms.of_id(bits),
            held is not None,
            self._pseudonyms.of_account(account) if account else None,
        )

    def proven(self, who: Who) -> Who:
        """The same with its standing, and without an id that proves nothing any more.

        Such an id was erased, or it went with the last purpose that kept it: whoever shows it may be anybody.
        Waits for the disk: never on an event loop. Raises  OSError, ConfigurationError
        """
        found = self._rights.stood(who.browser)
        if found is None:
            return who
        standing, since_ms = found
        if standing != "erased" and self._keeps_id(standing, since_ms):
            return replace(who, standing=standing)
        return replace(who, browser=secrets.token_hex(16), has_id=False, standing=standing)

    def _keeps_id(self, granted: frozenset[str], at_ms: int) -> bool:
        """Whether these purposes let the browser keep its id, under the policy of that instant."""
        version = self._policy.in_force(at_ms)
        if version is None:
            return False
        required = {name for name, purpose in version.purposes.items() if not purpose.refusable}
        return LEVELS["cookie"][version.scope(granted | required)["cookie"]] == "long-lived"

    def browser(self, head: Headers, now_ms: int) -> str | None:
        """The pseudonym of a request's id cookie, if it has one. Raises OSError as `of` does."""
        held = self._observer.visitor_id(head, now_ms)
        return self._pseudonyms.of_id(held.bits) if held else None

    def begun(self, scope: Scope, head: Headers, once: str, now_ms: int) -> Begun | None:
        """What a choice begins; None where a repeat of it could not be told. Raises OSError as `of` does.

        Takes  once: as it came. One that is no ONCE, or comes from nobody knows where, tells no repeat
        """
        address = self._observer.address(scope, head)
        if address is None or not identity.ONCE.fullmatch(once):
            return None
        agent = head.get(b"user-agent", b"")[:MAX_AGENT_BYTES]
        return self._pseudonyms.anew().of_choice(now_ms, address, agent, once)

    def of_the_day(self, scope: Scope, head: Headers, now_ms: int, *, remembered: bool = False) -> str | None:
        """The day's pseudonym of a request; None where its address is unknown. Raises OSError as `of` does.

        Takes  remembered: keep the salt for the next one, where a writer thread is there to forget it: in
               memory it must not outlive its day
        """
        address = self._observer.address(scope, head)
        agent = head.get(b"user-agent", b"")[:MAX_AGENT_BYTES]
        pseudonyms = self._pseudonyms if remembered else self._pseudonyms.anew()
        return pseudonyms.of_day(now_ms, address, agent) if address else None

    def held_to(self, scope: Scope, head: Headers, now_ms: int, *, remembered: bool) -> str | None:
        """Under which pseudonym a withdrawal is noted: the id cookie's, without one the day's.

        Neighbours who share the day's share what was noted, too. Takes and raises as `of_the_day`.
        """
        return self.browser(head, now_ms) or self.of_the_day(scope, head, now_ms, remembered=remembered)

    def _signed_in(self, scope: Scope) -> str | None:
        if self._account is None:
            return None
        try:
            account = self._account(scope)
            if account is not None and not isinstance(account, str):
                raise TypeError("Collector(subject=...) gives a text or None")
        except Exception as error:  # the host's fault: counted, and the request goes on
            self._failed(error)
            return None
        return account
