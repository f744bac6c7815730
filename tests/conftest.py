"""Settings for every test."""

from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests import matchers

# A shared machine pauses tests; time is measured in the benchmarks.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

matchers.share()

TOGETHER = ("tests/browser/", "tests/test_demo.py")
"""Each of these in one process, and first: they share a browser, or a demo that takes long to make."""


LONG = ("tests/test_", "tests/faults/test_steps.py")
"""Begun before the others: what takes 20 s must not be the last that one of two processes does."""

APART = ("tests/collector/", "tests/faults/")
"""Each of these in a directory of its own: a Collector that is told nothing else keeps its data in ./data,
and what it remembers of a visitor must not reach the next test."""


@pytest.fixture(autouse=True)
def _own_directory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.nodeid.startswith(APART):
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))  # for what a test starts
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Test by test, but for those that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """For `pytest -n`."""
    return Scheduling(config, log)
