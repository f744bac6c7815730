"""Proof of consent: what was granted, when, under which version and by which act, for any instant."""

import json
import sqlite3
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from collector.consent import GRANT_DAYS
from collector.policy import Attribute, Controller, Policy
from collector.record import DAY_MS
from collector.rights import RIGHTS, Rights
from collector.words import words
from pipeline import chain, kept_policy, proofs
from pipeline.consent_receipt import NO_NAME, UNKNOWN, receipt
from pipeline.errors import ProofError
from pipeline.run import run_once
from pipeline.store import batch_files, events_of
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms, write
from tests.policies import EVERYTHING, NECESSARY, policy, purpose, version

SUBJECT = "0a" * 16
OTHER = "0b" * 16
AGE = Attribute("age_band", "choice", "advertising", 30, "Your age.", options=("18-24",))
ADS = purpose("advertising", EVERYTHING, recipients=("Acme", "acquirer"))
COUNTED = purpose("statistics", EVERYTHING, retention_days=60)
KZ = Controller(
    "Example", "dpo@example.org", ("example.org",), "123456789012", "Abay 1", "KZ", "Almaty", True
)
POLICY = replace(
    policy(
        replace(version(NECESSARY, COUNTED, ADS), declared={"age_band": AGE}),
        version(NECESSARY, COUNTED, version_id="v2", effective=date(2026, 11, 25)),
    ),
    controller=KZ,
)

MANDATORY = (
    "dct:conformsTo",
    "dct:source",
    "dct:identifier",
    "dpv:hasDataSubject.dct:identifier",
    "dpv:hasNotice.dct:hasVersion",
    "dpv:hasNotice.dct:description",
    "dct:language",
    "dpv:hasPurpose.@type",
    "dpv:hasPurpose.dct:title",
    "dpv:hasPurpose.dpv:hasLegalBasis",
    "dpv:hasPurpose.dpv:hasPersonalData",
    "dpv:hasPurpose.dpv:hasRecipient",
    "dpv:hasPurpose.dpv:hasStorageCondition.dpv:hasDuration",
    "dpv:hasPurpose.dpv:hasStorageCondition.dpv:hasLocation",
    "dpv:hasDataController.dpv:hasName",
    "dpv:hasDataController.dpv:hasContact",
    "dpv:hasDataController.dpv:hasAddress",
    "dpv:hasJurisdiction",
    "dpv:hasRecipientThirdParty",
    "dpv:hasWithdrawalMethod",
    "dpv:hasConsentStatus",
    "dct:hasPart.@type",
    "dct:hasPart.dct:date",
    "dct:hasPart.dct:valid",
    "dct:hasPart.dpv:hasIndicationMethod",
    "dct:hasPart.dpv:isIndicatedBy",
    *(
        f"kz:consent.kz:{name}"
        for name in (
            *("operator", "bin", "subject", "period", "transfer_to_third_parties"),
            *("cross_border_transfer", "publication", "data"),
        )
    ),
)
"""Fields of ISO/IEC TS 27560 (schema, record, receipt, principal, notice, language, purpose, data,
controller, storage, retention, jurisdiction, recipients, withdrawal, events) and of law 94-V, article 8."""


def missing(made: dict[str, Any]) -> list[str]:
    """Mandatory fields that a receipt lacks, or that are empty in any of their places."""

    def is_told(value: Any, names: list[str]) -> bool:
        if isinstance(value, list):
            return bool(value) and all(is_told(each, names) for each in value)
        if names:
            return isinstance(value, dict) and names[0] in value and is_told(value[names[0]], names[1:])
        return value not in ("", None, {})

    return [path for path in MANDATORY if not is_told(made, path.split("."))]


