"""What the commands print: tables, CSV, JSON, sentences and progress bars."""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from collector.policy import Policy, Version

if TYPE_CHECKING:
    from collector.rights import Request
    from pipeline.retention import Expired
    from pipeline.run import Round
    from pipeline.store import Progress

Row = Mapping[str, Any]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")


@contextmanager
def progress() -> "Iterator[Progress]":
    """A bar for each thing that is done, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - a sixteenth of a second
    from rich.progress import Progress as Bars  # noqa: PLC0415
    from rich.progress import Task, TransferSpeedColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Rate(TransferSpeedColumn):
        def render(self, task: Task) -> Text:
            # Logs are counted in bytes; days and releases have no rate to speak of.
            return super().render(task) if task.description.startswith("reading") else Text()

    columns = (*Bars.get_default_columns(), Rate())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield tell


def as_json(value: object) -> str:
    """JSON to read and to parse."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def as_rows(rows: Sequence[Row]) -> str:
    """A JSON array, one row a line."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]" if rows else "[]"


def as_csv(rows: Sequence[Row]) -> str:
    """CSV with a header. Keys come from traffic: none becomes a formula where it is opened (ASVS 1.2.10)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return text.getvalue().removesuffix("\n")


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(_FORMULA) else "") + _printable(value)


def as_table(rows: Sequence[Row]) -> str:
    """Values with their interval, aligned."""
    cells = [("statistic", "key", "from", "to", "value", "95 % interval", "σ")]
    for row in rows:
        value, lower, upper = _numbers(row, "value", "lower", "upper")
        key = _printable(row["key"] or "")
        cells.append(
            (row["statistic"], key, row["start"], row["end"], value, f"{lower} … {upper}", _sigma(row))
        )
    return aligned(cells, right=3)


