"""The rights, carried out: erasure and access reach every place, and nothing erased comes back."""

import csv
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from collector.answers import OUTBOX, OUTBOX_DAYS, Answer, Choice, Handed
from collector.identity import Pseudonyms
from collector.record import DAY_MS, Record, date_of, day_of, decode, frames
from collector.rights import Rights, receipt_of
from collector.sinks import LocalFiles
from pipeline import proofs
from pipeline.cli import run
from pipeline.days import remove_logs, seal
from pipeline.demo.disk import found_on_disk
from pipeline.errors import BusyError, StoreError
from pipeline.ingest import ingest
from pipeline.retention import expire
from pipeline.rights.access import answer, records_of
from pipeline.rights.erasure import erase
from pipeline.rights.frames import overwrite
from pipeline.rights.requests import answer_beside, carry_out
from pipeline.run import Unfinished, run_once
from pipeline.store import batch_files, events_of, exclusive, find_segments, manifests
from pipeline.transfer_gate import Order
from pipeline.transfers import transfer
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms, write
from tests.pipeline.test_cli import impersonal
from tests.policies import CONSENTED

COMMAND = Path(sys.executable).with_name("impersonal")
CLOSED_MS = noon_ms() + 14 * 60 * 60 * 1000
SUBJECT, OTHER = f"{0xE5:032x}", f"{0x07:032x}"


def by(subject: str, number: int, **values: Any) -> bytes:
    return frame(number, visitor=subject, **values)


def read(data: Path, now_ms: int = CLOSED_MS) -> dict[str, int]:
    return dict(ingest(data, lambda: now_ms, lambda *_: None))


def ids(data: Path) -> list[str]:
    """The ids of all private events, in the order of the files."""
    files = [str(file) for file in sorted((data / "events").rglob("*.parquet"))]
    with duckdb.connect() as database:
        return [id_ for (id_,) in database.execute("SELECT id FROM read_parquet(?)", [files]).fetchall()]


