"""What the pipeline found about a subject: it crosses from the pipeline to the privacy page as a file."""

import msgspec

from collector.record import Record

OUTBOX = "outbox"
"""outbox/<mark>.json: the answer to an access request, for as long as OUTBOX_DAYS."""
OUTBOX_DAYS = 1


class Choice(msgspec.Struct, frozen=True):
    """A choice that is proven: it outlives the record that it was read from."""

    id: str
    """The record's."""
    at_ms: int
    act: str
    via: str
    policy: str
    purposes: tuple[str, ...]
    service: str | None


class Handed(msgspec.Struct, frozen=True):
    """A transfer that records of a subject were part of."""

    day: str
    """UTC, as 2026-11-24."""
    recipient: str
    ground: str
    """necessary, consent, law, sale or breach."""


class Answer(msgspec.Struct, frozen=True):
    """outbox/<mark>.json: what the pipeline found about a subject."""

    made_ms: int
    records: list[Record]
    """From logs and private events, oldest first, choices among them."""
    choices: list[Choice] = []
    """Those that are proven, oldest first."""
    transfers: list[Handed] = []
    """Oldest first."""
