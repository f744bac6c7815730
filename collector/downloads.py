"""What a visitor takes along: everything that was found, as open JSON and as CSV.

The JSON's records are the contract's: `msgspec.convert(document["records"], list[Record])` reads them back.
In the CSV a cell that a spreadsheet would take for a formula has an apostrophe before it; remove that, and
the cell is as it was.
"""

import csv
import io
from typing import Any

import msgspec

from collector.answers import Choice
from collector.holdings import Holdings
from collector.record import COLUMNS, Record
from collector.rights import Declared

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")
"""How a cell begins that a spreadsheet runs (OWASP ASVS 5.0, 1.2.10), and the line ends that hide one."""

_HEAD = (*(name for name, _ in COLUMNS), "value", "public")


def as_json(held: Holdings, reference: str | None, now_ms: int) -> bytes:
    """One object: reference, complete, declared, history, records, choices, transfers; instants in UTC ms.

    complete is false while records may be missing: the pipeline has not gathered the older ones lately, or
    there is more log than a worker looks through. Under an account alone no records are kept.
    """
    document = {
        "made_ms": now_ms,
        "reference": reference,
        "complete": reference is None or (held.is_whole and held.gathered_ms is not None),
        "gathered_ms": held.gathered_ms,
        "declared": held.declared,
        "history": held.history,
        "records": held.records,
        "choices": held.choices,
        "transfers": held.transfers,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def as_csv(held: Holdings) -> bytes:
    """A row a record, or a choice that is proven; then a row a declared value: kind declared, name, value and
    whether it is public."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _HEAD, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    known = {record.id for record in held.records}
    choices = [_choice(choice) for choice in held.choices if choice.id not in known]
    for row in (*map(_record, held.records), *choices, *map(_declared, held.declared)):
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue().encode("utf-8", "replace")


def _record(record: Record) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.structs.asdict(record)
    del values["v"]
    return values


def _choice(choice: Choice) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.structs.asdict(choice)
    return {"kind": "consent", "ts_ms": values.pop("at_ms"), **values}


def _declared(value: Declared) -> dict[str, Any]:
    return {
        "kind": "declared",
        "ts_ms": value.altered_ms or value.declared_ms,
        "policy": value.policy,
        "name": value.name,
        "value": value.value,
        "public": value.public,
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "+".join(value) if isinstance(value, tuple) else str(value)
    return f"'{text}" if text.startswith(FORMULAS) else text
