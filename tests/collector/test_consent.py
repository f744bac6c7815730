"""Consent: who decides, for how long, and how far an old choice reaches."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.consent import (
    GRANT_DAYS,
    MAX_COOKIE_BYTES,
    REFUSAL_DAYS,
    Choice,
    Decider,
    Reason,
    decide,
    read_choice,
    signals,
)
from collector.policy import Policy
from collector.record import DAY_MS
from tests.policies import CONSENTED, EVERYTHING, EXEMPT, measured, policy, purpose, version

TODAY = date(2026, 11, 24)
NOW_MS = (TODAY - date(1970, 1, 1)).days * DAY_MS + 12 * 3_600_000


def cookie(*granted: str, version_id: str = "v1", day: date = TODAY) -> bytes:
    return Choice(version_id, day, frozenset(granted)).cookie().encode()


@pytest.mark.parametrize(
    ("chosen", "gpc", "dnt", "granted", "reason"),
    [
        (None, False, False, ("necessary", "statistics"), Reason.DEFAULT),
        (None, False, True, ("necessary",), Reason.DNT),
        (None, True, False, ("necessary",), Reason.GPC),
        (None, True, True, ("necessary",), Reason.GPC),
        (
            cookie("advertising", "statistics"),
            True,
            True,
            ("advertising", "necessary", "statistics"),
            Reason.CHOICE,
        ),
        (cookie("advertising"), True, False, ("advertising", "necessary"), Reason.CHOICE),
        (cookie(), False, False, ("necessary",), Reason.CHOICE),
    ],
)
def test_an_explicit_choice_beats_gpc_beats_dnt_beats_the_default(
    chosen: bytes | None, gpc: bool, dnt: bool, granted: tuple[str, ...], reason: Reason
) -> None:
    """The precedence, with statistics granted by default under an exemption."""
    decision = decide(EXEMPT, NOW_MS, chosen, gpc=gpc, dnt=dnt)
    assert (decision.granted, decision.reason) == (granted, reason)


def test_nothing_is_recorded_without_consent() -> None:
    """Where every purpose needs consent, silence leaves no field."""
    assert decide(CONSENTED, NOW_MS).fields == ()


def test_a_version_not_yet_in_force_allows_nothing() -> None:
    """Before the first version there is no ground to collect anything on."""
    before = decide(CONSENTED, -1, cookie("statistics"))
    assert (before.reason, before.fields, before.ask) == (Reason.NO_POLICY, (), False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"1"], True),
        ([b"0"], False),
        ([b" 1"], False),
        ([b"1x"], False),
        ([b"true"], False),
        ([b""], False),
        ([], False),
        ([b"0", b"1"], True),
        ([b"1,1"], False),
    ],
)
def test_gpc_counts_only_as_exactly_1(values: list[bytes], expected: bool) -> None:
    """Sec-GPC as the W3C specifies it; of several headers any exact 1 counts."""
    line = b"\n".join(values) if values else None
    assert signals(line, None) == (expected, False)


def test_a_refusal_is_remembered_six_months_and_a_grant_thirteen() -> None:
    """After that the visitor is asked again, whatever the browser still sends."""
    for granted, days in (((), REFUSAL_DAYS), (("statistics",), GRANT_DAYS)):
        last = cookie(*granted, day=TODAY - timedelta(days=days - 1))
        gone = cookie(*granted, day=TODAY - timedelta(days=days))
        assert read_choice(last, CONSENTED, TODAY) is not None
        assert read_choice(gone, CONSENTED, TODAY) is None


def test_a_choice_under_an_unknown_version_grants_nothing_and_is_asked_again() -> None:
    """A worker that does not know the version yet, or no longer, does not take a refusal for silence."""
    for held in (cookie(version_id="v9"), cookie("advertising", "statistics", version_id="v9")):
        decision = decide(EXEMPT, NOW_MS, held)
        assert (decision.granted, decision.reason, decision.ask) == (("necessary",), Reason.CHOICE, True)
        assert decide(EXEMPT, NOW_MS, held, gpc=True).reason is Reason.GPC
    outlived = cookie(version_id="v9", day=TODAY - timedelta(days=REFUSAL_DAYS))
    assert decide(EXEMPT, NOW_MS, outlived) == decide(EXEMPT, NOW_MS)


@pytest.mark.parametrize(
    ("granted", "gpc", "recorded"),
    [
        (("advertising", "statistics"), False, ("necessary", "statistics")),
        (("advertising", "statistics"), True, ("necessary",)),
        (("advertising",), False, ("necessary",)),
        (("statistics",), True, ("necessary", "statistics")),  # under the day's pseudonym for good
    ],
)
def test_an_id_granted_on_a_day_that_began_without_waits_until_tomorrow(
    granted: tuple[str, ...], gpc: bool, recorded: tuple[str, ...]
) -> None:
    """Recorded is until then what held without a choice; asked by the host, all of it holds at once."""
    held = Choice("v1", TODAY, frozenset(granted), "daily").cookie().encode()
    decision = decide(EXEMPT, NOW_MS, held, gpc=gpc)
    assert decision.recorded == recorded
    assert decision.granted == tuple(sorted(("necessary", *granted)))
    assert decide(EXEMPT, NOW_MS + DAY_MS, held, gpc=gpc).recorded == decision.granted


def test_a_choice_from_the_future_is_not_believed() -> None:
    """A day that has not come was not written by this server."""
    assert read_choice(cookie("statistics", day=TODAY + timedelta(days=1)), CONSENTED, TODAY) is None


def test_a_wider_version_asks_again_and_records_under_the_old_one_until_then() -> None:
    """Consent to the country does not become consent to the network."""
    old = version(purpose("statistics", {"cookie": "long-lived", "ip": "country"}))
    new = version(
        purpose("statistics", {"cookie": "long-lived", "ip": "network"}),
        version_id="v2",
        effective=date(2026, 11, 24),
    )
    decision = decide(policy(old, new), NOW_MS, cookie("statistics"))
    names = {field.name for field in decision.fields}
    assert decision.ask
    assert "country" in names and "network" not in names


def test_a_narrower_version_takes_effect_at_once_and_asks_nothing() -> None:
    """What the policy no longer allows is not recorded, even with consent to the older one."""
    old = version(purpose("statistics", EVERYTHING))
    new = version(purpose("statistics", {"page": "route"}), version_id="v2", effective=date(2026, 11, 24))
    decision = decide(policy(old, new), NOW_MS, cookie("statistics"))
    assert not decision.ask
    assert "path" not in {field.name for field in decision.fields}


def test_a_purpose_added_later_is_not_covered_by_an_older_choice() -> None:
    """A new purpose starts from its own default, and asks."""
    old = version(purpose("statistics", EVERYTHING))
    new = version(
        purpose("statistics", EVERYTHING),
        purpose("advertising", EVERYTHING),
        version_id="v2",
        effective=date(2026, 11, 24),
    )
    decision = decide(policy(old, new), NOW_MS, cookie("statistics"))
    assert decision.granted == ("statistics",)
    assert decision.ask


def test_a_new_recipient_asks_again() -> None:
    """Passing data on to somebody new is a wider scope."""
    old = version(purpose("statistics", EVERYTHING))
    new = version(
        purpose("statistics", EVERYTHING, recipients=("an auditor",)),
        version_id="v2",
        effective=date(2026, 11, 24),
    )
    assert decide(policy(old, new), NOW_MS, cookie("statistics")).ask


def test_a_refusal_of_exempt_statistics_is_honoured() -> None:
    """The opt-out of a measurement exemption."""
    only = policy(version(measured({"page": "path"})))
    assert decide(only, NOW_MS).granted == ("statistics",)
    assert decide(only, NOW_MS, cookie()).fields == ()


@given(
    st.sets(st.sampled_from(["statistics", "advertising"])),
    st.sets(st.sampled_from(["services", "notifications", "statistics"])),
    st.dates(TODAY - timedelta(days=100), TODAY),
)
def test_a_choice_survives_its_cookie(granted: set[str], refused: set[str], day: date) -> None:
    """What is written is what is read, and it fits a cookie."""
    choice = Choice("v1", day, frozenset(granted), "daily", "form", frozenset(refused))
    assert read_choice(choice.cookie().encode(), CONSENTED, TODAY) == choice
    assert len(choice.cookie()) <= MAX_COOKIE_BYTES


@given(
    st.binary(max_size=300)
    | st.from_regex(rb"1\|v1\|\d{4}-\d\d-\d\d\|[a-z+]{0,20}\|none\|form", fullmatch=True)
)
def test_any_bytes_make_a_decision(value: bytes) -> None:
    """A forged cookie may grant what its sender wants granted, and breaks nothing."""
    assert decide(CONSENTED, NOW_MS, value).granted


def test_the_longest_possible_cookie_fits_the_memory_of_decisions() -> None:
    """No cookie this server writes is too long for the decider."""
    everything = policy(
        version(
            *(
                purpose(name)
                for name in ("services", "improvement", "advertising", "notifications", "statistics")
            ),
            purpose("necessary"),
            version_id="v" * 32,
        )
    )
    every = frozenset(everything.versions[0].purposes)
    text = Choice("v" * 32, TODAY, every, "long-lived", "fetch", every).cookie().encode()
    assert Decider(everything)(NOW_MS, text, False, False).choice is not None


def test_a_flood_of_forged_cookies_does_not_grow_the_memory() -> None:
    """The decider forgets rather than grows, and answers the same as without memory."""

    def known(decider: Decider) -> int:
        return len(decider._known)

    decider = Decider(CONSENTED, limit=16)
    for number in range(1000):
        decider(NOW_MS, b"forged-%d" % number, False, False)
    assert known(decider) <= 16
    decider(NOW_MS, b"x" * (MAX_COOKIE_BYTES + 1), False, False)
    assert decider(NOW_MS, cookie("statistics"), False, False) == decide(
        CONSENTED, NOW_MS, cookie("statistics")
    )


def test_the_decider_changes_its_mind_at_midnight() -> None:
    """A version that becomes effective ends yesterday's answers."""
    both: Policy = policy(
        version(purpose("statistics", EVERYTHING)),
        version(purpose("statistics", {"page": "route"}), version_id="v2", effective=date(2026, 11, 25)),
    )
    decider = Decider(both)
    last = decider((NOW_MS // DAY_MS + 1) * DAY_MS - 1, cookie("statistics"), False, False)
    first = decider((NOW_MS // DAY_MS + 1) * DAY_MS, cookie("statistics"), False, False)
    assert last.version and first.version
    assert (last.version.id, first.version.id) == ("v1", "v2")
