"""What is remembered of a visitor changes no record: an assembler with a past writes what a new one does."""

from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import observation
from collector.capture import Trusted
from collector.consent import Decider
from collector.enrich import Enricher
from collector.identity import Pseudonyms
from collector.observation import Assembler, Dropped, Observation, Tools
from collector.policy import Service
from collector.record import DAY_MS
from collector.standings import Standings
from tests.asgi import FIREFOX, GOOGLEBOT
from tests.policies import EVERYTHING, NECESSARY, measured, policy, purpose, version

DAY = 20_600 * DAY_MS  # 2026-05-27
SHOP = Service("shop", "/shop", {"path": "mandatory", "visitor": "optional", "country": "optional"}, 30)
RULES = policy(
    version(NECESSARY, measured(EVERYTHING | {"cookie": "daily", "time": "hour"}), version_id="v0"),
    version(
        NECESSARY,
        measured(EVERYTHING | {"cookie": "daily"}),
        purpose("advertising", EVERYTHING),
        effective=date(2026, 5, 27),
        services=(SHOP,),
    ),
)
CHOICES = [
    None,
    *(
        f"1|v1|2026-05-27|{chosen}|fetch".encode()
        for chosen in (
            "statistics+advertising|none",
            "advertising|none",
            "|none",
            "statistics+advertising|daily",
        )
    ),
]
IDS = [None, b"junk", *(bits * 32 + b".2026-W21" for bits in (b"a", b"b"))]
ENRICHER = Enricher()
seen = st.builds(
    dict[str, Any],
    kind=st.sampled_from(["view", "view", "view", "event", "ping", "consent"]),
    ts_ms=st.sampled_from([DAY - 1, DAY + 1234, DAY + 1999, DAY + 7_000_000]),
    choice=st.sampled_from(CHOICES),
    id_cookie=st.sampled_from(IDS),
    client=st.sampled_from([None, ("193.0.6.139", 1), ("193.0.6.139", 2), ("8.8.8.8", 1), ("10.0.0.1", 1)]),
    forwarded=st.sampled_from([b"", b"8.8.4.4"]),
    agent=st.sampled_from([b"", FIREFOX.encode(), b"Opera/9", GOOGLEBOT.encode()]),
    path=st.sampled_from(["/", "/a", "/shop", "/shop/b"]),
    query=st.sampled_from([b"", b"ref=news"]),
    referer=st.sampled_from([b"", b"https://example.net/"]),
    view=st.sampled_from(["", "0" * 32]),
    name=st.sampled_from([None, "signup"]),
    first=st.sampled_from([None, True]),
)  # fmt: skip


@given(st.lists(seen, min_size=1, max_size=12))
@settings(max_examples=400)
def test_what_is_known_of_a_visitor_changes_no_record(requests: list[dict[str, Any]]) -> None:
    """Requests in any order, of the same and other visitors, days, choices and parts of the site."""
    decide, assembler = Decider(RULES), new_assembler()
    for request in requests:
        decision = decide(request["ts_ms"], request.pop("choice"), False, False)
        observed = Observation(decision=decision, **request)
        assert [*outcome(assembler, observed).items()] == [*outcome(new_assembler(), observed).items()]


@pytest.mark.parametrize("most", [1, 2])
def test_little_room_changes_no_record(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """What is forgotten is read again."""
    monkeypatch.setattr(observation, "_MOST_KNOWN", most)
    monkeypatch.setattr(observation, "_MOST_CHOSEN", most)
    decide, assembler = Decider(RULES), new_assembler()
    for number in range(30):
        agent = FIREFOX.replace("140", str(140 + number % 3)).encode()
        observed = Observation(
            kind="view", ts_ms=DAY, decision=decide(DAY, CHOICES[number % 5], False, False), agent=agent
        )
        assert [*outcome(assembler, observed).items()] == [*outcome(new_assembler(), observed).items()]


def test_a_replaced_key_changes_the_pseudonym_of_a_known_visitor(tmp_path: Path) -> None:
    """The keys are read anew by `maintain`, and with them every pseudonym."""
    assembler = new_assembler(tmp_path)
    decision = Decider(RULES)(DAY, CHOICES[1], False, False)
    observed = Observation(kind="view", ts_ms=DAY, decision=decision, id_cookie=IDS[2])
    before = outcome(assembler, observed)
    assert outcome(assembler, observed) == before
    (tmp_path / "keys" / "pseudonym.key").write_bytes(bytes(32))
    assembler.maintain(DAY)
    after = outcome(assembler, observed)
    assert after["visitor"] != before["visitor"]
    assert after | {"visitor": ""} == before | {"visitor": ""}


def test_a_record_names_its_fields_in_one_order() -> None:
    """Whatever was known before: what all records of the visitor say, of the page, and of this one alone."""
    assembler, decision = new_assembler(), Decider(RULES)(DAY, CHOICES[1], False, False)
    for _ in range(2):
        observed = Observation(
            kind="event", ts_ms=DAY, decision=decision, id_cookie=IDS[2], client=("193.0.6.139", 1),
            agent=FIREFOX.encode(), path="/a", query=b"ref=news", name="signup",
        )  # fmt: skip
        assert [*outcome(assembler, observed)] == [
            "v", "kind", "policy", "purposes", "consent", "cohort", "country", "network", "device", "browser",
            "os", "browser_major", "path", "utm_source", "name", "visitor", "id", "ts_ms", "day",
        ]  # fmt: skip


def new_assembler(data: Path | None = None) -> Assembler:
    """An assembler that has seen nobody."""
    trusted = Trusted(["10.0.0.1"])
    pseudonyms = Pseudonyms(data) if data else PSEUDONYMS
    standings = Standings(data or Path("nowhere"))
    return Assembler(Tools(pseudonyms, ENRICHER, trusted, frozenset({"example.org"}), standings))


class Fixed(Pseudonyms):
    """Pseudonyms under keys of zeros, on no disk."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self._key = bytes(32)

    def of_day(self, ts_ms: int, address: str, agent: bytes) -> str:
        """What it is made of."""
        return f"{ts_ms // DAY_MS}{address}{agent.decode()}"


PSEUDONYMS = Fixed()


def outcome(assembler: Assembler, observed: Observation) -> dict[str, Any]:
    """The day and the record, without its number; why it was dropped."""
    try:
        day, frame = assembler.frame(observed)
    except Dropped as drop:
        return {"dropped": drop.reason, "bot": drop.bot}
    record: dict[str, Any] = msgspec.json.decode(frame[10:])
    is_numbered = observed.kind != "view" or not observed.view
    return record | {"day": day} | ({"id": ""} if is_numbered else {})
