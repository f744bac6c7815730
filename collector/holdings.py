"""What a site holds about a visitor, as far as a web worker sees it at once.

Declared values and their history come from rights.sqlite, records from the segments of the log that still lie
there and from the answer that `impersonal run --watch` left in the outbox; proofs and transfers from that.
Waits for the disk: never on an event loop.
"""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from collector.answers import OUTBOX, OUTBOX_DAYS, Answer, Choice, Handed
from collector.errors import RecordError
from collector.record import DAY_MS, LOGS, MAX_RECORD_BYTES, Record, decode, frames
from collector.rights import Change, Declared, Rights
from collector.subjects import Who

CHUNK_BYTES = 128 * 1024  # searched in one go, while the event loop waits: 0.1 ms
MOST_BYTES = 512 * 1024 * 1024  # of log, newest first; what is older is gathered by the pipeline
MOST_S = 3.0


class Holdings(msgspec.Struct, frozen=True):
    """What was found about one visitor."""

    declared: list[Declared] = []
    """By name; of a name that account and browser both have, the account's."""
    history: list[Change] = []
    records: list[Record] = []
    """Oldest first, each once."""
    asked_ms: int | None = None
    """Since when the rest is being gathered; None where it is not."""
    gathered_ms: int | None = None
    """When the pipeline last gathered everything; None where it has not, or not lately."""
    is_whole: bool = True
    """Whether all the log that lies there was looked through."""
    choices: list[Choice] = []
    """Those that are proven, as gathered: their records may be gone."""
    transfers: list[Handed] = []
    """To whom records went, as gathered."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is known."""
        return not (self.declared or self.history or self.records or self.choices)


def find(data: Path, rights: Rights, who: Who, now_ms: int) -> Holdings:
    """Look for a visitor. For nobody it looks as long and finds nothing.

    Takes   who: as `Subjects.proven` gives it

    Raises  OSError, ConfigurationError
    """
    subjects = (who.account or secrets.token_hex(16), who.browser)
    declared: dict[str, Declared] = {}
    history: list[Change] = []
    for subject in subjects:
        declared = {value.name: value for value in rights.declared(subject)} | declared
        history += rights.history(subject)
    records, is_whole = _in_logs(data / LOGS, who.browser)
    answer = _answer(data / OUTBOX / f"{rights.mark(who.browser).hex()}.json", now_ms)
    if answer is not None:
        records = {record.id: record for record in answer.records} | records
    return Holdings(
        sorted(declared.values(), key=lambda value: value.name),
        sorted(dict.fromkeys(history), key=lambda change: change.at_ms),  # an act on both is one act
        sorted(records.values(), key=lambda record: (record.ts_ms, record.id)),
        rights.asked(who.browser),
        answer.made_ms if answer else None,
        is_whole,
        answer.choices if answer else [],
        answer.transfers if answer else [],
    )


def _answer(path: Path, now_ms: int) -> Answer | None:
    """What the pipeline gathered lately."""
    try:
        answer = msgspec.json.decode(path.read_bytes(), type=Answer)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return answer if now_ms - answer.made_ms <= OUTBOX_DAYS * DAY_MS else None


def _in_logs(logs: Path, subject: str) -> tuple[dict[str, Record], bool]:
    """The records of a pseudonym by id, and whether every segment was read to its end."""
    found: dict[str, Record] = {}
    left, ends_s = MOST_BYTES, time.monotonic() + MOST_S
    for segment in sorted(logs.glob("*/*.log"), reverse=True):
        for stretch in _stretches(segment):
            for record in _of(stretch, subject):
                found[record.id] = record
            left -= len(stretch)
            if left < 0 or time.monotonic() > ends_s:
                return found, False
    return found, True


def _stretches(segment: Path) -> Iterator[bytes]:
    """A segment in pieces of whole lines."""
    try:
        file = segment.open("rb", buffering=0)
    except OSError:  # removed meanwhile
        return
    with file:
        rest = b""
        while chunk := file.read(CHUNK_BYTES):
            chunk = rest + chunk
            end = chunk.rfind(b"\n") + 1
            rest = chunk[end:][-2 * MAX_RECORD_BYTES :]
            yield chunk[:end]


def _of(stretch: bytes, subject: str) -> Iterator[Record]:
    """The records of a pseudonym: its digits are looked for before anything is decoded."""
    sought = subject.encode()
    place = stretch.find(sought)
    while place >= 0:
        end = stretch.find(b"\n", place) + 1
        start = max(stretch.rfind(b"\x1e", 0, place), 0)
        for frame in frames(stretch[start:end]):
            try:
                record = decode(frame.payload) if frame.payload is not None else None
            except RecordError:
                continue
            if record is not None and record.visitor == subject:
                yield record
        place = stretch.find(sought, end)
