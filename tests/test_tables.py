"""A fact is a row: every row of every table has all that hangs on it."""

import re
from pathlib import Path

import pytest

from collector.observation import READERS
from collector.policy import PURPOSES
from collector.record import COLUMNS, FIELDS, LEVELS, Field, Record
from pipeline import sql
from pipeline.query import RATIOS
from pipeline.statistics import STATISTICS, Statistic

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_field_has_a_reader_a_column_a_level_and_a_sentence(field: Field) -> None:
    """What is captured can be read, stored, gated and explained."""
    assert field.name in READERS
    assert field.name in Record.__struct_fields__
    assert (field.name, field.type) in COLUMNS
    assert field.level in LEVELS[field.category]
    assert field.doc[0].isupper() and field.doc.endswith(".")


def test_no_reader_and_no_column_is_without_its_row() -> None:
    """Nothing is captured or stored that FIELDS does not declare."""
    own = {"v", "kind", "id", "ts_ms", "policy", "consent", "purposes", "service", "act", "via", "first"}
    assert set(READERS) == {field.name for field in FIELDS}
    assert set(Record.__struct_fields__) == own | {field.name for field in FIELDS}
    assert {name for name, _ in COLUMNS} == set(Record.__struct_fields__) - {"v"}


@pytest.mark.parametrize("row", STATISTICS.values(), ids=lambda row: row.name)
def test_a_statistic_has_its_sql_its_bound_and_its_definition(row: Statistic) -> None:
    """One file with its grain first, and bounds that agree with each other."""
    assert re.match(r"-- one row(;| per )", sql.text(f"statistics.{row.name}"))
    assert row.definition.endswith(".")
    assert row.linf <= row.l2 <= row.linf * row.l0**0.5 + 1e-9


def test_every_sql_file_has_a_caller_and_starts_with_its_grain() -> None:
    """No step without a caller, no step that does not say what a row is."""
    source = "".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py"))
    for path in (ROOT / "pipeline" / "sql").glob("*.sql"):
        caller, _, step = path.stem.partition(".")
        called = re.search(rf"""["']({re.escape(path.stem)}|{step})["']""", source)
        assert caller == "statistics" or called, path.name
        assert path.read_text().startswith("-- "), path.name
    assert {path.stem.partition(".")[2] for path in (ROOT / "pipeline/sql").glob("statistics.*.sql")} == set(
        STATISTICS
    )


def test_the_default_shares_leave_room_for_the_statistics_to_come() -> None:
    """What everybody gets leaves 2 % of the budget to what a policy adds."""
    assert sum(row.share for row in STATISTICS.values()) == pytest.approx(0.98)


@pytest.mark.parametrize("name", [*STATISTICS, *RATIOS])
def test_every_statistic_is_documented(name: str) -> None:
    """The README's table of statistics names each."""
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", [*PURPOSES, *LEVELS])
def test_every_purpose_and_category_is_documented(name: str) -> None:
    """The README explains what a policy can say."""
    assert f"`{name}`" in README
