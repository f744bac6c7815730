"""What is counted: visits by their definition, scopes by the policy, and bounds that hold for every log."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import enrich
from collector.errors import PolicyError
from collector.policy import Budget, Policy
from collector.record import DAY_MS
from pipeline import sql
from pipeline.counting import build
from pipeline.engine import Engine
from pipeline.keys import BROWSERS, COUNTRIES, SYSTEMS
from pipeline.statistics import ATTO_DELTA_PER_DAY, DEFAULT, STATISTICS, Statistic, enabled, nano_rho
from pipeline.windows import TIERS, Tier, Window
from tests.pipeline.private_events import (
    DAY,
    EVENT_NAMES,
    POLICY,
    WEEK,
    Cells,
    Log,
    Row,
    at,
    build_rows,
    cells,
    reader,
    row,
    write,
)
from tests.policies import EVERYTHING, measured, policy, purpose, version

# ---------- visits: one row per case of their definition

UTM = ("utm_source", "utm_medium", "utm_campaign")
PV, PING, EVENT = "view", "ping", "event"
CASES: dict[str, tuple[list[tuple[str, float]], list[tuple[int, int, bool]]]] = {
    "one view": ([(PV, 0)], [(1, 0, True)]),
    "a ping extends": ([(PV, 0), (PING, 2)], [(1, 120, True)]),
    "an interactive event saves from bouncing": ([(PV, 0), (EVENT, 1)], [(1, 60, False)]),
    "30 minutes exactly": ([(PV, 0), (PV, 30)], [(2, 1800, False)]),
    "30 minutes and a millisecond": ([(PV, 0), (PV, 30 + 1 / 60_000)], [(1, 0, True), (1, 0, True)]),
    "a ping keeps a visit alive": ([(PV, 0), (PING, 20), (PV, 40)], [(2, 2400, False)]),
    "a late ping is dropped": ([(PV, 0), (PING, 31)], [(1, 0, True)]),
    "a late ping bridges nothing": ([(PV, 0), (PING, 31), (PV, 40)], [(1, 0, True), (1, 0, True)]),
    "pings open nothing": ([(PING, 0), (PING, 5)], []),
    "a view after pings opens": ([(PING, 0), (PV, 5), (PING, 6)], [(1, 60, True)]),
    "midnight": ([(PV, 1430), (PV, 1450)], [(1, 0, True), (1, 0, True)]),
    "a ping after midnight": ([(PV, 1439), (PING, 1441)], [(1, 0, True)]),
    "an event opens": ([(EVENT, 0), (PV, 1)], [(1, 60, False)]),
}


@pytest.mark.parametrize(("events", "expected"), CASES.values(), ids=CASES)
def test_visits(
    engine: Engine, events: list[tuple[str, float]], expected: list[tuple[int, int, bool]]
) -> None:
    """A visit ends after 30 minutes and at midnight; a ping extends one and opens none."""
    columns = {
        "id": "INT",
        "kind": "VARCHAR",
        "ts_ms": "BIGINT",
        "unit": "BIGINT",
        "interactive": "BOOLEAN",
    }
    texts = ("page", "country", "browser", "os", "device", "referrer", *UTM)
    columns |= dict.fromkeys(texts, "VARCHAR")
    rows = [
        (n, kind, at(minutes=minute), at(minutes=minute) // DAY_MS, True, "/", *[None] * 8)
        for n, (kind, minute) in enumerate(events)
    ]
    engine.relation("events", columns, rows)
    engine.step("counting.visits", into="visits")
    found = engine.database.execute(
        "SELECT pageviews, duration_ms, pageviews = 1 AND interactions = 0 FROM visits ORDER BY unit, visit"
    ).fetchall()
    assert [(views, duration // 1000, bounced) for views, duration, bounced in found] == expected


def test_a_silent_event_does_not_save_from_bouncing(engine: Engine, tmp_path: Path) -> None:
    """An event sent with interactive = false leaves a bounce a bounce."""
    build_rows(engine, tmp_path, [row(), row("event", at(minutes=1), interactive=False)])
    assert cells(engine, "bounce") == {"bounced": 1}


def test_the_first_visit_speaks_for_the_visitor_day(engine: Engine, tmp_path: Path) -> None:
    """Bounce, entry page, country, browser and device come from the day's first visit or event."""
    first: Row = {"path": "/a", "country": "PT", "browser": "Firefox", "os": "Linux", "device": "mobile"}
    later: Row = {"path": "/b", "country": "FR", "browser": "Safari", "os": "iOS", "device": "desktop"}
    build_rows(engine, tmp_path, [row(ts_ms=at(minutes=90), **later), row(**first)])
    assert cells(engine, "bounce") == {"bounced": 1}
    assert cells(engine, "entry_pages") == {"/a": 1}
    assert cells(engine, "exit_pages") == {"/b": 1}, "the last visit's"
    assert cells(engine, "countries") == {"PT": 1}
    assert cells(engine, "browsers") == {"Firefox": 1}
    assert cells(engine, "operating_systems") == {"Linux": 1}
    assert cells(engine, "devices") == {"mobile": 1}
    assert cells(engine, "hours") == {"00": 1}


