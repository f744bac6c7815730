"""The gate: which records leave for whom on which ground, the line before the file, and nothing past it."""

import hashlib
import json
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from collector.consent import GRANT_DAYS
from collector.policy import Attribute, Service, Version
from collector.record import DAY_MS
from collector.rights import RIGHTS, Rights
from pipeline import chain, kept_policy, proofs, transfers
from pipeline.errors import BusyError, TransferError
from pipeline.store import exclusive
from pipeline.transfer_gate import GROUNDS, Gate, Order
from pipeline.transfers import transfer
from tests.pipeline.private_events import DAY, Row, at, row, store
from tests.policies import EVERYTHING, policy, purpose, version

NOW_MS = at(DAY) + 2 * DAY_MS
UNTIL_MS = NOW_MS + 400 * DAY_MS

CONTRACT: dict[str, Any] = {"access": "exempt", "basis": "contract", "default": "granted"}
ORDERS = {"cookie": "long-lived", "time": "minute", "page": "route"}
SERVICES = purpose("services", ORDERS, recipients=("Couriers",), **CONTRACT)
ADS = purpose("advertising", {"cookie": "long-lived", "page": "path"}, recipients=("Acme", "acquirer"))
COUNTED = purpose("statistics", EVERYTHING, retention_days=1)
POLICY = policy(
    version(SERVICES, replace(ADS, recipients=("Acme", "Gone", "acquirer")), COUNTED),
    version(
        SERVICES,
        replace(ADS, recipients=("Acme", "New")),
        COUNTED,
        version_id="v2",
        effective=date(2026, 6, 1),
    ),
)

GRANTED, REFUSED, WITHDRAWN, ERASED, SILENT, OLDER, UNTOLD, LAPSED, UNPROVEN = (
    f"{n:x}" * 32 for n in range(1, 10)
)
FIELDS: dict[str, Any] = {
    "route": "/item/{id}",
    "path": "/item/7",
    "browser": "Firefox",
    "country": "KZ",
    "network": "192.0.2.0/24",
    "cohort": "2026-W47",
}


def event(visitor: str, *purposes: str, consent: str | None = "v2", policy: str = "v2", **more: Any) -> Row:
    values = {"policy": policy, "consent": consent, "purposes": ["services", *purposes], **FIELDS, **more}
    return row("view", at(DAY, 61.5), visitor, **values)


def choice(visitor: str, *purposes: str, ts_ms: int = at(DAY), **more: Any) -> Row:
    """The record of a choice, kept as a proof."""
    made = event(visitor, *purposes, **more)
    return made | {"kind": "consent", "act": "grant", "via": "page", "ts_ms": ts_ms}


ROWS = [
    event(GRANTED, "advertising", "statistics"),
    event(REFUSED),
    event(WITHDRAWN, "advertising"),
    event(ERASED, "advertising"),
    event(SILENT, consent=None),  # said nothing, or Sec-GPC spoke for them
    event(OLDER, "advertising", consent="v1", policy="v1"),
    event(UNTOLD, "advertising", cohort=None),
    event(LAPSED, "advertising"),
    event(UNPROVEN, "advertising"),
    row("view", at(DAY), None, policy="v2", purposes=["services"]),
    choice(GRANTED, "advertising", "statistics"),
    choice(WITHDRAWN, "advertising"),
    choice(ERASED, "advertising"),
    choice(OLDER, "advertising", consent="v1", policy="v1"),
    choice(UNTOLD, "advertising"),
    choice(LAPSED, "advertising", ts_ms=NOW_MS - GRANT_DAYS * DAY_MS),
]


def fill(data: Path) -> Path:
    """A visitor in each state of consent, with records from before the latest word."""
    data.mkdir(exist_ok=True, mode=0o700)
    store(data, ROWS)
    proofs.keep(data)
    rights = Rights(data)
    rights.narrow(WITHDRAWN, ["services"], NOW_MS, UNTIL_MS)
    rights.erase(ERASED, b"receipt", NOW_MS, UNTIL_MS)
    return data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("site") / "data")


_names = count()


