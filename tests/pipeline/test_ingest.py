"""Logs on a real disk into real Parquet: exactly once, whatever happens to the bytes or to the process."""

import base64
import json
import os
import random
import signal
import stat
import threading
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest

from collector.record import COLUMNS, RECORD_VERSION, encode
from collector.sinks import LocalFiles
from pipeline import ingest as module
from pipeline.days import seal
from pipeline.engine import connect
from pipeline.errors import BusyError, StoreError
from pipeline.ingest import ingest
from pipeline.store import Manifest, events_of, exclusive, manifests
from pipeline.windows import last_closed_day
from tests.forks import alone, ended, forked
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms, write


def run(data: Path, now_ms: int = noon_ms()) -> Counter[str]:
    """One ingest at noon of the day, unless told otherwise."""
    return ingest(data, lambda: now_ms, lambda *_: None)


def closed_ms(day: str = DAY) -> int:
    """The instant at which a day closes."""
    return noon_ms(day) + 14 * 60 * 60 * 1000


def batches(data: Path, day: str = DAY) -> list[Path]:
    return sorted(events_of(data, day).glob("*.parquet"))


def events(data: Path, columns: str = "*") -> list[tuple[object, ...]]:
    files = [str(path) for path in data.glob("events/*/*.parquet")]
    if not files:
        return []
    query = f"SELECT {columns} FROM read_parquet($files, hive_partitioning = false) ORDER BY id"
    return duckdb.execute(query, {"files": files}).fetchall()


def ids(data: Path) -> list[object]:
    return [row[0] for row in events(data, "id")]