def test_the_first_view_of_the_first_visit_tells_the_source(engine: Engine, tmp_path: Path) -> None:
    """Referrer and campaign of the page a day began with; not of later ones, nor of an event."""
    come: Row = {"referrer": "search.example", "utm_source": "letter", "utm_medium": "email"}
    later: Row = {"referrer": "other.example", "utm_source": "x", "utm_campaign": "y"}
    log = [
        row("event", at(minutes=1), referrer="not.a.view"),
        row(ts_ms=at(minutes=2), **come),
        row(ts_ms=at(minutes=3), **later),
        row(ts_ms=at(minutes=90), **later),
        row(visitor="b"),
    ]
    build_rows(engine, tmp_path, log)
    assert cells(engine, "referrers") == {"search.example": 1, "(none)": 1}
    assert cells(engine, "utm_sources") == {"letter": 1, "(none)": 1}
    assert cells(engine, "utm_mediums") == {"email": 1, "(none)": 1}
    assert cells(engine, "utm_campaigns") == {"(none)": 2}


@pytest.mark.parametrize(
    ("last_ms", "key"),
    [
        (0, "0-3 s"),
        (2_999, "0-3 s"),
        (3_000, "3-10 s"),
        (59_999, "30-60 s"),
        (60_000, "60-120 s"),
        (1_799_999, "1200-1800 s"),
        (1_800_000, "1800+ s"),
    ],
)
def test_durations_lie_in_their_bin(engine: Engine, tmp_path: Path, last_ms: int, key: str) -> None:
    """Bins are closed below and open above; a visit of one event lasts 0 s."""
    build_rows(engine, tmp_path, [row(), row("ping", at() + last_ms)])
    assert cells(engine, "durations") == {key: 1}


@pytest.mark.parametrize(("minute", "hour"), [(0, "00"), (59.999, "00"), (60, "01"), (1439.999, "23")])
def test_hours_are_utc(engine: Engine, tmp_path: Path, minute: float, hour: str) -> None:
    """The hour of a visitor-day is that of its first event."""
    build_rows(engine, tmp_path, [row(ts_ms=at(minutes=minute)), row("ping", at(minutes=minute) + 1)])
    assert cells(engine, "hours") == {hour: 1}


@pytest.mark.parametrize(("views", "clipped"), [(10, {}), (11, {None: 1})])
def test_who_is_cut_is_counted(engine: Engine, tmp_path: Path, views: int, clipped: Cells) -> None:
    """Eleven page views are one too many; pings and events are none."""
    log = [row(ts_ms=at(minutes=n)) for n in range(views)]
    build_rows(engine, tmp_path, [*log, row("ping", at(minutes=1)), row("event", at(minutes=2))])
    assert cells(engine, "clipped") == clipped
    assert cells(engine, "pageviews") == {None: 10}


