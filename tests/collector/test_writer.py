"""The writer: bounded, honest in its counting, and alive after whatever happens to its store."""

import asyncio
import json
import os
import signal
import socket
import stat
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from collector import Collector, MemorySink
from collector.record import Record, decode, frames
from collector.words import languages, words
from collector.writer import TICK_S
from tests.asgi import FIREFOX, call, cookie_header, get, http_scope, post
from tests.collector.test_middleware import SITE
from tests.policies import CONSENTED, EXEMPT


def records(data: Path) -> list[Record]:
    return [
        decode(frame.payload)
        for path in sorted((data / "logs").rglob("*.log"))
        for frame in frames(path.read_bytes())
        if frame.payload
    ]


def eventually(condition: Callable[[], object], within_s: float = 10) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen"
        time.sleep(0.02)


def view(site: Collector, times: int = 1) -> None:
    async def run() -> None:
        for _ in range(times):
            await call(site, http_scope())

    asyncio.run(run())


class TroubledSink(MemorySink):
    """A store that a test can stall or break."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.error: OSError | None = None
        self.sync_error: OSError | None = None

    def write(self, day: str, frames: Sequence[bytes]) -> int:
        """Wait, fail or keep."""
        self.open.wait()
        if self.error:
            raise self.error
        return super().write(day, frames)

    def sync(self) -> None:
        """Fail or not."""
        if self.sync_error:
            raise self.sync_error


def test_a_stalled_store_drops_the_newest_and_counts_them() -> None:
    """The queue is bounded; every view is served; nothing that was queued is lost afterwards."""
    sink = TroubledSink()
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    site.writer._limit = 100
    view(site)
    eventually(lambda: site.writer.counters()["written"] == 1)
    sink.open.clear()
    view(site, 1000)
    stalled = site.writer.counters()
    assert stalled["accepted"] == 1001
    assert stalled["queued"] <= 100 + 512 and stalled["dropped"]["queue_full"] >= 1000 - 612
    assert stalled["accepted"] == stalled["written"] + stalled["queued"] + sum(stalled["dropped"].values())
    sink.open.set()
    eventually(lambda: site.writer.counters()["queued"] == 0)
    after = site.writer.counters()
    assert after["written"] == 1001 - after["dropped"]["queue_full"] == sum(map(len, sink.frames.values()))


def test_a_store_that_fails_is_tried_again() -> None:
    """ENOSPC for a while: views wait in the queue and are written when there is room."""
    sink = TroubledSink()
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    sink.error = OSError(28, "No space left on device")
    view(site, 5)
    eventually(lambda: site.writer.counters()["errors"].get("OSError", 0) >= 1)
    assert site.writer.counters()["written"] == 0
    sink.error = None
    eventually(lambda: site.writer.counters()["written"] == 5)


def test_a_consent_that_cannot_be_stored_is_not_given() -> None:
    """503, no cookie, and the visitor is told to try again; the next try works."""
    sink = TroubledSink()
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    kind = [("content-type", "application/json")]
    for fault in ("error", "sync_error"):
        setattr(sink, fault, OSError(5, "Input/output error"))
        answer = post(site, "/_impersonal/consent", b'{"act": "grant"}', kind)
        assert answer.status == 503 and answer.headers("set-cookie") == []
        assert "try again" in json.loads(answer.body)["error"]
        setattr(sink, fault, None)
    assert post(site, "/_impersonal/consent", b'{"act": "grant"}', kind).status == 200


@pytest.mark.parametrize("language", languages())
def test_a_form_that_cannot_be_stored_is_answered_with_a_page(tmp_path: Path, language: str) -> None:
    """Whoever chose without a script reads what happened, in their language, and finds the way on."""
    sink = TroubledSink()
    site = Collector(SITE, policy=CONSENTED, sink=sink, data=tmp_path)
    sink.error = OSError(28, "No space left on device")
    answer = post(site, "/_impersonal/consent", b"act=grant", [("accept-language", language)])
    assert (answer.status, answer.headers("set-cookie")) == (503, [])
    assert answer.headers("content-type") == ["text/html; charset=utf-8"]
    assert answer.headers("cache-control") == ["no-store"]
    page = answer.body.decode()
    assert f'<html lang="{language}">' in page and 'role="alert"' in page
    assert words(language)("banner.failed") in page
    assert 'href="/_impersonal/privacy#settings"' in page


@pytest.mark.parametrize("language", languages())
def test_a_withdrawal_holds_though_its_record_cannot_be_stored(tmp_path: Path, language: str) -> None:
    """503 and no cookie, but an older cookie collects nothing any more; and the answer says so. Of what turns
    nothing off it says that nothing more is collected."""
    sink = TroubledSink()
    site = Collector(SITE, policy=CONSENTED, sink=sink, data=tmp_path)
    kind = [("content-type", "application/json"), ("accept-language", language)]
    visitor = cookie_header(post(site, "/_impersonal/consent", b'{"act": "grant"}', kind))
    sink.error = OSError(28, "No space left on device")
    for act, said in (("grant", "failed"), ("withdraw", "failed_held")):
        answer = post(site, "/_impersonal/consent", b'{"act": "%b"}' % act.encode(), [*kind, visitor])
        assert (answer.status, answer.headers("set-cookie")) == (503, [])
        assert json.loads(answer.body) == {"error": words(language)(f"banner.{said}")}
    sink.error = None
    get(site, headers=[visitor])
    eventually(lambda: site.writer.counters()["dropped"].get("withdrawn") == 1)


def test_records_whose_sync_failed_are_in_doubt() -> None:
    """Written, but not called synced: the kernel may have dropped them."""
    sink = TroubledSink()
    site = Collector(SITE, policy=EXEMPT, sink=sink)
    sink.sync_error = OSError(5, "Input/output error")
    view(site, 3)
    eventually(lambda: site.writer.counters()["in_doubt"] == 3)
    sink.sync_error = None
    view(site, 2)
    eventually(lambda: site.writer.counters()["synced"] == 2)
    assert site.writer.counters()["written"] == 5


def test_counters_are_kept_for_the_operator(tmp_path: Path) -> None:
    """status/<worker>.json follows within a second, private to its owner."""
    site = Collector(SITE, policy=EXEMPT, data=tmp_path)
    view(site, 3)
    path = tmp_path / "status" / f"{site.writer.worker}.json"
    eventually(lambda: path.exists() and json.loads(path.read_bytes())["written"] == 3)
    kept = json.loads(path.read_bytes())
    assert (kept["accepted"], kept["decisions"], kept["pid"]) == (3, {"default": 3}, os.getpid())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    site.writer.stop()


FORKED = """
import asyncio, os, sys
from collector import Collector
from tests.asgi import call, http_scope
from tests.collector.test_middleware import SITE
from tests.policies import EXEMPT

