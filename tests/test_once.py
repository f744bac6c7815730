"""A choice that a browser sends twice: one id, one proof, one first choice; what has ended stays ended."""

import asyncio
import json
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from starlette.applications import Starlette

from collector import Collector
from collector.identity import Pseudonyms
from collector.policy import Policy
from collector.record import DAY_MS, Record, date_of
from collector.rights import Rights, receipt_of
from pipeline import proofs
from pipeline.counting import build
from pipeline.engine import Engine
from pipeline.ingest import ingest
from pipeline.store import batch_files, events_of
from pipeline.windows import Window
from tests.asgi import ADDRESS, FIREFOX, Answer, call, cookie_header, get, http_scope, post
from tests.faults.host import BROWSER, read
from tests.pipeline.private_events import cells
from tests.policies import BY_DAY, CONSENTED
from tests.serve import Site

NOON_MS = 1_796_000_000_000 - 1_796_000_000_000 % DAY_MS + DAY_MS // 2
ONCE = "0123456789abcdef" * 2
ELSEWHERE = "198.51.100.7"
Cookies = tuple[str, str]


class Worker:
    """One worker of a site; another on the same directory is its neighbour, or itself after a restart."""

    def __init__(self, data: Path, rules: Policy = CONSENTED) -> None:
        self.now_ms = NOON_MS
        self.collector = Collector(Starlette(), policy=rules, data=data, clock=lambda: self.now_ms)

    def choose(
        self, once: object, act: str = "grant", *purposes: str, sent: Cookies | None = None, **from_: str
    ) -> Answer:
        """Choose by fetch, with the cookies of a browser that has some."""
        body = {"act": act, "purposes": purposes, "by": "banner", "u": "/page"} | (
            {"once": once} if once else {}
        )
        return self.send(json.dumps(body).encode(), sent, **from_)

    def send(
        self, body: bytes, sent: Cookies | None = None, address: str = ADDRESS, agent: str = FIREFOX
    ) -> Answer:
        """Post JSON from a page of the site."""
        headers = [("content-type", "application/json"), ("user-agent", agent), *([sent] if sent else [])]
        return post(self.collector, "/_impersonal/consent", body, headers, client=(address, 50000))

    def stop(self) -> None:
        """Write everything."""
        self.collector.writer.stop()


def bits(answer: Answer) -> str:
    """The id that an answer sets; empty for none."""
    return answer.cookies["__Host-id"].value.partition(".")[0] if "__Host-id" in answer.cookies else ""


def consents(data: Path) -> list[Record]:
    """Consents as they lie in the logs."""
    return [record for record in read(data)[0] if record.kind == "consent"]


def assert_no_id_is_two_records(data: Path) -> None:
    """Which of two records of one id is read first depends on the worker: they must say the same."""
    told = {(record.id, record.first, record.act, record.purposes) for record in consents(data)}
    assert len({id_ for id_, *_ in told}) == len(told)


def counted(data: Path, rules: Policy, day: date) -> tuple[Counter[str], dict[str | None, int]]:
    """What a run takes out of the logs, and the first choices that it counts before any noise."""
    at_ms = max((record.ts_ms for record in consents(data)), default=0)
    taken = ingest(data, lambda: at_ms, lambda *_: None)
    proofs.keep(data)
    with Engine() as engine:
        build(engine, batch_files(events_of(data, day.isoformat())), rules, Window("day", day))
        return taken, cells(engine, "consents", rules)


def test_a_repeat_is_the_same_choice_in_every_worker_and_after_a_restart(tmp_path: Path) -> None:
    """The same cookies, one pseudonym, one proof, one first choice; its granting view counts once too."""
    answers = [Worker(tmp_path).choose(ONCE) for _ in range(3)]
    worker = Worker(tmp_path)
    answers += [worker.choose(ONCE), worker.choose(ONCE)]
    assert {answer.status for answer in answers} == {200}
    assert len({cookie_header(answer) for answer in answers}) == 1
    worker.stop()
    records = consents(tmp_path)
    assert len({(record.id, record.visitor, record.first) for record in records}) == 1
    assert bits(answers[0]) not in str(records), "the id itself is in no record"
    taken, first = counted(tmp_path, CONSENTED, date_of(NOON_MS))
    assert first == {"granted": 1}
    assert taken["duplicate"] >= len(records) - 1 > 0
    subject = Pseudonyms(tmp_path).of_id(bits(answers[0]))
    assert len(proofs.of(tmp_path, subject)) == 1


