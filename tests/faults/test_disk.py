"""The disk fails in every way that can be brought about: the site goes on, and what was promised is kept."""

import asyncio
import errno
import os
import resource
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count, islice
from pathlib import Path

from collector import Collector
from collector.record import RECORD_VERSION, decode, encode, frames
from collector.sinks import LocalFiles
from collector.writer import BATCH
from pipeline.store import is_alive
from tests.asgi import call, http_scope, post
from tests.collector.test_middleware import SITE
from tests.faults.conftest import Disk, fill, told_by
from tests.faults.host import Host, eventually, read
from tests.forks import alone, ended, forked
from tests.policies import EXEMPT

Serve = Callable[..., Host]
RECOVERY_S = 5
QUOTA = 64 * 1024
FRAME = {"v": RECORD_VERSION, "kind": "view", "policy": "v1"}
KIND = [("content-type", "application/json")]


def is_known_to_live(host: Host) -> bool:
    return any(is_alive(host.data, path.stem) for path in (host.data / "status").glob("*.lock"))


def assert_each_view_is_there_once(host: Host) -> None:
    records, _ = read(host.data)
    paths = [record.path for record in records if record.kind == "view"]
    assert sorted(host.paths) == sorted(paths, key=str)
    assert len({record.id for record in records}) == len(records)


def all_written(host: Host) -> Callable[[], bool]:
    return lambda: host.counters()["queued"] == 0


def look(site: Collector, times: int) -> None:
    async def run() -> None:
        for number in range(times):
            await call(site, http_scope(f"/product/{number}"))

    asyncio.run(run())


def all_settled(site: Collector) -> Callable[[], bool]:
    return lambda: site.writer.counters()["queued"] == 0


def size_of_logs(data: Path) -> int:
    return sum(path.stat().st_size for path in (data / "logs").rglob("*.log"))


# ---- full ----------------------------------------------------------------------------------------------


def assert_no_room_costs_nothing(host: Host, fill_up: Callable[[], object], free: Callable[[], None]) -> None:
    host.view(20)
    eventually(all_written(host))
    fill_up()
    host.view(300)
    eventually(lambda: host.counters()["errors"].get("OSError", 0) >= 2)
    assert host.consent() == 503
    during = host.counters()
    assert during["queued"] >= 200 and during["dropped"] == {"not_durable": 1}
    free()
    eventually(all_written(host), RECOVERY_S)
    assert host.consent() == 200
    assert_each_view_is_there_once(host)
    files = list((host.data / "logs").rglob("*.log"))
    assert len(files) <= 3 and all(file.stat().st_size for file in files), "each try left a file"
    assert read(host.data)[1] <= 1
    assert host.counters()["in_doubt"] == 0


def test_a_full_disk_is_waited_for(mount: Callable[..., Path], serve: Serve) -> None:
    """A real megabyte, full and free again: every view served and written once, consents refused."""
    place = mount()
    host = serve(place / "data")
    assert_no_room_costs_nothing(host, lambda: fill(place), (place / "filler").unlink)


def test_a_size_limit_is_waited_for(serve: Serve) -> None:
    """RLIMIT_FSIZE, where nothing can be mounted: the same promise."""
    host = serve()
    assert_no_room_costs_nothing(
        host,
        lambda: host.limit(resource.RLIMIT_FSIZE, 0),
        lambda: host.limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY),
    )


def test_a_full_disk_at_the_first_view_of_the_day_loses_nothing(
    mount: Callable[..., Path], serve: Serve
) -> None:
    """The day's salt cannot be made either: views wait for it as for the log."""
    place = mount()
    filler = fill(place)
    host = serve(place / "data")
    host.view(50)
    eventually(lambda: host.counters()["errors"])
    assert host.counters()["queued"] == 50
    filler.unlink()
    eventually(all_written(host), RECOVERY_S)
    assert_each_view_is_there_once(host)
    eventually(lambda: is_known_to_live(host))


# ---- the quota -----------------------------------------------------------------------------------------