def test_a_page_seen_twice_is_seen_once(engine: Engine, tmp_path: Path) -> None:
    """/a, /b, /a: three page views of one visit, which enters and leaves by /a and saw two pages."""
    build_rows(
        engine, tmp_path, [row(ts_ms=at(minutes=n), path=path) for n, path in enumerate(("/a", "/b", "/a"))]
    )
    assert cells(engine, "pageviews") == {None: 3}
    assert cells(engine, "pages") == {"/a": 1, "/b": 1}
    assert cells(engine, "entry_pages") == cells(engine, "exit_pages") == {"/a": 1}
    assert cells(engine, "bounce") == {"stayed": 1}


def test_visitors_of_a_week_are_visitor_days(engine: Engine, tmp_path: Path) -> None:
    """One pseudonym on three days is three visitor-days, in every statistic that counts them."""
    build_rows(engine, tmp_path, [row(ts_ms=at(minutes=n * 1440), country="KZ") for n in range(3)])
    assert cells(engine, "visitors") == cells(engine, "visits") == {None: 3}
    assert cells(engine, "countries") == {"KZ": 3}
    assert cells(engine, "bounce") == {"bounced": 3}


def test_a_visit_without_a_view_has_no_entry_page(engine: Engine, tmp_path: Path) -> None:
    """A page first seen in a later visit is no entry page."""
    build_rows(engine, tmp_path, [row("event"), row(ts_ms=at(minutes=90))])
    assert cells(engine, "entry_pages") == {}
    assert cells(engine, "visits") == {None: 2}


def test_coarse_time_loses_no_ping(engine: Engine, tmp_path: Path) -> None:
    """Where a view and its ping fall on one instant the view comes first, whatever their ids."""
    build_rows(engine, tmp_path, [row("ping", id="0"), row(id="1"), row("ping", at(minutes=29), id="2")])
    durations = engine.database.execute("SELECT duration_ms FROM visits").fetchall()
    assert durations == [(29 * 60_000,)]


def test_what_no_public_key_names_is_counted_and_never_named(engine: Engine, tmp_path: Path) -> None:
    """Values outside the public lists count under the rest, missing ones as unknown."""
    odd = [row(visitor=each, country="XK", browser="Mosaic", os="CP/M", device="fridge") for each in "abc"]
    build_rows(engine, tmp_path, [*odd, row(visitor="d")])
    assert cells(engine, "countries") == {"(unknown)": 4}
    assert cells(engine, "browsers") == {"(other)": 3, "(unknown)": 1}
    assert cells(engine, "operating_systems") == {"(other)": 3, "(unknown)": 1}
    assert cells(engine, "devices") == {"other": 3, "(unknown)": 1}


def test_first_choices_are_counted_once(engine: Engine, tmp_path: Path) -> None:
    """Grants and refusals of browsers that had not chosen; one of a pseudonym a day, whatever it sends."""
    refusals = [row("consent", visitor=None, act="refuse", first=True) for _ in range(3)]
    log = [
        *refusals,
        row("consent", visitor="a", act="grant", first=True),
        row("consent", at(minutes=5), visitor="a", act="grant", first=True),
        row("consent", at(minutes=6), visitor="a", act="withdraw"),
        row("consent", visitor="b", act="refuse"),
        row("consent", at(minutes=7 * 1440), visitor="c", act="grant", first=True),
        row(visitor="d"),
    ]
    build_rows(engine, tmp_path, log)
    assert cells(engine, "consents") == {"granted": 1, "refused": 3}
    assert cells(engine, "visitors") == {None: 1}


# ---------- scope: what the purpose may see

