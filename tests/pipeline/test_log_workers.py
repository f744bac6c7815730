"""Several processes read a log as one would, and none outlives the one it reads for."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.log_batches import HIT_COLUMNS, Batch, Columns, Found, Row
from pipeline.log_lines import Lines
from pipeline.log_workers import WorkerError, read_in_order
from pipeline.store import exclusive
from tests.pipeline.logs import noon_ms
from tests.pipeline.test_log_batches import BROWSER, ENRICHER

TARGETS = HIT_COLUMNS.index("target") - 1
LINE = b'8.8.8.8 - - [24/Nov/2026:10:00:00 +0000] "GET /%d HTTP/1.1" 200 5 "-" "%b"\n'


def batches(count: int) -> Iterator[tuple[int, Batch]]:
    """Batches of one line each, and their numbers."""
    for number in range(count):
        yield number, Batch("combined", [(number * 1000, LINE % (number, BROWSER + b" %d" % (number % 3)))])


def columns() -> Columns:
    return Columns(Lines(ENRICHER, (), noon_ms("2026-11-25"), False))


def pages(found: Iterable[Found]) -> list[str]:
    """The page of each batch, whichever process has read it."""
    rows: dict[int, list[Row]] = defaultdict(list)
    said = []
    for each in found:
        rows[each.process] += each.rows[TARGETS].rows
        [[*_, target, _referrer]] = each.hits.tolist()
        path, *_ = rows[each.process][target]
        said.append(str(path))
    return said


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_every_batch_is_read_once_and_in_order(count: int) -> None:
    """However many there are for however many processes."""
    found = list(read_in_order(columns().read, batches(count)))
    assert [number for number, _ in found] == list(range(count))
    assert pages(each for _, each in found) == [f"/{n}" for n in range(count)]


@pytest.mark.parametrize("name", ["bots", "browsers", "referrers"])
def test_a_text_is_read_by_one_process_for_all(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What one has read the others are told, with their next batch."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    found = [each for _, each in read_in_order(columns().read, batches(12))]
    assert [text for each in found for text in each.learned[name]]
    # Of three agents the last is met in the third batch, and no worker is further ahead than four.
    assert [text for each in found[6:] for text in each.learned[name]] == []


def test_an_error_in_a_worker_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is not hidden by the process it happens in."""

    def bug(batch: Batch) -> Found:
        raise ZeroDivisionError(batch.form)

    with pytest.raises(ZeroDivisionError, match="combined"):
        list(read_in_order(bug, batches(3)))


def test_a_killed_worker_is_a_line() -> None:
    """What a worker had is lost: nothing is imported, and the user is told."""

    def die(batch: Batch) -> Found:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(batch)

    with pytest.raises(WorkerError, match="import them again"):
        list(read_in_order(die, batches(3)))


READING = """
import sys, time
from pathlib import Path
from pipeline.log_workers import read_in_order
from pipeline.store import exclusive
from tests.pipeline.test_log_workers import batches, columns
def slow(number_and_batch):
    yield from number_and_batch
    print("reading", flush=True)
    time.sleep(60)
with exclusive(Path(sys.argv[1])):
    list(read_in_order(columns().read, slow(batches(5))))
"""


def test_workers_die_with_the_import(tmp_path: Path) -> None:
    """kill -9 of the import leaves no process, and the data directory to the next import at once."""
    command = [sys.executable, "-c", READING, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    assert process.stdout and process.stdout.readline() == "reading\n"
    process.kill()
    process.wait()
    # A pipe that everybody has left is at its end.
    assert process.stdout.read() == ""
    process.stdout.close()
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("a worker lives on")
    with exclusive(tmp_path, patience_s=0):
        pass