def quarantined(data: Path) -> list[dict[str, str]]:
    paths = sorted(data.glob("quarantine/*/*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def stored(data: Path, day: str = DAY) -> list[Manifest]:
    with connect() as database:
        return manifests(database, events_of(data, day))


def test_every_field_of_a_record_becomes_a_column(tmp_path: Path) -> None:
    """The private events have exactly the contract's columns and types, and hold what the record said."""
    everything: dict[str, Any] = {
        "service": "shop",
        "cohort": "2026-W47",
        "browser_major": "145",
        "network": "192.0.2.0/24",
        "referrer": "example.com",
        "utm_source": "letter",
        "utm_medium": "email",
        "utm_campaign": 'spring, "it\'s" \u2028 \\ here',
        "name": "sign\tup",
        "props": '{"plan":"a\\u0000b"}',
        "interactive": False,
        "engaged_ms": 2**63 - 1,
        "scroll": 0,
    }
    refusal = {"v": RECORD_VERSION, "kind": "consent", "id": "r", "ts_ms": noon_ms(), "policy": "v1"}
    write(
        tmp_path, [frame(1, **everything), encode(refusal | {"act": "refuse", "via": "form", "first": True})]
    )
    assert run(tmp_path) == {"rows": 2}
    [path] = batches(tmp_path)
    described = duckdb.execute(
        "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)", [str(path)]
    )
    assert [(name, kind) for name, kind, *_ in described.fetchall()] == list(COLUMNS)
    view, refused = (dict(zip(dict(COLUMNS), row, strict=True)) for row in events(tmp_path))
    assert everything.items() <= view.items()
    assert view["purposes"] == ["necessary", "statistics"]
    assert (refused["act"], refused["purposes"]) == ("refuse", [])
    assert [name for name, value in refused.items() if value is not None] == [
        *("kind", "id", "ts_ms", "policy", "purposes", "act", "via", "first")
    ]


def test_rows_and_manifest_are_one_private_file(tmp_path: Path) -> None:
    """The batch's file says which bytes it consumed, and nobody else can read it."""
    path = write(tmp_path, [frame(1), frame(2), b"junk\n"])
    run(tmp_path)
    [manifest] = stored(tmp_path)
    [stretch] = manifest.stretches
    assert (stretch.segment, stretch.start, stretch.end) == (path.name, 0, path.stat().st_size)
    assert stretch.sha256 == sha256(path.read_bytes()).hexdigest()
    assert manifest.outcomes == {"rows": 2, "torn": 1}
    found = [each for top in ("events", "quarantine") for each in (tmp_path / top).rglob("*")]
    assert {stat.S_IMODE(each.stat().st_mode) for each in found if each.is_file()} == {0o600}
    assert {stat.S_IMODE(each.stat().st_mode) for each in found if each.is_dir()} == {0o700}
    assert sorted(each.name for each in found if each.is_file()) == ["000001.jsonl", "000001.parquet"]


def test_bytes_are_taken_once(tmp_path: Path) -> None:
    """A second run takes what was added since, a third one nothing."""
    path = write(tmp_path, [frame(1)])
    assert run(tmp_path) == {"rows": 1}
    path.chmod(0o600)
    with path.open("ab") as file:
        file.write(frame(2))
    write(tmp_path, [frame(3)], worker="bb")
    assert run(tmp_path) == {"rows": 2}
    assert run(tmp_path) == {}
    assert len(batches(tmp_path)) == 2
    assert len(ids(tmp_path)) == 3


def test_an_id_is_kept_once(tmp_path: Path) -> None:
    """A beacon sent twice is one row, the first, within a batch and across batches."""
    write(tmp_path, [frame(1, path="/first"), frame(1, path="/second"), frame(2)])
    assert run(tmp_path) == {"rows": 2, "duplicate": 1}
    write(tmp_path, [frame(2), frame(3)])
    assert run(tmp_path) == {"rows": 1, "duplicate": 1}
    write(tmp_path, [frame(1)])
    assert run(tmp_path) == {"duplicate": 1}
    assert len(ids(tmp_path)) == 3
    assert events(tmp_path, "path")[0] == ("/first",)


def test_a_bad_record_is_kept_whole_with_its_reason(tmp_path: Path) -> None:
    """Quarantine holds each unusable frame's bytes, its place and why; the good ones go on."""
    bad = {
        "wrong_day": frame(4, ts_ms=noon_ms(NEXT_DAY)),
        "version": frame(5, v=RECORD_VERSION + 1),
        "checksum": frame(6).replace(b"Firefox", b"firefox"),
        "torn": b"\n",
    }
    malformed = [
        frame(7, engaged_ms=2**63),
        frame(8, scroll=-(2**63) - 1),
        frame(9, path="/" + "a" * 9000),
        frame(10, ts_ms="noon"),
        frame(11, surprise=1),
    ]
    never = frame(12, ts_ms=10**30)
    frames = [frame(1), *bad.values(), frame(2), *malformed, never, frame(3)]
    path = write(tmp_path, frames)
    assert run(tmp_path) == {"rows": 3, **dict.fromkeys(bad, 1), "malformed": 5, "wrong_day": 2}
    lines = quarantined(tmp_path)
    expected = [*zip(bad, bad.values(), strict=True), *(("malformed", each) for each in malformed)]
    assert [(line["reason"], base64.b64decode(line["bytes"])) for line in lines] == [
        *expected,
        ("wrong_day", never),
    ]
    data = path.read_bytes()
    for line in lines:
        assert line["segment"] == path.name
        assert data[int(line["offset"]) :].startswith(base64.b64decode(line["bytes"]))


def test_a_last_frame_still_being_written_waits(tmp_path: Path) -> None:
    """Half a frame at the end of an open segment is left, and read when it is whole."""
    whole = frame(2)
    path = write(tmp_path, [frame(1), whole[:40]])
    assert run(tmp_path) == {"rows": 1}
    assert run(tmp_path) == {}
    path.chmod(0o600)
    with path.open("ab") as file:
        file.write(whole[40:])
    assert run(tmp_path) == {"rows": 1}
    assert quarantined(tmp_path) == []


def test_a_torn_last_frame_is_given_up_when_its_segment_has_ended(tmp_path: Path) -> None:
    """The worker's next segment, or the day's close, ends the wait."""
    write(tmp_path, [frame(1), frame(2)[:40]], worker="aa")
    write(tmp_path, [frame(3), frame(4)[:40]], worker="bb")
    assert run(tmp_path) == {"rows": 2}
    write(tmp_path, [frame(5, NEXT_DAY)], worker="aa", day=NEXT_DAY)
    assert run(tmp_path) == {"torn": 1, "rows": 1}
    assert run(tmp_path, closed_ms() - 1) == {}
    assert run(tmp_path, closed_ms()) == {"torn": 1}
    assert [line["reason"] for line in quarantined(tmp_path)] == ["torn", "torn"]


def test_what_comes_after_the_seal_is_late(tmp_path: Path) -> None:
    """A sealed day never changes: later bytes are consumed and counted, whole or not, and go nowhere."""
    write(tmp_path, [frame(1)])
    run(tmp_path, closed_ms())
    assert seal(tmp_path, closed_ms, last_closed_day(closed_ms())) == [DAY]
    write(tmp_path, [frame(2), frame(3), b"junk"])
    assert run(tmp_path, closed_ms()) == {"late": 3}
    assert run(tmp_path, closed_ms()) == {}
    assert ids(tmp_path) == ["2026-11-24-000001"]
    assert quarantined(tmp_path) == []
    assert sum((manifest.outcomes for manifest in stored(tmp_path)), Counter()) == {"rows": 1, "late": 3}


def test_a_batch_without_a_good_record_commits(tmp_path: Path) -> None:
    """Bytes that hold nothing usable are consumed all the same: a file without rows."""
    write(tmp_path, [b"junk\n"])
    assert run(tmp_path) == {"torn": 1}
    assert len(batches(tmp_path)) == 1
    assert events(tmp_path) == []
    assert run(tmp_path) == {}


@pytest.mark.parametrize("size", [500, 1000, 3001])
def test_a_record_on_the_edge_of_a_batch_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """However the bytes fall into batches, every record is read once."""
    monkeypatch.setattr(module, "BATCH_BYTES", size)
    for worker in ("aa", "bb"):
        write(tmp_path, [frame(n, id=f"{worker}{n}") for n in range(30)] + [b"x" * 700, b"\n"], worker)
    assert run(tmp_path, closed_ms())["rows"] == 60
    assert len(set(ids(tmp_path))) == 60
    assert len(batches(tmp_path)) > 3
    stretches = [stretch for manifest in stored(tmp_path) for stretch in manifest.stretches]
    for path in tmp_path.rglob("*.log"):
        spans = [(each.start, each.end) for each in stretches if each.segment == path.name]
        ends = [end for _, end in spans]
        assert [start for start, _ in spans] == [0, *ends[:-1]]
        assert ends[-1] == path.stat().st_size


def test_damage_costs_the_damaged_record_only(tmp_path: Path) -> None:
    """Three records, every byte changed, removed or the last one written: all records it misses are read.

    The first, the last and one between two others: more of those would be damaged in the same way.
    """
    seeded = random.Random(1)
    workers, expected = count(), {}
    kept: dict[str, Any] = {
        "browser": None,
        "os": None,
        "device": None,
        "country": None,
        "route": None,
        "visitor": None,
    }
    small = [frame(n, **kept) for n in range(3)]
    length = sum(map(len, small))
    for position in range(length):
        for damage in ("flip", "newline", "start", "remove", "cut"):
            worker = f"w{next(workers)}"
            frames = [frame(n, id=f"{worker}-{n}"[-17:].rjust(17, "-"), **kept) for n in range(3)]
            data = b"".join(frames)
            new = {
                "flip": bytes([data[position] ^ seeded.randrange(1, 256)]),
                "newline": b"\n",
                "start": b"\x1e",
                "remove": b"",
                "cut": b"",
            }[damage]
            if new == data[position : position + 1]:
                continue
            rest = b"" if damage == "cut" else data[position + 1 :]
            # Removing the last byte of a frame, or the frames behind a cut, takes no other record along.
            hit = position // len(frames[0])
            expected[worker] = hit if damage == "cut" else 2
            path = tmp_path / "logs" / DAY / f"{worker}-000000.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[:position] + new + rest)
    assert all(len(each) == len(small[0]) for each in small)
    run(tmp_path, closed_ms())
    found = Counter(str(name).lstrip("-").split("-")[0] for name in ids(tmp_path))
    assert found == {worker: rows for worker, rows in expected.items() if rows}


def test_a_damaged_batch_is_named(tmp_path: Path) -> None:
    """A file that lost its manifest stops the run before anything is read twice."""
    write(tmp_path, [frame(1)])
    run(tmp_path)
    [path] = batches(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    write(tmp_path, [frame(2)])
    with pytest.raises(StoreError, match=r"000001\.parquet is no whole batch.*restore it"):
        run(tmp_path)
    assert len(batches(tmp_path)) == 1


def test_two_runs_keep_apart(tmp_path: Path) -> None:
    """While one run is at work another one waits for a while; then it is refused, with the remedy."""
    with (
        exclusive(tmp_path),
        pytest.raises(BusyError, match="wait for it"),
        exclusive(tmp_path, patience_s=0.1),
    ):
        pass
    with ExitStack() as at_work:
        at_work.enter_context(exclusive(tmp_path))
        threading.Timer(0.2, at_work.close).start()
        with exclusive(tmp_path):
            pass


def test_a_worker_writes_and_rotates_meanwhile(tmp_path: Path) -> None:
    """Ingesting beside a writer that opens a segment for every few records loses and doubles nothing."""
    total, batch = 4000, 8

    def work() -> None:
        sink = LocalFiles(tmp_path, "aa", segment_bytes=3000)
        for start in range(0, total, batch):
            sink.write(DAY, [frame(n) for n in range(start, start + batch)])
        sink.close()

    thread = threading.Thread(target=work)
    thread.start()
    seen: Counter[str] = Counter()
    while thread.is_alive():
        seen += run(tmp_path)
    thread.join()
    seen += run(tmp_path)
    assert seen == {"rows": total}
    assert len(set(ids(tmp_path))) == total
    assert len(batches(tmp_path)) > 1


KILLS = 12
"""The logs last for four times as many batches."""


def ingest_to_death(data: str) -> None:
    """Begin KILLS times to ingest, each killed soon after its first batch; prints how many were not done."""
    seeded, module.BATCH_BYTES, kills = random.Random(7), 20_000, 0
    for _ in range(KILLS):
        known, child = len(batches(Path(data))), forked(partial(run, Path(data)))
        while len(batches(Path(data))) == known and is_alive(child):
            time.sleep(0.002)  # a busy machine takes its time
        time.sleep(seeded.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        kills += ended(child) == -signal.SIGKILL
    print(kills)


def is_alive(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def test_a_killed_run_leaves_nothing_to_undo(tmp_path: Path) -> None:
    """kill -9 at random points, then one run to the end: rows, counts and quarantine are as without."""
    frames = [frame(n) for n in range(4000)]
    for n in range(0, 4000, 50):
        frames[n] = frames[n - 1] if n % 100 else frame(n, v=99)
    for data in (tmp_path / "once", tmp_path / "killed"):
        for worker, start in (("aa", 0), ("bb", 2000)):
            write(data, frames[start : start + 2000], worker)
    assert run(tmp_path / "once")["rows"] > 3000
    data = tmp_path / "killed"
    kills = int(alone(ingest_to_death, data))
    assert kills >= KILLS // 2
    assert len(batches(data)) > 2
    run(data)
    assert events(data) == events(tmp_path / "once")
    key = ("segment", "offset", "reason", "bytes")
    assert sorted([line[k] for k in key] for line in quarantined(data)) == sorted(
        [line[k] for k in key] for line in quarantined(tmp_path / "once")
    )
    assert [path for path in (data / "events").rglob(".*") if path.is_file()] == []
    totals = [
        sum((manifest.outcomes for manifest in stored(each)), Counter()) for each in (data, tmp_path / "once")
    ]
    assert totals[0] == totals[1]
