"""Retention: rows, and each of their fields, go when the last purpose they were granted for ends."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.answers import OUTBOX
from collector.policy import Attribute, Budget, Policy, Service, Version
from collector.record import COLUMNS, DAY_MS, day_of
from collector.rights import Rights
from pipeline import proofs
from pipeline.check import mistakes
from pipeline.cli import run
from pipeline.days import seal
from pipeline.demo.disk import found_on_disk
from pipeline.ingest import ingest
from pipeline.ledger import LEDGER
from pipeline.metrics import as_prometheus
from pipeline.retention import APPLIED, expire, newest_uncountable
from pipeline.rights.access import answer
from pipeline.run import Unfinished, run_once
from pipeline.status import as_json, in_words, read_status
from pipeline.store import EXPIRED, batch_files, events_of, manifests
from pipeline.terms import Kind, declared_days, ends, left, purpose_days, retention_days
from tests.pipeline.logs import DAY, NEXT_DAY, frame, noon_ms, write
from tests.pipeline.test_cli import failed, impersonal
from tests.policies import EVERYTHING, measured, policy, purpose, version

CLOSED_MS = noon_ms() + 14 * 60 * 60 * 1000  # 02:00 UTC of the next day
KEPT = purpose("statistics", EVERYTHING, retention_days=30)
POLICY = policy(version(KEPT, purpose("necessary", retention_days=700)))

SHOP = Service("shop", "/shop", {"visitor": "optional", "path": "optional"}, 40)
TOLD = {"cookie": "daily", "browser": "family", "time": "minute", "page": "route"}
MIXED = policy(
    version(
        purpose("statistics", TOLD, retention_days=90),
        purpose("advertising", EVERYTHING, retention_days=30),
        purpose("necessary", retention_days=10),
        services=(SHOP,),
    )
)
BOTH = ("advertising", "necessary", "statistics")
VISITOR = f"{7:032x}"


def after(days: int) -> int:
    """Noon, so many days after DAY."""
    return noon_ms() + days * DAY_MS


def kind(*purposes: str, consent: str | None = None, service: str | None = None) -> Kind:
    return Kind(False, "v1", consent, purposes, service)


def rows(data: Path) -> list[dict[str, Any]]:
    """The private events of DAY, in their order."""
    files = [str(file) for file in batch_files(events_of(data, DAY))]
    if not files:
        return []
    with duckdb.connect() as database:
        found = database.execute("FROM read_parquet(?, hive_partitioning = false)", [files])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def stored(data: Path, *frames: bytes) -> None:
    """A sealed day with these frames."""
    write(data, frames)
    ingest(data, lambda: CLOSED_MS, lambda *_: None)
    seal(data, lambda: CLOSED_MS, date.fromisoformat(DAY))


def mixed(data: Path) -> None:
    """Four records: both purposes, the second of them alone, under a service, and the consent."""
    fields = {"visitor": VISITOR, "cohort": "2026-W47", "browser_major": "140", "network": "192.0.2.0/24"}
    both: dict[str, Any] = {**fields, "purposes": BOTH, "ts_ms": noon_ms() + 12_345}
    stored(
        data,
        frame(1, **both),
        frame(2, **(both | {"purposes": ("advertising",)})),
        frame(3, **(both | {"service": "shop"})),
        frame(4, **(both | {"kind": "consent", "act": "grant", "via": "banner"})),
    )


def test_a_day_goes_when_its_longest_retention_is_over(tmp_path: Path) -> None:
    """Rows, quarantine and logs of a day are removed a day after its last purpose's retention."""
    stored(tmp_path, frame(1), b"junk\n")
    assert expire(tmp_path, POLICY, lambda: after(30)).days == []
    assert rows(tmp_path)
    assert expire(tmp_path, POLICY, lambda: after(31)).days == [DAY]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == [events_of(tmp_path, DAY) / "_sealed"]
    assert expire(tmp_path, POLICY, lambda: after(31)).days == []
    write(tmp_path, [frame(2)])
    assert ingest(tmp_path, lambda: after(31), lambda *_: None) == {"late": 1}