def handed(data: Path, directory: Path, recipient: str, ground: str, **more: Any) -> list[dict[str, Any]]:
    """What a transfer writes."""
    to = directory / f"{next(_names)}.jsonl"
    done = transfer(data, POLICY, lambda: NOW_MS, Order(recipient, ground, **more), to)
    found = [json.loads(line) for line in to.read_text().splitlines()]
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert (done.records, done.subjects) == (len(found), len({each["visitor"] for each in found}))
    return found


PRESENT = {GRANTED, REFUSED, WITHDRAWN, SILENT, OLDER, UNTOLD, LAPSED, UNPROVEN}
MATRIX: list[tuple[str, str, dict[str, Any], dict[str, set[str]]]] = [
    ("necessary", "Couriers", {}, {"services": PRESENT}),
    ("necessary", "Acme", {}, {}),
    ("consent", "Acme", {}, {"advertising": {GRANTED, OLDER}}),
    ("consent", "Couriers", {}, {}),
    ("consent", "Gone", {}, {}),
    ("consent", "New", {}, {"advertising": {GRANTED}}),
    ("consent", "Nobody", {}, {}),
    ("consent", "Acme", {"purpose": "statistics"}, {}),
    ("law", "Court", {"reference": "12/26"}, {"services": PRESENT, "advertising": {GRANTED, OLDER}}),
    ("law", "Court", {"reference": "12/26", "purpose": "advertising"}, {"advertising": {GRANTED, OLDER}}),
    ("sale", "Buyer", {}, {"advertising": {OLDER}}),
    ("sale", "Couriers", {}, {"services": PRESENT, "advertising": {OLDER}}),
    ("breach", "Court", {"subject": GRANTED}, {"services": {GRANTED}}),
    ("breach", "Court", {"subject": WITHDRAWN}, {"services": {WITHDRAWN}}),
    ("breach", "Court", {"subject": ERASED}, {}),
    ("law", "Court", {"reference": "12/26", "subject": REFUSED}, {"services": {REFUSED}}),
    ("law", "Court", {"reference": "12/26", "start": date(2026, 12, 1)}, {}),
    ("law", "Court", {"reference": "12/26", "end": date(2026, 1, 1)}, {}),
]


@pytest.mark.parametrize(
    ("ground", "recipient", "more", "expected"),
    MATRIX,
    ids=["-".join([ground, recipient, *map(str, more)]) for ground, recipient, more, _ in MATRIX],
)
def test_each_ground_takes_what_it_covers(
    site: Path,
    tmp_path: Path,
    ground: str,
    recipient: str,
    more: dict[str, Any],
    expected: dict[str, set[str]],
) -> None:
    """Ground × recipient × state of consent: who granted, refused, withdrew, erased, said nothing, or agreed
    to an older version, whose consent has lapsed or is not proven; and statistics, whose retention is over,
    for nobody."""
    taken: dict[str, set[str]] = {}
    for each in handed(site, tmp_path, recipient, ground, **more):
        for name in each["purposes"]:
            taken.setdefault(name, set()).add(each["visitor"])
    assert taken == expected


def test_the_matrix_has_every_ground() -> None:
    """No ground without its rows."""
    assert {ground for ground, *_ in MATRIX} == set(GROUNDS)


def test_a_record_is_cut_to_what_its_purposes_may_use(site: Path, tmp_path: Path) -> None:
    """Fields, time and purposes of the ground alone; no id of the record, and nothing that is empty."""
    [record] = [
        each for each in handed(site, tmp_path, "Couriers", "necessary") if each["visitor"] == GRANTED
    ]
    assert record == {
        "kind": "view",
        "ts_ms": at(DAY, 61),
        "policy": "v2",
        "consent": "v2",
        "purposes": ["services"],
        "visitor": GRANTED,
        "cohort": "2026-W47",
        "route": "/item/{id}",
    }
    [record] = [each for each in handed(site, tmp_path, "Acme", "consent") if each["visitor"] == GRANTED]
    assert (record["path"], record["ts_ms"], "country" in record) == ("/item/7", at(DAY, 60), False)


