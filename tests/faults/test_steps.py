"""kill -9 before every single step of a run that changes the disk: what comes out in the end is the same."""

import ctypes
import json
import mmap
import os
import pickle
import shutil
import signal
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from collector.policy import Budget
from collector.record import DAY_MS
from pipeline import ingest
from pipeline.ledger import Ledger
from pipeline.published import HEAD, head_of, place
from pipeline.run import run_once
from tests.faults.conftest import compiled
from tests.forks import alone, ended, forked
from tests.pipeline.logs import DAY, frame, noon_ms, write
from tests.policies import EXEMPT

PARTS = 3
"""The steps are dealt out to so many tests: a busy machine works through them at the same time."""
BATCH_BYTES = 8000  # two batches
KINDS = ("create", "write", "rename", "remove", "make", "truncate")
CLOSED_MS = noon_ms() + DAY_MS
POLICY = replace(EXEMPT, budget=Budget("large", {"pages": 0.2}, ("/",)))
RELEASE = f"pages/day/{DAY}"


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


def trials(directory: str, part: str) -> None:
    """Kill before each PARTS-th step, until a run comes through; prints what steps that one took."""
    ingest.BATCH_BYTES = BATCH_BYTES
    told = told_by(Path(os.environ["KILL_AT"]))
    made = Path(directory)
    assert ended(forked(partial(expect, made))) == 0
    expected = pickle.loads((made / "expected").read_bytes())
    data = made / "killed"

    def disturbed() -> None:
        told.root = bytes(data)
        run(data)

    def undisturbed() -> None:
        before = {name: each for name, each in files(data / "published").items() if name.endswith(".parquet")}
        run(data)
        assert_whole(data, expected, before)

    for step in count(int(part), PARTS):
        shutil.copytree(made / "data", data)
        told.kill_at, told.calls, told.kinds = step, 0, type(told.kinds)()
        code = ended(forked(disturbed))
        told.root = b""
        assert code in (0, -signal.SIGKILL)
        assert ended(forked(undisturbed)) == 0, f"killed before step {step}"
        shutil.rmtree(data)
        if code == 0:
            print(json.dumps(dict(zip(KINDS, told.kinds, strict=True))))
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


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_a_kill_before_any_step_changes_nothing_in_the_end(kill_at: Path, tmp_path: Path, part: int) -> None:
    """Logs to published files, killed before the 1st, 2nd, … last step; one more run makes all as without."""
    told = tmp_path / "told"
    told.write_bytes(bytes(ctypes.sizeof(Told)))
    said = alone(trials, tmp_path, part, environment={"LD_PRELOAD": str(kill_at), "KILL_AT": str(told)})
    kinds = json.loads(said)
    assert sum(kinds.values()) > 50
    assert all(kinds.values()), "a kind of step that the shim did not see"