def test_two_posts_at_the_same_time_are_one(tmp_path: Path) -> None:
    """A double click: both are on their way before either is answered."""
    workers = Worker(tmp_path), Worker(tmp_path)
    body = json.dumps({"act": "grant", "once": ONCE, "u": "/page"}).encode()
    headers = [("sec-fetch-site", "same-origin"), ("content-type", "application/json")]

    async def double() -> list[Answer]:
        scopes = [http_scope("/_impersonal/consent", "POST", headers) for _ in range(4)]
        posts = [call(workers[n % 2].collector, scope, body) for n, scope in enumerate(scopes)]
        return await asyncio.gather(*posts)

    answers = asyncio.run(double())
    assert len({cookie_header(answer) for answer in answers}) == 1
    for worker in workers:
        worker.stop()
    assert counted(tmp_path, CONSENTED, date_of(NOON_MS))[1] == {"granted": 1}
    views = [record for record in read(tmp_path)[0] if record.kind == "view"]
    assert len(views) == 4 and len({view.id for view in views}) == 1


def test_a_refusal_sent_twice_is_one_and_names_nobody(tmp_path: Path) -> None:
    """The first choice counts once, whether the repeat holds the refusal's cookie already or not."""
    worker = Worker(tmp_path)
    refused = worker.choose(ONCE, "refuse")
    assert (bits(refused), refused.status) == ("", 200)
    worker.choose(ONCE, "refuse")
    worker.choose(ONCE, "refuse", sent=cookie_header(refused))
    worker.stop()
    assert {record.visitor for record in consents(tmp_path)} == {None}
    assert_no_id_is_two_records(tmp_path)
    assert counted(tmp_path, CONSENTED, date_of(NOON_MS))[1] == {"refused": 1}


def test_a_grant_without_an_id_counts_once(tmp_path: Path) -> None:
    """Where the policy knows visitors by the day alone there is no proof to double, but a count."""
    worker = Worker(tmp_path, BY_DAY)
    granted = worker.choose(ONCE, "grant", "statistics")
    assert bits(granted) == ""
    worker.choose(ONCE, "grant", "statistics")
    worker.choose(ONCE, "grant", "statistics", sent=cookie_header(granted))
    worker.stop()
    assert_no_id_is_two_records(tmp_path)
    assert counted(tmp_path, BY_DAY, date_of(NOON_MS))[1] == {"granted": 1}


def test_a_repeat_that_holds_the_answer_changes_nothing(tmp_path: Path) -> None:
    """Neither a record nor a cookie: what the browser holds is the answer."""
    worker = Worker(tmp_path)
    cookies = cookie_header(worker.choose(ONCE))
    again = worker.choose(ONCE, sent=cookies)
    assert (again.status, again.headers("set-cookie")) == (200, [])
    assert json.loads(again.body)["granted"] == ["advertising", "necessary", "statistics"]
    worker.stop()
    assert len(consents(tmp_path)) == 1


def test_another_choice_by_the_same_value_is_another_choice_of_the_same_visitor(tmp_path: Path) -> None:
    """A page gone back to sends its value again: the id stays, what is chosen now holds and is proven."""
    worker = Worker(tmp_path)
    granted = worker.choose(ONCE)
    less = worker.choose(ONCE, "choose", "statistics", sent=cookie_header(granted))
    assert json.loads(less.body)["granted"] == ["necessary", "statistics"]
    lost = worker.choose(secrets.token_hex(16), "withdraw", sent=cookie_header(granted, less))
    assert json.loads(lost.body)["granted"] == ["necessary"]
    worker.stop()
    acts = [(record.act, record.visitor, record.first) for record in consents(tmp_path)]
    subject = Pseudonyms(tmp_path).of_id(bits(granted))
    assert acts == [("grant", subject, True), ("grant", subject, None), ("withdraw", subject, None)]
    assert len({record.id for record in consents(tmp_path)}) == 3


