"""What a site lets its visitors say of themselves: `declare` and `declared`, for the site's own handlers.

    stored = await declare(request.scope, age_band="25-34")
    values = await declared(request.scope)

A value is checked by the type that the policy gives its attribute, never for its truth. It is stored for a
visitor who granted the attribute's purpose, and whom an id cookie or an account tells apart.
"""

from collections.abc import Iterable, Mapping

from collector.capture import picked
from collector.consent import Decision
from collector.declared import Value, checked
from collector.errors import ConfigurationError
from collector.observer import Observer, Scope, mounted
from collector.policy import Version
from collector.rights import By, Declared, Rights, Standings
from collector.subjects import Subjects, Who
from collector.web import Threads
from collector.writer import Writer


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
        least = decision.within(frozenset())
        if least is decision:
            return decision
        try:
            if not self._writer.is_running:  # whose thread looks several times a second
                self._standings.refresh(now_ms)
            subject = self._subjects.held_to(scope, head, now_ms) if self._standings else None
            standing = self._standings.of(subject, now_ms) if subject else None
        except Exception as error:  # the host gets the smaller answer
            self._writer.failed(error)
            return least
        if standing is None:
            return decision
        return least if standing == "erased" else decision.within(standing)

    async def declare(self, scope: Scope, values: Mapping[str, object], by: By = "site") -> frozenset[str]:
        """Store values; give back the names that were stored (see `declare`)."""
        head, now_ms = picked(scope["headers"]), self.observer.clock()
        decision = self.observer.decide(head, now_ms)
        fitting = _checked(decision.version, values)
        if not fitting or decision.version is None:
            return frozenset()
        who = self._subjects.of(scope, head, now_ms)
        stored, reason = frozenset[str](), "unknown_visitor"
        if who.subjects:
            policy = decision.version.id
            stored, reason = await self._threads.run(self._store, who, decision, policy, fitting, by, now_ms)
        self._writer.declined(reason, len(fitting) - len(stored))
        return stored

    async def declared(self, scope: Scope) -> dict[str, Declared]:
        """What the visitor has declared (see `declared`)."""
        head, now_ms = picked(scope["headers"]), self.observer.clock()
        who = self._subjects.of(scope, head, now_ms)
        if not who.subjects:
            return {}
        return await self._threads.run(self._read, who, self.observer.decide(head, now_ms))

    def _store(
        self, who: Who, decision: Decision, policy: str, values: Mapping[str, Value], by: By, now_ms: int
    ) -> tuple[frozenset[str], str]:
        """The names that were stored, and why the others were not."""
        granted = self._granted(who, decision, values)
        allowed = {name: values[name] for name in granted}
        if allowed and not self._rights.declare(who.subjects[0], allowed, policy, by, now_ms):
            return frozenset(), "erased"
        return granted, "not_granted"

    def _read(self, who: Who, decision: Decision) -> dict[str, Declared]:
        if who.account is None and self._rights.standing(who.browser) == "erased":
            return {}
        found: dict[str, Declared] = {}
        for subject in reversed(who.subjects):
            found |= {value.name: value for value in self._rights.declared(subject)}
        return {name: found[name] for name in sorted(self._granted(who, decision, found))}

    def _granted(self, who: Who, decision: Decision, names: Iterable[str]) -> frozenset[str]:
        """Those of the attributes whose purpose holds, whatever an older cookie says."""
        standing = self._rights.standing(who.browser)
        if isinstance(standing, frozenset):
            decision = decision.within(standing)
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
            that is not granted; `impersonal status` counts those
    Raises  ConfigurationError for an attribute that the policy's version in force does not name, or where no
            Collector is mounted; DeclarationError for a value that does not fit its type; OSError where the
            store cannot be written
    """
    return await _declarations(scope).declare(scope, values)


async def declared(scope: Scope) -> dict[str, Declared]:
    """What the visitor of a request has declared, by name, as far as its purpose still holds.

    Show others only what is `public`: the visitor alone can make it so.

    Raises  ConfigurationError where no Collector is mounted, OSError where the store cannot be read
    """
    return await _declarations(scope).declared(scope)


def _declarations(scope: Scope) -> Declarations:
    found: Declarations = mounted(scope)
    return found