def test_at_the_quota_views_are_dropped_and_consents_stored(tmp_path: Path) -> None:
    """64 KiB are full: no worker writes another view, each is counted; with room again they are written."""
    sites = [Collector(SITE, policy=EXEMPT, data=tmp_path, quota=QUOTA) for _ in range(2)]
    for site in sites:
        look(site, 1000)
        eventually(all_settled(site))
    full = size_of_logs(tmp_path)
    assert QUOTA <= full < QUOTA + BATCH * 512, "it ends with the batch that reaches it"
    for site in sites:
        assert post(site, "/_impersonal/consent", b'{"act": "refuse"}', KIND).status == 200
        counted = site.writer.counters()
        assert counted["accepted"] == 1001 == counted["written"] + counted["dropped"]["quota"]
    assert sites[1].writer.counters()["written"] == 1, "the other worker's log counts from the start"
    records, damaged = read(tmp_path)
    assert damaged == 0 and sum(record.kind == "consent" for record in records) == 2
    for path in (tmp_path / "logs").rglob("*.log"):
        path.unlink()
    for site in sites:
        eventually(lambda site=site: not site.writer._quota.is_reached)  # type: ignore[misc]
        look(site, 5)
        eventually(all_settled(site))
        site.writer.stop()
        counted = site.writer.counters()
        assert counted["accepted"] == 1006 and counted["dropped"]["quota"] <= 1000


# ---- read-only, gone, out of descriptors ---------------------------------------------------------------


def test_a_read_only_disk_is_waited_for(mount: Callable[..., Path], serve: Serve) -> None:
    """Mounted read-only when the site starts, writable later: served throughout, then written."""
    place = mount("ro")
    host = serve(place / "data")
    host.view(50)
    assert host.consent() == 503
    subprocess.run(["mount", "-o", "remount,rw", place], check=True)
    eventually(all_written(host), RECOVERY_S)
    assert host.consent() == 200
    assert_each_view_is_there_once(host)
    eventually(lambda: is_known_to_live(host))


def test_a_removed_data_directory_is_made_again(serve: Serve) -> None:
    """What lay in it is in doubt; what comes a moment later is written, the worker known to live."""
    host = serve()
    host.view(5)
    eventually(lambda: host.counters()["synced"] == 5)
    host.view(5)
    eventually(lambda: host.counters()["written"] == 10)
    shutil.rmtree(host.data)
    eventually(lambda: host.counters()["in_doubt"] > 0)
    host.paths.clear()
    host.view(20)
    assert host.consent() == 200
    eventually(all_written(host), RECOVERY_S)
    assert_each_view_is_there_once(host)
    eventually(lambda: is_known_to_live(host))
    for path in host.data.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_without_descriptors_views_wait(serve: Serve) -> None:
    """RLIMIT_NOFILE reached before anything is opened; raised, all is written."""
    host = serve()
    assert host.counters()["accepted"] == 0
    host.limit(resource.RLIMIT_NOFILE, host.descriptors())
    host.view(100)
    eventually(lambda: host.counters()["errors"].get("OSError", 0) >= 3)
    assert host.counters()["queued"] == 100
    host.limit(resource.RLIMIT_NOFILE, 1024)
    eventually(all_written(host), RECOVERY_S)
    assert_each_view_is_there_once(host)


# ---- input/output errors -------------------------------------------------------------------------------


def test_a_disk_that_fails_writes_is_tried_again(disk: Disk, serve: Serve) -> None:
    """EIO from write: views wait, a consent is refused, and all is well when the disk is."""
    host = serve(environment=disk.environment)
    host.view(5)
    eventually(all_written(host))
    disk.write_error = errno.EIO
    host.view(50)
    assert host.consent() == 503
    assert host.counters()["queued"] == 50
    disk.write_error = 0
    eventually(all_written(host), RECOVERY_S)
    assert host.consent() == 200
    assert_each_view_is_there_once(host)