FULL: Row = {
    "path": "/p/7",
    "route": "/p/{id}",
    "country": "PT",
    "browser": "Firefox",
    "os": "Linux",
    "device": "mobile",
    "referrer": "search.example",
}


def test_only_the_purpose_is_counted(engine: Engine, tmp_path: Path) -> None:
    """Other purposes, consent records, unknown versions and events without a pseudonym stay out."""
    out = [
        row(visitor="a", purposes=["advertising"]),
        row(visitor="b", purposes=[]),
        row(visitor=None),
        row("consent", visitor="c"),
        row(visitor="d", policy="v9"),
        row(visitor="e", consent="v9"),
    ]
    build_rows(engine, tmp_path, out)
    assert cells(engine, "visitors") == {}
    build_rows(engine, tmp_path, [*out, row(visitor="f", purposes=["advertising", "statistics"])])
    assert cells(engine, "visitors") == {None: 1}


def test_fields_of_other_purposes_are_masked(engine: Engine, tmp_path: Path) -> None:
    """What was recorded for another purpose is unknown here, and time is cut to this purpose's step."""
    coarse = {"cookie": "daily", "time": "hour", "page": "route", "browser": "device"}
    under = policy(version(measured(coarse), purpose("advertising", EVERYTHING)))
    rows = [row(ts_ms=at(minutes=5), **FULL), row(ts_ms=at(minutes=50), **FULL)]
    build_rows(engine, tmp_path, rows, under=under)
    assert cells(engine, "pages") == {"/p/{id}": 1}
    assert cells(engine, "countries") == {"(unknown)": 1}
    assert cells(engine, "browsers") == cells(engine, "operating_systems") == {"(unknown)": 1}
    assert cells(engine, "devices") == {"mobile": 1}
    assert cells(engine, "visits") == {None: 1}  # to the hour, both happened at once
    build_rows(engine, tmp_path, rows)
    assert cells(engine, "pages") == {"/p/7": 1}
    assert cells(engine, "visits") == {None: 2}


def test_a_consent_covers_no_more_than_the_version_it_was_given_to(engine: Engine, tmp_path: Path) -> None:
    """A record under a new version with an old consent shows what both versions allow."""
    old = version(purpose("statistics", {**EVERYTHING, "ip": "none"}))
    new = version(purpose("statistics", EVERYTHING), version_id="v2", effective=DAY)
    asked_again = row(visitor="a", policy="v2", consent="v2", **FULL)
    not_yet = row(visitor="b", policy="v2", consent="v1", **FULL)
    build_rows(engine, tmp_path, [asked_again, not_yet], under=policy(old, new))
    assert cells(engine, "countries") == {"PT": 1, "(unknown)": 1}


def test_without_a_pseudonym_nothing_is_counted(engine: Engine, tmp_path: Path) -> None:
    """A purpose that may not see the pseudonym has no unit to bound, so nothing is counted for it."""
    under = policy(version(measured({"page": "path", "time": "second"})))
    build_rows(engine, tmp_path, [row()], under=under)
    assert cells(engine, "visitors") == {}


def test_a_window_counts_its_own_days(engine: Engine, tmp_path: Path) -> None:
    """Events outside the window's days are not counted, whatever file they are in."""
    rows = [row(ts_ms=at() - 1), row(ts_ms=at()), row(ts_ms=at() + DAY_MS - 1), row(ts_ms=at() + DAY_MS)]
    build_rows(engine, tmp_path, rows, Window("day", DAY))
    assert cells(engine, "pageviews") == {None: 2}


# ---------- visitor-days: the same, said in Python