def test_a_consent_to_an_older_version_covers_no_more_than_that_did(tmp_path: Path) -> None:
    """A version that widened the precision is not applied to who agreed to the narrower one."""
    narrow = replace(ADS, fields={"cookie": "long-lived", "page": "route"})
    known = policy(version(narrow), version(ADS, version_id="v2", effective=date(2026, 6, 1)))
    rows = [make(GRANTED, "advertising", consent="v1") for make in (event, choice)]
    store(tmp_path / "data", rows)
    proofs.keep(tmp_path / "data")
    to = tmp_path / "out"
    transfer(tmp_path / "data", known, lambda: NOW_MS, Order("Acme", "consent"), to)
    [record] = map(json.loads, to.read_text().splitlines())
    assert "path" not in record and record["route"] == "/item/{id}"


def test_a_recipient_that_is_put_into_an_old_version_gets_nothing(tmp_path: Path) -> None:
    """Who agreed to the version did not agree to that; one that is taken out of it gets nothing either."""
    data = fill(tmp_path / "data")
    kept_policy.keep(data, POLICY, lambda: NOW_MS)
    edited = policy(*(renamed(each, Acme="Broker") for each in POLICY.versions))
    for recipient in ("Broker", "Acme"):
        done = transfer(data, edited, lambda: NOW_MS, Order(recipient, "consent"), tmp_path / recipient)
        assert done.records == 0, recipient


def renamed(told: Version, **names: str) -> Version:
    """A version with other recipients under the same id."""
    purposes = {
        name: replace(each, recipients=tuple(names.get(known, known) for known in each.recipients))
        for name, each in told.purposes.items()
    }
    return replace(told, purposes=purposes)


AGE = Attribute("age_band", "choice", "advertising", 30, "Your age.", options=("18-24",))
NAME = Attribute("nickname", "text", "services", 30, "Your name.", mandatory=True)
DECLARING = policy(replace(POLICY.versions[1], declared={"age_band": AGE, "nickname": NAME}))


