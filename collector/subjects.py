"""Whose data a request may open: the browser with the id cookie, and the account its host vouches for."""

from collections.abc import Callable
from dataclasses import dataclass

from collector import identity
from collector.capture import Headers
from collector.identity import Pseudonyms
from collector.observer import Observer, Scope
from collector.record import date_of

Account = Callable[[Scope], str | None]
"""The host's answer to who is signed in: an opaque id, the same on every device."""


@dataclass(frozen=True, slots=True)
class Who:
    """Pseudonyms of 32 hex digits."""

    browser: str
    """That of the id cookie. Without one a random pseudonym, so that looking for nobody takes as long."""
    has_id: bool
    account: str | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        """Under whom declared values stand: the account before the browser."""
        return (*((self.account,) if self.account else ()), *((self.browser,) if self.has_id else ()))


class Subjects:
    """Tells who a request is about. Nothing but the cookie, or the host, proves it."""

    def __init__(
        self,
        observer: Observer,
        pseudonyms: Pseudonyms,
        account: Account | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._observer = observer
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

    def browser(self, head: Headers, now_ms: int) -> str | None:
        """The pseudonym of a request's id cookie, if it has one. Raises OSError as `of` does."""
        held = self._observer.visitor_id(head, now_ms)
        return self._pseudonyms.of_id(held.bits) if held else None

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