@pytest.mark.parametrize("ending", ["erased", "withdrawn"])
def test_what_ended_since_is_not_revived_by_a_repeat(tmp_path: Path, ending: str) -> None:
    """In any worker: 409 in words, no cookie, no record; what the visitor begins anew is another id."""
    worker, data = Worker(tmp_path), tmp_path
    granted = worker.choose(ONCE)
    cookies, subject = cookie_header(granted), Pseudonyms(data).of_id(bits(granted))
    if ending == "erased":
        form = ("content-type", "application/x-www-form-urlencoded")
        post(worker.collector, "/_impersonal/privacy/erase", b"what=all", [form, cookies])
    else:
        worker.choose(secrets.token_hex(16), "withdraw", sent=cookies)
    worker.stop()
    before, standing = read(data), Rights(data).standing(subject)
    for sent in (None, cookies):
        late = Worker(data).choose(ONCE, sent=sent)
        assert (late.status, late.headers("set-cookie")) == (409, [])
        assert "came a second time" in json.loads(late.body)["error"]
    assert read(data) == before
    assert Rights(data).standing(subject) == standing == ("erased" if ending == "erased" else {"necessary"})
    sent_by_form = post(Worker(data).collector, "/_impersonal/consent", f"act=grant&once={ONCE}".encode())
    assert sent_by_form.status == 409
    assert b"came a second time" in sent_by_form.body and b"<h1>" in sent_by_form.body
    anew = Worker(data).choose(secrets.token_hex(16))
    assert anew.status == 200 and bits(anew) not in ("", bits(granted))
    assert Worker(data).choose(ONCE, "refuse").status == 200, "a refusal is taken whenever it comes"


@pytest.mark.parametrize(
    "once",
    [
        "",
        "0" * 31,
        "0" * 33,
        "0" * 31 + "g",
        ONCE.upper(),
        ONCE + "\n",
        "٠" * 32,
        "x" * 2000,
        "../" * 10 + "ab",
    ],
)
def test_a_value_of_another_shape_tells_no_repeat(tmp_path: Path, once: str) -> None:
    """As without one: each is a choice of its own."""
    worker = Worker(tmp_path)
    answers = [worker.choose(once) for _ in range(2)]
    assert {answer.status for answer in answers} == {200}
    assert len({bits(answer) for answer in answers}) == 2
    worker.stop()
    assert counted(tmp_path, CONSENTED, date_of(NOON_MS))[1] == {"granted": 2}


@pytest.mark.parametrize("once", [b"7", b"null", b"[]", b'{"a": 1}', b'"\\ud800"'])
def test_a_value_that_is_no_text_is_refused(tmp_path: Path, once: bytes) -> None:
    """As any field of another type is."""
    assert Worker(tmp_path).send(b'{"act": "grant", "once": ' + once + b"}").status == 400


def test_nobody_else_gets_the_id_by_the_value(tmp_path: Path) -> None:
    """Scripts of a page can read it: at another address, in another browser or on another day it opens
    nothing, and no client chooses a pseudonym by it."""
    worker = Worker(tmp_path)
    own = bits(worker.choose(ONCE))
    others = [
        worker.choose(ONCE, address=ELSEWHERE),
        worker.choose(ONCE, agent=FIREFOX.replace("140", "139")),
        Worker(tmp_path / "another site").choose(ONCE),
    ]
    worker.now_ms += DAY_MS
    others.append(worker.choose(ONCE))
    assert len({own, ONCE, *map(bits, others)}) == 6
    assert ONCE not in str(read(tmp_path))


def test_without_an_address_there_is_no_repeat(tmp_path: Path) -> None:
    """Behind a socket whose proxy is not named everybody would be one: each choice is its own."""
    worker = Worker(tmp_path)
    body, kind = json.dumps({"act": "grant", "once": ONCE}).encode(), ("content-type", "application/json")
    answers = [post(worker.collector, "/_impersonal/consent", body, [kind], client=None) for _ in range(2)]
    assert len({bits(answer) for answer in answers}) == 2


