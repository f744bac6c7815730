"""What simulated visitors do, second by second, decided before the first request is sent."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from collector.simulate.people import Crowd, Person, weighted

DAY_S = 24 * 60 * 60
_EPOCH = date(1970, 1, 1).toordinal()

MAX_PAGES = 6
"""Nobody sees more distinct pages on one UTC day: which six of seven are counted depends on a secret key."""

_RETURNS = 0.3  # share of a day's visitors who came before
_BOTS = 0.08  # bots a visitor
_HEAVY = 0.04  # share of visits that read on and on, beyond the bound on page views
_FIRST_S, _LAST_S = 30 * 60, 23 * 60 * 60  # most visits start between; the late ones cross midnight
_LATE_S = 23 * 60 * 60 + 50 * 60
_LATE = 0.01

_REFERRERS = {
    "": 45,
    "https://www.google.com/": 25,
    "https://duckduckgo.com/": 8,
    "https://en.wikipedia.org/": 6,
    "https://mastodon.social/": 6,
}
STRAY_SESSION = "9b1deb4d3b7d4bad"
"""A session id that some addresses carry, and that must never be written down."""
_CAMPAIGNS = {
    "": 85,
    "utm_source=newsletter&utm_medium=email&utm_campaign=autumn": 10,
    f"ref=observers-forum&session={STRAY_SESSION}": 5,
}


@dataclass(frozen=True)
class Site:
    """What there is to do on a site."""

    links: Mapping[str, tuple[str, ...]]
    """Page → pages it links to; every page stands here."""
    entries: Mapping[str, int]
    """Page → how many visits in a hundred start there."""
    scripted: Mapping[str, tuple[str, ...]]
    """Page → addresses its own script navigates to without a load."""
    events: Mapping[str, str]
    """Page → the custom event that happens there."""
    outbound: Mapping[str, str]
    """Page → another site it links to."""
    other: Mapping[str, int]
    """What is no page (an asset, an API, a redirect, a missing page) → the status of its answer."""


@dataclass(slots=True)
class Step:
    """One request of one visitor."""

    at_s: int
    """UTC seconds on the simulated clock."""
    person: Person
    act: str
    """view, prefetch, other; grant, refuse, withdraw; history, event, ping, outbound."""
    page: str
    query: str = ""
    referrer: str = ""
    view: str = ""
    """The browser script's id of the page view."""
    leaves: tuple[str, ...] = ()
    """The records an honest collector keeps of it: view, event, ping, consent."""
    name: str = ""
    """Of the event, or the host an outbound link leads to."""
    status: int = 200
    """Of the answer to a GET."""


@dataclass(eq=False)
class _Mind:
    """What a person has decided and seen so far."""

    person: Person
    chosen: bool = False
    granted: bool = False
    pages: dict[int, list[str]] = field(default_factory=dict)
    """UTC day number → distinct pages."""