def test_a_day_is_kept_for_the_longest_of_the_purposes_with_fields() -> None:
    """A purpose that has no field of a record keeps none; the version of the day decides."""
    later = purpose("statistics", EVERYTHING, retention_days=60)
    both = policy(version(KEPT), version(later, version_id="v2", effective=date(2026, 11, 25)))
    assert retention_days(POLICY, DAY, after(1)) == 30
    assert [retention_days(both, day, after(1)) for day in (DAY, NEXT_DAY)] == [30, 60]
    assert retention_days(policy(version(purpose("necessary", retention_days=7))), DAY, after(1)) == 7


@pytest.mark.parametrize(
    ("age", "service", "purposes"),
    [
        (30, None, BOTH),
        (31, None, ("necessary", "statistics")),
        (90, None, ("necessary", "statistics")),
        (91, None, None),
        (30, "shop", BOTH),
        (31, "shop", ("necessary", "statistics")),
        (41, "shop", None),
    ],
)
def test_each_purpose_ends_with_its_own_retention(
    age: int, service: str | None, purposes: tuple[str, ...] | None
) -> None:
    """To the day; under a service no later than the service says; without fields a purpose keeps nothing."""
    found = left(MIXED, kind(*BOTH, service=service), age, after(age))
    assert (found and found.purposes) == purposes


def test_consent_to_an_older_version_may_shorten_retention_and_never_lengthens_it() -> None:
    """Both versions hold for what can be refused; what cannot is the version's of the record alone."""

    def under(then: int, now: int) -> dict[str, int]:
        exempt = replace(purpose("necessary", EVERYTHING, basis="contract"), access="exempt")
        versions = [
            version(
                purpose("statistics", EVERYTHING, retention_days=days),
                replace(exempt, retention_days=days),
                version_id=name,
            )
            for name, days in (("v0", then), ("v1", now))
        ]
        return ends(policy(*versions), kind("statistics", "necessary", consent="v0"), after(0))

    assert under(then=30, now=90) == {"statistics": 30, "necessary": 90}
    assert under(then=90, now=30) == {"statistics": 30, "necessary": 30}


def terms(version_id: str, effective: date, statistics: int, advertising: int, shop: int) -> Version:
    """A version with these terms, in days."""
    return version(
        purpose("statistics", TOLD, retention_days=statistics),
        purpose("advertising", EVERYTHING, retention_days=advertising),
        version_id=version_id,
        effective=effective,
        services=(replace(SHOP, retention_days=shop),),
    )


FIRST = terms("v1", date(2026, 1, 1), statistics=90, advertising=60, shop=50)
SHORTER = terms("v2", date(2026, 12, 24), statistics=40, advertising=20, shop=30)
LONGER = terms("v3", date(2027, 1, 1), statistics=300, advertising=300, shop=300)


@pytest.mark.parametrize(
    ("versions", "age", "statistics", "advertising", "shop"),
    [
        ((FIRST, SHORTER), 29, 90, 60, 50),
        ((FIRST, SHORTER), 30, 40, 20, 30),
        ((FIRST, LONGER), 60, 90, 60, 50),
        ((FIRST, SHORTER, LONGER), 60, 40, 20, 30),
    ],
)
def test_a_later_version_shortens_the_terms_of_older_records(
    versions: tuple[Version, ...], age: int, statistics: int, advertising: int, shop: int
) -> None:
    """From its effective date on, by purpose and service; what was once to be gone is not kept for longer."""
    rules = policy(*versions)
    both = kind("statistics", "advertising")
    assert ends(rules, both, after(age)) == {"statistics": statistics, "advertising": advertising}
    served = ends(rules, both._replace(service="shop"), after(age))
    assert served == {"statistics": min(statistics, shop), "advertising": min(advertising, shop)}
    assert retention_days(rules, DAY, after(age)) == statistics
    assert purpose_days(rules, DAY, "advertising", after(age)) == advertising


def test_what_a_purpose_that_is_gone_recorded_keeps_its_own_term() -> None:
    """The version in force says nothing of it, so its records are as old as they were promised to become."""
    rules = policy(FIRST, replace(SHORTER, purposes={}, services={}))
    found = ends(rules, kind("statistics", "advertising", service="shop"), after(60))
    assert found == {"statistics": 50, "advertising": 50}


