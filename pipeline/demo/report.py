"""The demo's last word, in a terminal: what was published beside what is true, and what was never written."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from math import isnan
from pathlib import Path

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from collector.simulate import KINDS, ONE_PURPOSE, Outcome, Truth
from pipeline import query
from pipeline.demo.evidence import UNEXPLAINED, Hits
from pipeline.statistics import DEFAULT, STATISTICS
from pipeline.status import read_status

BOUNCE_RATE = "bounce_rate"
TOTALS = ("visitors", "pageviews", "visits", BOUNCE_RATE)
_ROWS = 8  # of a list that are shown
_SMALL = 500  # visitors a day under which most numbers of a daily release are noise

_WHY = {
    "grants by fetch": "what both purposes allow",
    "grants by form": "the same, without JavaScript",
    ONE_PURPOSE: "no identifier, in no statistic",
    "grants, with GPC on": "a choice outranks the signal",
    "withdraws later": "nothing after the withdrawal",
    "refuses": "the refusal alone, its hour, no id",
    "ignores the bar": "silence is no consent",
    "sends GPC": "the browser refuses",
    "sends DNT": "the browser refuses",
}
_WHY_BOT = "counted, never logged"


@dataclass(frozen=True)
class Cell:
    """One published number beside the truth."""

    statistic: str
    key: str | None
    start: date
    end: date
    value: float
    lower: float
    upper: float
    truth: float

    @property
    def is_inside(self) -> bool:
        """Whether the interval holds the truth."""
        return self.lower <= self.truth <= self.upper

    @property
    def text(self) -> str:
        """Value, half-width of the interval, truth and verdict."""
        if isnan(self.value):
            return "too few to say"
        form = "{:.0%}" if self.statistic == BOUNCE_RATE else "{:,.0f}"
        value, half, truth = map(form.format, (self.value, (self.upper - self.lower) / 2, self.truth))
        return f"{value} ± {half}  {truth} {_verdict(self.is_inside)}"


def compare(published: Path, truth: Truth, start: date, end: date) -> list[Cell]:
    """Every published number of a range of days, and the bounce rate, beside its truth."""
    return [
        Cell(
            row.statistic,
            row.key,
            row.start.date(),
            row.end.date(),
            row.value,
            row.lower,
            row.upper,
            _true(truth, row.statistic, row.key, row.start.date(), row.end.date()),
        )
        for statistic in (*DEFAULT, BOUNCE_RATE)
        for row in query.windows(published, statistic, start, end).itertuples(index=False)
    ]


def _true(truth: Truth, statistic: str, key: str | None, start: date, end: date) -> float:
    if statistic != BOUNCE_RATE:
        return truth.value(statistic, key, start, end)
    bounced, stayed = (truth.value("bounce", outcome, start, end) for outcome in ("bounced", "stayed"))
    return bounced / max(bounced + stayed, 1)


def show_totals(console: Console, cells: Iterable[Cell], truth: Truth) -> None:
    """One row a day: the single numbers."""
    by_place = {(cell.statistic, cell.start): cell for cell in cells}
    table = _table("Published per day: value ± half-width of its 95 % interval, then the truth")
    table.add_column("UTC day")
    for name in ("Visitors", "Page views", "Visits", "Bounce rate"):
        table.add_column(name, justify="right")
    table.add_column("everybody", justify="right", style="dim")
    for day in sorted({start for statistic, start in by_place if statistic == TOTALS[0]}):
        numbers = [by_place[statistic, day].text for statistic in TOTALS]
        table.add_row(f"{day:%a %d %b}", *numbers, f"{truth.everyone[day]['visitors']:,}")
    console.print(table)


def show_lists(console: Console, cells: Iterable[Cell]) -> None:
    """Each week's lists, largest first, side by side."""
    lists: dict[tuple[str, date], list[Cell]] = defaultdict(list)
    for cell in cells:
        if STATISTICS.get(cell.statistic, STATISTICS[TOTALS[0]]).kind == "list":
            lists[cell.statistic, cell.start].append(cell)
    tables = []
    for (statistic, start), listed in lists.items():
        table = _table(f"{STATISTICS[statistic].title}, week of {start:%d %b}")
        table.add_column("", width=31, no_wrap=True)
        table.add_column("published, truth", justify="right", min_width=22)
        ranked = sorted(listed, key=lambda cell: -cell.value)
        for cell in ranked[:_ROWS]:
            table.add_row(cell.key, cell.text)
        if rest := ranked[_ROWS:]:
            inside = sum(cell.is_inside for cell in rest)
            table.add_row(f"[dim]{len(rest)} more[/]", f"[dim]{inside} hold the truth[/]")
        tables.append(table)
    console.print(Columns(tables))