# Around the edges: 30 minutes, midnight, and instants that coincide.
MINUTES = (0, 1, 29, 30, 30.001, 60, 720, 1409, 1410, 1439, 1439.999, 1440, 1441, 1470)
FIELDS = {
    "path": st.sampled_from([None, *(f"/{n}" for n in range(9))]),
    "country": st.sampled_from([None, "PT", "XK"]),
    "browser": st.sampled_from([None, "Firefox"]),
    "device": st.sampled_from([None, "mobile", "desktop"]),
    "referrer": st.sampled_from([None, "search.example"]),
    "utm_campaign": st.sampled_from([None, "autumn"]),
    "act": st.sampled_from(["grant", "refuse"]),
    "first": st.sampled_from([None, True]),
    "interactive": st.sampled_from([None, False]),
    "name": st.sampled_from([None, *EVENT_NAMES]),
    "cohort": st.sampled_from([None, "2026-W48", "2026-W47", "2025-W01"]),
    "engaged_ms": st.sampled_from([None, 3_000, 119_999, 9_000_000]),
    "scroll": st.sampled_from([None, 0, 50, 400]),
}
EVENTS = st.builds(
    lambda kind, minutes, visitor, fields: row(kind, at(minutes=minutes), visitor, **fields),
    st.sampled_from(["view", "view", "event", "ping", "consent"]),
    st.sampled_from(MINUTES),
    st.sampled_from("ab"),
    st.fixed_dictionaries(FIELDS),
)
LOGS = st.lists(EVENTS, min_size=1, max_size=24)


def in_python(log: Log) -> list[tuple[object, ...]]:
    """The visitor-days of a log, one event after the other."""
    units: dict[tuple[str, int], Log] = {}
    for each in sorted(log, key=lambda event: (event["ts_ms"], event["kind"] == "ping", event["id"])):
        if each["kind"] != "consent":
            units.setdefault(unit_of(each), []).append(each)
    return [summary for events in units.values() if (summary := of_visits(visits_of(events)))]


def visits_of(events: Log) -> list[Log]:
    """Stretches of a visitor-day without a gap, from the first event on that is no ping."""
    stretches: list[Log] = []
    last_ms = None
    for each in events:
        if last_ms is None or each["ts_ms"] - last_ms > 30 * 60_000:
            stretches.append([])
        last_ms = each["ts_ms"]
        if stretches[-1] or each["kind"] != "ping":
            stretches[-1].append(each)
    return [stretch for stretch in stretches if stretch]


def of_visits(visits: list[Log]) -> tuple[object, ...]:
    """What is known of a visitor-day; nothing where it has no visit."""
    if not visits:
        return ()
    first = visits[0]
    views = [[each for each in visit if each["kind"] == "view"] for visit in visits]
    entry: Row = views[0][0] if views[0] else {}
    engaged = any(each["kind"] == "event" and each["interactive"] is None for each in first)
    return (
        len(visits),
        sum(map(len, views)),
        int(len(views[0]) == 1 and not engaged),
        first[0]["ts_ms"],
        max(each["ts_ms"] for each in first) - first[0]["ts_ms"],
        entry.get("path"),
        views[-1][-1]["path"] if views[-1] else None,
        *(entry.get(name) for name in ("referrer", "utm_campaign")),
        *(first[0][name] for name in ("country", "browser", "device")),
    )


