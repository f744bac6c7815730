"""How far published numbers lie from the bounded truth, at sites of three sizes, through the real door.

Synthetic visitor-days: 48 % of one page, the others of more, 3.1 on average; pages, countries and
browsers with a popularity of 1 ÷ rank.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from collector.policy import Budget, Policy
from pipeline.counting import bounded_counts, build
from pipeline.engine import Engine, connect
from pipeline.keys import BROWSERS, COUNTRIES
from pipeline.release import noisy_cells
from pipeline.spec import mechanism
from pipeline.statistics import DEFAULT, STATISTICS, nano_rho
from pipeline.windows import TIERS, Window, tier_named
from tests.benchmarks.table import Row
from tests.pipeline.private_events import DAY, POLICY, at

PAGES = 200
DRAWS = 200  # of noise, of one set of counts
DECLARED = tuple(f"/page/{rank}" for rank in range(PAGES))

EVENTS = """
COPY (
  WITH visitor_days AS (
    SELECT
      v.range AS number,
      d.range AS day,
      CASE WHEN random() < 0.48 THEN 1 ELSE 2 + CAST(floor(-ln(random()) * 3.5) AS INT) END AS views,
      $countries[1 + CAST(floor(pow(60, random()) - 1) AS INT)] AS country,
      $browsers[1 + CAST(floor(pow(12, random()) - 1) AS INT)] AS browser
    FROM range($visitors) AS v, range($days) AS d
  )
  SELECT
    'view' AS kind,
    uuid()::VARCHAR AS id,
    $start_ms + day * 86400000 + (number * 7919 % 72000) * 1000 + view.unnest * 20000 AS ts_ms,
    'v1' AS policy,
    ['statistics'] AS purposes,
    printf('%032x', number) AS visitor,
    '/page/' || CAST(floor(pow($pages, random()) - 1) AS INT) AS path,
    country,
    browser
  FROM visitor_days, unnest(range(views)) AS view
) TO $file (FORMAT parquet)
"""

CASES: Sequence[tuple[str, int, str, dict[str, tuple[int, float]]]] = (
    ("large", 10_000, "day", {"visitors": (1, 1), "pages": (10, 7), "countries": (10, 13)}),
    ("medium", 1_000, "week", {"pages": (10, 5), "countries": (10, 10)}),
    ("small", 100, "week", {"visitors": (1, 6)}),
)
"""Tier, visitors a day, window, and statistic → how many of its largest cells, and the error aimed at, %."""


def generate(file: Path, visitors: int, days: int) -> None:
    """Private events of a stretch of days."""
    with connect() as database:
        database.execute("SET threads = 1; SELECT setseed(0.5)")
        values = {"countries": COUNTRIES[:60], "browsers": BROWSERS[:12], "pages": PAGES, "start_ms": at(DAY)}
        database.execute(EVENTS, {**values, "visitors": visitors, "days": days, "file": str(file)})


def error_in_percent(engine: Engine, name: str, tier: str, window: Window, largest: int) -> float:
    """Mean relative error of the largest cells over many draws of noise."""
    statistic, under = (
        STATISTICS[name],
        Policy(POLICY.controller, POLICY.versions, Budget(tier, {}, DECLARED)),
    )
    drawn = mechanism(statistic, nano_rho(DEFAULT[name], tier_named(tier).nano_rho))
    counts = bounded_counts(engine, statistic, under)
    true = counts[0]
    top = sorted(true, key=lambda key: -true[key])[:largest]
    errors = []
    for _ in range(DRAWS):
        noisy = {cell.key: cell.value for cell in noisy_cells(statistic, window, drawn, counts)}
        errors += [abs(noisy[key] - true[key]) / true[key] for key in top]
    return 100 * fmean(errors)


def rows() -> list[Row]:
    """One row for each statistic of each site."""
    assert {tier for tier, *_ in CASES} <= {tier.name for tier in TIERS}
    found = []
    with TemporaryDirectory() as directory, Engine() as engine:
        for tier, visitors, length, statistics in CASES:
            window = Window(length, DAY)
            file = Path(directory) / f"{tier}.parquet"
            generate(file, visitors, window.length)
            build(engine, [file], POLICY, window)
            for name, (largest, aim) in statistics.items():
                error = error_in_percent(engine, name, tier, window, largest)
                what = f"error of {name} of a {length}, {visitors:,} visitors a day"
                which = "total" if largest == 1 else f"the {largest} largest"
                found.append(Row(what, f"{error:.1f} %", f"{which}; aim ≤ {aim:g} %"))
    return found
