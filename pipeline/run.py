"""One round: what visitors asked for, then logs → private events → sealed days → released statistics, and
whatever happened until then, the end of what is over its retention.

Everything that is kept appears by a rename or a commit, so a round may be interrupted anywhere; the next
one goes on from there.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from collector.errors import ImpersonalError, PolicyError
from collector.policy import Policy
from collector.record import Clock
from collector.rights import Request
from pipeline import check, kept_policy, proofs
from pipeline.boundary import in_a_line, is_expected
from pipeline.days import destroy_salts, first_day, remove_logs, resume_after, resumes_on, seal
from pipeline.ingest import ingest
from pipeline.release import Outcome, release_due
from pipeline.retention import Expired, expire, newest_uncountable
from pipeline.rights.requests import carry_out
from pipeline.statistics import PURPOSE
from pipeline.status import forget_workers
from pipeline.store import Progress, exclusive


@dataclass
class Round:
    """What one round did."""

    ingested: Counter[str] = field(default_factory=Counter)
    """rows, duplicate, late, erased or a reason of quarantine → frames."""
    sealed: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    """Of every release that was due, known ones included."""
    removed_segments: int = 0
    expired: Expired = field(default_factory=Expired)
    """What was removed because its retention is over."""
    requests: list[Request] = field(default_factory=list)
    """What visitors had asked for, and was done."""
    changed: list[str] = field(default_factory=list)
    """Which versions of the policy were changed after their first use, and what to do."""


class Unfinished(ImpersonalError):  # noqa: N818
    """A round that went wrong did the rest nevertheless; the cause says why."""

    def __init__(self, done: Round, why: str) -> None:
        super().__init__(why)
        self.done = done


def run_once(data: Path, policy: Policy, clock: Clock, progress: Progress) -> Round:
    """Do all that is due at one instant.

    What visitors asked for comes first, and again wherever no records are in use, so that an erasure waits
    for the logs to be read or one window to be released, not for the whole round. Retention comes last, and
    neither waits for an operator to mend what statistics fail for. Then records may go that were never
    counted; nothing is released that lacks them.

    Raises  Unfinished where something went wrong that a user or the machine causes, with what was done;
            BusyError, OSError; what was committed before stays
    """
    now_ms = clock()
    done = Round()

    def instant() -> int:
        # A day that closes while the round runs must not be sealed before its last bytes are read.
        return now_ms

    def ask() -> None:
        done.requests += carry_out(data, instant)

    def publish() -> None:
        _publish(data, policy, instant, progress, done, lambda: attempt(ask))

    def forget() -> None:
        # A day over its retention is released before its records go, if it can be.
        done.expired = let_go(data, policy, instant, is_counted=not wrong)
        forget_workers(data, instant)

    wrong: list[Exception] = []

    def attempt(step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:
            if not is_expected(error):
                raise
            wrong.append(error)

    with exclusive(data):
        for step in (lambda: destroy_salts(data, instant), ask, publish, forget):
            attempt(step)
    if wrong:
        raise Unfinished(done, "; ".join(dict.fromkeys(map(in_a_line, wrong)))) from wrong[0]
    return done


def let_go(data: Path, policy: Policy, clock: Clock, *, is_counted: bool) -> Expired:
    """Remove all that is over its retention; where it was not counted, release nothing that would lack it.

    The caller holds `store.exclusive`. Raises StoreError, OSError
    """
    if not is_counted and (day := newest_uncountable(data, policy, PURPOSE, clock())):
        resume_after(data, day)
    found = expire(data, policy, clock)
    found.said["proofs"] = proofs.expire(data, policy, clock)
    return found


def _publish(
    data: Path, policy: Policy, clock: Clock, progress: Progress, done: Round, ask: Callable[[], None]
) -> None:
    """From the logs to what is published, noted as it is done; `ask` in between."""
    kept_policy.keep(data, policy, clock)
    done.changed = kept_policy.changed(policy, kept_policy.kept(data))
    since = first_day(data, policy, clock)
    done.ingested = ingest(data, clock, progress)
    proofs.keep(data)
    ask()
    done.sealed = seal(data, clock, since)
    done.removed_segments = remove_logs(data)
    if mistakes := check.mistakes(policy):
        raise PolicyError(mistakes)
    done.outcomes = release_due(data, policy, clock, resumes_on(data, since), progress, ask)