async def views(site):
    for _ in range(50):
        await call(site, http_scope())

site = Collector(SITE, policy=EXEMPT, data=sys.argv[1])
asyncio.run(views(site))                      # the parent writes too: its thread must not be inherited
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        asyncio.run(views(site))
        sys.exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
asyncio.run(views(site))
"""


def test_forked_workers_share_nothing(tmp_path: Path) -> None:
    """Preloaded and forked four times: every view once, no file or number shared, all written at exit."""
    subprocess.run([sys.executable, "-c", FORKED, str(tmp_path)], check=True, timeout=60)
    found = records(tmp_path)
    assert len(found) == 50 * 6
    assert len({record.id for record in found}) == len(found)
    writers = {path.name.split("-")[0] for path in (tmp_path / "logs").rglob("*.log")}
    assert len(writers) == 5


BUILDING = """
import asyncio, os, sys, threading, time
from collector import Collector, enrich, writer
from tests.asgi import call, http_scope
from tests.collector.test_middleware import SITE
from tests.policies import EXEMPT

is_building, lock, build = threading.Event(), threading.Lock(), enrich._classifier

def slowly():
    with lock:  # as an import is locked
        is_building.set()
        time.sleep(0.5)
        return build()

enrich._classifier = slowly
writer.HOLD_S = 0.01
site = Collector(SITE, policy=EXEMPT, data=sys.argv[1])
asyncio.run(call(site, http_scope()))
assert is_building.wait(30)
child = os.fork()
asyncio.run(call(site, http_scope()))
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_while_the_tables_are_built_gives_a_worker_that_writes(tmp_path: Path) -> None:
    """It waits for them: what is half built at a fork stays so in the child."""
    subprocess.run([sys.executable, "-c", BUILDING, str(tmp_path)], check=True, timeout=60)
    assert len(records(tmp_path)) == 3


