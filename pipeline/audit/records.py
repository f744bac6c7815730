"""Attacks on single records: singling out, linking and inferring, with people made up from what is published.

Each attack is tried on people in the data and on as many who are not: only what it does better on the
former was told by the release. The risk is (attack − control) / (1 − control).
Source  Giomi et al. 2023, the three risks of the Article 29 Working Party
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit import logs
from pipeline.audit.result import Point, Result, proportion
from pipeline.audit.site import DAY, Effort, Site
from pipeline.counting import bounded_counts, build
from pipeline.engine import Engine
from pipeline.keys import BROWSERS, COUNTRIES, SYSTEMS
from pipeline.release import noisy_cells
from pipeline.windows import Window

People = NDArray[np.int64]
"""One row per visitor-day, one column per attribute, values as numbers."""

_DAY = Window("day", DAY)
_SIZES = {
    "countries": 30,
    "browsers": 10,
    "operating_systems": 6,
    "devices": 3,
    "entry_pages": 40,
    "referrers": 12,
    "utm_campaigns": 6,
    "hours": 24,
}
"""Statistic → how many values its attribute has."""


@dataclass(frozen=True)
class _Attempt:
    """How often one attack worked on people in the data, and on others."""

    name: str
    on_them: int
    on_others: int
    tried: int

    @property
    def risk(self) -> Point:
        """With its interval; 0 and below: nothing was told."""
        attack, control = (proportion("", hits, self.tried, 0) for hits in (self.on_them, self.on_others))
        spread = 1 - control.value
        value = (attack.value - control.value) / spread if spread else 0.0
        low = (attack.low - control.high) / (1 - control.high) if control.high < 1 else 0.0
        high = (attack.high - control.low) / (1 - control.low) if control.low < 1 else 0.0
        return Point(self.name, value, low, high, 0)


def single_records(site: Site, effort: Effort) -> Result:
    """Make people up from the released lists and use them to single out, link and infer real ones."""
    dice = np.random.default_rng()
    them, others = _people(effort.attacks, dice), _people(effort.attacks, dice)
    made_up = _from_releases(site, them, dice)
    points = tuple(each.risk for each in _attempts(them, others, made_up, dice))
    leaked = [each.risk.value for each in _attempts(them, others, them, dice)]
    words = "; ".join(
        f"{point.name} {point.value:+.2f} ({point.low:+.2f}–{point.high:+.2f})" for point in points
    )
    return Result(
        f"risk of {words}",
        all(point.is_held for point in points),
        f"rows leaked as they are: {', '.join(f'{risk:.2f}' for risk in leaked)}",
        min(leaked) >= 0.5,
        points,
    )


def _people(count: int, dice: np.random.Generator) -> People:
    """Visitors with long-tailed habits."""
    columns = []
    for size in _SIZES.values():
        weights = 1 / np.arange(1, size + 1)
        columns.append(dice.choice(size, count, p=weights / weights.sum()))
    return np.stack(columns, axis=1)


def _from_releases(site: Site, people: People, dice: np.random.Generator) -> People:
    """As many people as there are, each attribute drawn by what was published of it through the real door."""
    file = logs.write(site.directory("records") / "000001.parquet", _events(people))
    columns = []
    with Engine() as engine:
        build(engine, [file], site.finest, _DAY)
        for name, size in _SIZES.items():
            weights = np.ones(size)
            row = next((row for row in site.rows if row.name == name), None)
            if row:
                known = {value: n for n, value in enumerate(_values(name))}
                counts = bounded_counts(engine, row, site.finest)
                for cell in noisy_cells(row, _DAY, site.mechanism(row, site.tier), counts):
                    if str(cell.key) in known:
                        weights[known[str(cell.key)]] = max(cell.value, 0) + 1
            columns.append(dice.choice(size, len(people), p=weights / weights.sum()))
    return np.stack(columns, axis=1)


def _values(name: str) -> list[str]:
    """How an attribute's values are spelt."""
    spelt: dict[str, tuple[str, ...]] = {
        "countries": COUNTRIES,
        "browsers": BROWSERS,
        "operating_systems": SYSTEMS,
        "devices": ("mobile", "desktop", "tablet"),
        "hours": tuple(f"{hour:02}" for hour in range(24)),
    }
    return list(spelt.get(name, [f"/{n}" for n in range(_SIZES[name])]))[: _SIZES[name]]


def _events(people: People) -> logs.Log:
    """One page view for each."""
    spelt = {name: _values(name) for name in _SIZES}
    fields = ("country", "browser", "os", "device", "path", "referrer", "utm_campaign")
    rows = []
    for number, person in enumerate(people):
        known: dict[str, Any] = {
            field: spelt[name][value] for field, name, value in zip(fields, _SIZES, person, strict=False)
        }
        rows.append(logs.event(60 * int(person[-1]), f"{number:05}", **known))
    return rows


def _attempts(them: People, others: People, known: People, dice: np.random.Generator) -> list[_Attempt]:
    """The three attacks, with what the attacker knows."""
    found = []
    for name, attack in (("singling out", _single_out), ("linking", _link), ("inferring", _infer)):
        hits = attack(them, others, known, dice)
        found.append(_Attempt(name, *hits, len(them)))
    return found


def _single_out(them: People, others: People, known: People, dice: np.random.Generator) -> tuple[int, int]:
    """Guess combinations of four attributes that exactly one person has."""
    hits = [0, 0]
    for _ in range(len(them)):
        columns = dice.choice(known.shape[1], 4, replace=False)
        for _ in range(20):  # until a combination is unique among those known
            values = known[dice.integers(len(known)), columns]
            if (known[:, columns] == values).all(axis=1).sum() == 1:
                break
        for n, people in enumerate((them, others)):
            hits[n] += int((people[:, columns] == values).all(axis=1).sum() == 1)
    return hits[0], hits[1]


def _link(them: People, others: People, known: People, _dice: np.random.Generator) -> tuple[int, int]:
    """From one half of somebody's attributes find the other half: do both lead to the same record?"""
    halves = np.arange(known.shape[1]) % 2 == 0
    hits = []
    for people in (them, others):
        near = [_nearest(people[:, half], known[:, half], 5) for half in (halves, ~halves)]
        hits.append(sum(bool(set(a) & set(b)) for a, b in zip(*near, strict=True)))
    return hits[0], hits[1]


def _infer(them: People, others: People, known: People, _dice: np.random.Generator) -> tuple[int, int]:
    """From all other attributes guess somebody's entry page."""
    secret = list(_SIZES).index("entry_pages")
    rest = np.arange(known.shape[1]) != secret
    hits = []
    for people in (them, others):
        nearest = _nearest(people[:, rest], known[:, rest], 1)[:, 0]
        hits.append(int((known[nearest, secret] == people[:, secret]).sum()))
    return hits[0], hits[1]


def _nearest(people: People, known: People, most: int) -> People:
    """The records that share the most values with each person."""
    shared = sum((people[:, [n]] == known[:, n]).astype(np.int64) for n in range(known.shape[1]))
    found: People = np.argsort(-np.asarray(shared), axis=1, kind="stable")[:, :most]
    return found
