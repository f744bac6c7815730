"""Identity: what is stored in the browser, what is logged, and how long either lives."""

import os
import stat
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.consent import GRANT_DAYS, Choice, Decision, Reason
from collector.errors import ConfigurationError
from collector.identity import Pseudonyms, began, mode, new_id, read_id
from collector.record import DAY_MS
from tests.policies import CONSENTED, EXEMPT

TODAY = date(2026, 11, 24)
MIDNIGHT_MS = (TODAY - date(1970, 1, 1)).days * DAY_MS


def decision(*granted: str, day: date = TODAY, day_began: str = "none", exempt: bool = False) -> Decision:
    version = (EXEMPT if exempt else CONSENTED).versions[0]
    choice = Choice("v1", day, frozenset(granted), day_began)
    return Decision(version, granted, Reason.CHOICE, choice, version)


def test_an_id_is_128_random_bits_and_the_week_of_its_grant() -> None:
    """No two alike, and read back as written."""
    ids = {new_id(TODAY).bits for _ in range(1000)}
    assert len(ids) == 1000 and all(len(bits) == 32 for bits in ids)
    visitor = new_id(TODAY)
    assert visitor.cohort == "2026-W48"
    assert read_id(visitor.cookie().encode(), TODAY) == visitor


def test_an_id_is_not_believed_after_thirteen_months() -> None:
    """The server counts the weeks itself; visits prolong nothing."""
    cookie = new_id(TODAY).cookie().encode()
    monday = date(2026, 11, 23)
    assert read_id(cookie, monday + timedelta(days=GRANT_DAYS - 1)) is not None
    assert read_id(cookie, monday + timedelta(days=GRANT_DAYS)) is None


@given(st.binary(max_size=60) | st.from_regex(rb"[0-9a-f]{32}\.\d{4}-W\d\d", fullmatch=True))
def test_any_bytes_are_an_id_or_none(cookie: bytes) -> None:
    """A forged id names a possible week or is refused; nothing raises."""
    visitor = read_id(cookie, TODAY)
    assert visitor is None or visitor.cookie().encode() == cookie


def test_the_pseudonym_is_keyed_and_stable(tmp_path: Path) -> None:
    """The same id gives the same pseudonym in every process of a site, and another on another site."""
    visitor = new_id(TODAY)
    first = Pseudonyms(tmp_path / "a").of_id(visitor.bits)
    assert first == Pseudonyms(tmp_path / "a").of_id(visitor.bits)
    assert first != Pseudonyms(tmp_path / "b").of_id(visitor.bits)
    assert visitor.bits not in first and len(first) == 32


def test_the_daily_pseudonym_changes_with_day_address_and_agent(tmp_path: Path) -> None:
    """Two days of one visitor cannot be joined."""
    pseudonyms = Pseudonyms(tmp_path)
    seen = {
        pseudonyms.of_day(ts_ms, address, agent)
        for ts_ms in (MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
        for address in ("192.0.2.1", "192.0.2.2")
        for agent in (b"a", b"b")
    }
    assert len(seen) == 8
    assert pseudonyms.of_day(MIDNIGHT_MS, "192.0.2.1", b"a") == Pseudonyms(tmp_path).of_day(
        MIDNIGHT_MS + DAY_MS - 1, "192.0.2.1", b"a"
    )


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    """0600 in 0700."""
    pseudonyms = Pseudonyms(tmp_path / "data")
    pseudonyms.of_id(new_id(TODAY).bits)
    pseudonyms.of_day(MIDNIGHT_MS, "192.0.2.1", b"")
    keys = tmp_path / "data" / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    files = sorted(keys.iterdir())
    assert [file.name for file in files] == ["pseudonym.key", "salt-2026-11-24"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_salt_dies_within_25_hours(tmp_path: Path) -> None:
    """From 00:30 on the day after, neither file nor memory knows yesterday's salt."""
    pseudonyms = Pseudonyms(tmp_path)
    before = pseudonyms.of_day(MIDNIGHT_MS, "192.0.2.1", b"")
    salt = tmp_path / "keys" / "salt-2026-11-24"
    pseudonyms.forget_past_days(MIDNIGHT_MS + DAY_MS + 29 * 60_000)
    assert salt.exists()
    aside = salt.with_name(".salt-2026-11-24-0123456789abcdef")
    aside.write_bytes(salt.read_bytes())
    pseudonyms.forget_past_days(MIDNIGHT_MS + DAY_MS + 31 * 60_000)
    assert not salt.exists() and not aside.exists()
    assert pseudonyms.of_day(MIDNIGHT_MS, "192.0.2.1", b"") != before


def test_all_workers_share_one_salt(tmp_path: Path) -> None:
    """Four processes that meet at midnight agree on one salt."""
    code = (
        "import sys; from pathlib import Path; from collector.identity import Pseudonyms;"
        f"print(Pseudonyms(Path(sys.argv[1])).of_day({MIDNIGHT_MS}, '192.0.2.1', b''))"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({worker.communicate()[0] for worker in workers}) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["salt-2026-11-24"]


def test_what_one_thread_forgets_another_reads_anew(tmp_path: Path) -> None:
    """Never half of it: each pseudonym is the same, however often the keys are forgotten in between."""
    keys, stop = Pseudonyms(tmp_path), threading.Event()

    def forget() -> None:
        while not stop.is_set():
            keys.forget_past_days(MIDNIGHT_MS)

    forgetful = threading.Thread(target=forget)
    forgetful.start()
    found = {
        (keys.of_day(MIDNIGHT_MS, "192.0.2.7", b"agent"), keys.of_id("0f" * 16), keys.of_account("ann"))
        for _ in range(3000)
    }
    stop.set()
    forgetful.join()
    assert len(found) == 1


def test_a_damaged_key_is_refused_with_a_remedy(tmp_path: Path) -> None:
    """A short key would weaken every pseudonym silently."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "pseudonym.key").write_bytes(os.urandom(7))
    with pytest.raises(ConfigurationError, match="restore it"):
        Pseudonyms(tmp_path).of_id(new_id(TODAY).bits)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (decision("statistics"), "long-lived"),
        (decision(), "none"),
        (decision("statistics", exempt=True), "daily"),
        # Records under the daily salt this morning: the granted id starts tomorrow.
        (decision("advertising", "statistics", day_began="daily", exempt=True), "daily"),
        (
            decision(
                "advertising", "statistics", day=TODAY - timedelta(days=1), day_began="daily", exempt=True
            ),
            "long-lived",
        ),
        # An id this morning, then only the daily salt: nothing more today.
        (decision("statistics", day_began="long-lived", exempt=True), "none"),
        (decision("statistics", day=TODAY - timedelta(days=1), day_began="long-lived", exempt=True), "daily"),
        # Withdrawn and granted again on one day.
        (decision("statistics", day_began="long-lived"), "long-lived"),
    ],
)
def test_a_visitor_is_known_in_one_way_a_day(now: Decision, expected: str) -> None:
    """A change between daily salt and id cookie waits for midnight UTC."""
    assert mode(now, TODAY) == expected


def test_the_day_so_far_survives_several_choices() -> None:
    """Daily in the morning, granted, refused, granted: still the daily pseudonym until midnight."""
    first = decision("advertising", "statistics", day_began="daily", exempt=True)
    refused = decision(day_began=began(first, TODAY), exempt=True)
    assert mode(refused, TODAY) == "none"
    again = decision("advertising", "statistics", day_began=began(refused, TODAY), exempt=True)
    assert mode(again, TODAY) == "daily"
