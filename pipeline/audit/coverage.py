"""Attack on the error bars: does a 95 % interval hold the truth 95 % of the time?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline import intervals
from pipeline.audit.result import Point, Result, proportion
from pipeline.audit.site import DAY, Effort, Site
from pipeline.intervals import Estimate
from pipeline.rates import RATIOS, Rate
from pipeline.release import noisy_cells
from pipeline.spec import Mechanism
from pipeline.statistics import STATISTICS, Statistic
from pipeline.windows import Window

_WINDOW = Window("day", DAY)
_BAND = (0.93, 0.97)
_LEAST_CELLS = 1_000
_KEYS = 10
"""Of a long list, so many cells of each release are enough."""
_NEAR = (-2, 0, 2)
"""True counts tried beside a threshold, in σ above it."""
_SIZES = (30, 90)
"""True counts that a rate is made of, and divided by, in σ and more."""


def coverage(site: Site, effort: Effort) -> Result:
    """Release a known truth again and again, near thresholds too, and count the intervals that hold it."""
    points = list[Point]()
    for row in site.rows:
        drawn = site.mechanism(row, site.tier)
        cells = max(effort.releases * min(max(len(row.keys), 1), _KEYS), _LEAST_CELLS)
        found = [_point(row.name, row, drawn, cells, None)]
        if drawn.threshold is not None:
            found += [_point(f"{row.name} {n:+} σ", row, drawn, 20 * effort.releases, n) for n in _NEAR]
        points += found
    points += _rates(site, effort)
    outside = [point.name for point in points if not _holds(point)]
    naive = _naive(site.mechanism(site.rows[0], site.tier), _LEAST_CELLS * 4)
    lowest = min(points, key=lambda point: point.value)
    return Result(
        f"{len(points)} truths, lowest {lowest.name} {lowest.value:.1%} ({lowest.low:.1%}–{lowest.high:.1%})"
        + (f"; outside 93–97 %: {', '.join(outside)}" if outside else ""),
        not outside,
        f"plain intervals 2 σ below a threshold: {naive.value:.1%}",
        naive.high < _BAND[0],
        tuple(replace(point, bound=_BAND[0]) for point in points),
    )


def _holds(point: Point) -> bool:
    """Whether the coverage is not surely outside the band."""
    return point.high >= _BAND[0] and point.low <= _BAND[1]


def _point(name: str, row: Statistic, drawn: Mechanism, cells: int, above: int | None) -> Point:
    """The coverage of so many cells; those beside a threshold, as far as they reached it."""
    true = 400 if above is None else max(round((drawn.threshold or 0) + above * drawn.sigma), 1)
    keys = [str(n) for n in range(cells)]
    public, private = (keys, []) if above is None else ([], keys)
    found = noisy_cells(row, _WINDOW, drawn, (dict.fromkeys(public, true), dict.fromkeys(private, true)))
    hits = sum(cell.lower <= true <= cell.upper for cell in found)
    return proportion(name, hits, max(len(found), 1), _BAND[1])


def _rates(site: Site, effort: Effort) -> Iterator[Point]:
    """The coverage of what is derived from released cells."""
    rows = {row.name: row for row in site.rows}
    for name, rate in RATIOS.items():
        if set(rate.sources) <= rows.keys():
            yield _rate(name, rate, site, [rows[source] for source in rate.sources], effort.releases)


def _rate(name: str, rate: Rate, site: Site, rows: Sequence[Statistic], releases: int) -> Point:
    """The same of one rate: its statistics are released so often, of known truths far from zero."""
    mechanisms = [site.mechanism(row, site.tier) for row in rows]
    unit = max(drawn.sigma for drawn in mechanisms)
    exact: dict[str, dict[str | None, Estimate]] = {}
    drawn_cells: list[dict[str, dict[str | None, Estimate]]] = [{} for _ in range(releases)]
    for row, drawn, size in zip(rows, mechanisms, _SIZES, strict=False):
        keys = row.public_keys(site.policy) or ("/",)
        truths = {key: round(size * unit * (1 + n % 3)) for n, key in enumerate(keys)}
        exact[row.name] = {key: (true, true, true, 1e-9) for key, true in truths.items()}
        counts: dict[str | None, int] = {str(n): true for n, true in enumerate([*truths.values()] * releases)}
        found = iter(noisy_cells(row, _WINDOW, drawn, (counts, {})))
        for each in drawn_cells:
            cells = zip(keys, found, strict=False)
            each[row.name] = {key: (cell.value, cell.lower, cell.upper, cell.sigma) for key, cell in cells}
    right = {key: value for key, (value, *_) in rate.rows(exact)}
    held = [low <= right[key] <= high for each in drawn_cells for key, (_, low, high, _) in rate.rows(each)]
    return proportion(name, sum(held), max(len(held), 1), _BAND[1])


def _naive(drawn: Mechanism, cells: int) -> Point:
    """What intervals that forget the threshold hold 2 σ below it."""
    gate = replace(drawn, threshold=round(10 * drawn.sigma))
    true = round(8 * drawn.sigma)
    found = noisy_cells(STATISTICS["pages"], _WINDOW, gate, ({}, {str(n): true for n in range(cells)}))
    held = [intervals.plain(cell.value, cell.sigma) for cell in found]
    hits = sum(lower <= true <= upper for lower, upper in held)
    return proportion("plain", hits, max(len(found), 1), _BAND[0])
