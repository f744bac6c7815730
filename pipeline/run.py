"""One round: what visitors asked for, then logs → private events → sealed days → released statistics.

Everything that is kept appears by a rename or a commit, so a round may be interrupted anywhere; the next
one goes on from there.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from collector.errors import PolicyError
from collector.policy import Policy
from collector.record import Clock
from collector.rights import Request
from pipeline import check, proofs
from pipeline.days import destroy_salts, first_day, remove_logs, seal
from pipeline.ingest import ingest
from pipeline.release import Outcome, release_due
from pipeline.retention import Expired, expire
from pipeline.rights.requests import carry_out
from pipeline.status import forget_workers
from pipeline.store import Progress, exclusive


@dataclass(frozen=True)
class Round:
    """What one round did."""

    ingested: Counter[str]
    """rows, duplicate, late, erased or a reason of quarantine → frames."""
    sealed: list[str]
    outcomes: list[Outcome]
    """Of every release that was due, known ones included."""
    removed_segments: int
    expired: Expired
    """What was removed because its retention is over."""
    requests: list[Request]
    """What visitors had asked for, and was done."""


def run_once(data: Path, policy: Policy, clock: Clock, progress: Progress) -> Round:
    """Do all that is due at one instant.

    Raises  BusyError, StoreError, LedgerError, PolicyError, OSError; what was committed before stays
    """
    if mistakes := check.mistakes(policy):
        raise PolicyError(mistakes)
    now_ms = clock()

    def instant() -> int:
        # A day that closes while the round runs must not be sealed before its last bytes are read.
        return now_ms

    with exclusive(data):
        destroy_salts(data, instant)
        requests = carry_out(data, instant)
        since = first_day(data, policy, instant)
        ingested = ingest(data, instant, progress)
        proofs.keep(data)
        sealed = seal(data, instant, since)
        outcomes = release_due(data, policy, instant, since, progress)
        # Last: a day over its retention is released before its records go.
        removed = remove_logs(data)
        expired = expire(data, policy, instant)
        proofs.expire(data, policy, instant)
        forget_workers(data, instant)
    return Round(ingested, sealed, outcomes, removed, expired, requests)