def ask_to_erase(data: Path, subject: str, now_ms: int = CLOSED_MS) -> None:
    Rights(data).erase(subject, receipt_of("number"), now_ms - 1000, now_ms + DAY_MS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A sealed day, an open day in logs that are still written, and quarantine, each with both visitors."""
    write(tmp_path, [by(SUBJECT, 1), by(OTHER, 2), by(SUBJECT, 3, v=99), by(OTHER, 4, v=99)])
    read(tmp_path)
    seal(tmp_path, lambda: CLOSED_MS, date.fromisoformat(DAY))
    write(tmp_path, [by(OTHER, 5, day=NEXT_DAY), by(SUBJECT, 6, day=NEXT_DAY)], day=NEXT_DAY)
    read(tmp_path)
    write(tmp_path, [by(SUBJECT, 7, day=NEXT_DAY), by(OTHER, 8, day=NEXT_DAY)], day=NEXT_DAY)
    return tmp_path


def test_a_frame_is_overwritten_where_it_lies(tmp_path: Path) -> None:
    """A whole frame of the same length; others, their places and the segment's mode stay; torn ones too."""
    others = [by(OTHER, 1), by(OTHER, 2)]
    torn = by(SUBJECT, 4)[:-9]
    path = write(tmp_path, [others[0], by(SUBJECT, 3), torn, others[1], b"junk " + SUBJECT.encode() + b"\n"])
    size, mode = path.stat().st_size, path.stat().st_mode
    assert overwrite(tmp_path, [SUBJECT, f"{9:032x}"]) == {SUBJECT: 3}
    content = path.read_bytes()
    assert SUBJECT.encode() not in content
    assert (path.stat().st_size, path.stat().st_mode) == (size, mode)
    payloads = [each.payload for each in frames(content)]
    assert [payload for payload in payloads if payload and payload.strip()] == [
        each[10:-1] for each in others
    ]
    assert all(payload is not None and not payload.strip() for payload in payloads[1:3])
    assert overwrite(tmp_path, [SUBJECT]) == {}
    assert read(tmp_path) == {"rows": 2, "erased": 3}


def test_a_worker_goes_on_appending_to_a_segment_that_is_overwritten(tmp_path: Path) -> None:
    """Its descriptor, its offset and what was consumed before stay right; an unfinished frame is left."""
    sink = LocalFiles(tmp_path, "aa")
    sink.write(DAY, [by(OTHER, 1), by(SUBJECT, 2)])
    assert read(tmp_path, noon_ms()) == {"rows": 2}
    sink.write(DAY, [by(SUBJECT, 3)])
    assert overwrite(tmp_path, [SUBJECT]) == {SUBJECT: 2}
    sink.write(DAY, [by(OTHER, 4)])
    sink.close()
    assert read(tmp_path, noon_ms()) == {"erased": 1, "rows": 1}


def test_erasure_reaches_every_place(data: Path) -> None:
    """Logs, rows of sealed and open days, quarantine, the outbox; counted, and nobody else is touched."""
    Rights(data).ask(SUBJECT, CLOSED_MS)
    carry_out(data, lambda: CLOSED_MS)
    for aside in (f"events/day={DAY}/.000002.jsonl", f"events/day={DAY}/.000001.tmp", "spill/x"):
        (data / aside).parent.mkdir(exist_ok=True)
        (data / aside).write_text(SUBJECT)
    before = records_of(data, OTHER)
    assert found_on_disk(data, [SUBJECT])[SUBJECT] > 10, "the positive control"
    batch = batch_files(events_of(data, DAY))[0]
    mode = batch.stat().st_mode

    ask_to_erase(data, SUBJECT)
    assert [request.act for request in carry_out(data, lambda: CLOSED_MS)] == ["erase"]
    assert found_on_disk(data, [SUBJECT]) == {}
    assert records_of(data, OTHER) == before and len(before) == 3
    receipt = Rights(data).receipt(receipt_of("number"))
    assert receipt and receipt.done_ms == CLOSED_MS
    assert receipt.counts == {
        "declared": 0,
        "logs": 4,
        "events": 2,
        "quarantine": 1,
        "outbox": 1,
        "files": 3,
    }
    assert batch.stat().st_mode == mode
    with duckdb.connect() as database:
        outcomes = [each.outcomes for each in manifests(database, events_of(data, DAY))]
    assert outcomes == [{"rows": 1, "erased": 1, "version": 2}]
    assert read(data) == {"rows": 1, "erased": 1}
    assert carry_out(data, lambda: CLOSED_MS) == []


def test_rows_keep_their_order(tmp_path: Path) -> None:
    """A rewritten batch is the old one without the visitor's rows."""
    write(tmp_path, [by((SUBJECT, OTHER, "x", None)[n % 4], n) for n in range(400)])  # type: ignore[arg-type]
    read(tmp_path)
    expected = [id_ for n, id_ in enumerate(ids(tmp_path)) if n % 4]
    assert erase(tmp_path, [SUBJECT])[SUBJECT]["events"] == 100
    assert ids(tmp_path) == expected


def test_old_logs_put_back_revive_nothing(tmp_path: Path) -> None:
    """What is read again of an erased visitor is dropped, counted and overwritten; also where all is lost."""
    write(tmp_path, [by(SUBJECT, 1), by(OTHER, 2), b"junk\n", by(SUBJECT, 4)[:-5]])
    write(tmp_path, [by(SUBJECT, 3)], worker="bb")
    shutil.copytree(tmp_path / "logs", tmp_path.with_name(f"{tmp_path.name}-copy"))
    read(tmp_path)
    ask_to_erase(tmp_path, SUBJECT)
    carry_out(tmp_path, lambda: CLOSED_MS)
    for place in ("logs", "events", "quarantine"):
        shutil.rmtree(tmp_path / place)
    shutil.move(tmp_path.with_name(f"{tmp_path.name}-copy"), tmp_path / "logs")
    assert SUBJECT in found_on_disk(tmp_path, [SUBJECT])
    assert read(tmp_path) == {"rows": 1, "erased": 3, "torn": 1}
    assert found_on_disk(tmp_path, [SUBJECT]) == {}
    assert len(ids(tmp_path)) == 1


def test_a_withdrawal_leaves_what_was_recorded_before(tmp_path: Path) -> None:
    """A mark of a narrower choice drops nothing at ingest, and no odd name in a log disturbs it."""
    write(tmp_path, [by(SUBJECT, 1), by("not hex", 2), by("É" * 32, 3)])
    Rights(tmp_path).narrow(SUBJECT, [], CLOSED_MS, CLOSED_MS + DAY_MS)
    assert read(tmp_path) == {"rows": 3}


def test_access_finds_every_record_once(data: Path) -> None:
    """From the logs and from the events, oldest first, as the contract says; 0600, and for a day only."""
    records = records_of(data, SUBJECT)
    assert [record.id for record in records] == [f"{DAY}-000001", f"{NEXT_DAY}-000006", f"{NEXT_DAY}-000007"]
    assert records[0] == decode(by(SUBJECT, 1)[10:-1])
    Rights(data).ask(SUBJECT, CLOSED_MS)
    carry_out(data, lambda: CLOSED_MS - 300 * DAY_MS)  # as an import of old logs does
    assert Rights(data).asked(SUBJECT) is None
    (path,) = (data / OUTBOX).iterdir()
    assert path.name == f"{Rights(data).mark(SUBJECT).hex()}.json"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert msgspec.json.decode(path.read_bytes(), type=Answer) == Answer(CLOSED_MS, records)
    last_ms = CLOSED_MS + OUTBOX_DAYS * DAY_MS
    assert expire(data, CONSENTED, lambda: last_ms - 1).said == {}
    assert expire(data, CONSENTED, lambda: last_ms).said == {"answers": 1}
    assert not path.exists()


def test_who_is_not_known_gets_an_empty_answer(tmp_path: Path) -> None:
    """The same words as for anyone, in a site without a record."""
    assert records_of(tmp_path, SUBJECT) == []
    assert not erase(tmp_path, [SUBJECT])[SUBJECT].total()


def test_an_operator_answers_a_letter(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything as JSON, the records as CSV, to a private file; then erased, with what is retained."""
    Rights(data).declare([SUBJECT], {"city": "=Almaty"}, "v1", CLOSED_MS)

    def says(*arguments: str) -> str:
        assert run(["rights", *arguments, "--data", str(data)]) == 0
        return capsys.readouterr().out

    found = json.loads(says("access", SUBJECT.upper()))
    assert [found["reference"], len(found["records"]), found["declared"][0]["value"]] == [
        SUBJECT,
        3,
        "=Almaty",
    ]
    assert msgspec.convert(found["records"], list[Record]) == records_of(data, SUBJECT)
    assert says("access", SUBJECT, "--format", "csv", "--to", str(data / "x.csv")).startswith(
        "Wrote 3 records"
    )
    assert (data / "x.csv").stat().st_mode & 0o777 == 0o600
    listed = list(csv.DictReader(io.StringIO((data / "x.csv").read_text())))
    assert [row["purposes"] for row in listed] == ["necessary+statistics"] * 3
    (data / "x.csv").unlink()

    words = says("erase", SUBJECT)
    assert "1 declared values, 4 records in the logs, 2 private events, 1 frames in quarantine" in words
    assert "Published statistics stay as they are" in words and "stays under a one-way mark" in words
    assert found_on_disk(data, [SUBJECT]) == {}
    assert json.loads(says("access", SUBJECT))["records"] == []


def test_an_account_is_named_by_the_reference_of_its_page(data: Path) -> None:
    """What it declared is handed out and erased, and it may declare anew; a browser's alone stays. A choice
    it never made."""
    account = Pseudonyms(data).of_account("customer-7")
    reference, rights = f"account-{account}", Rights(data)
    for subject in (account, SUBJECT):
        rights.declare([subject], {"city": "Almaty"}, "v1", CLOSED_MS)

    told = json.loads(impersonal("rights", "access", reference, "--data", data).stdout)
    assert (told["reference"], told["declared"][0]["value"], told["records"]) == (reference, "Almaty", [])
    refused = impersonal("rights", "receipt", reference, "--data", data)
    assert refused.returncode == 1 and "an account makes no choices" in refused.stderr
    done = impersonal("rights", "erase", reference.upper(), "--data", data)
    assert done.stdout == "Erased: 1 declared values of the account\n"
    assert rights.declared(account) == [] and rights.declared(SUBJECT)
    assert rights.declare([account], {"city": "Astana"}, "v1", CLOSED_MS) == {"city"}
    listed = json.loads(impersonal("rights", "accesses", "--format", "json", "--data", data).stdout)
    assert [each["command"] for each in listed] == ["rights access", "rights erase"]
    assert {each["subject"] for each in listed} == {rights.mark(account).hex()}


def test_choices_and_transfers_outlive_the_records(tmp_path: Path) -> None:
    """When the day is over its retention, its visitor is told still what they chose and who got records."""
    made = {"kind": "consent", "act": "grant", "via": "banner", "cohort": "2026-W47"}
    write(tmp_path, [by(SUBJECT, 1, **made), by(SUBJECT, 2, cohort="2026-W47"), by(OTHER, 3, **made)])
    read(tmp_path)
    proofs.keep(tmp_path)
    order = Order("Court", "law", reference="order 12/2026", subject=SUBJECT)
    transfer(tmp_path, CONSENTED, lambda: CLOSED_MS, order, tmp_path.with_name(f"{tmp_path.name}.jsonl"))
    late_ms = CLOSED_MS + 100 * DAY_MS
    expire(tmp_path, CONSENTED, lambda: late_ms)
    Rights(tmp_path).ask(SUBJECT, late_ms)
    carry_out(tmp_path, lambda: late_ms)
    (path,) = (tmp_path / OUTBOX).iterdir()
    found = msgspec.json.decode(path.read_bytes(), type=Answer)
    assert found.records == []
    [choice] = found.choices
    assert (choice.id, choice.act, choice.via) == (f"{DAY}-000001", "grant", "banner")
    assert found.transfers == [Handed(day_of(CLOSED_MS), "Court", "law")]
    told = json.loads(impersonal("rights", "access", SUBJECT, "--data", tmp_path).stdout)
    assert msgspec.convert(told["choices"], list[Choice]) == [choice]
    assert told["transfers"] == [{"day": day_of(CLOSED_MS), "recipient": "Court", "ground": "law"}]


@pytest.mark.parametrize(
    "reference", ["", "abc", "g" * 32, "../" + "a" * 29, "account-", "account" + "a" * 32]
)
def test_a_reference_is_what_the_page_shows(
    data: Path, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anything else is wrong usage, and changes nothing."""
    assert run(["rights", "erase", reference, "--data", str(data)]) == 2
    assert "32 hex digits" in capsys.readouterr().err
    assert not (data / "rights.sqlite").exists()
    assert run(["rights", "erase", SUBJECT, "--data", str(data / "no")]) == 1


def test_where_a_run_is_at_work_an_erasure_waits_for_the_next(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tombstone stands at once, the access is recorded, the command says why it could not go on, a later
    round does the rest."""
    monkeypatch.setattr("pipeline.store.PATIENCE_S", 0)
    with exclusive(data):
        assert run(["rights", "erase", SUBJECT, "--data", str(data)]) == 1
    assert "another `impersonal run` is at work" in capsys.readouterr().err
    assert Rights(data).standing(SUBJECT) == "erased"
    [access] = json.loads(impersonal("rights", "accesses", "--format", "json", "--data", data).stdout)
    assert (access["command"], access["subject"]) == ("rights erase", Rights(data).mark(SUBJECT).hex())
    carry_out(data, lambda: CLOSED_MS)
    assert found_on_disk(data, [SUBJECT]) == {}


def test_an_answer_beside_a_run_misses_nothing(tmp_path: Path) -> None:
    """While records move from logs to private events and the logs are removed, each answer has them all."""
    rights, path = Rights(tmp_path), tmp_path / OUTBOX
    records = [frame(number, visitor=SUBJECT) for number in range(3000)]
    for start in range(0, 3000, 50):
        write(tmp_path, records[start : start + 50])

    def move() -> None:
        read(tmp_path)
        seal(tmp_path, lambda: CLOSED_MS, date.fromisoformat(DAY))
        remove_logs(tmp_path)

    mover = threading.Thread(target=move)
    mover.start()
    answers: list[int] = []
    while mover.is_alive() or not answers:
        rights.ask(SUBJECT, CLOSED_MS)
        if answer_beside(tmp_path, lambda: CLOSED_MS):
            (found,) = path.iterdir()
            answers.append(len(msgspec.json.decode(found.read_bytes(), type=Answer).records))
    assert not find_segments(tmp_path)
    assert set(answers) == {3000}


def test_an_answer_beside_an_erasure_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever erases after the records were gathered and before they were written finds no answer."""
    rights = Rights(data)

    def erased_before(data: Path, subject: str, now_ms: int) -> None:
        rights.erase(subject, receipt_of("number"), now_ms, now_ms + DAY_MS)
        answer(data, subject, now_ms)

    monkeypatch.setattr("pipeline.rights.requests.answer", erased_before)
    rights.ask(SUBJECT, CLOSED_MS)
    answer_beside(data, lambda: CLOSED_MS)
    assert not list((data / OUTBOX).iterdir())


def test_an_erasure_does_not_wait_for_the_end_of_a_long_round(tmp_path: Path) -> None:
    """Asked for while logs are read or windows released, it is done before the next window is."""
    rights, subjects = Rights(tmp_path), (SUBJECT, OTHER, f"{0x99:032x}")
    for day in (DAY, NEXT_DAY):
        write(tmp_path, [by(subject, number, day=day) for number, subject in enumerate(subjects)], day=day)
    now_ms = noon_ms() + 2 * DAY_MS
    asked: list[str] = []
    found: list[set[str]] = []

    def progress(what: str, done: int, total: int) -> None:
        """One visitor asks with each step that a round tells of."""
        found.append(set(found_on_disk(tmp_path, list(subjects))))
        if what in ("reading the logs", "releasing statistics") and len(asked) < len(subjects[:2]):
            asked.append(subjects[len(asked)])
            rights.erase(asked[-1], receipt_of(asked[-1]), now_ms - 1000, now_ms + DAY_MS)

    done = run_once(tmp_path, CONSENTED, lambda: now_ms, progress)
    assert [request.subject for request in done.requests] == asked == [SUBJECT, OTHER]
    assert found[-1] == {subjects[2]}, "before the round has ended"
    assert {outcome.state for outcome in done.outcomes} == {"released"}
    for subject in asked:
        receipt = rights.receipt(receipt_of(subject))
        assert receipt is not None and receipt.done_ms is not None


def test_an_erasure_that_fails_beside_a_release_keeps_nothing_from_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round releases what is due, says once what went wrong, and the next one erases."""
    write(tmp_path, [by(SUBJECT, 1), by(OTHER, 2)])
    now_ms = noon_ms() + DAY_MS
    ask_to_erase(tmp_path, SUBJECT, now_ms)
    with monkeypatch.context() as broken:
        broken.setattr("pipeline.rights.requests.erase", unwritable)
        with pytest.raises(Unfinished, match=r"^the disk is full$") as caught:
            run_once(tmp_path, CONSENTED, lambda: now_ms, lambda *_: None)
    assert {outcome.state for outcome in caught.value.done.outcomes} == {"released"}
    assert Rights(tmp_path).requests()
    run_once(tmp_path, CONSENTED, lambda: now_ms, lambda *_: None)
    assert found_on_disk(tmp_path, [SUBJECT]) == {}


def unwritable(*_: object) -> None:
    raise StoreError("the disk is full")


@pytest.fixture
def watch(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """`impersonal run --watch` on a site with a record of today, after its first round."""
    today = date_of(time.time_ns() // 1_000_000).isoformat()
    write(tmp_path, [by(SUBJECT, 1, day=today), by(OTHER, 2, day=today)], day=today)
    assert run(["init", "--data", str(tmp_path)]) == 0
    process = subprocess.Popen(
        [COMMAND, "run", "--watch", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    while "publication" not in process.stdout.readline():
        pass
    yield process
    process.kill()
    process.communicate()


def test_run_watch_does_what_visitors_ask_for_within_seconds(
    tmp_path: Path, watch: "subprocess.Popen[str]"
) -> None:
    """Access and erasure, also behind another run that holds the lock; SIGTERM ends it whole."""
    data = tmp_path

    def waited(rights: Rights, within_s: float = 20) -> float:
        started_s = time.monotonic()
        while rights.requests():
            assert time.monotonic() - started_s < within_s
            time.sleep(0.05)
        return time.monotonic() - started_s

    rights, now_ms = Rights(data), time.time_ns() // 1_000_000
    rights.ask(SUBJECT, now_ms)
    assert waited(rights) < 10
    (path,) = (data / OUTBOX).iterdir()
    assert msgspec.json.decode(path.read_bytes(), type=Answer).made_ms >= now_ms

    lock = os.open(data, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(BusyError), exclusive(data, patience_s=0):
        raise AssertionError
    path.unlink()
    rights.ask(SUBJECT, now_ms)
    assert waited(rights) < 10, "another run keeps nobody from reading"
    assert len(msgspec.json.decode(path.read_bytes(), type=Answer).records) == 1
    rights.erase(SUBJECT, receipt_of("number"), now_ms, now_ms + DAY_MS)
    time.sleep(1.5)
    assert rights.requests(), "another run is at work"
    os.close(lock)
    assert waited(rights) < 10
    assert found_on_disk(data, [SUBJECT]) == {}
    receipt = rights.receipt(receipt_of("number"))
    assert receipt and receipt.counts["events"] > 0

    watch.send_signal(signal.SIGTERM)
    said, complaints = watch.communicate(timeout=10)
    assert said.splitlines() == [
        "Answered what is held of 1 visitor who asked for it",
        "Answered what is held of 1 visitor who asked for it",
        "Erased what was held of 1 visitor who asked for it",
        "Stopped; nothing is half done.",
    ]
    assert (watch.returncode, complaints) == (0, "")


def test_run_watch_says_once_what_is_wrong(tmp_path: Path, watch: "subprocess.Popen[str]") -> None:
    """A damaged store is looked at every second, and complained of in one line until it is mended."""
    (tmp_path / "rights.sqlite").write_bytes(b"damaged " * 1000)
    time.sleep(3.5)
    watch.send_signal(signal.SIGTERM)
    said, complaints = watch.communicate(timeout=10)
    assert said == "Stopped; nothing is half done.\n"
    assert len(complaints.splitlines()) == 1
    assert "put the last good copy back" in complaints
