"""`Collector`: the ASGI middleware a site mounts; `granted` and `must_ask`: what its visitor allows."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from collector import capture, declarations
from collector.consent import Decision, Reason
from collector.enrich import Enricher
from collector.errors import ConfigurationError
from collector.identity import Pseudonyms
from collector.injection import Injection
from collector.observation import MAX_AGENT_BYTES, Assembler, Tools
from collector.observer import ROOT_KEY, SCOPE_KEY, Observer, mounted
from collector.policy import Policy
from collector.policy_file import load
from collector.quota import QUOTA_BYTES
from collector.record import Clock, now_ms
from collector.rights import Rights
from collector.sinks import LocalFiles, Sink
from collector.standings import Standings
from collector.subjects import Account, Subjects
from collector.writer import Writer

# Every framework has types of its own for ASGI's dictionaries and none accepts another's.
Scope = Any
Receive = Any
Send = Any
Message = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

GPC = "/.well-known/gpc.json"
_DEFAULT = Reason.DEFAULT  # Python 3.11 takes microseconds to find a member of an enum


class Collector:
    """Pure ASGI middleware that records what the policy and the visitor allow, and nothing else.

        app.add_middleware(Collector, policy="policy.toml", data="data/")

    Every message passes through as it came: the host's responses are not read, buffered or changed, unless
    `inject` asks for it, and no fault of the collector reaches them.
    """

    def __init__(
        self,
        app: App,
        *,
        policy: str | Path | Policy = "policy.toml",
        data: str | Path = "data",
        path: str = "/_impersonal",
        privacy: str = "",
        gpc: bool = True,
        subject: Account | None = None,
        trusted_proxies: Iterable[str] = (),
        mmdb: str | Path | None = None,
        sink: Sink | None = None,
        clock: Clock = now_ms,
        quota: int = QUOTA_BYTES,
        inject: bool = False,
    ) -> None:
        """Mount the collector.

        Takes   app: the ASGI application to observe
                policy: policy.toml, or a Policy
                data: the site's data directory; made on first use, 0700
                path: where the script, its events and consent live, on the site's own host
                privacy: where else the privacy page is shown, for example /privacy; always at <path>/privacy
                gpc: whether to answer /.well-known/gpc.json; False where the site has its own
                subject: gives the opaque account id of who is signed in, from a scope; None for nobody
                trusted_proxies: addresses or networks whose X-Forwarded-For is believed
                mmdb: a GeoLite2, GeoIP2 or DB-IP database; without one, the embedded country table
                sink: where records go instead of data/logs, for example MemorySink in a test
                clock: UTC milliseconds
                quota: bytes of log under `data`; beyond it page views are dropped, consents still stored
                inject: put the banner into HTML pages before </body>, for visitors who are to be asked
        Raises  PolicyError, ConfigurationError
        """
        if not path.startswith("/") or path.endswith("/"):
            raise ConfigurationError(f'path is "{path}": start it with a slash and end it without one')
        if privacy and (not privacy.startswith("/") or privacy.endswith("/")):
            raise ConfigurationError(f'privacy is "{privacy}": start it with a slash and end it without one')
        self._path = path
        self._elsewhere = ({privacy: "/privacy"} if privacy else {}) | ({GPC: "/gpc.json"} if gpc else {})
        self._clock = clock
        directory = Path(data).absolute()  # a host may go elsewhere later
        self.policy = policy if isinstance(policy, Policy) else load(policy)
        trusted, standings = capture.Trusted(trusted_proxies), Standings(directory)
        pseudonyms = Pseudonyms(directory)
        self._enricher = enricher = Enricher(Path(mmdb) if mmdb else None)
        self._observer = Observer(self.policy, trusted, clock, path)
        self.writer = Writer(
            lambda: Assembler(Tools(pseudonyms, enricher, trusted, self._observer.own_hosts, standings)),
            (lambda _: sink) if sink is not None else partial(LocalFiles, directory),
            clock,
            directory if sink is None else None,
            quota_bytes=quota,
        )
        self.app = Injection(app, self._observer, self.writer.failed) if inject else app
        rights = Rights(directory)
        subjects = Subjects(self.policy, self._observer, rights, pseudonyms, subject, self.writer.failed)
        self._declarations = declarations.Declarations(
            self._observer, self.writer, rights, standings, subjects
        )
        # A site has loaded Starlette's requests and responses already; a command never needs them.
        from collector.routes import Routes  # noqa: PLC0415

        self._routes = Routes(
            self.policy,
            self._observer,
            self.writer,
            rights,
            subjects,
            self._declarations,
            path,
            privacy or path + "/privacy",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the collector's own routes; watch the host's page views; pass everything on."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        # The host asks granted(scope) in its handlers, so the scope itself carries the way to the answer.
        scope[SCOPE_KEY] = self._declarations
        below, root_path = scope["path"], scope.get("root_path", "")
        if root_path:
            scope[ROOT_KEY] = root_path
            below = below.removeprefix(root_path)
        if self._path in below and below.startswith(self._path + "/"):
            await self._own(scope, receive, send, below.removeprefix(self._path))
            return
        if below in self._elsewhere:
            await self._own(scope, receive, send, self._elsewhere[below])
            return
        if scope["method"] != "GET":
            await self.app(scope, receive, send)
            return

        await self.app(scope, receive, _Watch(self, scope, root_path, send).send)

    def warm(self) -> None:
        """Build the resolvers now: for a preloading server, before it forks. Lifespan does it otherwise."""
        self._enricher.warm()

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        scope[SCOPE_KEY] = self._declarations
        await self.app(scope, receive, send)

    def _observe(self, scope: Scope, root_path: str, start: Message) -> None:
        """Record the page view that a response begins, if it is one and its visitor allows any of it."""
        try:
            observer, writer = self._observer, self.writer
            head = capture.picked(scope["headers"])
            answer = start.get("headers", ())
            if not capture.is_page_view("GET", start["status"], answer, head, scope["path"]):
                return
            if capture.is_prefetch(head):
                return
            ts_ms = self._clock()
            decision = observer.decide(head, ts_ms)
            writer.decisions[decision.reason] += 1
            if decision.fields:
                if b"referer" not in head or not observer.is_shown_again(scope, head, decision, ts_ms):
                    writer.put(observer.page_view(scope, root_path, head, decision, ts_ms))
            elif decision.reason is _DEFAULT:
                writer.glance(head.get(b"user-agent", b"")[:MAX_AGENT_BYTES])
        except Exception as error:  # the host's response must not know
            writer.failed(error)

    async def _own(self, scope: Scope, receive: Receive, send: Send, route: str) -> None:
        try:
            response = await self._routes.answer(scope, receive, route)
        except Exception as error:
            self.writer.failed(error)
            response = _unavailable
        await response(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Warm up before the first request and flush after the last; the messages pass untouched."""

        async def warm_then_receive() -> Message:
            message: Message = await receive()
            if message["type"] == "lifespan.startup":
                await self._guarded(self.writer.warmed)
            return message

        async def flush_then_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.writer.is_told_to_stop = True  # by a server that goes on with the lifespan
            if message["type"] == "lifespan.shutdown.complete":
                await self._guarded(self.writer.stopped)
            await send(message)

        await self.app(scope, warm_then_receive, flush_then_send)

    async def _guarded(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except Exception as error:  # the host starts and stops whatever becomes of the collector
            self.writer.failed(error)


async def _unavailable(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer to a request that the collector could not take."""
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


class _Watch(msgspec.Struct):
    """The way of one response's messages.

    A method of a small object, where a function defined anew for each request would do: the interpreter
    remembers methods at the places that call them, and pays for each new function.
    """

    collector: Collector
    scope: Scope
    root_path: str
    pass_on: Send

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on as it is; with the first of a response, see whether it is a page view."""
        if message["type"] == "http.response.start":
            self.collector._observe(self.scope, self.root_path, message)
        passed: Awaitable[None] = self.pass_on(message)
        return passed


def granted(scope: Scope) -> frozenset[str]:
    """The purposes that hold for the visitor of a request: granted, not refusable, or on by default.

    Raises  ConfigurationError where no Collector is mounted around the app
    """
    return frozenset(_decision(scope).granted)


def must_ask(scope: Scope) -> bool:
    """Whether the visitor is still to be asked: no choice yet, or a policy that has widened since.

    Raises  ConfigurationError where no Collector is mounted around the app
    """
    return _decision(scope).ask


def _decision(scope: Scope) -> Decision:
    found: declarations.Declarations = mounted(scope)
    return found.decision(scope)
