"""What the observer remembers of a decision changes none."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from collector.capture import Trusted
from collector.consent import decide, signals
from collector.observer import Observer
from collector.record import DAY_MS, now_ms
from tests.policies import measured, policy, version

DAY = 20_600  # 2026-05-27
RULES = policy(
    version(measured({"cookie": "daily"}), effective=date.fromordinal(DAY + date(1970, 1, 1).toordinal())),
    version(version_id="v2", effective=date.fromordinal(DAY + 1 + date(1970, 1, 1).toordinal())),
)
HEADS: tuple[dict[bytes, bytes], ...] = (
    {},
    {b"user-agent": b"x"},
    {b"sec-gpc": b"1"},
    {b"dnt": b"1"},
    {b"cookie": b"__Host-consent=1|v1"},
)


@given(st.lists(st.tuples(st.integers(DAY - 1, DAY + 2), st.sampled_from(HEADS)), max_size=12))
def test_whoever_said_nothing_gets_the_decision_of_the_day(
    views: list[tuple[int, dict[bytes, bytes]]],
) -> None:
    """In whatever order days come: a version binds from its midnight on, and none before the first."""
    observer = Observer(RULES, Trusted(), now_ms, "/_impersonal")
    for day, head in views:
        cookie = head.get(b"cookie", b"").partition(b"=")[2] or None
        gpc, dnt = signals(head.get(b"sec-gpc"), head.get(b"dnt"))
        expected = decide(RULES, day * DAY_MS, cookie, gpc=gpc, dnt=dnt)
        assert observer.decide(head, day * DAY_MS) == expected