async def written_after_s(site: Collector, times: int) -> list[float]:
    """How long each of some views, one at a time, waits until it is written."""
    waited = []
    for _ in range(times):
        before, started_s = site.writer.counters()["written"], time.monotonic()
        await call(site, http_scope())
        while site.writer.counters()["written"] == before:
            await asyncio.sleep(0.001)
        waited.append(time.monotonic() - started_s)
    return waited


def test_where_nobody_tells_when_the_server_ends_no_view_waits(tmp_path: Path) -> None:
    """Without a lifespan the process may be gone at any moment: each view is written at once."""
    site = Collector(SITE, policy=EXEMPT, data=tmp_path)
    site.writer.start()
    assert site.writer._warm.wait(5)
    untold = asyncio.run(written_after_s(site, 20))
    site.writer.is_told_to_stop = True
    told = asyncio.run(written_after_s(site, 20))
    assert statistics.median(untold) < TICK_S / 4 < statistics.median(told)


def test_a_writer_with_nothing_to_do_sleeps_and_wakes_for_the_next_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a second it syncs and looks around; what comes meanwhile waits no longer than on a busy site."""
    site = Collector(SITE, policy=EXEMPT, data=tmp_path)
    site.writer.is_told_to_stop = True
    view(site)
    eventually(lambda: site.writer.counters()["synced"] == 1)
    assembler, looked = site.writer._assembler, list[int]()
    assert assembler is not None
    refresh = assembler.refresh

    def counted(now_ms: int) -> None:
        looked.append(now_ms)
        refresh(now_ms)

    monkeypatch.setattr(assembler, "refresh", counted)
    time.sleep(3)
    assert 2 <= len(looked) <= 5
    # Around a turn, when it has just decided to sleep, and long after.
    pauses_s = (0.0, 0.03, 0.099, 0.1, 0.1005, 0.101, 0.105, 0.11, 0.199, 0.2, 0.205, 0.7, 1.1)
    for pause_s in pauses_s:
        time.sleep(pause_s)
        asked_s = time.monotonic()
        view(site)
        eventually(lambda: site.writer.counters()["queued"] == 0)
        assert time.monotonic() - asked_s < 0.2
    eventually(lambda: site.writer.counters()["synced"] == 1 + len(pauses_s), within_s=1.5)


SERVED = """
import sys, uvicorn
from collector import Collector
from tests.collector.test_middleware import SITE
from tests.policies import EXEMPT

async def raising(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    await SITE(scope, receive, send)

site = Collector(raising if sys.argv[2] == "raising" else SITE, policy=EXEMPT, data=sys.argv[1])
lifespan = "auto" if sys.argv[2] == "raising" else sys.argv[2]
uvicorn.run(site, port=int(sys.argv[3]), lifespan=lifespan, log_level="critical")
"""


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield port


def browse(connection: HTTPConnection, answered: list[str]) -> None:
    """Look at one page after the other until the server is gone."""
    with suppress(OSError, HTTPException):
        while True:
            path = f"/product/{len(answered)}"
            connection.request("GET", path, headers={"User-Agent": FIREFOX})
            assert connection.getresponse().read()
            answered.append(path)


@pytest.mark.parametrize("lifespan", ["on", "off", "raising"])
def test_a_normal_stop_loses_nothing(tmp_path: Path, free_port: int, lifespan: str) -> None:
    """SIGTERM in the midst of traffic, with and without a word of the end: what was answered stays."""
    server = subprocess.Popen([sys.executable, "-c", SERVED, str(tmp_path), lifespan, str(free_port)])
    connection = HTTPConnection("127.0.0.1", free_port)

    def up() -> bool:
        with suppress(ConnectionRefusedError):
            connection.connect()
            return True
        return False

    eventually(up)
    answered: list[str] = []
    visitor = threading.Thread(target=browse, args=(connection, answered))
    visitor.start()
    eventually(lambda: len(records(tmp_path)) >= 200)
    server.send_signal(signal.SIGTERM)
    visitor.join()
    server.wait(timeout=10)
    assert set(answered) <= {record.path for record in records(tmp_path)}
