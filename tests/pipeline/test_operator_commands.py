"""The commands of the operator and the data protection officer, as they are typed."""

import csv
import io
import json
import re
import stat
from pathlib import Path

import pytest

from collector.record import day_of, instant_of
from collector.words import languages
from pipeline import accesses, chain
from pipeline.proofs import keep
from tests.pipeline.private_events import Row, store
from tests.pipeline.test_cli import failed, impersonal

SUBJECT = "c4" * 16
POLICY = """
[controller]
name = "Кофейня <Almaty>"
contact = "dpo@example.org"
hosts = ["example.org"]
identifier = "123456789012"
country = "KZ"

[[versions]]
id = "1"
modified = 2025-12-01
effective = 2026-01-01
summary = "First."
[versions.purposes.advertising]
access = "consent"
basis = "consent"
text = "We form groups."
texts = { ru = "Мы составляем группы." }
retention_days = 760
recipients = ["Acme"]
fields = { cookie = "long-lived", page = "path" }
[versions.declared.age_band]
type = "choice"
options = ["18-24", "25-34"]
purpose = "advertising"
retention_days = 30
text = "Your age."
mandatory = true

[[versions]]
id = "2"
modified = 2026-01-15
effective = 2026-02-01
summary = "Browsers."
summaries = { ru = "Браузеры." }
[versions.purposes.advertising]
access = "consent"
basis = "consent"
text = "We form groups."
texts = { ru = "Мы составляем группы." }
retention_days = 760
recipients = ["Acme"]
fields = { cookie = "long-lived", page = "path", browser = "family" }
"""
GRANTED_MS = 1_772_000_000_000  # 2026-02-25 06:13:20 UTC


def event(kind: str, **more: object) -> Row:
    known = {
        "policy": "2",
        "consent": "2",
        "purposes": ["advertising"],
        "visitor": SUBJECT,
        "cohort": "2026-W09",
    }
    return {"kind": kind, "id": kind, "ts_ms": GRANTED_MS, **known, **more}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A site with one visitor who consented by the banner and saw a page."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "policy.toml").write_text(POLICY)
    store(data, [event("consent", act="grant", via="banner"), event("view", path="/a", browser="Firefox")])
    keep(data)
    return data


def said(data: Path, *arguments: str | Path) -> str:
    done = impersonal(*arguments, "--data", data)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_version_is_shown_as_markdown_and_html(data: Path) -> None:
    """The one in force unless named, in any language, with nothing of the policy's own text as markup."""
    shown = said(data, "policy", "show")
    assert shown.startswith("# Privacy policy of Кофейня \\<Almaty\\>\n\n## ")
    assert "This is version 2, modified on 2026-01-15, in force from 2026-02-01. Browsers." in shown
    older = said(data, "policy", "show", "--version", "1", "--language", "ru", "--format", "html")
    assert older.startswith('<!doctype html>\n<html lang="ru">') and "&lt;Almaty&gt;" in older
    assert "Это версия 1" in older and "Мы составляем группы." in older and "<Almaty>" not in older
    assert "(age_band): обязательное" in older


