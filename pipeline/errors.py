"""The pipeline's errors.

ImpersonalError (of the collector)
 ├─ LedgerError          the privacy ledger cannot be used as it is
 │   └─ BudgetExhausted  a release would spend more than a day has left
 ├─ BusyError            another run is at work on the same data
 ├─ StoreError           a file of the private store cannot be read
 ├─ TransferError        records may not be handed over as asked
 ├─ ProofError           nothing is known of a consent at the instant asked
 ├─ Unfinished           a round did what does not depend on what went wrong (run.py)
 └─ QueryError           published statistics cannot answer what was asked
     ├─ UnknownStatistic
     ├─ NothingPublished
     └─ NotComparable
"""

from collector.errors import ImpersonalError


class LedgerError(ImpersonalError):
    """The privacy ledger cannot be used as it is."""


class BudgetExhausted(LedgerError):  # noqa: N818 - what happened, said plainly
    """A release would spend more than a day has left; nothing was read, drawn or charged."""


class BusyError(ImpersonalError):
    """Another run is at work on the same data."""


class StoreError(ImpersonalError):
    """A file of the private store cannot be read."""


class QueryError(ImpersonalError):
    """Published statistics cannot answer what was asked."""


class UnknownStatistic(QueryError):  # noqa: N818
    """No statistic has this name."""


class NothingPublished(QueryError):  # noqa: N818
    """No released window lies inside the range asked."""


class NotComparable(QueryError):  # noqa: N818
    """Two periods do not say the same: they overlap, or different days of them are released."""


class TransferError(ImpersonalError):
    """Records may not be handed over as asked; nothing was written."""


class ProofError(ImpersonalError):
    """Nothing is known of a consent at the instant asked."""