def test_records_of_an_older_version_go_when_the_one_in_force_says(tmp_path: Path) -> None:
    """On its first day, though the day was looked through before; the rest is neither counted nor shown."""
    mixed(tmp_path)
    rules = policy(FIRST, SHORTER)
    assert not expire(tmp_path, rules, lambda: after(29)).cut
    assert newest_uncountable(tmp_path, rules, "statistics", after(29)) is None
    found = expire(tmp_path, rules, lambda: after(30))
    assert (found.rows, found.cut) == (1, 2), "advertising alone is over; the shop's day 30 is not"
    assert newest_uncountable(tmp_path, rules, "statistics", after(31)) == DAY, "the shop's are not all there"
    assert expire(tmp_path, rules, lambda: after(31)).rows == 1
    with duckdb.connect() as database:
        (manifest,) = manifests(database, events_of(tmp_path, DAY))
    assert (manifest.removed, manifest.cut) == ({EXPIRED: 2}, 2)
    assert "purpose advertising" in read_status(tmp_path).oldest, "of the consent, kept as long as its day"
    assert expire(tmp_path, rules, lambda: after(41)).days == [DAY]
    assert read_status(tmp_path).oldest == {}


def test_fields_go_with_the_last_purpose_that_allowed_them(tmp_path: Path) -> None:
    """What stays is what the other purposes reach, fields, time and the visitor's name; in the same order."""
    mixed(tmp_path)
    before = rows(tmp_path)
    found = expire(tmp_path, MIXED, lambda: after(31))
    assert (found.days, found.rows, found.cut) == ([], 1, 2)
    first, third, consent = rows(tmp_path)
    assert consent == before[3], "a consent is kept for the day's longest retention, whole"
    assert [first["id"], third["id"]] == [before[0]["id"], before[2]["id"]]
    assert first["purposes"] == ["necessary", "statistics"]
    gone = [name for name, _ in COLUMNS if before[0][name] is not None and first[name] is None]
    assert gone == ["cohort", "browser_major", "country", "network", "path"]
    assert first["ts_ms"] == noon_ms(), "to the minute"
    assert first["visitor"] == third["visitor"] != VISITOR, "a purpose that knows visitors for a day only"
    assert (first["browser"], first["route"]) == ("Firefox", "/product/{id}")

    assert expire(tmp_path, MIXED, lambda: after(41)).rows == 1
    assert [row["id"] for row in rows(tmp_path)] == [before[0]["id"], before[3]["id"]]
    with duckdb.connect() as database:
        (manifest,) = manifests(database, events_of(tmp_path, DAY))
    assert (manifest.rows, manifest.outcomes) == (4, {"rows": 2, "expired": 2})
    assert expire(tmp_path, MIXED, lambda: after(91)).days == [DAY]


def test_a_day_is_rewritten_only_when_a_retention_ends(tmp_path: Path) -> None:
    """Between two ends nothing is read; other rules are enforced at once, also on days enforced before."""
    mixed(tmp_path)
    expire(tmp_path, MIXED, lambda: after(30))
    applied = events_of(tmp_path, DAY) / APPLIED
    assert applied.read_text().startswith("10 "), "the one of a purpose without fields"
    expire(tmp_path, MIXED, lambda: after(31))
    (batch,) = batch_files(events_of(tmp_path, DAY))
    batch.rename(tmp_path / "elsewhere")
    batch.write_bytes(b"not to be read")
    for days in (31, 39, 40):
        assert not expire(tmp_path, MIXED, lambda days=days: after(days)).rows  # type: ignore[misc]
    (tmp_path / "elsewhere").rename(batch)
    stricter = policy(replace(MIXED.versions[0], services={"shop": replace(SHOP, retention_days=20)}))
    assert expire(tmp_path, stricter, lambda: after(33)).rows == 1


def test_declared_values_and_proofs_have_a_retention_as_well(tmp_path: Path) -> None:
    """Values from when they were last altered, proofs by proof_days, a withdrawal while it counts."""
    rules = declaring()
    rights = Rights(tmp_path)
    tmp_path.joinpath("events").mkdir()
    rights.declare([VISITOR], {"age_band": "25-34", "city": "Almaty"}, "v1", after(0))
    rights.alter([VISITOR], {"city": "Astana"}, "v1", after(40), is_public=False)
    rights.narrow(VISITOR, [], after(0), after(400))
    rights.erase(f"{8:032x}", b"number", after(0), after(760))

    def said(days: int) -> dict[str, int]:
        return +expire(tmp_path, rules, lambda: after(days)).said

    assert said(50) == {}
    assert said(51) == {"declared": 1}
    assert [value.name for value in rights.declared(VISITOR)] == ["city"]
    assert said(91) == {"declared": 1}
    assert said(400) == {"standing": 1}
    assert said(762) == {"history": 2, "receipt": 1, "standing": 1}
    assert said(801) == {"history": 1}
    assert rights.oldest() == {"request": after(0)}, "who asked to be erased is not forgotten"


