"""What really happened, counted from the plans: the reference for everything that is published.

Each statistic is counted as the definitions say and within the bounds that are stated beside it, from the
consenting visitors alone; `everyone` holds what an omniscient observer would count.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from collector.simulate.people import ONE_PURPOSE, Person
from collector.simulate.plan import DAY_S, Step

VISIT_GAP_S = 30 * 60
MAX_VIEWS = 10
MAX_VISITS = 2

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
    first: str = ""
    views: int = 0
    interactive: bool = False
    last_s: int = 0


def tell(steps: Iterable[Step]) -> Truth:
    """Count what an honest collector and pipeline must find.

    Takes   steps in the order of time
    """
    truth = Truth()
    days: dict[tuple[date, Person], list[tuple[int, str, str]]] = defaultdict(list)
    people: dict[date, set[Person]] = defaultdict(set)
    for step in steps:
        day = date.fromordinal(_EPOCH + step.at_s // DAY_S)
        person = step.person
        truth.sent[person.kind] += 1
        if step.act in ("view", "history") and person.about is not None and "again" not in step.leaves:
            truth.everyone[day]["pageviews"] += 1
            people[day].add(person)
        truth.acts[step.act] += 1
        for kind in step.leaves:
            if kind == "again":
                truth.repeats += 1
                continue
            truth.records[person.kind][kind] += 1
            if kind in ("view", "event", "ping") and person.kind != ONE_PURPOSE:
                days[day, person].append((step.at_s, kind, step.page))
    for day, visitors in people.items():
        truth.everyone[day]["visitors"] = len(visitors)
    for (day, person), events in days.items():
        _count(truth, day, person, events)
    return truth


def _count(truth: Truth, day: date, person: Person, events: list[tuple[int, str, str]]) -> None:
    """Add one visitor-day, within its bounds."""
    views = [page for _, kind, page in events if kind == "view"]
    visits = _visits(events)

    def add(statistic: str, key: str | None = None, count: int = 1) -> None:
        truth.statistics[statistic, day][key] += count

    if not visits:
        return
    assert person.about is not None  # noqa: S101 - bots leave nothing
    add("visitors")
    add("pageviews", None, min(len(views), MAX_VIEWS))
    add("visits", None, min(len(visits), MAX_VISITS))
    add("bounce", "bounced" if visits[0].views == 1 and not visits[0].interactive else "stayed")
    if visits[0].first:
        add("entry_pages", visits[0].first)
    for page in set(views):
        add("pages", page)
    add("countries", person.country)
    add("browsers", person.about.browser)
    add("devices", person.about.device)


def _visits(events: list[tuple[int, str, str]]) -> list[_Visit]:
    """Cut a day's events into visits: a ping extends one and never opens one."""
    visits: list[_Visit] = []
    for at_s, kind, page in events:
        if not visits or at_s - visits[-1].last_s > VISIT_GAP_S:
            if kind == "ping":
                continue
            visits.append(_Visit())
        visit = visits[-1]
        visit.last_s = at_s
        if kind == "view":
            visit.first = visit.first or page
            visit.views += 1
        visit.interactive |= kind == "event"
    return visits