def consent(number: int, act: str, *purposes: str, day: str = DAY, **more: Any) -> bytes:
    values = {
        "kind": "consent",
        "act": act,
        "purposes": ["necessary", *purposes],
        "path": None,
        "route": None,
    }
    values |= {
        "browser": None,
        "os": None,
        "device": None,
        "country": None,
        "visitor": SUBJECT,
        "via": "banner",
    }
    return frame(number, day, **(values | more))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One visitor grants, narrows, withdraws and grants again under the next version; others come and go."""
    data = tmp_path_factory.mktemp("site") / "data"
    write(
        data,
        [
            consent(10, "grant", "statistics", "advertising"),
            consent(20, "withdraw", "statistics", via="page", consent="v1"),
            consent(15, "refuse", visitor=None, via="form"),
            consent(30, "grant", "statistics", visitor=OTHER, via="signal"),
            frame(40, visitor=SUBJECT),
        ],
    )
    write(
        data,
        [
            consent(10, "grant", "statistics", day=NEXT_DAY, policy="v2", consent="v2", via="page"),
            consent(20, "withdraw", "statistics", day=NEXT_DAY, policy="v2", visitor=OTHER),
        ],
        day=NEXT_DAY,
    )
    run_once(data, POLICY, lambda: noon_ms(NEXT_DAY), lambda *_: None)
    return data


def at(data: Path, at_ms: int, subject: str = SUBJECT, language: str = "en") -> dict[str, Any]:
    return receipt(POLICY, kept_policy.kept(data), proofs.of(data, subject), subject, at_ms, words(language))


FIRST_MS = noon_ms() + 10_000


def test_every_choice_of_a_visitor_is_kept_and_no_others(data: Path) -> None:
    """Act, way, version and purposes of each; a refusal without a name is nobody's, a view no choice."""
    found = [(proof.act, proof.via, proof.policy, proof.purposes) for proof in proofs.of(data, SUBJECT)]
    assert found == [
        ("grant", "banner", "v1", ("necessary", "statistics", "advertising")),
        ("withdraw", "page", "v1", ("necessary", "statistics")),
        ("grant", "page", "v2", ("necessary", "statistics")),
    ]
    versions = [(proof.act, proof.policy) for proof in proofs.of(data, OTHER)]
    assert versions == [("grant", "v1"), ("withdraw", "v1")], "what a withdrawal leaves was granted under v1"
    assert proofs.of(data, "0c" * 16) == []


def test_a_proof_holds_no_pseudonym(data: Path) -> None:
    """What is found of it in the database is its mark."""
    stored = (data / RIGHTS).read_bytes()
    assert Rights(data).mark(SUBJECT) in stored
    assert SUBJECT.encode() not in stored and bytes.fromhex(SUBJECT) not in stored


def test_a_run_again_proves_nothing_twice(data: Path) -> None:
    """Whether the day is read again or is sealed by now."""
    assert proofs.keep(data) == 0
    assert [path.name for path in batch_files(events_of(data, DAY))] == ["000001.parquet"]


@pytest.mark.parametrize(
    ("at_ms", "status", "purposes", "policy_id"),
    [
        (FIRST_MS, "dpv:ConsentGiven", ["necessary", "statistics", "advertising"], "v1"),
        (FIRST_MS + 9_999, "dpv:ConsentGiven", ["necessary", "statistics", "advertising"], "v1"),
        (FIRST_MS + 10_000, "dpv:ConsentWithdrawn", ["necessary", "statistics"], "v1"),
        (FIRST_MS + DAY_MS, "dpv:ConsentGiven", ["necessary", "statistics"], "v2"),
        (FIRST_MS + DAY_MS + GRANT_DAYS * DAY_MS, "dpv:ConsentExpired", ["necessary", "statistics"], "v2"),
    ],
)
def test_what_held_at_an_instant(
    data: Path, at_ms: int, status: str, purposes: list[str], policy_id: str
) -> None:
    """The last choice until then, to the millisecond, until it lapses after 13 months."""
    made = at(data, at_ms)
    assert made["dpv:hasConsentStatus"] == status
    assert [each["dct:title"] for each in made["dpv:hasPurpose"]] == purposes
    assert made["dpv:hasNotice"]["dct:hasVersion"] == policy_id