def test_another_site_repeats_nothing(tmp_path: Path) -> None:
    """A value that another site learned is refused with its request."""
    worker = Worker(tmp_path)
    body = json.dumps({"act": "grant", "once": ONCE}).encode()
    headers = [("sec-fetch-site", "cross-site"), ("content-type", "text/plain")]
    answer = asyncio.run(call(worker.collector, http_scope("/_impersonal/consent", "POST", headers), body))
    assert (answer.status, answer.headers("set-cookie")) == (403, [])
    worker.stop()
    assert consents(tmp_path) == []


def test_the_privacy_pages_forms_are_safe_to_send_twice(tmp_path: Path) -> None:
    """Each render has a value of its own, in both of its forms, and no cache keeps the page."""
    worker = Worker(tmp_path)
    form = ("content-type", "application/x-www-form-urlencoded")
    seen = set()
    for _ in range(2):  # renders
        shown = get(worker.collector, "/_impersonal/privacy")
        assert shown.headers("cache-control") == ["no-store"]
        _, first, second, *_ = shown.body.decode().split('name="once" value="')
        assert first[:32] == second[:32]
        seen.add(first[:32])
        body = f"act=grant&by=page&once={first[:32]}".encode()
        answers = [post(worker.collector, "/_impersonal/consent", body, [form]) for _ in range(2)]
        assert len({cookie_header(answer) for answer in answers}) == 1
    assert len(seen) == 2
    worker.stop()
    assert counted(tmp_path, CONSENTED, date_of(NOON_MS))[1] == {"granted": 2}


def test_the_banner_in_a_hosts_page_carries_no_value(tmp_path: Path) -> None:
    """A shared cache would hand one value to many: neither the tag nor the fragment has one."""
    fragment = get(Worker(tmp_path).collector, "/_impersonal/banner")
    assert fragment.status == 200 and b"once" not in fragment.body


def test_a_real_site_with_two_workers_takes_a_choice_once(tmp_path: Path) -> None:
    """Eight visitors who each send their first choice six times at once, over connections of their own."""
    data = tmp_path / "data"
    served = Site(data, "CONSENTED")
    workers = [served.start_worker() for _ in range(2)]
    values = [secrets.token_hex(16) for _ in range(8)]

    def send(once: str) -> tuple[str, str]:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
        # Browsers of their own, so that the limit of one address is not met.
        headers = BROWSER | {"Content-Type": "application/json", "User-Agent": f"{FIREFOX} {once[:4]}"}
        body = json.dumps({"act": "grant", "once": once})
        connection.request("POST", "/_impersonal/consent", body, headers)
        answer = connection.getresponse()
        jar = SimpleCookie("; ".join(answer.headers.get_all("set-cookie") or []))
        assert (answer.status, answer.read()[:1]) == (200, b"{")
        connection.close()
        return once, jar["__Host-id"].value

    with ThreadPoolExecutor(6) as threads:
        found = Counter(threads.map(send, [once for once in values for _ in range(6)]))
    served.end_workers(workers)
    served.close()
    assert len(found) == 8 and set(found.values()) == {6}
    records = consents(data)
    assert len(records) == 48
    busy = {path.name.partition("-")[0] for path in (data / "logs").rglob("*.log")}
    assert len(busy) == 2, "a worker had nothing to do"
    taken, first = counted(data, CONSENTED, date_of(records[0].ts_ms))
    assert (taken["duplicate"], first) == (40, {"granted": 8})
    for _, cookie in found:
        assert len(proofs.of(data, Pseudonyms(data).of_id(cookie.partition(".")[0]))) == 1


def test_erasing_wins_over_a_repeat_that_is_read_later(tmp_path: Path) -> None:
    """A repeat that another worker stored just before the erasure is dropped with the rest."""
    worker = Worker(tmp_path)
    subject = Pseudonyms(tmp_path).of_id(bits(worker.choose(ONCE)))
    worker.choose(ONCE)
    worker.stop()
    Rights(tmp_path).erase(subject, receipt_of("number"), NOON_MS, NOON_MS + 760 * DAY_MS)
    taken, first = counted(tmp_path, CONSENTED, date_of(NOON_MS))
    assert (taken["erased"], taken["rows"], first) == (2 + 2, 0, {})
