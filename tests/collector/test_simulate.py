"""The simulated visitors: the same for the same seed, and the truth about them as the definitions say."""

import random
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from itertools import pairwise

import pytest

from collector.enrich import Enricher
from collector.errors import ConfigurationError
from collector.simulate import Person, Site, Step, browse, plan, tell
from collector.simulate.people import AGENTS, BOTS, Crowd
from collector.simulate.plan import DAY_S, MAX_PAGES

DAY = date(2026, 11, 16)
MIDNIGHT_S = 20_773 * DAY_S
SITE = Site(
    links={
        "/": ("/a", "/b", "/c", "/d"),
        **{f"/{name}": ("/", "/a", "/c", "/e", "/g") for name in "abcdefg"},
    },
    entries={"/": 3, "/a": 1},
    scripted={"/a": ("/b", "/f")},
    events={"/c": "signup"},
    outbound={"/d": "example.org"},
    other={"/style.css": 200, "/gone": 404},
)


def made(seed: int = 1, visitors: int = 400, days: int = 3) -> list[Step]:
    return plan(SITE, DAY, days=days, visitors=visitors, seed=seed)


def told(steps: list[Step]) -> list[tuple[object, ...]]:
    return [
        (step.at_s, step.act, step.page, step.view, step.person.number, step.person.address) for step in steps
    ]


def test_a_seed_makes_the_same_visits() -> None:
    """The same seed plans the same steps of the same people; another seed does not."""
    assert told(made(seed=1)) == told(made(seed=1))
    assert told(made(seed=1)) != told(made(seed=2))


def test_steps_are_in_order_within_the_days() -> None:
    """The plan is chronological and holds nothing outside its days."""
    steps = made(days=2)
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    assert steps[0].at_s >= MIDNIGHT_S
    assert steps[-1].at_s < MIDNIGHT_S + 2 * DAY_S


def test_what_agents_and_addresses_stand_for_is_what_the_collector_reads() -> None:
    """The truth's browsers, devices, systems, bots and countries are spelt as the collector spells them."""
    enricher = Enricher()
    for agent in AGENTS:
        read = enricher.agent(agent.text.encode())
        assert (read.browser, read.device, read.os) == (agent.browser, agent.device, agent.os)
        assert read.bot is None
    for kind, texts in BOTS.items():
        assert {f"bot: {enricher.agent(text.encode()).bot}" for text in texts} == {kind}
    crowd = Crowd(random.Random(1))
    people = [crowd.person() for _ in range(500)]
    assert all(enricher.country(person.address) == person.country for person in people)
    assert len({person.address for person in people}) == 500
    assert any(":" in person.address for person in people)


def test_nothing_is_left_without_a_grant() -> None:
    """Whoever has not granted, or has withdrawn, leaves no record; a refusal leaves itself alone."""
    granted: dict[Person, bool] = defaultdict(bool)
    for step in made():
        before = granted[step.person]
        granted[step.person] = step.act == "grant" or (before and step.act != "withdraw")
        if not granted[step.person]:
            assert step.leaves in ((), ("consent",))
            assert bool(step.leaves) == (step.act in ("refuse", "withdraw"))
    silent = {"ignores the bar", "sends GPC", "sends DNT", *BOTS}
    assert not any(step.leaves for step in made() if step.person.kind in silent)


