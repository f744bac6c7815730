"""What was and was not collected: every record traced to its visitor, every visitor searched for on disk."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from collector.simulate import ONE_PURPOSE, STRAY_SESSION, Person, Step
from pipeline.demo.disk import found_on_disk
from pipeline.engine import connect

UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Hits:
    """The outcome of one search."""

    what: str
    searched: int
    found: int
    """How many of those stand somewhere on disk."""
    expected: int


def pseudonym(data: Path, cookie: str) -> str:
    """What the collector writes instead of an id cookie: only who holds the key can tell."""
    key = (data / "keys" / "pseudonym.key").read_bytes()
    return blake2b(bytes.fromhex(cookie.partition(".")[0]), key=key, digest_size=16).hexdigest()


def people_of(steps: Iterable[Step]) -> list[Person]:
    """Everybody who took part, each once."""
    return list(dict.fromkeys(step.person for step in steps))


def records_by_kind(data: Path, people: Iterable[Person]) -> dict[str, Counter[str]]:
    """Kind of visitor → kind of record → records among the private events.

    A pseudonym leads back to a person only here, where the cookies of all are known; a record without one
    is a refusal, or was granted for a purpose that has no identifier.
    """
    kinds = {pseudonym(data, cookie): person.kind for person in people for cookie in person.ids}
    files = sorted((data / "events").glob("day=*/[0-9]*.parquet"))
    found: dict[str, Counter[str]] = defaultdict(Counter)
    if not files:
        return found
    with connect() as database:
        query = "SELECT visitor, kind, act, purposes FROM read_parquet(?)"
        rows = database.execute(query, [[str(file) for file in files]]).fetchall()
    for visitor, kind, act, purposes in rows:
        if visitor is not None:
            who = kinds.get(visitor, UNEXPLAINED)
        elif act == "refuse":
            who = "refuses"
        else:
            who = ONE_PURPOSE if purposes == ["improvement", "necessary"] else UNEXPLAINED
        found[who][kind] += 1
    return found


def searches(data: Path, people: list[Person]) -> list[Hits]:
    """Search the data directory for what must not be in it; and first for what must, as a control."""
    consenting = [person for person in people if person.ids]
    control = {pseudonym(data, cookie) for person in consenting for cookie in person.ids}
    addresses = {address for person in people for address in (person.address, person.spoofed) if address}
    agents = {person.agent for person in people}
    ids = {cookie.partition(".")[0] for person in consenting for cookie in person.ids}
    found = found_on_disk(data, control | addresses | agents | ids | {STRAY_SESSION})

    def hits(what: str, texts: set[str], expected: int = 0) -> Hits:
        return Hits(what, len(texts), sum(text in found for text in texts), expected)

    return [
        hits("pseudonyms of consenting visitors (the control)", control, len(control)),
        hits("raw addresses", addresses),
        hits("raw user agents", agents),
        hits("raw id cookies", ids),
        hits("session ids in query strings", {STRAY_SESSION}),
    ]


def ids_without_a_grant(people: Iterable[Person]) -> int:
    """Id cookies given to visitors who never granted anything."""
    granting = ("grants", "withdraws")
    return sum(len(person.ids) for person in people if not person.kind.startswith(granting))
