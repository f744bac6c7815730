"""What really happened, counted from the plans: the reference for everything that is published.

Each statistic is counted as the definitions say and within the bounds that are stated beside it, from the
consenting visitors alone; `everyone` holds what an omniscient observer would count.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from math import inf
from urllib.parse import parse_qs, urlsplit

from collector.simulate.people import ONE_PURPOSE, Person
from collector.simulate.plan import DAY_S, Step

VISIT_GAP_S = 30 * 60
MAX_VIEWS = 10
MAX_VISITS = 2
DURATION_EDGES_S = (0, 3, 10, 30, 60, 120, 300, 600, 1200, 1800, inf)
NONE = "(none)"
CHOICES = {"grant": "granted", "refuse": "refused"}

_EPOCH = date(1970, 1, 1).toordinal()


@dataclass
class Truth:
    """Exact counts of one simulated stretch of days."""

    statistics: dict[tuple[str, date], Counter[str | None]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    """(statistic, UTC day) → key → count; the key of a total is None."""
    everyone: dict[date, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """UTC day → visitors and pageviews of all people, consenting or not, unbounded."""
    sent: Counter[str] = field(default_factory=Counter)
    """Kind of visitor → requests."""
    acts: Counter[str] = field(default_factory=Counter)
    """What was done → requests."""
    records: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Kind of visitor → kind of record that must be kept → how many."""
    repeats: int = 0
    """Views that a browser reported a second time: written twice, kept once."""

    def value(self, statistic: str, key: str | None, start: date, end: date) -> int:
        """The true count of one published cell over whole days, the last one included."""
        return sum(
            counts[key]
            for (name, day), counts in self.statistics.items()
            if name == statistic and start <= day <= end
        )


@dataclass
class _Visit:
    start: Step
    first: Step | None = None
    """Of its page views."""
    last: Step | None = None
    views: int = 0
    interactive: bool = False
    end_s: int = 0


def tell(steps: Iterable[Step]) -> Truth:
    """Count what an honest collector and pipeline must find.

    Takes   steps in the order of time
    """
    truth = Truth()
    days: dict[tuple[date, Person], list[tuple[str, Step]]] = defaultdict(list)
    people: dict[date, set[Person]] = defaultdict(set)
    for step in steps:
        day = date.fromordinal(_EPOCH + step.at_s // DAY_S)
        person = step.person
        truth.sent[person.kind] += 1
        if step.act in ("view", "history") and person.about is not None and "again" not in step.leaves:
            truth.everyone[day]["pageviews"] += 1
            people[day].add(person)
        truth.acts[step.act] += 1
        if step.act in CHOICES:  # whoever chooses again withdraws
            truth.statistics["consents", day][CHOICES[step.act]] += 1
        for kind in step.leaves:
            if kind == "again":
                truth.repeats += 1
                continue
            truth.records[person.kind][kind] += 1
            if kind in ("view", "event", "ping") and person.kind != ONE_PURPOSE:
                days[day, person].append((kind, step))
    for day, visitors in people.items():
        truth.everyone[day]["visitors"] = len(visitors)
    for (day, person), events in days.items():
        _count(truth, day, person, events)
    return truth


def _count(truth: Truth, day: date, person: Person, events: list[tuple[str, Step]]) -> None:
    """Add one visitor-day, within its bounds."""
    views = [step.page for kind, step in events if kind == "view"]
    visits = _visits(events)

    def add(statistic: str, key: str | None = None, count: int = 1) -> None:
        truth.statistics[statistic, day][key] += count

    if not visits:
        return
    assert person.about is not None  # noqa: S101 - bots leave nothing
    first = visits[0]
    add("visitors")
    add("pageviews", None, min(len(views), MAX_VIEWS))
    add("clipped", None, int(len(views) > MAX_VIEWS))
    add("visits", None, min(len(visits), MAX_VISITS))
    add("bounce", "bounced" if first.views == 1 and not first.interactive else "stayed")
    add("durations", _bin(first.end_s - first.start.at_s))
    if first.first:
        add("entry_pages", first.first.page)
    if visits[-1].last:
        add("exit_pages", visits[-1].last.page)
    for page in set(views):
        add("pages", page)
    for statistic, key in _source(first.first).items():
        add(statistic, key)
    add("hours", f"{first.start.at_s % DAY_S // 3600:02}")
    add("countries", person.country)
    add("browsers", person.about.browser)
    add("operating_systems", person.about.os)
    add("devices", person.about.device)


def _visits(events: list[tuple[str, Step]]) -> list[_Visit]:
    """Cut a day's events into visits: a ping extends one and never opens one."""
    visits: list[_Visit] = []
    for kind, step in events:
        if not visits or step.at_s - visits[-1].end_s > VISIT_GAP_S:
            if kind == "ping":
                continue
            visits.append(_Visit(step))
        visit = visits[-1]
        visit.end_s = step.at_s
        if kind == "view":
            visit.first, visit.last = visit.first or step, step
            visit.views += 1
        visit.interactive |= kind == "event"
    return visits


def _bin(seconds: int) -> str:
    """The bin of durations, as published."""
    low, high = next((low, high) for low, high in pairwise(DURATION_EDGES_S) if seconds < high)
    return f"{low}-{high} s" if high < inf else f"{low}+ s"


def _source(step: Step | None) -> dict[str, str]:
    """Where a visit that began with this page view came from."""
    query = parse_qs(step.query) if step else {}
    host = urlsplit(step.referrer).hostname if step else None

    def value(*names: str) -> str:
        return next((query[name][0] for name in names if name in query), NONE)

    return {
        "referrers": (host or NONE).removeprefix("www."),
        "utm_sources": value("utm_source", "source", "ref"),
        "utm_mediums": value("utm_medium"),
        "utm_campaigns": value("utm_campaign"),
    }