@pytest.fixture(scope="module")
def declaring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Visitors who declared something: one consented, one withdrew, one never chose, one said it long ago."""
    data = tmp_path_factory.mktemp("declaring") / "data"
    choices = {GRANTED: "advertising", WITHDRAWN: "advertising", OLDER: "advertising", REFUSED: "services"}
    store(data, [choice(subject, name) for subject, name in choices.items()])
    proofs.keep(data)
    rights = Rights(data)
    values: dict[str, str | int | bool] = {"age_band": "18-24", "nickname": "Ä"}
    for subject in (*choices, SILENT, ERASED):
        rights.declare([subject], values, "v2", at(DAY) - 40 * DAY_MS if subject == OLDER else at(DAY))
    rights.narrow(WITHDRAWN, ["services"], NOW_MS, UNTIL_MS)
    rights.erase(ERASED, b"receipt", NOW_MS, UNTIL_MS)
    return data


@pytest.mark.parametrize(
    ("ground", "recipient", "expected"),
    [
        ("necessary", "Couriers", {"nickname": {GRANTED, WITHDRAWN, REFUSED, SILENT}}),
        ("consent", "Acme", {"age_band": {GRANTED}}),
        ("consent", "Couriers", {}),
        ("law", "Court", {"age_band": {GRANTED}, "nickname": {GRANTED, WITHDRAWN, REFUSED, SILENT}}),
    ],
)
def test_declared_values_pass_the_same_gate(
    declaring: Path, tmp_path: Path, ground: str, recipient: str, expected: dict[str, set[str]]
) -> None:
    """By the purpose they were declared for; where that could be refused, with a proven choice."""
    to = tmp_path / "out"
    transfer(declaring, DECLARING, lambda: NOW_MS, Order(recipient, ground, reference="12/26"), to)
    taken: dict[str, set[str]] = {}
    for line in to.read_text().splitlines():
        record = json.loads(line)
        assert record["kind"] == "declared" and record["value"] in ("18-24", "Ä")
        taken.setdefault(record["name"], set()).add(record["visitor"])
    assert taken == expected


def test_what_a_later_version_or_a_service_ended_stays(declaring: Path, site: Path, tmp_path: Path) -> None:
    """Between the end of a term and the next run nothing leaves that is over it, declared values neither."""
    soon = policy(*POLICY.versions, replace(DECLARING.versions[0], id="v3", effective=date(2026, 11, 25)))
    short = replace(soon.versions[2].purposes["services"], retention_days=1)
    ended = policy(*POLICY.versions, replace(soon.versions[2], purposes={"services": short}))
    shop = Service("shop", "/shop", {}, 1)
    served = policy(*(replace(each, services={"shop": shop}) for each in POLICY.versions))
    told = policy(
        DECLARING.versions[0],
        replace(soon.versions[2], declared={"nickname": replace(NAME, retention_days=1)}),
    )
    store(tmp_path / "data", [event(GRANTED, service="shop")])
    order = Order("Couriers", "necessary")
    for data, before, after in (
        (site, POLICY, ended),
        (tmp_path / "data", POLICY, served),
        (declaring, DECLARING, told),
    ):
        found = [
            transfer(data, rules, lambda: NOW_MS, order, tmp_path / f"{next(_names)}").records
            for rules in (before, after)
        ]
        assert found[0] > 0 == found[1]


@pytest.mark.parametrize(
    ("order", "remedy"),
    [
        (Order(" ", "consent"), "--recipient"),
        (Order("Court", "law"), "--reference"),
        (Order("Court", "breach"), "--subject"),
        (Order("Acme", "consent", "selling"), "no version of the policy names the purpose selling"),
    ],
)
def test_an_order_that_lacks_something_is_refused(
    site: Path, tmp_path: Path, order: Order, remedy: str
) -> None:
    """The message names what to add; neither a file nor a line is written."""
    before = len(transfers.listed(site))
    with pytest.raises(TransferError, match=remedy):
        transfer(site, POLICY, lambda: NOW_MS, order, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [] and len(transfers.listed(site)) == before


def test_a_file_goes_to_a_new_place_outside(site: Path, tmp_path: Path) -> None:
    """What exists stays, a directory is not made, and nothing personal is put among the published files."""
    (tmp_path / "old").write_text("mine")
    for to in (tmp_path / "old", tmp_path / "no" / "such", site / "published" / "x", site / "x"):
        with pytest.raises(TransferError, match="--to"):
            transfer(site, POLICY, lambda: NOW_MS, Order("Acme", "consent"), to)
    assert (tmp_path / "old").read_text() == "mine"


def test_no_transfer_while_a_run_or_an_erasure_is_at_work(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are not rewritten under its hands."""
    monkeypatch.setattr("pipeline.store.PATIENCE_S", 0)
    with exclusive(site), pytest.raises(BusyError):
        transfer(site, POLICY, lambda: NOW_MS, Order("Acme", "consent"), tmp_path / "out")


def test_the_line_says_what_was_handed_over_and_names_nobody(tmp_path: Path) -> None:
    """Who, when, to whom, on which ground, how much, of which versions, and the hash of the file."""
    data = fill(tmp_path / "data")
    to = tmp_path / "out"
    done = transfer(data, POLICY, lambda: NOW_MS, Order("Acme", "consent", reference="contract 7"), to)
    [line] = transfers.listed(data)
    expected = {"number": 1, "at_ms": NOW_MS, "completed": True, "recipient": "Acme", "ground": "consent"}
    expected |= {"reference": "contract 7", "records": 2, "subjects": 2, "versions": ["v1", "v2"]}
    expected |= {"purposes": ["advertising"], "user": chain.system_user(), "sha256": done.sha256}
    assert expected.items() <= line.items()
    assert done.sha256 == sha256(to)
    stored = (data / RIGHTS).read_bytes()
    assert GRANTED.encode() not in stored and bytes.fromhex(GRANTED) not in stored
    assert transfers.faults(data) == []
    with chain.opened(data) as database:
        [access] = chain.lines(database, "access")
    assert (access.entry["command"], access.entry["count"]) == ("rights transfer", 2)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_visitor_can_be_told_who_received_their_records(tmp_path: Path) -> None:
    """By the pseudonym the transfers are found that it was part of, and no others."""
    data = fill(tmp_path / "data")
    handed(data, tmp_path, "Acme", "consent")
    handed(data, tmp_path, "Couriers", "necessary")
    told = {
        visitor: [each["recipient"] for each in transfers.of(data, visitor)] for visitor in (GRANTED, REFUSED)
    }
    assert told == {GRANTED: ["Acme", "Couriers"], REFUSED: ["Couriers"]}
    assert transfers.of(data, ERASED) == []