def as_columns(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Some columns of rows with their names, aligned."""
    cells = [
        tuple(_printable(str("–" if row[name] is None else row[name])) for name in names) for row in rows
    ]
    return aligned([tuple(names), *cells], right=0)


def as_comparison(rows: Sequence[Row]) -> str:
    """Two periods beside each other with the interval of their difference, aligned, and what it means."""
    cells = [
        ("statistic", "key", "from", "to", "value", "before", "difference", "95 % interval", "change"),
    ]
    for row in rows:
        names = ("value", "before", "difference", "lower", "upper")
        *values, lower, upper = _numbers(row, *names)
        place = (row["statistic"], _printable(row["key"] or ""), row["start"], row["end"])
        cells.append((*place, *values, f"{lower} … {upper}", row["change"]))
    return aligned(cells, right=5)


def _numbers(row: Row, *names: str) -> list[str]:
    """Numbers of a row as precise as its value: counts are whole, rates are not."""
    is_count = isinstance(row["value"], int)
    return ["–" if row[name] is None else _number(row[name], is_count) for name in names]


def _number(value: float, is_count: bool) -> str:
    if is_count:
        return f"{value:,.0f}"
    return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _sigma(row: Row) -> str:
    if row["sigma"] is None:
        return "–"
    return f"{row['sigma']:.3g}" if row["sigma"] < 1 else f"{row['sigma']:,.1f}"


def aligned(cells: Sequence[Sequence[str]], right: int) -> str:
    """Columns as wide as their widest cell, the last ones aligned to the right."""
    widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(width) if n >= len(widths) - right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _printable(text: str) -> str:
    """A key without control characters: they could begin a CSV row, or rewrite what a terminal shows."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


REPORTS: dict[str, Callable[[Sequence[Row]], str]] = {"table": as_table, "json": as_rows, "csv": as_csv}
COMPARISONS = REPORTS | {"table": as_comparison}


def round_lines(done: "Round", *, is_unfinished: bool = False) -> Iterator[str]:
    """What one run did, in sentences; of one that went wrong, what it did nevertheless."""
    ingested = dict(done.ingested)
    rows = ingested.pop("rows", 0)
    rest = ", ".join(f"{count:,} {reason}" for reason, count in sorted(ingested.items()))
    yield f"Read {rows:,} new records" + (f"; not added: {rest}" if rest else "")
    if done.sealed:
        yield f"Sealed {span(done.sealed)}"
    released = [outcome for outcome in done.outcomes if outcome.state == "released"]
    if released:
        names = dict.fromkeys(outcome.release_id.split("/", maxsplit=1)[0] for outcome in released)
        yield f"Published {len(released):,} releases of {', '.join(names)}"
    elif not is_unfinished:
        yield "Nothing new was due for publication"
    for outcome in done.outcomes:
        if outcome.state == "refused":
            yield f"Not published: {outcome.reason}"
    if done.removed_segments:
        yield f"Removed {done.removed_segments:,} log segments of sealed days"
    yield from expired_lines(done.expired)
    yield from request_lines(done.requests)
    yield from (f"Note: {each}" for each in done.changed)


def expired_lines(found: "Expired") -> Iterator[str]:
    """What was removed because its retention is over; nothing where nothing was."""
    if found.days:
        yield f"Removed the records of {span(found.days)}: their retention is over"
    if found.rows:
        yield f"Removed {found.rows:,} records of other days: the retention of their purposes is over"
    if found.cut:
        yield f"Cut {found.cut:,} records down to what the rest of their purposes allow"
    if said := {table: count for table, count in found.said.items() if count}:
        listed = ", ".join(f"{count:,} {_SAID[table]}" for table, count in said.items())
        yield f"Removed {listed}: their retention is over"


_SAID = {
    "declared": "declared values",
    "history": "notes of how declared values changed",
    "receipt": "receipts of erasures",
    "standing": "marks of withdrawals and erasures",
    "proofs": "proofs and lines of the registers",
    "answers": "answers that waited to be fetched",
}


def request_lines(requests: "Sequence[Request]") -> Iterator[str]:
    """What visitors had asked for, and was done."""
    acts = Counter[str](request.act for request in requests)
    for act, words in (("erase", "Erased what was held of"), ("access", "Answered what is held of")):
        if acts[act]:
            yield f"{words} {acts[act]:,} visitor{'' if acts[act] == 1 else 's'} who asked for it"


def span(days: Sequence[str]) -> str:
    """A day, or the first and the last of several."""
    return days[0] if len(days) == 1 else f"{len(days)} days from {min(days)} to {max(days)}"


def policy_lines(policy: Policy, now_ms: int) -> Iterator[str]:
    """What a policy means: its versions, its purposes and the noise of each statistic."""
    from pipeline import check  # noqa: PLC0415 - loads what computes the noise

    yield f"{policy.controller.name}, {policy.controller.contact}"
    for version in policy.versions:
        yield from _version_lines(version, _state(policy, version, now_ms))
    if policy.in_force(now_ms) is None:
        yield "\nNo version is in force yet: nothing is collected"
    for remark in check.remarks(policy):
        yield f"Note: {remark}"
    yield "\nNoise of each published number; its 95 % interval is about 2 σ to either side"
    noise = [("statistic", "tier", "each", "σ", "lists a page from")]
    for row in check.precisions(policy):
        least = f"{row.mechanism.threshold:,}" if row.mechanism.threshold else ""
        noise.append((row.statistic.name, row.tier.name, row.window, f"{row.mechanism.sigma:,.1f}", least))
    yield aligned(noise, right=2)


def _version_lines(version: Version, state: str) -> Iterator[str]:
    yield f"\nVersion {version.id}, effective {version.effective}, {state}: {version.summary}"
    purposes = [("purpose", "access", "basis", "default", "days kept", "fields")]
    for name, purpose in version.purposes.items():
        fields = ", ".join(f"{category} {level}" for category, level in purpose.fields.items()) or "none"
        days = str(purpose.retention_days)
        purposes.append((name, purpose.access, purpose.basis, purpose.default, days, fields))
    yield aligned(purposes, right=0)
    for service in version.services.values():
        yield f"Service {service.name} under {service.mount}: only {', '.join(service.fields) or 'nothing'}"


def _state(policy: Policy, version: Version, now_ms: int) -> str:
    if version is policy.in_force(now_ms):
        return "in force"
    return "to come" if version.effective_ms > now_ms else "past"