def test_a_later_version_shortens_the_term_of_a_declared_value() -> None:
    """And none lengthens it; of one that no version knows the proof's term holds."""
    (told,) = declaring().versions

    def then(version_id: str, effective: date, days: int) -> Version:
        age_band = replace(told.declared["age_band"], retention_days=days)
        return replace(told, id=version_id, effective=effective, declared={"age_band": age_band})

    rules = policy(told, then("v2", date(2026, 12, 24), 20), then("v3", date(2027, 1, 1), 300))
    known = [declared_days(rules, "age_band", "v1", after(age)) for age in (29, 30, 60)]
    assert known == [50, 20, 20]
    assert [declared_days(rules, name, "v1", after(60)) for name in ("city", "gone")] == [50, 760]


def declaring() -> Policy:
    """A policy with declared information, kept for 50 days."""
    attributes = {name: Attribute(name, "text", "statistics", 50, "Why.") for name in ("age_band", "city")}
    told = version(replace(measured(EVERYTHING), retention_days=760))
    rules = policy(replace(told, declared=attributes))
    return replace(rules, budget=Budget("tiny", {"visitors": 0.2}))


def test_25_months_and_a_day_later_nothing_is_left(tmp_path: Path) -> None:
    """One `run`, and in no file stands the visitor's name; status knew the oldest record of every kind."""
    rules = declaring()
    names: dict[str, Any] = {"visitor": VISITOR, "purposes": ("statistics",)}
    write(tmp_path, [frame(1, **names), frame(2, **names, service="shop"), frame(3, v=9, **names)])
    rights = Rights(tmp_path)
    rights.declare([VISITOR], {"city": "Almaty"}, "v1", after(0))
    rights.narrow(VISITOR, ["statistics"], after(0), after(400))
    ingest(tmp_path, lambda: after(0), lambda *_: None)
    answer(tmp_path, VISITOR, after(0))
    assert found_on_disk(tmp_path, [VISITOR])[VISITOR] > 8, "the positive control"
    status = read_status(tmp_path)
    assert set(status.oldest) == {
        *("purpose statistics", "service shop", "declared", "history", "standing"),
        *("quarantine", "logs", "answers"),
    }
    assert as_json(status)["oldest"]["purpose statistics"] == noon_ms() + 1000
    assert f"  purpose statistics: {DAY}" in list(in_words(status))
    (metric,) = (
        family
        for family in text_string_to_metric_families(as_prometheus(status))
        if family.name == "impersonal_oldest_record_seconds"
    )
    assert {each.labels["kind"]: each.value for each in metric.samples}["declared"] == after(0) / 1000

    late_ms = after(762)
    seal(tmp_path, lambda: CLOSED_MS, date.fromisoformat(DAY))
    (tmp_path / "first_day").write_text("2028-12-01")  # two years of empty releases would take their time
    done = run_once(tmp_path, rules, lambda: late_ms, lambda *_: None)
    assert done.expired.days[0] == DAY
    assert found_on_disk(tmp_path, [VISITOR]) == {}
    assert read_status(tmp_path).oldest == {}
    assert not list((tmp_path / OUTBOX).iterdir())


