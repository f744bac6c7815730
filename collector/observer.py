"""From an ASGI scope to a decision and an observation, on the event loop: cheap, and without a word kept."""

import re
from typing import Any

from collector import capture, consent, identity, page
from collector.capture import Headers
from collector.consent import MAX_COOKIE_BYTES, Choice, Decider, Decision
from collector.errors import ConfigurationError
from collector.identity import VisitorId, read_id
from collector.observation import (
    MAX_AGENT_BYTES,
    MAX_FORWARDED_BYTES,
    MAX_HOST_BYTES,
    MAX_REFERER_BYTES,
    MAX_URL_BYTES,
    Observation,
)
from collector.policy import Policy
from collector.record import DAY_MS, Clock, date_of

Scope = Any
"""An ASGI connection scope, as the server made it."""

SCOPE_KEY = "impersonal"
"""Where a scope carries the observer, for what the host asks of its visitor."""

ROOT_KEY = "impersonal.root"
"""Where a scope carries the path that the collector itself is mounted under, if any."""

_CONSENT = consent.COOKIE.encode() + b"="
_ID = identity.COOKIE.encode() + b"="


class Observer:
    """Reads requests for one site."""

    def __init__(self, policy: Policy, trusted: capture.Trusted, clock: Clock, path: str) -> None:
        self.clock = clock
        self.path = path
        self.own_hosts = frozenset(policy.controller.hosts)
        self._trusted = trusted
        self._forwarding = trusted.header if trusted.networks or trusted.unix else None
        self._decide = Decider(policy).__call__  # the interpreter calls a method faster than an object
        self._silent: tuple[int, Decision | None] = (-1, None)
        """A day, and the decision on it for whoever said nothing yet: most views of a site that asks."""

    def decide(self, head: Headers, ts_ms: int) -> Decision:
        """Which purposes hold for a request, given its `picked` headers."""
        if b"cookie" not in head and b"sec-gpc" not in head and b"dnt" not in head:
            day, decision = self._silent
            if decision is None or day != ts_ms // DAY_MS:
                decision = self._decide(ts_ms, None, False, False)
                self._silent = ts_ms // DAY_MS, decision
            return decision
        cookie = _cookie(_CONSENT, head[b"cookie"]) if b"cookie" in head else None
        if b"sec-gpc" not in head and b"dnt" not in head:
            return self._decide(ts_ms, cookie, False, False)
        return self._decide(ts_ms, cookie, *consent.signals(head.get(b"sec-gpc"), head.get(b"dnt")))

    def decide_on(self, choice: Choice, head: Headers, ts_ms: int) -> Decision:
        """The same for a request with the cookie of a choice, which none has sent yet."""
        signals = consent.signals(head.get(b"sec-gpc"), head.get(b"dnt"))
        return self._decide(ts_ms, choice.cookie().encode(), *signals)

    def visitor_id(self, head: Headers, ts_ms: int) -> VisitorId | None:
        """The id a request's cookie holds."""
        return read_id(_cookie(_ID, head.get(b"cookie", b"")), date_of(ts_ms))

    def address(self, scope: Scope, head: Headers) -> str | None:
        """The client's address; None where it is unknown."""
        return capture.client_address(scope.get("client"), head, self._trusted)

    def page_view(
        self, scope: Scope, root_path: str, head: Headers, decision: Decision, ts_ms: int
    ) -> Observation:
        """A page that the site just answered with; `root_path` as it was before the site's own mounts."""
        raw_path, path = scope.get("raw_path"), scope["path"]
        return Observation(
            kind="view",
            ts_ms=ts_ms,
            decision=decision,
            id_cookie=_cookie(_ID, head.get(b"cookie", b"")),
            client=scope.get("client"),
            forwarded=head.get(self._forwarding, b"")[-MAX_FORWARDED_BYTES:] if self._forwarding else b"",
            agent=head.get(b"user-agent", b"")[:MAX_AGENT_BYTES],
            host=head.get(b"host", b"")[:MAX_HOST_BYTES],
            raw_path=raw_path and raw_path[: MAX_URL_BYTES + 1],
            path=path[:MAX_URL_BYTES],
            root_path=root_path,
            # Its parameters are pieces of the path, and as long.
            routed=page.routed(scope) if len(path) <= MAX_URL_BYTES else None,
            query=scope.get("query_string", b"")[:MAX_URL_BYTES],
            referer=head.get(b"referer", b"")[:MAX_REFERER_BYTES],
        )

    def is_shown_again(self, scope: Scope, head: Headers, decision: Decision, ts_ms: int) -> bool:
        """Whether a form of consent led back to its page, which was counted with the consent.

        The sign is a page that names itself as its referrer, on the day of a choice by form.
        """
        referer, choice = head.get(b"referer"), decision.choice
        if not referer or choice is None or choice.via != "form" or choice.day != date_of(ts_ms):
            return False
        query = scope.get("query_string", b"")
        target = (scope.get("raw_path") or scope["path"].encode()) + (b"?" + query if query else b"")
        return referer.endswith(b"//" + head.get(b"host", b"") + target)

    def reported(
        self, scope: Scope, head: Headers, decision: Decision, kind: str, shown: str, referrer: str = ""
    ) -> Observation:
        """What a browser reports about one of its pages; `shown` is its path and query, in its own words."""
        path, _, query = shown.partition("?")
        return Observation(
            kind=kind,
            ts_ms=self.clock(),
            decision=decision,
            id_cookie=_cookie(_ID, head.get(b"cookie", b"")),
            client=scope.get("client"),
            forwarded=head.get(self._trusted.header, b"")[-MAX_FORWARDED_BYTES:],
            agent=head.get(b"user-agent", b"")[:MAX_AGENT_BYTES],
            host=head.get(b"host", b"")[:MAX_HOST_BYTES],
            raw_path=path.encode(errors="replace")[: MAX_URL_BYTES + 1],
            path=path,
            query=query.encode(errors="replace")[:MAX_URL_BYTES],
            referer=referrer.encode(errors="replace")[:MAX_REFERER_BYTES],
        )


def _cookie(name: bytes, header: bytes) -> bytes | None:
    """The first cookie of a name, given with its equals sign; None for none or a longer one than we set."""
    before, found, rest = header.partition(name)
    if not found:
        return None
    if before and before[-2:] != b"; ":  # not as browsers write it, or the end of another's name
        match = re.search(rb"(?:^|;)[ \t]*" + name, header)
        if match is None:
            return None
        rest = header[match.end() :]
    value = rest.partition(b";")[0]
    return value if len(value) <= MAX_COOKIE_BYTES else None


def observer_of(scope: Scope) -> Observer:
    """The observer of the site that a request came to.

    Raises  ConfigurationError where no Collector is mounted around the app
    """
    found: Observer = mounted(scope).observer
    return found


def mounted(scope: Scope) -> Any:
    """What the Collector put into a request's scope for the host's handlers: its Declarations.

    Raises  ConfigurationError where no Collector is mounted around the app
    """
    found = scope.get(SCOPE_KEY)
    if found is None:
        raise ConfigurationError("this needs the Collector middleware around the app: add it")
    return found