def test_a_sync_that_failed_is_never_repeated(disk: Disk, serve: Serve) -> None:
    """EIO from fdatasync: in doubt, said so, and a new segment; a retry may falsely succeed."""
    host = serve(environment=disk.environment)
    disk.sync_error = errno.EIO
    host.view(5)
    eventually(lambda: host.counters()["in_doubt"] == 5)
    assert host.consent() == 503
    assert disk.failed_syncs >= 2
    disk.sync_error = 0
    host.view(5)
    assert host.consent() == 200
    eventually(lambda: host.counters()["synced"] == 6)
    host.end()
    assert disk.repeated_syncs == 0
    assert_each_view_is_there_once(host)
    assert len(list((host.data / "logs").rglob("*.log"))) >= 3


def written_in_full(directory: str) -> None:
    """Write batches into one directory after the other while their 1st, 2nd, … last operation fails."""
    told = told_by(Path(os.environ["FAULTY_DISK"]))
    for position in range(1, 100):
        told.fail_at = position
        assert ended(forked(partial(write_batches, Path(directory) / f"{position}"))) == 0
        if told.fail_at > 0:  # there were fewer operations than that
            return


def write_batches(data: Path) -> None:
    """A dozen batches of three records, each synced, in several segments; whatever fails is tried again."""
    sink = LocalFiles(data, "aa", segment_bytes=400)
    numbers = count()
    for _ in range(12):
        batch = [encode(FRAME | {"id": f"{number}", "ts_ms": number}) for number in islice(numbers, 3)]
        while batch:
            with suppress(OSError):
                batch = batch[sink.write("2026-11-24", batch) :]
        with suppress(OSError):
            sink.sync()
    with suppress(OSError):
        sink.close()


def test_any_one_operation_may_fail(disk: Disk, tmp_path: Path) -> None:
    """Write or sync, the first, second, … to the last: what was called written is there, in order, once."""
    alone(written_in_full, tmp_path / "made", environment=disk.environment)
    directories = list((tmp_path / "made").iterdir())
    for data in directories:
        found = [frame for path in sorted(data.rglob("*.log")) for frame in frames(path.read_bytes())]
        assert [decode(frame.payload or b"").ts_ms for frame in found] == list(range(36))
    assert len(directories) > 20
    assert disk.repeated_syncs == 0


# ---- hanging -------------------------------------------------------------------------------------------


def test_a_stalled_disk_stalls_nobody(disk: Disk, serve: Serve) -> None:
    """5 s without an answer: pages come as ever, though 50 visitors wait for their consent to be stored."""
    host = serve(environment=disk.environment)
    usual_s = host.view(50)
    eventually(all_written(host))
    disk.stalled = 1
    host.view()
    time.sleep(0.5)  # the writer hangs in that view's write
    statuses: list[int] = []
    visitors = [threading.Thread(target=lambda: statuses.append(host.consent())) for _ in range(50)]
    for visitor in visitors:
        visitor.start()
    slowest_s, stalled_s = 0.0, time.monotonic()
    while time.monotonic() < stalled_s + 5.5:
        slowest_s = max(slowest_s, host.view())
        time.sleep(0.01)
    assert slowest_s < max(10 * usual_s, 1)
    for visitor in visitors:
        visitor.join()
    assert statuses == [503] * 50
    during = host.counters()
    disk.stalled = 0
    eventually(all_written(host), RECOVERY_S)
    assert during["queued"] >= 100
    assert_each_view_is_there_once(host)
    # Who was told that nothing more is collected was told the truth.
    assert {record.kind for record in read(host.data)[0]} == {"view"}
    assert host.counters()["dropped"] == {"not_durable": 50}


def test_a_stop_does_not_wait_for_a_stalled_disk(disk: Disk, serve: Serve) -> None:
    """The process ends, and what it leaves behind can be told from its last counters."""
    host = serve(environment=disk.environment)
    host.view(5)
    eventually(all_written(host))
    assert is_known_to_live(host)
    disk.stalled = 1
    host.view(10)
    assert host.end(within_s=10) < 10
    assert len(read(host.data)[0]) <= 15
    assert not is_known_to_live(host)