def show_coverage(console: Console, cells: list[Cell]) -> None:
    """How many intervals hold the truth."""
    released = [cell for cell in cells if cell.statistic in STATISTICS]  # rates are derived from these
    inside = sum(cell.is_inside for cell in released)
    console.print(
        f"{inside:,} of {len(released):,} published intervals hold the truth: {inside / len(released):.1%}, "
        "where 95 % are promised.\n"
    )


def show_smallness(console: Console, truth: Truth) -> None:
    """Say so where there are too few visitors for what is released."""
    visitors = [day["visitors"] for day in truth.everyone.values()]
    if max(visitors, default=0) < _SMALL:
        console.print(
            "So few visitors vanish in the noise, which is the same for every site: that is the protection. "
            "What leads a list of near-zeros is chance. A site of this size would choose tier tiny or small, "
            "whose windows are longer; try --visitors 2000.\n"
        )


def show_collected(
    console: Console, truth: Truth, people: Counter[str], found: dict[str, Counter[str]]
) -> None:
    """One row a kind of visitor: what they sent, which records that must leave, and which there are."""
    table = _table("What was collected, and why")
    table.add_column("Visitors")
    for name in ("people", "requests", "records due", "found"):
        table.add_column(name, justify="right")
    table.add_column("why")
    for kind in KINDS:
        due, there = truth.records[kind], found[kind]
        numbers = f"{people[kind]:,}", f"{truth.sent[kind]:,}", f"{due.total():,}", f"{there.total():,}"
        table.add_row(kind, *numbers[:3], f"{numbers[3]} {_verdict(due == there)}", _WHY.get(kind, _WHY_BOT))
    stray = found[UNEXPLAINED].total()
    table.add_row("of nobody above", "", "", "0", f"{stray:,} {_verdict(not stray)}", "")
    console.print(table)
    console.print(
        f"{truth.acts['prefetch']:,} prefetches and {truth.acts['other']:,} assets, API calls, redirects and "
        f"missing pages were no page views. {truth.repeats:,} views were reported twice and kept once.\n"
    )


def show_accounts(console: Console, data: Path) -> None:
    """The collector's own counters."""
    status = read_status(data)
    dropped, bots = status.summed("dropped"), status.summed("bots")
    reasons = status.summed("decisions")
    console.print(
        f"The collector's own accounts: {status.totals['accepted']:,} accepted = "
        f"{status.totals['written']:,} written + {dropped.total():,} dropped + "
        f"{status.totals['queued']:,} queued.\nPage views were decided by {_listed(reasons)}. "
        f"Bots counted: {_listed(bots)}.\n"
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common()) or "none"


def show_searches(console: Console, logs: list[Hits], after: list[Hits], unasked_ids: int) -> None:
    """What two searches of every byte found: of the collector's logs, and of all that was left in the end."""
    table = _table("A search of every byte on disk: Parquet and SQLite decoded; as text, hex and base64")
    table.add_column("searched for")
    table.add_column("how many", justify="right")
    table.add_column("found in logs", justify="right")
    table.add_column("found in the end", justify="right")
    for hits in zip(logs, after, strict=True):
        found = (f"{hit.found:,} {_verdict(hit.found == hit.expected)}" for hit in hits)
        table.add_row(hits[0].what, f"{hits[0].searched:,}", *found)
    console.print(table)
    console.print(
        f"Identifiers given to visitors who granted nothing: {unasked_ids:,} {_verdict(not unasked_ids)}"
    )


def show_speed(console: Console, outcome: Outcome) -> None:
    """How fast the site was driven."""
    console.print(
        f"{outcome.requests:,} real HTTP requests in {outcome.seconds:.1f} s: "
        f"{outcome.requests / outcome.seconds:,.0f} a second, one after another.\n"
    )


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def _verdict(good: bool) -> str:
    return "[green]✓[/]" if good else "[red]✗[/]"