def plan(site: Site, start: date, *, days: int, visitors: int, seed: int) -> list[Step]:
    """Every step of every visitor, in the order of time.

    Takes   start: the first UTC day; visitors: people a day, bots come on top
    Gives   steps from 00:00 of the first day to 24:00 of the last
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation must be repeatable
    return _Planner(site, rng).steps(start, days, visitors)


class _Planner:
    def __init__(self, site: Site, rng: random.Random) -> None:
        self._site = site
        self._rng = rng
        self._crowd = Crowd(rng)
        self._known: list[_Mind] = []
        self._steps: list[Step] = []

    def steps(self, start: date, days: int, visitors: int) -> list[Step]:
        first_s = (start.toordinal() - _EPOCH) * DAY_S
        for day in range(days):
            self._day(first_s + day * DAY_S, visitors)
        end_s = first_s + days * DAY_S
        return sorted((step for step in self._steps if step.at_s < end_s), key=lambda step: step.at_s)

    def _day(self, midnight_s: int, visitors: int) -> None:
        back = min(int(visitors * _RETURNS), len(self._known))
        returning = self._rng.sample(self._known, back)
        new = [_Mind(self._crowd.person()) for _ in range(visitors - back)]
        self._known += new
        for mind in (*returning, *new):
            for start_s in self._starts(midnight_s):
                self._visit(mind, start_s)
        for _ in range(max(1, int(visitors * _BOTS))):
            self._crawl(self._crowd.bot(), midnight_s)

    def _starts(self, midnight_s: int) -> list[int]:
        """When a person comes today: once, mostly; visits lie at least two hours apart."""
        if self._rng.random() < _LATE:
            return [midnight_s + _LATE_S + self._rng.randrange(300)]
        visits = self._rng.choices((1, 2, 3), (82, 14, 4))[0]
        starts: list[int] = []
        for _ in range(visits):
            at_s = int(self._rng.triangular(_FIRST_S, _LAST_S, 14 * 3600))
            if all(abs(at_s - other) > 2 * 3600 for other in starts):
                starts.append(at_s)
        return sorted(midnight_s + at_s for at_s in starts)

    # ---- one visit ------------------------------------------------------------------------------------

    def _visit(self, mind: _Mind, now_s: int) -> None:
        """Come from somewhere, read a few pages, leave."""
        heavy = self._rng.random() < _HEAVY
        length = self._rng.randint(8, 16) if heavy else 1 + min(int(self._rng.expovariate(0.6)), 6)
        page = weighted(self._rng, dict(self._site.entries))
        query = weighted(self._rng, _CAMPAIGNS)
        referrer = "" if query else weighted(self._rng, _REFERRERS)
        for number in range(length):
            page = self._allowed(mind, page, now_s)
            if page == referrer:  # nobody follows a link to the page they are on
                break
            now_s = self._page(mind, page, query, referrer, now_s)
            if mind.person.kind == "withdraws later" and mind.granted and number >= 1:
                self._choose(mind, "withdraw", page, "", "", now_s)
                now_s += 3
            previous, query = page, ""
            page = self._rng.choice(self._site.links[page])
            referrer = previous

    def _page(self, mind: _Mind, page: str, query: str, referrer: str, now_s: int) -> int:
        """Load one page, choose about consent perhaps, and stay; the time when it is left."""
        rng, person = self._rng, mind.person
        view = f"{rng.getrandbits(128):032x}"
        self._add(mind, now_s, "view", page, query, referrer, leaves=("view",))
        if rng.random() < 0.15:
            path, status = rng.choice(list(self._site.other.items()))
            self._steps.append(Step(now_s, person, "other", path, referrer=page, status=status))
        if rng.random() < 0.05:
            self._add(mind, now_s + 1, "prefetch", rng.choice(self._site.links[page]), referrer=page)
        now_s += rng.randint(2, 8)
        act = self._wish(mind)
        if act:
            self._choose(mind, act, page, query, referrer, now_s, view)
            now_s += 2
            if person.uses_form:  # the form leads back to the page, which was counted with the consent
                self._add(mind, now_s, "view", page, query, f"{page}?{query}" if query else page)
        return self._stay(mind, page, view, now_s + rng.randint(3, 20))

    def _stay(self, mind: _Mind, page: str, view: str, now_s: int) -> int:
        """Do on a page what there is to do; the time when it is left."""
        rng = self._rng
        if page in self._site.events and rng.random() < 0.5:
            self._add(mind, now_s, "event", page, view=view, leaves=("event",), name=self._site.events[page])
            now_s += 2
        for address in self._site.scripted.get(page, ()):
            if rng.random() < 0.4 and self._allowed(mind, address, now_s) == address:
                now_s = self._navigate(mind, address, page, now_s)
        if page in self._site.outbound and rng.random() < 0.1:
            host = self._site.outbound[page]
            self._add(mind, now_s, "outbound", page, view=view, leaves=("event",), name=host)
            now_s += 1
        if mind.granted or rng.random() < 0.2:
            self._add(mind, now_s, "ping", page, view=view, leaves=("ping",))
        return now_s + rng.randint(2, 20)

    def _navigate(self, mind: _Mind, address: str, referrer: str, now_s: int) -> int:
        """A view without a load; now and then the browser reports it twice, and it is still one."""
        view = f"{self._rng.getrandbits(128):032x}"
        self._add(mind, now_s, "history", address, referrer=referrer, view=view, leaves=("view",))
        if mind.granted and self._rng.random() < 0.1:
            self._add(mind, now_s + 1, "history", address, referrer=referrer, view=view, leaves=("again",))
        return now_s + self._rng.randint(3, 12)

    def _wish(self, mind: _Mind) -> str:
        """What a person who has not chosen does about the consent bar now."""
        if mind.chosen or self._rng.random() < 0.25:
            return ""
        if mind.person.kind.startswith(("grants", "withdraws")):
            return "grant"
        return "refuse" if mind.person.kind == "refuses" else ""

    def _choose(
        self, mind: _Mind, act: str, page: str, query: str, referrer: str, now_s: int, view: str = ""
    ) -> None:
        mind.chosen = True
        leaves = ("consent", "view") if act == "grant" else ("consent",)
        if act == "grant":
            mind.granted = True
        self._steps.append(Step(now_s, mind.person, act, page, query, referrer, view, leaves))
        if act == "grant":
            self._remember(mind, page, now_s)
        else:
            mind.granted = False

    def _allowed(self, mind: _Mind, page: str, now_s: int) -> str:
        """The page, or one already seen today when it would be one too many."""
        pages = mind.pages.get(now_s // DAY_S, [])
        return page if len(pages) < MAX_PAGES or page in pages else self._rng.choice(pages)

    def _remember(self, mind: _Mind, page: str, now_s: int) -> None:
        pages = mind.pages.setdefault(now_s // DAY_S, [])
        if page not in pages:
            pages.append(page)

    def _add(
        self,
        mind: _Mind,
        at_s: int,
        act: str,
        page: str,
        query: str = "",
        referrer: str = "",
        view: str = "",
        leaves: tuple[str, ...] = (),
        name: str = "",
    ) -> None:
        """Note one step; without a grant it leaves nothing."""
        kept = leaves if mind.granted else ()
        self._steps.append(Step(at_s, mind.person, act, page, query, referrer, view, kept, name))
        if leaves == ("view",):
            self._remember(mind, page, at_s)

    def _crawl(self, bot: Person, midnight_s: int) -> None:
        at_s = midnight_s + self._rng.randrange(DAY_S - 3600)
        for page in self._rng.sample(list(self._site.links), self._rng.randint(1, 8)):
            self._steps.append(Step(at_s, bot, "view", page))
            at_s += self._rng.randint(1, 60)
