"""Attack on the attack: statistics that break their promise on purpose, each of which must be caught."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collector.policy import Policy
from pipeline.audit import logs
from pipeline.audit.removal import changes
from pipeline.audit.result import Result
from pipeline.audit.site import Effort, Site
from pipeline.counting import Counts, bounded_counts
from pipeline.engine import Engine
from pipeline.statistics import STATISTICS, Statistic

Edits = Mapping[str, tuple[tuple[str, str], ...]]
"""Step → what is right in its SQL, and what is put in its place."""


def _as_counted(counts: Counts) -> Counts:
    return counts


def _without_zeros(counts: Counts) -> Counts:
    public, private = counts
    return {key: value for key, value in public.items() if value}, private


def _keys_of_traffic(counts: Counts) -> Counts:
    public, private = counts
    return public | dict(private.items()), {}


@dataclass(frozen=True)
class Mutant:
    """One mistake."""

    name: str
    edits: Edits = field(default_factory=dict)
    counts: Callable[[Counts], Counts] = _as_counted


_RANKED_BY = "md5(u.pseudonym || '|' || s.page), s.page"
_NUMBERED = "FROM (SELECT *, row_number() OVER (ORDER BY unit, page) AS row_id FROM seen) AS s"
_DICED = "FROM (SELECT *, random() AS dice FROM seen) AS s"
_BROWSER = "coalesce(browser, '(unknown)')"
_TOP_TWO = (
    "CASE WHEN browser IN (SELECT top.browser FROM visitor_days AS top GROUP BY top.browser "
    "ORDER BY count(*) DESC, top.browser LIMIT 2) THEN browser ELSE '(other)' END"
)
_END = "AND r.ts_ms < (SELECT end_ms FROM span)\n"

MUTANTS = (
    Mutant("pages without a cap", {"counting.chosen_pages": (("WHERE page_rank <= 6", ""),)}),
    Mutant("page views without a cap", {"statistics.pageviews": (("least(pageviews, 10)", "pageviews"),)}),
    Mutant("visits without a cap", {"statistics.visits": (("least(visits, 2)", "visits"),)}),
    Mutant(
        "choices without a cap", {"statistics.consents": ((" OR choice_rank = 1", " OR choice_rank > 0"),)}
    ),
    Mutant("page views for visitors", {"counting.chosen_pages": (("SELECT DISTINCT", "SELECT"),)}),
    Mutant("pages ranked across visitors", {"counting.chosen_pages": (("PARTITION BY s.unit ", ""),)}),
    Mutant(
        "pages chosen by a global row number",
        {
            "counting.chosen_pages": (
                (_RANKED_BY, "md5(CAST(s.row_id AS STRING))"),
                ("FROM seen AS s", _NUMBERED),
            )
        },
    ),
    Mutant(
        "pages drawn anew each time",
        {
            "counting.chosen_pages": (
                (f"ORDER BY {_RANKED_BY}", "ORDER BY s.dice"),
                ("FROM seen AS s", _DICED),
            )
        },
    ),
    Mutant(
        "the first and the last visit enter",
        {"counting.visitor_days": (("GROUP BY s.unit", "GROUP BY s.unit, s.id"),)},
    ),
    Mutant("'(other)' by true rank", {"statistics.browsers": ((_BROWSER, _TOP_TWO),)}),
    Mutant(
        "a clip learnt from the data",
        {
            "statistics.pageviews": (
                (
                    "least(pageviews, 10)",
                    "least(pageviews, (SELECT max(d.pageviews) FROM visitor_days AS d) / 3)",
                ),
            )
        },
    ),
    Mutant(
        "events of different visitors taken for the same",
        {
            "counting.scoped": (
                (
                    _END,
                    _END
                    + "QUALIFY row_number() OVER (PARTITION BY r.ts_ms, r.path ORDER BY r.visitor) = 1\n",
                ),
            )
        },
    ),
    Mutant(
        "a budget of rows for all",
        {"counting.scoped": ((_END, f"{_END}ORDER BY r.ts_ms, r.id\nLIMIT 20\n"),)},
    ),
    Mutant("zeros left out", counts=_without_zeros),
    Mutant("keys learnt from traffic published always", counts=_keys_of_traffic),
)


class _NothingToBreakError(Exception):
    """The SQL no longer reads as the mutant expects; perhaps because its mistake is there already."""


class _MutantEngine(Engine):
    """Runs the steps with one mistake in them."""

    def __init__(self, edits: Edits) -> None:
        super().__init__()
        self.database.execute("SET threads = 1")  # for a handful of rows
        self._edits = edits

    def text(self, name: str) -> str:
        text = super().text(name)
        for right, wrong in self._edits.get(name, ()):
            if right not in text:
                raise _NothingToBreakError
            text = text.replace(right, wrong)
        return text


def mutants(site: Site, effort: Effort) -> Result:
    """Break one thing after the other and look whether removal notices."""
    files = [logs.split(site.directory("mutant"), log) for log in _logs(effort)]
    missed = [mutant.name for mutant in MUTANTS if not is_caught(mutant, site.finest, files)]
    said = f"; missed: {', '.join(missed)}" if missed else ""
    intact = is_caught(Mutant("nothing is broken"), site.finest, files[:2])
    return Result(
        f"{len(MUTANTS) - len(missed)} of {len(MUTANTS)} caught{said}",
        not missed,
        "the unbroken statistics are caught" if intact else "the unbroken statistics pass the same test",
        not intact,
    )


def _logs(effort: Effort) -> Iterator[logs.Log]:
    yield from logs.adversarial()
    yield from (logs.tiny(seed) for seed in range(min(effort.tiny_logs, 20)))


def is_caught(mutant: Mutant, policy: Policy, tried: list[dict[logs.Unit, Path]]) -> bool:
    """Whether some removal from some log shows that a mutant breaks its promise."""

    def count(engine: Engine, row: Statistic, policy: Policy) -> Counts:
        return mutant.counts(bounded_counts(engine, row, policy))

    # Without those that count nothing, because the policy names nothing for them to count.
    rows = [row for row in STATISTICS.values() if not row.is_closed or row.public_keys(policy)]
    touched = [row for row in rows if f"statistics.{row.name}" in mutant.edits] or rows
    with _MutantEngine(mutant.edits) as engine:
        for files in tried:
            found = changes(engine, touched, policy, files, files, count=count)
            try:
                if not all(change.is_within for change in found):
                    return True
            except KeyError:  # a row without a key: the door itself notices
                return True
            except _NothingToBreakError:
                return False
    return False
