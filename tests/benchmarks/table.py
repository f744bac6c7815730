"""The table that benchmarks fill."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure, with its baseline from the same run where it has one."""

    what: str
    figure: str
    baseline: str = ""
    ratio: float | None = None
    at_most: float | None = None
    """The ratio this project sets itself."""
    at_least: float | None = None
    """The same where the ratio says how many times as fast."""

    def cells(self) -> tuple[str, str, str, str]:
        """The row as text."""
        target = f" (target ≤ {self.at_most:g} ×)" if self.at_most else ""
        if self.at_least:
            target = f" as fast (target ≥ {self.at_least:g} ×)"
        ratio = f"{self.ratio:.2f} ×{target}" if self.ratio is not None else ""
        return self.what, self.figure, self.baseline, ratio


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [("what", "figure", "against", "ratio"), ("---",) * 4, *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