@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_visitor_days_are_as_in_python(engine: Engine, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever the log, to the second, and however ids order the events of one instant."""
    log: Log = data.draw(LOGS)
    ids = data.draw(st.permutations(range(len(log))))
    log = [
        each | {"id": f"{number:02}", "ts_ms": each["ts_ms"] // 1000 * 1000}
        for each, number in zip(log, ids, strict=True)
    ]
    build_rows(engine, tmp_path, log)
    columns = (
        "visits, pageviews, is_bounced, first_ms, duration_ms, entry_page, exit_page, referrer, utm_campaign,"
        " country, browser, device"
    )
    found = engine.database.execute(f"SELECT {columns} FROM visitor_days").fetchall()
    assert sorted(found, key=repr) == sorted(in_python(log), key=repr)


# ---------- bounds: removing a visitor-day changes no statistic by more than its row says


def removals(
    engine: Engine, directory: Path, log: Log, units: int = 100
) -> Iterator[tuple[Statistic, list[int]]]:
    """For each visitor-day of a log and each statistic: by how much each cell changes without it."""

    removed = sorted({unit_of(each) for each in log})[:units]
    parts = [[each for each in log if unit_of(each) == unit] for unit in removed]
    rest = [each for each in log if unit_of(each) not in removed]
    files = [write(directory / f"{n}.parquet", part) for n, part in enumerate([*parts, rest])]

    def count(kept: list[Path]) -> dict[str, Cells]:
        build(engine, kept, POLICY, WEEK)
        return {name: cells(engine, name) for name in STATISTICS}

    whole = count(files)
    for n in range(len(removed)):
        without = count(files[:n] + files[n + 1 :])
        for name, statistic in STATISTICS.items():
            keys = {**whole[name], **without[name]}
            yield statistic, [abs(whole[name].get(key, 0) - without[name].get(key, 0)) for key in keys]


def unit_of(event: Row) -> tuple[str, int]:
    """The visitor-day of an event."""
    return event["visitor"], event["ts_ms"] // DAY_MS


def is_within(statistic: Statistic, change: list[int]) -> bool:
    """Whether a change respects all three bounds of a statistic."""
    return (
        sum(1 for cell in change if cell) <= statistic.l0
        and max(change, default=0) <= statistic.linf
        and sum(cell * cell for cell in change) <= statistic.l2**2 + 1e-9
    )


@given(log=LOGS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bounds_hold_on_tiny_logs(engine: Engine, tmp_path: Path, log: Log) -> None:
    """On small logs full of edges, removing any visitor-day stays within every bound."""
    for statistic, change in removals(engine, tmp_path, log):
        assert is_within(statistic, change), (statistic.name, change)


def adversary(visitor: str = "a") -> Log:
    """One visitor far beyond every bound: twenty visits, each to a page of its own."""
    choices = [row("consent", at(minutes=n), visitor, act="grant", first=True) for n in range(3)]
    return [*choices, *(row("view", at(minutes=31 * n), visitor, path=f"/{visitor}/{n}") for n in range(20))]


def crowd(seed: int = 1) -> Log:
    """A random log of some size with one adversary in it."""
    dice = random.Random(seed)
    views = [
        row(
            ts_ms=at(minutes=dice.randrange(7 * 24 * 60)),
            visitor=f"{dice.randrange(60):02}",
            path=f"/{int(dice.paretovariate(1)) % 40}",
            country=dice.choice(["PT", "FR", None]),
            browser=dice.choice(["Firefox", "Safari", None]),
            device=dice.choice(["mobile", "desktop"]),
            referrer=dice.choice([None, "search.example", "friend.example"]),
        )
        for _ in range(1500)
    ]
    return adversary("!") + reader("!r") + views


def test_bounds_hold_in_a_crowd_and_are_reached(engine: Engine, tmp_path: Path) -> None:
    """In a larger log no removal exceeds a bound, and the heaviest visitor reaches each of them."""
    reached = dict.fromkeys(STATISTICS, 0.0)
    for statistic, change in removals(engine, tmp_path, crowd(), units=12):
        assert is_within(statistic, change), (statistic.name, change)
        length = sum(cell * cell for cell in change) ** 0.5
        reached[statistic.name] = max(reached[statistic.name], length)
    assert reached == pytest.approx({name: row.l2 for name, row in STATISTICS.items()})


MUTANTS = {
    "pages without a cap": ("counting.chosen_pages", "WHERE page_rank <= 6", ""),
    "page views without a cap": ("statistics.pageviews", "least(pageviews, 10)", "pageviews"),
    "visits without a cap": ("statistics.visits", "least(visits, 2)", "visits"),
    "choices without a cap": ("statistics.consents", "visitor IS NULL OR choice_rank = 1", "TRUE"),
    "goals without a cap": ("statistics.goals", "WHERE goal_rank <= 3", ""),
    "seconds without a cap": ("statistics.page_seconds", ", 120)", ", 999)"),
    "scrolling without a cap": ("statistics.page_scroll", ", 100)", ", 999)"),
    "every step of a funnel": (
        "statistics.funnels",
        "    max(step) AS step\n  FROM reached\n  GROUP BY unit, funnel",
        "    step\n  FROM reached",
    ),
    "page views for visitors": ("counting.chosen_pages", "SELECT DISTINCT", "SELECT"),
    "pages ranked across visitors": ("counting.chosen_pages", "PARTITION BY s.unit ", ""),
    "the first and the last visit enter": (
        "counting.visitor_days",
        "GROUP BY s.unit",
        "GROUP BY s.unit, s.id",
    ),
}


@pytest.mark.parametrize(("step", "right", "wrong"), MUTANTS.values(), ids=MUTANTS)
def test_the_bounds_test_can_fail(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, right: str, wrong: str
) -> None:
    """A statistic whose SQL breaks its promise is caught."""
    text = sql.text

    def mutated(name: str) -> str:
        found = text(name)
        if name == step:
            assert right in found
            return found.replace(right, wrong)
        return found

    monkeypatch.setattr(sql, "text", mutated)
    again = [each | {"ts_ms": each["ts_ms"] + DAY_MS} for each in reader("d")]
    log = [
        *adversary(),
        *(each | {"path": "/same"} for each in adversary("b")),
        *adversary("c"),
        *reader("d"),
        *again,
    ]
    with suppress(KeyError):  # a row without a key: the door itself notices
        assert not all(is_within(*removal) for removal in removals(engine, tmp_path, log))


# ---------- the table itself


def test_the_table_is_sound() -> None:
    """Every row has its SQL with the grain first, bounds that agree, and shares that fit one day."""
    for name, statistic in STATISTICS.items():
        assert sql.text(f"statistics.{name}").startswith("-- one row"), name
        assert statistic.l2**2 <= statistic.l0 * statistic.linf**2 + 1e-9, name
        assert statistic.kind in ("total", "list", "realtime"), name
        assert statistic.rest is None or statistic.rest in statistic.keys, name
        assert statistic.definition.endswith("."), name
    assert sum(statistic.share for statistic in STATISTICS.values()) <= 1
    assert sum(statistic.atto_delta for statistic in STATISTICS.values()) <= ATTO_DELTA_PER_DAY


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_shares_never_exceed_a_day(tier: Tier) -> None:
    """In billionths of ρ, the shares of the default set sum to their part of the day exactly."""
    spent = sum(nano_rho(share, tier.nano_rho) for share in DEFAULT.values())
    assert spent == round(0.98 * tier.nano_rho)


def test_public_keys_are_what_the_collector_records() -> None:
    """Browsers, systems and devices are spelt as the collector spells them; countries are ISO's 249."""
    assert set(BROWSERS) <= enrich.BROWSERS and set(SYSTEMS) <= enrich.SYSTEMS
    assert set(enrich.DEVICES) < set(STATISTICS["devices"].keys)
    assert len(set(COUNTRIES)) == 249
    assert all(len(code) == 2 and code.isupper() for code in COUNTRIES)


def test_shares_name_statistics() -> None:
    """Shares in the policy choose the statistics; a share for anything else is a mistake with a remedy."""

    def under(shares: dict[str, float]) -> Policy:
        return Policy(POLICY.controller, POLICY.versions, Budget("small", shares, ()))

    assert enabled(under({})) == DEFAULT
    assert enabled(under({"visitors": 0.5})) == {"visitors": 0.5}
    with pytest.raises(PolicyError, match=r"budget\.shares\.clicks is no statistic: use one of visitors"):
        enabled(under({"clicks": 0.1}))
