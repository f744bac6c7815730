"""Each test in a directory of its own: a Collector that is told nothing else keeps its data in ./data."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a site remembers of a visitor reaches the next test."""
    monkeypatch.chdir(tmp_path)