def test_before_the_first_choice_nothing_is_claimed(data: Path) -> None:
    """No receipt for an instant before, or for who never chose; the message says what to do."""
    with pytest.raises(ProofError, match=r"no choice of this reference is known at 2026-11-24T12:00:09.999Z"):
        at(data, FIRST_MS - 1)
    with pytest.raises(ProofError, match="impersonal run"):
        at(data, FIRST_MS, "0c" * 16)


def test_after_an_erasure_nothing_holds_and_before_it_what_did(tmp_path: Path) -> None:
    """From its instant on all is withdrawn, for no purpose, nobody and no further day; that stays proven."""
    write(tmp_path, [consent(10, "grant", "statistics", "advertising"), frame(40, visitor=SUBJECT)])
    run_once(tmp_path, POLICY, lambda: noon_ms(NEXT_DAY), lambda *_: None)
    before = at(tmp_path, FIRST_MS)
    erased_ms = noon_ms(NEXT_DAY) + 1
    Rights(tmp_path).erase(SUBJECT, b"number", erased_ms, erased_ms + 760 * DAY_MS)
    run_once(tmp_path, POLICY, lambda: noon_ms(NEXT_DAY) + DAY_MS, lambda *_: None)
    for at_ms in (FIRST_MS, erased_ms - 1):
        assert at(tmp_path, at_ms)["kz:consent"] == before["kz:consent"]
        assert at(tmp_path, at_ms)["dpv:hasConsentStatus"] == "dpv:ConsentGiven"
    for at_ms in (erased_ms, erased_ms + 500 * DAY_MS):
        made = at(tmp_path, at_ms)
        assert made["dpv:hasConsentStatus"] == "dpv:ConsentWithdrawn"
        assert made["dpv:hasPurpose"] == made["dpv:hasRecipientThirdParty"] == ["none"]
        assert [part["dpv:hasIndicationMethod"] for part in made["dct:hasPart"]] == ["banner", "erasure"]
        told = made["kz:consent"]
        assert (told["kz:period"], told["kz:data"]) == ("ended by erasure on 2026-11-25", ["none"])
        assert told["kz:transfer_to_third_parties"] == "no"


@pytest.mark.parametrize("language", ["en", "ru", "kk"])
@pytest.mark.parametrize("after_ms", [0, 10_000, DAY_MS])
def test_a_receipt_has_every_mandatory_field(data: Path, after_ms: int, language: str) -> None:
    """Given, withdrawn or under the next version: nothing that 27560 or article 8 asks for is empty."""
    made = json.loads(json.dumps(at(data, FIRST_MS + after_ms, language=language)))
    assert missing(made) == []
    assert all(name.partition(":")[0] in {*made["@context"], "@context", "@type"} for name in made)


@pytest.mark.parametrize("path", MANDATORY)
def test_the_validator_misses_what_is_missing(data: Path, path: str) -> None:
    """Without any one of the fields a receipt does not pass."""
    made = json.loads(json.dumps(at(data, FIRST_MS)))
    *parents, last = path.split(".")
    place = made
    for name in parents:
        place = place[name][0] if isinstance(place[name], list) else place[name]
    place[last] = ""
    assert missing(made) == [path]


def test_kazakhstans_fields_say_yes_and_no(data: Path) -> None:
    """Operator with BIN, period, third parties, abroad, publication, the data; no name, and so said."""
    told = at(data, FIRST_MS)["kz:consent"]
    assert (told["kz:operator"], told["kz:bin"], told["kz:subject"]) == ("Example", "123456789012", NO_NAME)
    assert told["kz:period"] == "2026-11-24 to 2027-12-24"
    assert (told["kz:transfer_to_third_parties"], told["kz:cross_border_transfer"]) == ("yes", "yes")
    assert told["kz:publication"] == "no"
    assert {"visitor", "path", "network", "age_band"} <= set(told["kz:data"])
    narrowed = at(data, FIRST_MS + 10_000)["kz:consent"]
    assert narrowed["kz:transfer_to_third_parties"] == "no" and "age_band" not in narrowed["kz:data"]