def test_bounds_are_reached_but_for_distinct_pages() -> None:
    """Some read more than ten pages or come three times; nobody sees more distinct pages than are counted."""
    seen: dict[tuple[Person, int], list[Step]] = defaultdict(list)
    for step in made():
        if "view" in step.leaves:
            seen[step.person, step.at_s // DAY_S].append(step)
    assert max(len(steps) for steps in seen.values()) > 10
    assert max(len({step.page for step in steps}) for steps in seen.values()) == MAX_PAGES
    visits = [
        1 + sum(later.at_s - step.at_s > 1800 for step, later in pairwise(steps)) for steps in seen.values()
    ]
    assert max(visits) > 2


ONE = Person(1, "grants by fetch", AGENTS[0].text, "192.0.2.1", AGENTS[0], "DE")


def one(*events: tuple[str, float, str]) -> dict[str, dict[str | None, int]]:
    """The statistics of one visitor's events (kind, minutes after midnight, page)."""
    steps = [
        Step(MIDNIGHT_S + round(60 * minute), ONE, "view", page, leaves=(kind,))
        for kind, minute, page in events
    ]
    truth = tell(steps)
    return {name: dict(counts) for (name, day), counts in truth.statistics.items() if day == DAY}


@pytest.mark.parametrize(
    ("events", "visits", "bounce"),
    [
        ([("view", 0, "/a")], 1, "bounced"),
        ([("view", 0, "/a"), ("ping", 2, "/a")], 1, "bounced"),
        ([("view", 0, "/a"), ("event", 1, "/a")], 1, "stayed"),
        ([("view", 0, "/a"), ("view", 30, "/a")], 1, "stayed"),
        ([("view", 0, "/a"), ("view", 30.02, "/a")], 2, "bounced"),
        ([("view", 0, "/a"), ("ping", 20, "/a"), ("view", 40, "/a")], 1, "stayed"),
        ([("view", 0, "/a"), ("ping", 31, "/a")], 1, "bounced"),
        ([("view", 1430, "/a"), ("view", 1450, "/b")], 1, "bounced"),
        ([("view", 0, "/a"), ("view", 100, "/a"), ("view", 200, "/a")], 2, "bounced"),
    ],
)
def test_visits_are_cut_as_defined(events: list[tuple[str, float, str]], visits: int, bounce: str) -> None:
    """Half an hour, midnight, pings that extend and never open, and the bound of two visits."""
    found = one(*events)
    assert found["visits"] == {None: visits}
    assert found["bounce"] == {bounce: 1}


def test_a_visitor_day_is_counted_within_its_bounds() -> None:
    """At most ten page views, a page once, the entry page of the first visit; a ping alone is nothing."""
    found = one(*(("view", minute, "/a" if minute % 2 else "/b") for minute in range(12)))
    assert found["pageviews"] == {None: 10}
    assert found["pages"] == {"/a": 1, "/b": 1}
    assert found["entry_pages"] == {"/b": 1}
    assert found["visitors"] == {None: 1}
    assert (found["countries"], found["devices"]) == ({"DE": 1}, {"desktop": 1})
    assert one(("ping", 1, "/a")) == {}


def test_records_for_another_purpose_are_in_no_statistic() -> None:
    """A visitor who grants improvement alone has records, and counts nowhere."""
    person = Person(2, "grants improvement only", AGENTS[0].text, "192.0.2.2", AGENTS[0], "DE")
    truth = tell([Step(MIDNIGHT_S, person, "view", "/a", leaves=("view",))])
    assert truth.records[person.kind] == {"view": 1}
    assert not truth.statistics
    assert truth.everyone[DAY] == {"visitors": 1, "pageviews": 1}


def test_a_view_reported_twice_is_one() -> None:
    """What a browser repeats is counted apart, in no statistic and in no record that is kept."""
    steps = [
        Step(MIDNIGHT_S, ONE, "history", "/a", view="1" * 32, leaves=("view",)),
        Step(MIDNIGHT_S + 1, ONE, "history", "/a", view="1" * 32, leaves=("again",)),
    ]
    truth = tell(steps)
    assert truth.repeats == 1
    assert truth.records[ONE.kind] == {"view": 1}
    assert truth.value("pageviews", None, DAY, DAY) == 1


@pytest.fixture
def failing_site() -> Iterator[str]:
    """A server that answers everything with 500, then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_an_unplanned_answer_ends_the_simulation(failing_site: str) -> None:
    """Where the site answers otherwise than planned, the truth would be wrong: the simulation says so."""
    with pytest.raises(ConfigurationError, match="answered 500, not 200"):
        browse(failing_site, [Step(MIDNIGHT_S, ONE, "view", "/a")], lambda now_ms: None)


def test_a_site_that_does_not_listen_is_named() -> None:
    """Nobody at the address is an error that names it and the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ConfigurationError, match=f"{url} cannot be reached .* start the site"):
        browse(url, [], lambda now_ms: None)
