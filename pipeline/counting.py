"""The exact counts of a window, each visitor-day bounded: what the noise is for, and never to be shown."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from collector.policy import Budget, Policy, fields_within
from collector.record import FIELDS, LEVELS, TIME_STEP_MS, iso_week
from pipeline import goals
from pipeline.channels import channel_of
from pipeline.engine import Engine
from pipeline.keys import AGES, DURATIONS, edges
from pipeline.spec import STEPS, VIEWS
from pipeline.statistics import PURPOSE, Statistic
from pipeline.windows import Window


def build(engine: Engine, files: list[Path], policy: Policy, window: Window) -> None:
    """Build visits and visitor-days of a window from private event files, as the purpose may see them."""
    engine.records(files)
    engine.relation("span", {"start_ms": "BIGINT", "end_ms": "BIGINT"}, [window.span_ms])
    granted = {field.name: "BOOLEAN" for field in FIELDS}
    columns = {"policy": "VARCHAR", "consent": "VARCHAR", "time_step_ms": "BIGINT", **granted}
    engine.relation("scope", columns, _scope(policy))
    engine.relation("bins", {"key": "VARCHAR", "low_ms": "DOUBLE", "high_ms": "DOUBLE"}, _bins())
    engine.relation("weeks", {"cohort": "VARCHAR", "age": "VARCHAR"}, _weeks(window))
    for step in STEPS:
        (engine.view if step in VIEWS else engine.step)(f"counting.{step}", into=step)
    # Each a function of its visitor-day alone; asked once for all that are alike.
    known = [(*source, channel_of(*source)) for source in engine.rows("counting.sources")]
    engine.relation("channels", dict.fromkeys(("source", "medium", "campaign", "channel"), "VARCHAR"), known)
    _build_goals(engine, policy.budget)


def _build_goals(engine: Engine, budget: Budget) -> None:
    """Look up, once for all that are alike, which goals and which steps of funnels an act is."""
    acts = engine.rows("counting.known_acts") if budget.goals or budget.funnels else []
    act = {"kind": "VARCHAR", "act": "VARCHAR"}
    engine.relation("goals", act | {"goal": "VARCHAR"}, goals.reached(acts, budget))
    step = {"funnel": "VARCHAR", "step": "BIGINT", "key": "VARCHAR"}
    engine.relation("steps", act | step, goals.steps(acts, budget))


def _bins() -> Iterator[tuple[str, float, float]]:
    """The bins of durations, in milliseconds."""
    for key in DURATIONS:
        low_s, high_s = edges(key)
        yield key, low_s * 1000, high_s * 1000


def _weeks(window: Window) -> Iterator[tuple[str, str]]:
    """ISO weeks, and how many lie between each and the window: of its own weeks none."""
    *older, _ = AGES
    for days in range(0, window.length, 7):
        yield iso_week(window.start + timedelta(days)), older[0]
    for weeks, age in enumerate(older[1:], 1):
        yield iso_week(window.start - timedelta(7 * weeks)), age


def _scope(policy: Policy) -> Iterator[tuple[str | int | bool, ...]]:
    """For each policy version and each version a consent was given to: what the purpose reaches."""
    for current in policy.versions:
        for consented in (None, *policy.versions):
            levels = current.purpose_scope(PURPOSE, consented)
            reached = fields_within(levels)
            step_ms = TIME_STEP_MS[LEVELS["time"][levels["time"]]]
            consent = consented.id if consented else ""
            yield current.id, consent, step_ms, *(field in reached for field in FIELDS)


Counts = tuple[dict[str | None, int], dict[str, int]]
"""Cells of public keys, zeros included; cells of private keys."""


def bounded_counts(engine: Engine, statistic: Statistic, policy: Policy) -> Counts:
    """The exact cells of a loaded window. Never to be shown: this is what the noise is for."""
    public = dict.fromkeys(statistic.public_keys(policy), 0)
    private: dict[str, int] = {}
    for key, value in engine.rows(f"statistics.{statistic.name}"):
        if key in public:
            public[key] += value
        elif statistic.is_private:
            private[key] = value
        elif not statistic.is_closed:
            public[statistic.rest] += value
    return public, private
