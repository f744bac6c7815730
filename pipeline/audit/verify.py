"""Recomputes what can be recomputed of the operator's own releases. One row per check."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.errors import PolicyError
from collector.policy import Policy
from pipeline import check
from pipeline.audit import accounts, contents
from pipeline.audit.released import Books, is_there_anything, read
from pipeline.audit.said import Mistake, Skipped
from pipeline.ledger import LEDGER, Ledger
from pipeline.store import Progress, exclusive


@dataclass(frozen=True)
class Check:
    """One thing that must agree."""

    key: str
    says: str
    run: Callable[[Books], Iterator[Mistake | Skipped | None]]
    """For each thing checked a mistake, why it could not be checked, or None where it agrees."""


CHECKS = (
    Check("bytes", "published files are the ledger's, byte for byte", contents.same_bytes),
    Check("contents", "each file holds the cells, keys and intervals that its manifest says", contents.sound),
    Check("costs", "bounds and noise cost what was charged", accounts.costs),
    Check("caps", "no day spent more than its cap, and just what its releases cost", accounts.caps),
    Check("chain", "every release is chained to the one before, up to the published head", accounts.chain),
    Check("closed", "every window was over before it was released", accounts.closed),
    Check("definitions", "bounds, SQL, noise and keys have the hash that is published", contents.definitions),
    Check("inputs", "the private events are those that were sealed", contents.inputs),
)


@dataclass(frozen=True)
class Verified:
    """One check and what it found."""

    check: Check
    agreed: int
    skipped: Counter[str]
    """Why → how many could not be checked."""
    mistakes: list[str]

    def as_row(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return {
            "check": self.check.key,
            "says": self.check.says,
            "agreed": self.agreed,
            "skipped": dict(self.skipped),
            "mistakes": self.mistakes,
        }

    def as_words(self) -> tuple[str, str, str, str]:
        """The check, its verdict, how many agreed, and what it says."""
        rest = "".join(f"; {count:,} {why}" for why, count in sorted(self.skipped.items()))
        verdict = f"{len(self.mistakes):,} wrong" if self.mistakes else "agrees"
        return self.check.key, verdict, f"{self.agreed:,}", f"{self.check.says}{rest}"


def verify(data: Path, policy: Policy, now_ms: int, progress: Progress) -> list[Verified]:
    """Check everything that was released; empty where nothing was.

    Raises  PolicyError for a policy that no run accepts; BusyError while a run is at work; LedgerError where
            the ledger is missing or cannot be read
    """
    if found := check.mistakes(policy):
        raise PolicyError(found)
    if not is_there_anything(data):
        return []
    with exclusive(data), Ledger(data / LEDGER) as ledger:
        books = Books(data, policy, now_ms, ledger, tuple(read(data, ledger, progress)))
        return [_verified(row, books) for row in CHECKS]


def _verified(row: Check, books: Books) -> Verified:
    found = list(row.run(books))
    return Verified(
        row,
        found.count(None),
        Counter(each.why for each in found if isinstance(each, Skipped)),
        [each.what for each in found if isinstance(each, Mistake)],
    )
