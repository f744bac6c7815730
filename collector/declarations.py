"""What a site lets its visitors say of themselves: `declare`, `alter` and `declared`, for its own handlers.

    stored = await declare(request.scope, age_band="25-34")
    stored = await alter(request.scope, age_band="35-44")  # on a form, by the visitor
    values = await declared(request.scope)

A value is checked by the type that the policy gives its attribute, never for its truth. It is stored for a
visitor who granted the attribute's purpose, and whom an id cookie or an account tells apart.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from collector.capture import picked
from collector.consent import Decision
from collector.declared import Value, checked
from collector.errors import ConfigurationError
from collector.observer import Observer, Scope, mounted
from collector.policy import Version
from collector.rights import Declared, Rights, Standing
from collector.standings import Standings
from collector.subjects import Subjects, Who
from collector.threads import Threads
from collector.writer import Writer

_Store = Callable[[Sequence[str], Mapping[str, Value], str, int], frozenset[str]]
"""Stores values under subjects, for a policy version, at an instant; gives back the names."""


class Declarations:
    """Stores and reads what visitors declare, under what they have granted."""

    def __init__(
        self, observer: Observer, writer: Writer, rights: Rights, standings: Standings, subjects: Subjects
    ) -> None:
        self.observer = observer
        self._standings = standings
        self._writer = writer
        self._rights = rights
        self._subjects = subjects
        self._threads = Threads()

    def decision(self, scope: Scope) -> Decision:
        """What the visitor of a request allows, whatever an older cookie says."""
        head, now_ms = picked(scope["headers"]), self.observer.clock()
        decision = self.observer.decide(head, now_ms)
        if decision.least is decision:
            return decision
        try:
            if not self._writer.keep_looking():
                self._standings.refresh(now_ms)
            subject = (
                self._subjects.held_to(scope, head, now_ms, remembered=self._writer.is_running)
                if self._standings
                else None
            )
            standing = self._standings.of(subject, now_ms) if subject else None
        except Exception as error:  # the host gets the smaller answer
            self._writer.failed(error)
            return decision.least
        return held_to(decision, standing)

    async def declare(self, scope: Scope, values: Mapping[str, object]) -> frozenset[str]:
        """Store what the site says; give back the names that were stored (see `declare`)."""
        return await self._stored(scope, values, self._rights.declare)

    async def alter(
        self, scope: Scope, values: Mapping[str, object], *, is_public: bool | None
    ) -> frozenset[str]:
        """Store what the visitor says, and whether others may see it; give back the names that were stored.

        Takes   is_public: None where it was not asked
        Raises  as `declare`
        """
        return await self._stored(scope, values, partial(self._rights.alter, is_public=is_public))

    async def _stored(self, scope: Scope, values: Mapping[str, object], store: _Store) -> frozenset[str]:
        head, now_ms = picked(scope["headers"]), self.observer.clock()
        decision = self.observer.decide(head, now_ms)
        fitting = _checked(decision.version, values)
        if not fitting or decision.version is None:
            return frozenset()
        who = self._subjects.of(scope, head, now_ms)
        stored, declined = frozenset[str](), Counter(unknown_visitor=len(fitting))
        if who.subjects:
            stored, declined = await self._threads.run(self._store, store, who, decision, fitting, now_ms)
        for reason, count in declined.items():
            self._writer.declined(reason, count)
        return stored

    async def declared(self, scope: Scope) -> dict[str, Declared]:
        """What the visitor has declared (see `declared`)."""
        head, now_ms = picked(scope["headers"]), self.observer.clock()
        who = self._subjects.of(scope, head, now_ms)
        if not who.subjects:
            return {}
        return await self._threads.run(self._read, who, self.observer.decide(head, now_ms))

    def _store(
        self, store: _Store, who: Who, decision: Decision, values: Mapping[str, Value], now_ms: int
    ) -> tuple[frozenset[str], Counter[str]]:
        """The names that were stored, and how many were not, by reason."""
        who = self._subjects.proven(who)
        if not who.subjects or decision.version is None:
            reason = "erased" if who.standing == "erased" else "unknown_visitor"
            return frozenset(), Counter({reason: len(values)})
        granted = _granted(who, decision, values)
        allowed, policy = {name: values[name] for name in granted}, decision.version.id
        stored = store(who.subjects, allowed, policy, now_ms) if allowed else granted
        return stored, Counter(
            not_granted=len(values) - len(granted), visitors_own=len(granted) - len(stored)
        )

    def _read(self, who: Who, decision: Decision) -> dict[str, Declared]:
        who = self._subjects.proven(who)
        found: dict[str, Declared] = {}
        for subject in reversed(who.subjects):
            found |= {value.name: value for value in self._rights.declared(subject)}
        return {name: found[name] for name in sorted(_granted(who, decision, found))}


def _granted(who: Who, decision: Decision, names: Iterable[str]) -> frozenset[str]:
    """Those of the attributes whose purpose holds, whatever an older cookie says."""
    decision = held_to(decision, who.standing)
    version, consented = decision.version, decision.consented
    attributes = version.declared if version else {}
    return frozenset(
        name
        for name in names
        if name in attributes
        and attributes[name].purpose in decision.granted
        # A consent to an older version covers no attribute that it did not ask for.
        and (consented is None or consented is version or _is_covered(version, consented, name))
    )


def held_to(decision: Decision, standing: Standing | None) -> Decision:
    """What is left of a decision, whatever an older cookie says: who was erased grants nothing."""
    if standing is None:
        return decision
    return decision.least if standing == "erased" else decision.within(standing)


def _is_covered(version: Version | None, consented: Version, name: str) -> bool:
    if version is None:
        return False
    attribute = version.declared[name]
    return not version.purposes[attribute.purpose].refusable or consented.declares(attribute)


def _checked(version: Version | None, values: Mapping[str, object]) -> dict[str, Value]:
    known = version.declared if version else {}
    for name in values:
        if name not in known:
            raise ConfigurationError(
                f"{name} is not declared in the policy's version in force: add [versions.declared.{name}]"
            )
    return {name: checked(known[name], value) for name, value in values.items()}


async def declare(scope: Scope, **values: object) -> frozenset[str]:
    """Store what the visitor of a request says of themselves, each value under its attribute's name.

    Gives   the names that were stored: none for a visitor without id cookie and account, none for a purpose
            that is not granted, and none that the visitor altered or erased on the privacy page: there their
            word stands. `impersonal status` counts those
    Raises  ConfigurationError for an attribute that the policy's version in force does not name, or where no
            Collector is mounted; DeclarationError for a value that does not fit its type; OSError where the
            store cannot be written
    """
    return await _declarations(scope).declare(scope, values)


async def alter(scope: Scope, **values: object) -> frozenset[str]:
    """The same where the visitor says it now, on a form of the site: their latest word, whatever was before.

    Gives   as `declare`, but for what was altered or erased before; a value that is new is private
    Raises  as `declare`
    """
    return await _declarations(scope).alter(scope, values, is_public=None)


async def declared(scope: Scope) -> dict[str, Declared]:
    """What the visitor of a request has declared, by name, as far as its purpose still holds.

    Show others only what is `public`: the visitor alone can make it so, and only for the value they saw.

    Raises  ConfigurationError where no Collector is mounted, OSError where the store cannot be read
    """
    return await _declarations(scope).declared(scope)


def _declarations(scope: Scope) -> Declarations:
    found: Declarations = mounted(scope)
    return found
