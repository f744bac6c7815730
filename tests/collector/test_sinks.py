"""Segments on a real disk: whole frames, sealed files, and what a failing disk leaves."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.record import REASONS, RECORD_VERSION, encode, frames
from collector.sinks import LocalFiles


def frame(number: int) -> bytes:
    return encode({"v": RECORD_VERSION, "kind": "view", "id": str(number), "ts_ms": number, "policy": "v1"})


def segments(data: Path) -> list[Path]:
    return sorted((data / "logs").rglob("*.log"))


def test_a_segment_belongs_to_one_worker_and_one_day(tmp_path: Path) -> None:
    """Two days and two workers make four files, private to their owner."""
    for worker in ("aa", "bb"):
        sink = LocalFiles(tmp_path, worker)
        assert sink.write("2026-11-24", [frame(1), frame(2)]) == 2
        assert sink.write("2026-11-25", [frame(3)]) == 1
        sink.close()
    names = [str(path.relative_to(tmp_path / "logs")) for path in segments(tmp_path)]
    assert names == [
        "2026-11-24/aa-000000.log",
        "2026-11-24/bb-000000.log",
        "2026-11-25/aa-000001.log",
        "2026-11-25/bb-000001.log",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in segments(tmp_path)} == {0o400}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs").iterdir()} == {0o700}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_a_segment_is_sealed_by_size_and_by_age(tmp_path: Path) -> None:
    """A full or an old segment ends; the next frame opens another."""
    small = LocalFiles(tmp_path / "small", "aa", segment_bytes=1)
    old = LocalFiles(tmp_path / "old", "aa", segment_age_s=0)
    for sink in (small, old):
        for number in range(3):
            sink.write("2026-11-24", [frame(number)])
        sink.close()
    assert len(segments(tmp_path / "small")) == len(segments(tmp_path / "old")) == 3


def test_an_idle_workers_segment_is_sealed_when_it_is_old(tmp_path: Path) -> None:
    """Without another write: the next sync seals it, and its day's log can go."""
    sink = LocalFiles(tmp_path, "aa", segment_age_s=0)
    sink.write("2026-11-24", [frame(1)])
    sink.sync()
    assert stat.S_IMODE(segments(tmp_path)[0].stat().st_mode) == 0o400
    sink.sync()


def test_a_removed_directory_is_noticed_and_made_again(tmp_path: Path) -> None:
    """Writing into an unlinked file would lose everything silently: the next sync tells."""
    sink = LocalFiles(tmp_path, "aa")
    sink.write("2026-11-24", [frame(1)])
    segments(tmp_path)[0].unlink()
    with pytest.raises(OSError, match="removed"):
        sink.sync()
    sink.write("2026-11-24", [frame(2)])
    sink.sync()
    assert len(segments(tmp_path)) == 1


SHORT_WRITE = """
import resource, signal, sys
from pathlib import Path
from collector.sinks import LocalFiles
from tests.collector.test_sinks import frame
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
batch = [frame(number) for number in range(10)]
sink = LocalFiles(Path(sys.argv[1]), "aa")
limit = sum(map(len, batch[:4])) + 7
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
written = sink.write("2026-11-24", batch)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert sink.write("2026-11-24", batch[written:]) == 10 - written
sink.close()
print(written)
"""


def test_a_short_write_costs_nothing_but_its_fragment(tmp_path: Path) -> None:
    """The whole frames count as written; the rest goes to a new segment when there is room again."""
    run = subprocess.run(
        [sys.executable, "-c", SHORT_WRITE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "4"
    read = [list(frames(path.read_bytes())) for path in segments(tmp_path)]
    payloads = [found.payload for part in read for found in part if found.payload]
    assert len(payloads) == 10
    assert [found.reason for part in read for found in part if not found.payload] == ["torn"]


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_every_byte_of_a_segment_belongs_to_one_frame(parts: list[bytes], data: st.DataObject) -> None:
    """Whatever lies in a file, frames cover it without gap or overlap and give a closed reason."""
    pieces = [data.draw(st.sampled_from([part, frame(len(part))])) for part in parts]
    content = b"".join(pieces)
    found = list(frames(content))
    assert [item.start for item in found] + [len(content)] == [0] + [item.end for item in found]
    assert all(item.payload is not None or item.reason in REASONS for item in found)


def test_a_flipped_or_cut_byte_costs_one_record() -> None:
    """Each byte of ten records damaged in turn: the other nine are read."""
    whole = [frame(number) for number in range(10)]
    content = b"".join(whole)
    good = {item.payload for item in frames(content)}
    assert len(good) == 10 and None not in good
    for position in range(len(content)):
        for damaged in (
            content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :],
            content[:position] + content[position + 1 :],
        ):
            payloads = {item.payload for item in frames(damaged)} - {None}
            assert len(payloads) >= 9 and payloads <= good, position