def test_the_command_says_what_it_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the system's clock, with the policy of the data directory; again, and nothing is over."""
    assert run(["init", "--data", str(tmp_path)]) == 0
    long_ago = "2020-01-01"
    write(tmp_path, [frame(1, long_ago)], day=long_ago)
    ingest(tmp_path, lambda: CLOSED_MS, lambda *_: None)
    seal(tmp_path, lambda: noon_ms("2020-01-02"), date.fromisoformat(long_ago))
    capsys.readouterr()
    assert run(["rights", "expire", "--data", str(tmp_path)]) == 0
    assert run(["rights", "expire", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Removed the records of {long_ago}: their retention is over",
        "Nothing is over its retention",
    ]


def test_what_no_run_has_read_goes_as_well(tmp_path: Path) -> None:
    """Logs of a day that is not sealed, by the command too, and not the proofs of choices in them; what comes
    of that day later is late."""
    assert impersonal("init", "--data", tmp_path).returncode == 0
    long_ago = day_of(time.time_ns() // 1_000_000 - 100 * DAY_MS)
    choice = frame(2, long_ago, visitor=VISITOR, kind="consent", act="grant", via="banner")
    write(tmp_path, [frame(1, long_ago, visitor=VISITOR), choice], day=long_ago)
    done = impersonal("rights", "expire", "--data", tmp_path)
    assert f"Removed the records of {long_ago}: their retention is over" in done.stdout
    assert found_on_disk(tmp_path, [VISITOR]) == {}
    assert [proof.act for proof in proofs.of(tmp_path, VISITOR)] == ["grant"]
    write(tmp_path, [frame(3, long_ago)], day=long_ago)
    assert ingest(tmp_path, lambda: after(1), lambda *_: None) == {"late": 1}


def broken_ledger(data: Path) -> Policy:
    """A ledger that is none."""
    (data / LEDGER).write_bytes(b"garbage" * 100)
    return COUNTED


def forgetful(_data: Path) -> Policy:
    """A policy under which a window's first records are gone before it closes."""
    return replace(COUNTED, versions=(version(replace(measured(EVERYTHING), retention_days=5)),))


COUNTED = replace(
    policy(version(replace(measured(EVERYTHING), retention_days=30)), tier="tiny"),
    budget=Budget("tiny", {"visitors": 0.2}),
)


@pytest.mark.parametrize("break_it", [broken_ledger, forgetful])
def test_requests_and_retention_do_not_wait_for_statistics(
    tmp_path: Path, break_it: Callable[[Path], Policy]
) -> None:
    """What fails the statistics is still said; who asked is erased, and what is over age goes, counted or
    not. No window is released later that lacks what went."""
    tmp_path.joinpath("first_day").write_text(DAY)
    write(tmp_path, [frame(number) for number in range(1, 60)])
    young = day_of(after(28))
    write(tmp_path, [frame(1, young, visitor=VISITOR), frame(2, young)], day=young)
    Rights(tmp_path).erase(VISITOR, b"receipt", after(30), after(760))
    rules = break_it(tmp_path)
    with pytest.raises(Unfinished) as raised:
        run_once(tmp_path, rules, lambda: after(31), lambda *_: None)
    done = raised.value.done
    assert "ledger.sqlite" in str(raised.value) or "retention_days is 5" in str(raised.value)
    assert [request.subject for request in done.requests] == [VISITOR]
    (tmp_path / LEDGER).unlink(missing_ok=True)
    assert Rights(tmp_path).requests() == [] and found_on_disk(tmp_path, [VISITOR]) == {}
    assert done.expired.days[0] == DAY and not batch_files(events_of(tmp_path, DAY))
    assert len(batch_files(events_of(tmp_path, young))) == 1

    later = run_once(tmp_path, COUNTED, lambda: after(80), lambda *_: None).outcomes
    windows = [outcome.release_id for outcome in later]
    assert windows == ["visitors/28-days/2026-12-21"], "not the one of DAY, as if nobody had come"


def test_a_run_that_fails_says_what_it_did_and_exits_1(tmp_path: Path) -> None:
    """The lines of what was done, the error in one line, and the same from a cron that calls it again."""
    assert impersonal("init", "--data", tmp_path).returncode == 0
    long_ago = "2020-01-01"
    write(tmp_path, [frame(1, long_ago)], day=long_ago)
    broken_ledger(tmp_path)
    done = impersonal("run", "--data", tmp_path)
    assert LEDGER in failed(done)
    assert f"Removed the records of {long_ago}: their retention is over" in done.stdout
    assert "due for publication" not in done.stdout


def test_a_service_that_forgets_before_its_window_closes_is_refused() -> None:
    """Its records would be gone before they are counted, as with the purpose itself."""
    assert mistakes(MIXED) == []
    short = policy(replace(MIXED.versions[0], services={"shop": replace(SHOP, retention_days=6)}))
    (mistake,) = mistakes(short)
    assert mistake.startswith("versions.v1.services.shop.retention_days is 6") and "at least 7" in mistake
