"""What tests of the pipeline share."""

from collections.abc import Iterator

import pytest

from pipeline.engine import Engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine for a handful of rows."""
    with Engine() as opened:
        opened.database.execute("SET threads = 1")
        yield opened
