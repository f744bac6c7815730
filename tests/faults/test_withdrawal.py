"""A withdrawal and an erasure under load, in every worker; and kill -9 at every step of a choice."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from itertools import count
from pathlib import Path

import pytest
from starlette.applications import Starlette

from collector import Collector
from collector.identity import Pseudonyms
from collector.record import DAY_MS
from collector.rights import Rights, receipt_of
from pipeline.demo.disk import found_on_disk
from pipeline.ingest import ingest
from pipeline.rights.access import records_of
from pipeline.rights.requests import carry_out
from tests.asgi import cookie_header, post
from tests.faults.conftest import compiled
from tests.faults.host import BROWSER, read
from tests.faults.test_steps import told_by
from tests.forks import ended, forked
from tests.pipeline.logs import frame, noon_ms, write
from tests.policies import CONSENTED
from tests.serve import Site

WORKERS = 4
CONNECTIONS = 32
EACH_CONNECTION = 10  # requests
RPS = 1000
BEFORE_S, AFTER_S = 1.0, 2.2
ALLOWED_MS = 1000
DIGITS, LETTERS = "0123456789", "abcdefghij"

EACH = 5
KEPT = frozenset(("necessary", "statistics"))
SUBJECT, OTHER = f"{0xE5:032x}", f"{0x07:032x}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _spelt(at_ms: int) -> str:
    """A time in letters, since numbers in addresses are blanked; the lowest six digits will do."""
    return f"{at_ms % 1_000_000:06}".translate(str.maketrans(DIGITS, LETTERS))


def _read(spelt: str) -> int:
    return int(spelt.translate(str.maketrans(LETTERS, DIGITS)))


def _since(spelt: str, at_ms: int) -> int:
    """Milliseconds from an instant to a spelt one, within eight minutes."""
    return (_read(spelt) - at_ms + 500_000) % 1_000_000 - 500_000


class Visitor:
    """A browser that granted some purposes or all, and never takes another cookie."""

    def __init__(self, name: str, port: int, *purposes: str) -> None:
        self.name = name
        self._port = port
        self._headers = BROWSER | {"User-Agent": f"{BROWSER['User-Agent']} {name}"}
        self.cookie = ""
        jar = SimpleCookie()
        for value in self.choose("grant", *purposes):
            jar.load(value)
        self.cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        self.id = jar["__Host-id"].value.partition(".")[0] if "__Host-id" in jar else ""

    def choose(self, act: str, *purposes: str) -> list[str]:
        """Grant or withdraw purposes, or all; the cookies of the answer."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        headers = self._headers | {"Content-Type": "application/json", "Cookie": self.cookie}
        body = json.dumps({"act": act, "purposes": purposes})
        connection.request("POST", "/_impersonal/consent", body, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{")
        connection.close()
        return answer.headers.get_all("set-cookie") or []

    def request(self) -> bytes:
        """A page view whose address says when it was sent."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        target = f"/{self.name}/{_spelt(now_ms())}"
        return f"GET {target} HTTP/1.1\r\nHost: example.org\r\n{fields}Cookie: {self.cookie}\r\n\r\n".encode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, list[int], Path]]:
    """Four workers on one data directory."""
    data = tmp_path / "data"
    served = Site(data, "BY_DAY")
    workers = [served.start_worker() for _ in range(WORKERS)]
    yield served, workers, data
    served.close()


async def browse(port: int, visitors: list[Visitor], end_s: float) -> int:
    """Look at pages over many connections, RPS in all; how many were answered."""
    answered = 0

    async def connection(number: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due_s = time.monotonic() + number / RPS
        for turn in count():
            if due_s >= end_s:
                break
            if turn % EACH_CONNECTION == EACH_CONNECTION - 1:  # so that every worker gets some
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s += CONNECTIONS / RPS
            writer.write(visitors[number % len(visitors)].request())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            answered += 1
        writer.close()

    await asyncio.gather(*(connection(number) for number in range(CONNECTIONS)))
    return answered


def test_no_worker_records_a_withdrawn_or_erased_visitor_a_second_later(
    site: tuple[Site, list[int], Path], record_property: Callable[[str, object], None]
) -> None:
    """Browsers go on sending the cookies of before to four workers; nobody else is affected."""
    served, workers, data = site
    port = served.port
    withdrawing, erased, other = (Visitor(name, port) for name in ("withdrawing", "erased", "other"))
    nameless = Visitor("nameless", port, "statistics")
    assert not nameless.id
    said_ms: dict[str, int] = {}

    def speak() -> None:
        for visitor in (withdrawing, nameless):
            visitor.choose("withdraw")
            said_ms[visitor.name] = now_ms()
        subject = Pseudonyms(data).of_id(erased.id)
        Rights(data).erase(subject, receipt_of("number"), now_ms(), now_ms() + DAY_MS)
        said_ms["erased"] = now_ms()

    async def traffic() -> int:
        end_s = time.monotonic() + BEFORE_S + AFTER_S
        going = asyncio.create_task(browse(port, [withdrawing, erased, other, nameless], end_s))
        await asyncio.sleep(BEFORE_S)
        await asyncio.to_thread(speak)
        return await going

    answered = asyncio.run(traffic())
    served.end_workers(workers)

    views = [record for record in read(data)[0] if record.kind == "view" and record.path]
    sent = [(view.path or "").split("/")[1:] for view in views]
    after: Counter[str] = Counter()
    latest_ms = dict.fromkeys(said_ms, 0)
    for name, at in sent:
        if name in said_ms:
            latest_ms[name] = max(latest_ms[name], _since(at, said_ms[name]))
            after[name] += _since(at, said_ms[name]) > ALLOWED_MS
    record_property("latest_ms", latest_ms)
    record_property("rps", round(answered / (BEFORE_S + AFTER_S)))
    assert answered > RPS * (BEFORE_S + AFTER_S) / 2, "too little load to say anything"
    assert after == {"withdrawing": 0, "nameless": 0, "erased": 0}, f"recorded {latest_ms} ms later"
    last_ms = max(_since(at, max(said_ms.values())) for name, at in sent if name == "other")
    assert last_ms > ALLOWED_MS, "another visitor is recorded until the end"
    counts = Counter(name for name, _ in sent)
    assert min(counts.values()) > 50, "the positive control"
    busy = {path.name.partition("-")[0] for path in (data / "logs").rglob("*.log")}
    assert len(busy) == WORKERS, "a worker had nothing to do"
    statuses = [json.loads(path.read_bytes())["dropped"] for path in (data / "status").glob("[!.]*.json")]
    dropped = sum(map(Counter, statuses), Counter[str]())
    assert answered == len(views) + dropped["withdrawn"] + dropped["erased"]


def mounted(data: Path) -> Collector:
    """A site whose answers do not matter."""
    return Collector(Starlette(), policy=CONSENTED, data=data)


def trials_of_choices(made: Path) -> None:
    """Grant and withdraw, killed before the 1st, 2nd, … step, until each comes through; print the steps."""
    cookies, subject = json.loads((made / "granted.json").read_text())
    data, steps = made / "trial", {}
    site = mounted(data)
    site.warm()
    for act, before in (("grant", "empty"), ("withdraw", "granted")):
        body = json.dumps({"act": act, "purposes": ["advertising"]}).encode()
        for step in range(1, 1000):
            shutil.copytree(made / before, data)
            answered, tell = os.pipe()

            def choose(body: bytes = body, tell: int = tell) -> None:
                headers = [("content-type", "application/json"), tuple(cookies)]
                answer = post(site, "/_impersonal/consent", body, headers=headers)
                os.write(tell, b"%d" % answer.status)

            calls = killed_at(step, data, choose)
            os.close(tell)
            status = os.read(answered, 9)
            os.close(answered)
            is_stored = act in {record.act for record in read(data)[0]}
            holds_back = act == "grant" or Rights(data).standing(subject) == KEPT
            assert (status == b"200") <= (is_stored and holds_back), f"{act}, killed before step {step}"
            shutil.rmtree(data)
            if calls:
                assert status == b"200"
                steps[act] = calls
                break
    print(json.dumps(steps))


def trials_of_an_erasure(made: Path) -> None:
    """Erase, killed before some of the steps, and once more; print the steps."""
    subject, other, data = SUBJECT, OTHER, made / "trial"

    def again() -> None:
        carry_out(data, now_ms)
        assert found_on_disk(data, [subject]) == {}
        assert len(records_of(data, other)) == 4
        receipt = Rights(data).receipt(receipt_of("number"))
        assert receipt is not None and receipt.done_ms is not None

    for step in range(1, 1000, EACH):
        shutil.copytree(made / "asked", data)
        calls = killed_at(step, data, lambda: carry_out(data, now_ms))
        assert ended(forked(again)) == 0, f"killed before step {step}"
        shutil.rmtree(data)
        if calls:
            print(json.dumps(calls))
            return


def killed_at(step: int, data: Path, act: Callable[[], object]) -> int:
    """Do something in a child that is killed before a step that changes the disk; its steps where it ends."""
    told = told_by(Path(os.environ["KILL_AT"]))
    told.kill_at, told.calls = step, 0

    def disturbed() -> None:
        told.root = bytes(data)
        act()

    way = ended(forked(disturbed))
    told.root = b""
    assert way in (0, -signal.SIGKILL)
    return told.calls if way == 0 else 0


@pytest.fixture
def tried(compiler: None, tmp_path: Path) -> Callable[[str], object]:
    """Runs one of the functions above in a process with kill_at.c; gives what it prints."""
    told = tmp_path / "told"
    told.write_bytes(bytes(4096))
    shim = compiled(Path(__file__).with_name("kill_at.c"), tmp_path)
    environment = os.environ | {"LD_PRELOAD": str(shim), "KILL_AT": str(told)}

    def run(trials: str) -> object:
        code = f"import sys, pathlib, {__name__} as m; m.{trials}(pathlib.Path(sys.argv[1]))"
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_kill_at_any_step_of_a_choice_leaves_no_answer_without_its_record(
    tried: Callable[[str], object], tmp_path: Path
) -> None:
    """Never a 2xx without a durable record; for a withdrawal, without what holds every worker to it."""
    (tmp_path / "empty").mkdir()
    site = mounted(tmp_path / "granted")
    kind = ("content-type", "application/json")
    answer = post(site, "/_impersonal/consent", b'{"act": "grant"}', headers=[kind])
    site.writer.stop()
    bits = answer.cookies["__Host-id"].value.partition(".")[0]
    subject = Pseudonyms(tmp_path / "granted").of_id(bits)
    (tmp_path / "granted.json").write_text(json.dumps([cookie_header(answer), subject]))
    steps = tried("trials_of_choices")
    assert isinstance(steps, dict) and steps["grant"] > 10 and steps["withdraw"] > 15


def test_a_kill_during_an_erasure_leaves_it_to_the_next_run(
    tried: Callable[[str], object], tmp_path: Path
) -> None:
    """Whatever was done before, then nothing is left of the visitor, and nobody else lost a record."""
    data = tmp_path / "asked"
    for n in range(2):
        write(data, [frame(n * 10 + i, visitor=(SUBJECT, OTHER)[i % 2]) for i in range(4)])
        write(data, [frame(n * 10 + 9, visitor=SUBJECT, v=99)])
        if n == 0:
            ingest(data, noon_ms, lambda *_: None)
    asked_ms = now_ms() - 10_000
    Rights(data).erase(SUBJECT, receipt_of("number"), asked_ms, asked_ms + DAY_MS)
    steps = tried("trials_of_an_erasure")
    assert isinstance(steps, int) and steps > 20
