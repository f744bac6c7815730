"""A busy day from private events to published statistics, against counting the same without noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.counting import bounded_counts, build
from pipeline.engine import Engine
from pipeline.release import release_due
from pipeline.statistics import DEFAULT, STATISTICS
from pipeline.store import EVENTS, batch_files, events_of
from pipeline.windows import Window
from tests.benchmarks.ingest import DAY, POLICY, busy_day, closed_ms, measured, tell
from tests.benchmarks.table import Row

MODULE = "tests.benchmarks.release"


def rows() -> list[Row]:
    """Time and peak memory of the default statistics of one day."""
    data = Path(busy_day().directory.name)
    exact = measured("exact", data, DAY, MODULE)
    ours = measured("ours", data, DAY, MODULE)
    assert exact["events"] == ours["events"] == len(DEFAULT)
    what = f"{busy_day().ours['events']:,} private events of one day, {len(DEFAULT)} statistics published"
    return [
        Row(
            f"{what}, 2 cores",
            f"{ours['seconds']:.0f} s; aim ≤ 90 s",
            f"the same counts, without ledger, noise and files: {exact['seconds']:.0f} s",
            ours["seconds"] / exact["seconds"],
            1.2,
        ),
        Row(
            f"{what}, peak memory",
            f"{ours['gib']:.1f} GiB; aim ≤ 6 GiB",
            f"without: {exact['gib']:.1f} GiB",
            ours["gib"] / exact["gib"],
        ),
    ]


def ours(data: Path, day: date) -> int:
    """What releases a day; gives back how many releases it made."""
    with unreleased(data) as fresh:
        outcomes = release_due(fresh, POLICY, lambda: closed_ms(day), day)
    return sum(outcome.state == "released" for outcome in outcomes)


def exact(data: Path, day: date) -> int:
    """Only the counting of it; gives back how many statistics were counted."""
    with unreleased(data) as fresh, Engine(fresh / "spill") as engine:
        build(engine, batch_files(events_of(fresh, day.isoformat())), POLICY, Window("day", day))
        return len([bounded_counts(engine, STATISTICS[name], POLICY) for name in DEFAULT])


@contextmanager
def unreleased(data: Path) -> Iterator[Path]:
    """A data directory with the private events of another one, and nothing else."""
    with TemporaryDirectory() as directory:
        fresh = Path(directory)
        (fresh / EVENTS).symlink_to(data / EVENTS)
        yield fresh


if __name__ == "__main__":
    tell({"ours": ours, "exact": exact})
