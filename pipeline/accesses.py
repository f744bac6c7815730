"""Which operator's command looked at single records, when, and about whom: a register that only grows.

Whatever reads the records of single visitors and shows them calls `record` before it shows anything.
"""

from pathlib import Path

from collector.record import Clock
from collector.rights import Rights
from pipeline import chain


def record(data: Path, clock: Clock, command: str, subject: str | None, count: int) -> None:
    """Write down one access, synced when this returns.

    command  as it was typed, without its arguments: "rights access"
    subject  the pseudonym it was about, 32 hex digits, kept as a mark; None for many at once
    count    how many records it read
    Raises   ConfigurationError, OSError: then nothing may be shown
    """
    mark = Rights(data).mark(subject).hex() if subject else None
    entry = {"command": command, "user": chain.system_user(), "subject": mark, "count": count}
    with chain.opened(data) as database, chain.transaction(database):
        chain.add(database, "access", clock(), entry)
