"""Columns of Python values ↔ relations of an engine."""

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from pipeline.engine import Engine

TEXT, NUMBER, FLAG = "str", "Int64", "bool"
"""Kinds of columns. Texts and numbers may be None."""


def relate(engine: Engine, name: str, kinds: dict[str, str], columns: Iterable[Sequence[object]]) -> None:
    """Make a relation of columns; `kinds` is name → kind."""
    pairs = zip(kinds.items(), columns, strict=True)
    frame = pd.DataFrame({column: pd.array(values, dtype=kind) for (column, kind), values in pairs})
    engine.database.register(name, frame)


def relate_rows(
    engine: Engine, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]]
) -> None:
    """Make a relation of rows of text, with the number of each."""
    texts = [[row[n] for row in rows] for n in range(len(columns))]
    relate(engine, name, {**dict.fromkeys(columns, TEXT), "number": NUMBER}, [*texts, range(len(rows))])


def relate_read(
    engine: Engine,
    name: str,
    gives: dict[str, str],
    reader: Callable[..., object],
    source: str,
    keys: Sequence[str],
) -> None:
    """Make a relation of what a reader says of each distinct value, or group of values, of a relation.

    Takes   reader: of one value for each key, texts as bytes; gives one value, or a row of several
    """
    found = engine.database.table(source).select(*keys).distinct().fetchnumpy()
    is_text = {key: found[key].dtype == object for key in keys}
    columns = {key: found[key].tolist() for key in keys}
    taken = (
        [value.encode("latin-1") for value in column] if is_text[key] else column
        for key, column in columns.items()
    )
    answers = list(map(reader, *taken))
    given = zip(*answers, strict=True) if len(gives) > 1 and answers else [answers] * len(gives)
    kinds = {key: TEXT if is_text[key] else NUMBER for key in keys}
    relate(engine, name, kinds | gives, [*columns.values(), *given])