def test_a_policy_that_is_silent_gives_a_receipt_that_says_so(data: Path) -> None:
    """Without BIN, address, country and storage the fields are there and say that they are not stated."""
    bare = Policy(Controller("Example", "dpo@example.org", ("example.org",)), POLICY.versions)
    made = receipt(bare, {}, proofs.of(data, SUBJECT), SUBJECT, FIRST_MS, words("en"))
    assert missing(made) == []
    assert made["kz:consent"]["kz:bin"] == made["dpv:hasJurisdiction"] == UNKNOWN


def in_place(rules: Policy) -> Policy:
    """A policy whose first version, and whose controller, say something else under the same id."""
    first = rules.versions[0]
    sold = replace(first.purposes["advertising"], text="We sell it.", recipients=("Data Broker",))
    versions = (replace(first, purposes={**first.purposes, "advertising": sold}), *rules.versions[1:])
    return replace(rules, versions=versions, controller=replace(KZ, name="Other Owner", cross_border=False))


def test_a_version_that_is_edited_stands_in_receipts_as_it_was_told(data: Path) -> None:
    """Text, recipients, controller and the notice's hash: of a version that is gone as well."""
    before = at(data, FIRST_MS)
    for edited in (in_place(POLICY), replace(POLICY, versions=POLICY.versions[1:])):
        found = kept_policy.kept(data), proofs.of(data, SUBJECT)
        assert receipt(edited, *found, SUBJECT, FIRST_MS, words("en")) == before


def test_a_later_version_changes_no_older_receipt(tmp_path: Path) -> None:
    """The notice is what was told under its version, not what came after it."""
    write(tmp_path, [consent(10, "grant", "statistics")])
    first = replace(POLICY, versions=POLICY.versions[:1])
    run_once(tmp_path, first, lambda: noon_ms(NEXT_DAY), lambda *_: None)
    found = kept_policy.kept(tmp_path), proofs.of(tmp_path, SUBJECT)
    made = [receipt(rules, *found, SUBJECT, FIRST_MS, words("en")) for rules in (first, POLICY)]
    assert made[0] == made[1]


def test_a_version_edited_after_its_first_use_is_named(data: Path) -> None:
    """Also where only who answers for the data changed, which a newer version may do; before its first use a
    version may say anything. What was kept cannot be changed."""
    known = kept_policy.kept(data)
    assert kept_policy.changed(POLICY, known) == []
    [first, second] = kept_policy.changed(in_place(POLICY), known)
    assert first.startswith("version v1 says something else than on 2026-11-25, when it was first used")
    assert second.startswith("version v2") and "new id and date" in second
    to_come = version(NECESSARY, version_id="v3", effective=date(2027, 1, 1))
    moved = replace(POLICY, versions=(*POLICY.versions, to_come), controller=replace(KZ, name="Other Owner"))
    assert kept_policy.changed(moved, known) == []
    run_once(data, in_place(POLICY), lambda: noon_ms(NEXT_DAY), lambda *_: None)
    assert kept_policy.kept(data) == known
    with chain.opened(data) as database:
        for change in ("UPDATE version SET version = '{}'", "DELETE FROM version"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                database.execute(change)


def test_proofs_outlive_the_records_and_then_go(tmp_path: Path) -> None:
    """The day's records expire with its retention, the proof after proof_days, to the day."""
    write(tmp_path, [consent(10, "grant", "statistics")])
    kept_days = POLICY.controller.proof_days
    for days, events, kept in ((1, 1, 1), (91, 0, 1), (kept_days, 0, 1), (kept_days + 1, 0, 0)):
        proofs_after(tmp_path, noon_ms() + days * DAY_MS)
        assert len(batch_files(events_of(tmp_path, DAY))) == events, days
        assert len(proofs.of(tmp_path, SUBJECT)) == kept, days


def proofs_after(data: Path, now_ms: int) -> None:
    """What a run does about proofs, at an instant."""
    from pipeline.days import seal
    from pipeline.ingest import ingest
    from pipeline.retention import expire

    ingest(data, lambda: now_ms, lambda *_: None)
    proofs.keep(data)
    seal(data, lambda: now_ms, date.fromisoformat(DAY))
    expire(data, POLICY, lambda: now_ms)
    proofs.expire(data, POLICY, lambda: now_ms)