def test_every_instant_is_written_alike(data: Path) -> None:
    """In the record of processing and in the registers as in receipts: to the millisecond, UTC."""
    assert instant_of(1_772_000_000_123) == "2026-02-25T06:13:20.123Z"
    made = json.loads(said(data, "policy", "register", "--format", "json"))["made"]
    said(data, "rights", "access", "a" * 32)
    rows = json.loads(said(data, "rights", "accesses", "--format", "json"))
    for instant in (made, rows[-1]["at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", instant), instant


@pytest.mark.parametrize("language", languages())
def test_history_and_diff_say_what_changes(data: Path, language: str) -> None:
    """Each version with both dates, and below it the same phrases that diff prints."""
    changed = said(data, "policy", "diff", "1", "2", "--language", language).splitlines()
    assert len(changed) == 2
    lines = said(data, "policy", "history", "--language", language).splitlines()
    assert "2025-12-01" in lines[0] and "2026-01-01" in lines[0] and "2026-02-01" in lines[1]
    assert lines[2:] == [f"  {line}" for line in changed]


def test_a_diff_reads_as_a_sentence_would(data: Path) -> None:
    """In the order asked for, backwards too, and nothing where nothing changes."""
    assert said(data, "policy", "diff", "1", "2") == (
        "adds the field browser to advertising: family\nno longer asks about you: age_band\n"
    )
    assert said(data, "policy", "diff", "2", "1").startswith("removes the field browser from advertising\n")
    assert said(data, "policy", "diff", "1", "1") == ""
    assert "name one of 1, 2" in failed(impersonal("policy", "diff", "1", "9", "--data", data))
    assert "name one of 1, 2" in failed(impersonal("policy", "show", "--version", "9", "--data", data))


def test_the_register_is_read_from_what_runs(data: Path) -> None:
    """Article 30: who, why, what, to whom, where, how long and how protected, from files and tables."""
    (data / "rights.sqlite").chmod(0o644)
    found = json.loads(said(data, "policy", "register", "--format", "json"))
    assert (found["controller"]["name"], found["controller"]["identifier"]) == (
        "Кофейня <Almaty>",
        "123456789012",
    )
    assert (found["version"]["id"], found["version"]["state"]) == ("2", "in force")
    [processing] = found["processing"]
    assert (processing["purpose"], processing["legal_basis"]) == ("advertising", "consent")
    assert (processing["recipients"], processing["retention_days"]) == (["Acme"], 760)
    assert processing["categories"]["browser"] == {
        "precision": "family",
        "fields": ["device", "browser", "os"],
    }
    assert found["recipients"] == ["Acme"] and found["third_countries"]["cross_border"] is False
    assert found["measures"]["keys"] == ["rights.key"]
    assert f"{data}/rights.sqlite" in found["measures"]["files_open_to_others"]
    assert found["statistics"]["tiers"]["large"]["rho_per_day"] == 0.004
    bounds = {row["statistic"]: row["most_in_a_cell"] for row in found["statistics"]["published"]}
    assert bounds["pageviews"] == 10
    assert found["retention_days"]["proofs, transfers and accesses"] == 760


def test_the_register_is_a_document_as_well(data: Path) -> None:
    """A heading for every part of Article 30, and tables where rows are alike."""
    document = said(data, "policy", "register")
    parts = [line[3:] for line in document.splitlines() if line.startswith("## ")]
    assert parts[:4] == ["Controller", "Version", "Data subjects", "Processing"]
    assert {"Recipients", "Third countries", "Retention days", "Statistics", "Measures"} <= set(parts)
    assert "- legal basis: consent" in document.replace("  ", "")
    assert "| visitor | cookie |" in document


def test_a_receipt_is_asked_for_by_pseudonym_and_instant(data: Path) -> None:
    """JSON-LD on standard output; the access is recorded, before an instant nothing is known."""
    made = json.loads(said(data, "rights", "receipt", SUBJECT.upper(), "--language", "ru"))
    assert made["dct:hasPart"][0]["dct:date"] == "2026-02-25T06:13:20.000Z"
    assert made["dpv:hasPurpose"][0]["dct:description"] == "Мы составляем группы."
    early = impersonal("rights", "receipt", SUBJECT, "--at", "2026-02-25T06:13:19Z", "--data", data)
    assert "no choice of this reference is known at 2026-02-25T06:13:19.000Z" in failed(early)
    assert "32 hex digits" in failed(impersonal("rights", "receipt", "anna", "--data", data), 2)
    assert "use an instant like" in failed(
        impersonal("rights", "receipt", SUBJECT, "--at", "x", "--data", data), 2
    )
    rows = json.loads(said(data, "rights", "accesses", "--format", "json"))
    assert [(row["command"], row["count"]) for row in rows] == [("rights receipt", 1)] * 2
    assert SUBJECT not in json.dumps(rows)


def test_a_version_edited_in_place_fails_the_check_and_is_noted_by_the_run(data: Path) -> None:
    """The run goes on; the check of the file, and of one that is to replace it, exits 1."""
    counted = (
        POLICY
        + """
[versions.purposes.statistics]
access = "consent"
basis = "consent"
text = "We count."
retention_days = 90
fields = { cookie = "daily" }
"""
    )
    (data / "policy.toml").write_text(counted)
    (data / "first_day").write_text("2099-01-01")  # nothing is due
    said(data, "run")
    said(data, "policy", "check")
    (data / "policy.toml").write_text(counted.replace('"Acme"', '"Broker"'))
    assert "Note: version 2 says something else" in said(data, "run")
    wrong = failed(impersonal("policy", "check", "--data", data))
    assert "version 1 says something else" in wrong and "new id and date" in wrong
    (data / "policy.toml").rename(data.parent / "new.toml")
    assert "version 2" in failed(impersonal("policy", "check", data.parent / "new.toml", "--data", data))


def test_a_transfer_is_made_and_listed(data: Path, tmp_path: Path) -> None:
    """The file for its owner only, the line in each form, and both registers whole."""
    to = tmp_path / "acme.jsonl"
    order = ["rights", "transfer", "--recipient", "Acme", "--ground", "consent", "--to", str(to)]
    assert said(data, *order) == "Transfer 1 to Acme: 1 records of 1 visitors\n"
    [record] = map(json.loads, to.read_text().splitlines())
    assert (record["browser"], record["purposes"]) == ("Firefox", ["advertising"])
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert "exists and stays as it is" in failed(impersonal(*order, "--data", data))
    table = said(data, "rights", "transfers").splitlines()
    assert table[1].split()[2:6] == ["completed", "Acme", "consent", "1"]
    [row] = json.loads(said(data, "rights", "transfers", "--format", "json"))
    assert table[2] == f"Newest line, to keep elsewhere: 1 {row['hash']}"
    [read] = csv.DictReader(io.StringIO(said(data, "rights", "transfers", "--format", "csv")))
    assert read["sha256"] == row["sha256"] and read["versions"] == "2"
    assert said(data, "rights", "accesses").splitlines()[1].split()[2:4] == ["rights", "transfer"]


def test_a_day_range_is_part_of_an_order(data: Path, tmp_path: Path) -> None:
    """First and last UTC day, both included."""
    day = day_of(GRANTED_MS)
    order = ["rights", "transfer", "--recipient", "Acme", "--ground", "consent"]
    for number, (start, end, records) in enumerate([(day, day, 1), ("2026-02-26", "2026-03-01", 0)]):
        span = ["--from", start, "--until", end, "--to", str(tmp_path / f"{number}")]
        assert f": {records} records" in said(data, *order, *span)


def test_nothing_yet_is_no_fault(data: Path, tmp_path: Path) -> None:
    """Empty registers verify; a directory that does not exist is not made by asking."""
    assert "does not exist" in failed(impersonal("rights", "transfers", "--data", tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    for register in ("transfers", "accesses"):
        assert said(data, "rights", register) == "Nothing yet\n"
        assert said(data, "rights", register, "--format", "json") == "[]\n"


def test_a_register_that_was_changed_fails_in_a_line(data: Path) -> None:
    """What does not fit is said on standard error, with exit status 1; the rest is still listed."""
    for n in range(2):
        accesses.record(data, lambda: GRANTED_MS, "rights access", SUBJECT, n)
    with chain.opened(data) as database:
        database.execute("DROP TRIGGER access_not_updated")
        database.execute("UPDATE access SET entry = replace(entry, ': 0', ': 9') WHERE number = 1")
    done = impersonal("rights", "accesses", "--format", "json", "--data", data)
    assert "line 1 of access does not fit" in failed(done)
    assert len(json.loads(done.stdout)) == 2