def test_whom_a_line_is_about_cannot_be_changed_unnoticed(tmp_path: Path) -> None:
    """The marks beside the line are part of what it seals."""
    data = fill(tmp_path / "data")
    handed(data, tmp_path, "Acme", "consent")
    with sqlite3.connect(data / RIGHTS) as database:
        database.execute("DROP TRIGGER transferred_not_deleted")
        database.execute("DELETE FROM transferred WHERE mark = ?", (Rights(data).mark(GRANTED),))
    database.close()
    assert transfers.faults(data) == ["whom transfer 1 was about was changed"]


def test_who_withdraws_while_records_are_read_is_not_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look comes after the last record: then it is read once more."""
    data = fill(tmp_path / "data")
    has_changed, times = Gate.has_changed, count()

    def withdraw_first(gate: Any, now_ms: int) -> bool:
        if next(times) == 0:
            Rights(data).narrow(GRANTED, ["services"], NOW_MS, UNTIL_MS)
        return has_changed(gate, now_ms)

    monkeypatch.setattr(Gate, "has_changed", withdraw_first)
    assert {each["visitor"] for each in handed(data, tmp_path, "Acme", "consent")} == {OLDER}
    assert next(times) == 2


TRIALS = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path
from pipeline import accesses, chain, transfers
from pipeline.transfer_gate import Order
from pipeline.transfers import transfer
from tests.pipeline.test_transfers import NOW_MS, POLICY

data = Path(sys.argv[1])
left = 0


def counted(inner):
    def step(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*arguments, **named)

    return step


for module, name in (
    (accesses, "record"), (chain, "add"), (chain, "transaction"), (transfers, "write_private"),
    (transfers, "sync"), (Path, "rename"),
):
    setattr(module, name, counted(getattr(module, name)))
for steps in count():
    trial = data.with_name(f"trial-{steps}")
    shutil.copytree(data, trial)
    left = steps
    if (child := os.fork()) == 0:
        transfer(trial, POLICY, lambda: NOW_MS, Order("Acme", "consent"), trial.with_suffix(".jsonl"))
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended != -signal.SIGKILL:
        print(steps)
        sys.exit(ended)
"""


def test_a_transfer_that_is_killed_leaves_no_file_without_its_line(tmp_path: Path) -> None:
    """kill -9 before every step: no file and no line, a line "not completed", or both; and the register is
    whole and goes on."""
    command = [sys.executable, "-c", TRIALS, str(fill(tmp_path / "data"))]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, cwd=root, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    seen = set()
    for steps in range(int(done.stdout) + 1):
        data, to = tmp_path / f"trial-{steps}", tmp_path / f"trial-{steps}.jsonl"
        lines = [(line["completed"], line["sha256"]) for line in transfers.listed(data)]
        there = [path for path in (to, to.with_name(f".{to.name}.tmp")) if path.exists()]
        assert lines or not there
        assert not to.exists() or lines[0][1] == sha256(to)
        assert not (lines and lines[0][0]) or to.exists()
        assert transfers.faults(data) == []
        assert {path.name for path in data.iterdir()} <= {"events", "keys", RIGHTS, f"{RIGHTS}-journal"}
        seen.add((to.exists(), tuple(completed for completed, _ in lines)))
    assert seen == {(False, ()), (False, (False,)), (True, (False,)), (True, (True,))}
    handed(tmp_path / f"trial-{int(done.stdout) - 1}", tmp_path, "Acme", "consent")
