"""Erasure on bytes: then no file holds the visitor in any spelling, and no copy of the logs revives them."""

import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from collector.answers import OUTBOX
from collector.identity import Pseudonyms
from collector.record import DAY_MS, day_of
from collector.rights import Rights, receipt_of
from pipeline.demo.disk import found_on_disk
from pipeline.rights.access import records_of
from pipeline.run import run_once
from tests.asgi import FIREFOX
from tests.faults.host import eventually
from tests.policies import CONSENTED
from tests.serve import Site

HEADERS = {"User-Agent": FIREFOX, "Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
WORKERS = 2


class Visitor:
    """A browser that consented, with the cookies it got then."""

    def __init__(self, port: int, data: Path) -> None:
        self._port = port
        self.cookie = ""
        _, answer = self._send("POST", "/_impersonal/consent", json.dumps({"act": "grant"}))
        jar = SimpleCookie()
        for name, value in answer:
            if name == "set-cookie":
                jar.load(value)
        self.cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        self.bits = jar["__Host-id"].value.partition(".")[0]
        self.subject = Pseudonyms(data).of_id(self.bits)

    def view(self, path: str) -> None:
        """Look at a page, with whichever worker answers."""
        assert self._send("GET", path)[0] == 200

    def _send(self, method: str, path: str, body: str | None = None) -> tuple[int, list[tuple[str, str]]]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = HEADERS | {"Cookie": self.cookie} | ({"Content-Type": "application/json"} if body else {})
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, answer.getheaders()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """A site of two workers."""
    data = tmp_path_factory.mktemp("site") / "data"
    served = Site(data, "CONSENTED")
    workers = [served.start_worker() for _ in range(WORKERS)]
    yield served, data
    served.end_workers(workers)
    served.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def round_(data: Path) -> None:
    run_once(data, CONSENTED, now_ms, lambda *_: None)


def logged(data: Path, visitor: Visitor) -> int:
    return sum(path.read_bytes().count(visitor.subject.encode()) for path in (data / "logs").rglob("*.log"))


def dropped(data: Path) -> int:
    files = (data / "status").glob("[!.]*.json")
    return sum(json.loads(file.read_bytes())["dropped"].get("erased", 0) for file in files)


def test_after_an_erasure_nothing_is_found_and_nothing_comes_back(site: tuple[Site, Path]) -> None:
    """A real site, its logs, events, quarantine, declared values and answers; then a copy of the old logs."""
    served, data = site
    visitor, other = Visitor(served.port, data), Visitor(served.port, data)
    rights = Rights(data)
    for who in (visitor, other):
        rights.declare([who.subject], {"city": "Almaty"}, "v1", now_ms())
        rights.ask(who.subject, now_ms())
        for number in range(12):
            who.view(f"/{number}")
    eventually(lambda: logged(data, visitor) == logged(data, other) == 13)
    day = day_of(now_ms())
    (data / "logs" / day / "0-000000.log").write_bytes(b"\x1e00000000 " + visitor.subject.encode() + b"\n")
    round_(data)
    visitor.view("/after-the-round")
    eventually(lambda: logged(data, visitor) == 15)
    rights.ask(visitor.subject, now_ms())

    control = found_on_disk(data, [visitor.subject, other.subject, visitor.bits])
    assert control[visitor.subject] > 40 and visitor.bits not in control
    for place in ("logs", "events", "quarantine", "rights.sqlite", OUTBOX):
        directory = data.with_name(f"control-{place}")
        directory.mkdir()
        copy = shutil.copytree if (data / place).is_dir() else shutil.copy2
        copy(data / place, directory / place)
        assert visitor.subject in found_on_disk(directory, [visitor.subject]), place
        shutil.rmtree(directory)
    shutil.copytree(data / "logs", data.with_name("copy"))

    receipt_number, asked_ms = secrets.token_hex(16), now_ms()
    assert rights.erase(visitor.subject, receipt_of(receipt_number), asked_ms, asked_ms + 760 * DAY_MS) == 1
    time.sleep(0.3)
    visitor.view("/with-the-old-cookie")
    eventually(lambda: dropped(data) == 1, within_s=5)
    round_(data)
    assert found_on_disk(data, [visitor.subject, visitor.bits]) == {}
    assert raw(data / "rights.sqlite").count(visitor.subject.encode()) == 0, "free pages too"
    assert len(records_of(data, other.subject)) == 13, "nobody else is touched"
    receipt = rights.receipt(receipt_of(receipt_number))
    assert receipt is not None and receipt.done_ms is not None
    assert receipt.counts["logs"] == 15 and receipt.counts["events"] == 13
    assert receipt.counts["declared"] == receipt.counts["quarantine"] == 1
    assert rights.standing(visitor.subject) == "erased"

    # Everything that was read is lost, and the old logs are put back beside the running workers.
    for place in ("events", "quarantine"):
        shutil.rmtree(data / place)
    for path in data.with_name("copy").rglob("*.log"):
        target = data / "logs" / day / path.name.replace("-", "copy-")
        shutil.copy2(path, target)
    assert visitor.subject in found_on_disk(data, [visitor.subject])
    round_(data)
    found = found_on_disk(data, [visitor.subject, visitor.bits, other.subject])
    assert set(found) == {other.subject}, "0 revived"
    with sqlite3.connect(data / "rights.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def raw(file: Path) -> bytes:
    """A file and whatever journal lies beside it."""
    return b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))
