"""What a check says of one thing that does not simply agree."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """Something does not agree; the sentence names the file."""

    what: str


@dataclass(frozen=True)
class Skipped:
    """Something cannot be recomputed any more, and need not be."""

    why: str
