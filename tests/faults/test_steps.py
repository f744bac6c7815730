"""kill -9 before every single step of a run that changes the disk: what comes out in the end is the same."""

import ctypes
import json
import mmap
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from collector.policy import Budget
from collector.record import DAY_MS
from pipeline import ingest
from pipeline.ledger import Ledger
from pipeline.published import HEAD, head_of, place
from pipeline.run import run_once
from tests.faults.conftest import compiled
from tests.pipeline.logs import DAY, frame, noon_ms, write
from tests.policies import EXEMPT

PROCESSES = 2
BATCH_BYTES = 8000  # two batches
KINDS = ("create", "write", "sync", "rename", "remove", "make", "truncate")
CLOSED_MS = noon_ms() + DAY_MS
POLICY = replace(EXEMPT, budget=Budget("large", {"pages": 0.2}, ("/",)))
RELEASE = f"pages/day/{DAY}"


TRIALS = """
import sys
from pathlib import Path
from tests.faults.test_steps import trials
trials(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
"""


class Told(ctypes.Structure):
    """What kill_at.c is told, and what it counts."""

    _fields_ = [
        ("kill_at", ctypes.c_int),
        ("calls", ctypes.c_int),
        ("kinds", ctypes.c_int * len(KINDS)),
        ("root", ctypes.c_char * 1024),
    ]
    kill_at: int
    calls: int
    kinds: "ctypes.Array[ctypes.c_int]"
    root: bytes


def told_by(path: Path) -> Told:
    """The structure in a file, shared with the shim."""
    with path.open("r+b") as file:
        return Told.from_buffer(mmap.mmap(file.fileno(), 0))


def prepare(data: Path) -> None:
    """A day's logs in which everything occurs: good, twice, torn, of a later format; and an old salt."""
    frames = [frame(n) for n in range(60)]
    write(data, [*frames[:30], frames[3], b"junk\n", frame(60, v=99)], "aa")
    write(data, [*frames[28:], frame(61)[:50]], "bb")
    (data / "keys").mkdir()
    (data / "keys" / "salt-2026-11-20").write_bytes(bytes(32))


def run(data: Path) -> None:
    """One round."""
    run_once(data, POLICY, lambda: CLOSED_MS, lambda *_: None)


def files(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, whatever its name, and its bytes."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def assert_whole(data: Path, expected: dict[str, bytes], before: dict[str, bytes]) -> None:
    """The private store is as without a kill, and what is published is what was paid for, once."""
    with Ledger(data / "ledger.sqlite") as ledger:
        assert ledger.releases() == {RELEASE: [DAY]}
        stored = {place(data / "published", RELEASE): ledger.output(RELEASE)}
        assert head_of(data / "published") == ledger.head() and ledger.head().number == 1
    published = files(data / "published")
    del published[HEAD]
    assert {data / "published" / name: content for name, content in published.items()} == stored
    assert before.items() <= published.items(), "something was published twice"
    found = files(data)
    assert set(found) == set(expected), "something was left over, or is missing"
    assert not (data / "spill").exists()
    for name in found:
        # Noise, and the key of the commitments, are drawn by each run for itself.
        is_drawn = name.startswith(("published/", "ledger", "keys/commitment"))
        assert is_drawn or found[name] == expected[name], name


def in_child(act: Callable[[], None]) -> int:
    """Do something in a forked process; minus the signal that ended it, 0, or 1 for an exception."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        act()
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def trials(made: Path, work: Path, first: int) -> None:
    """Kill before the first-th step, and each PROCESSES-th after it, until a run comes through."""
    ingest.BATCH_BYTES = BATCH_BYTES
    told = told_by(Path(os.environ["KILL_AT"]))
    expected = pickle.loads((made / "expected").read_bytes())
    data = work / "data"

    def disturbed() -> None:
        told.root = bytes(data)
        run(data)

    def undisturbed() -> None:
        before = {name: each for name, each in files(data / "published").items() if name.endswith(".parquet")}
        run(data)
        assert_whole(data, expected, before)

    for step in range(first, 10_000, PROCESSES):
        shutil.copytree(made / "data", data)
        told.kill_at, told.calls = step, 0
        ended = in_child(disturbed)
        told.root = b""
        assert ended in (0, -signal.SIGKILL)
        assert in_child(undisturbed) == 0, f"killed before step {step}"
        shutil.rmtree(data)
        if ended == 0:
            print(json.dumps({"steps": told.calls, "kinds": dict(zip(KINDS, told.kinds, strict=True))}))
            return


def expect(made: Path) -> None:
    """Make the logs, and what a run that nobody disturbs makes of them."""
    prepare(made / "data")
    shutil.copytree(made / "data", made / "once")
    run(made / "once")
    (made / "expected").write_bytes(pickle.dumps(files(made / "once")))


@pytest.fixture(scope="module")
def kill_at(compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kill_at.c, compiled; skips where there is no compiler."""
    return compiled(Path(__file__).with_name("kill_at.c"), tmp_path_factory.mktemp("kill_at"))


def start(kill_at: Path, made: Path, first: int) -> "subprocess.Popen[str]":
    """A process with the shim that makes trials."""
    work = made / f"work{first}"
    work.mkdir()
    told = work / "told"
    told.write_bytes(bytes(ctypes.sizeof(Told)))
    command = [sys.executable, "-c", TRIALS, str(made), str(work), str(first)]
    environment = os.environ | {"LD_PRELOAD": str(kill_at), "KILL_AT": str(told)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_kill_before_any_step_changes_nothing_in_the_end(
    kill_at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs to published files, killed before the 1st, 2nd, … last step; one more run makes all as without."""
    monkeypatch.setattr(ingest, "BATCH_BYTES", BATCH_BYTES)
    expect(tmp_path)
    children = [start(kill_at, tmp_path, first) for first in range(1, PROCESSES + 1)]
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES
    for found in map(json.loads, said):
        assert found["steps"] > 100
        assert all(found["kinds"].values()), "a kind of step that the shim did not see"
