"""The attacks: one row each. What must hold is said in words and checked by the function."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from collector.errors import PolicyError
from collector.policy import Policy
from pipeline import check
from pipeline.audit import (
    asking,
    bits,
    coverage,
    faults,
    keys,
    membership,
    mutants,
    observed,
    records,
    removal,
    sampler,
)
from pipeline.audit.result import Result
from pipeline.audit.site import Effort, Site, site_of
from pipeline.store import Progress

Try = Callable[[Site, Effort], Result]


@dataclass(frozen=True)
class Attack:
    """One attack that must fail."""

    key: str
    title: str
    tries: str
    bound: str
    run: Try


ATTACKS = (
    Attack(
        "membership",
        "Membership",
        "Guesses from everything published about a day whether its heaviest visitor was there.",
        "Right at most Φ(√(2ρ) / 2) of the time, for the ρ that is charged.",
        membership.membership,
    ),
    Attack(
        "removal",
        "Removal",
        "Removes visitor-days from large and from tiny adversarial logs and counts what changes.",
        "Cells, largest change and length as each statistic declares; the same public keys.",
        removal.remove_one,
    ),
    Attack(
        "mutants",
        "Mutants",
        "Breaks caps, clips, ranks, samples and key lists one at a time.",
        "Removal notices every one of them.",
        mutants.mutants,
    ),
    Attack(
        "averaging",
        "Averaging",
        "Asks a thousand times for one release, the ledger opened anew between, and under other names.",
        "The same bytes and one charge; no day of a statistic twice, whatever window or share is named.",
        asking.average,
    ),
    Attack(
        "differencing",
        "Differencing",
        "Takes parts from totals, days from a week, and a day after an erasure from the same day before.",
        "Right at most as often as the charges together allow; an erasure changes no published byte.",
        asking.difference,
    ),
    Attack(
        "sybils",
        "Sybils",
        "Brings keys to one below their threshold with fake visitors, and waits for the victim.",
        "Right at most Φ(√(2ρ) / 2) + δ of the time, for the list's ρ and δ.",
        membership.sybils,
    ),
    Attack(
        "lure",
        "Link lure",
        "Sends one visitor a page, a referrer and a campaign that nobody else has.",
        "Published with probability δ at most: none of 20,000.",
        keys.lure,
    ),
    Attack(
        "unique",
        "Unique combination",
        "Looks for the only visitor with a country, a browser, a system and a device.",
        "Right at most Φ(√(2ρ) / 2) of the time, for the four lists together.",
        membership.unique_combination,
    ),
    Attack(
        "records",
        "Single records",
        "Makes up people from the published lists to single out, link and infer real ones.",
        "Works no better on people in the data than on others; at least 0.5 better on leaked rows.",
        records.single_records,
    ),
    Attack(
        "bits",
        "Low bits",
        "Tells a count of 0 from a count of 1 by the last bits of what is published.",
        "Every number is whole; right half of the time.",
        bits.low_bits,
    ),
    Attack(
        "work",
        "Work and its order",
        "Watches statements and files of a scheduled run with and without a visitor-day.",
        "The same statements and files in the same order; nothing that is timed answers a request.",
        observed.work,
    ),
    Attack(
        "keys",
        "Key leakage",
        "Brings a page, country, browser, system and device that nobody has had.",
        "Public lists stay as they are, private ones do not name it.",
        keys.leak,
    ),
    Attack(
        "ledger",
        "Ledger faults",
        "Races, kills between steps, unknown days, restored back-ups, a clock that jumps.",
        "Never over a day's cap; refused where it cannot be known.",
        faults.faults,
    ),
    Attack(
        "noise",
        "Noise",
        "Compares draws with the discrete Gaussian's exact probabilities; looks for seeds and shared draws.",
        "χ² with p > 1e-4, neighbours unrelated, no seed, other draws in forked processes.",
        sampler.quality,
    ),
    Attack(
        "outputs",
        "Side outputs",
        "Compares names, sizes and contents of published files, charges and what a run says of them.",
        "Identical for neighbours, but for the noise and the keyed commitment.",
        observed.side_outputs,
    ),
    Attack(
        "tier",
        "Change of tier",
        "Gives two sites with the same published files different visitors.",
        "The same tier: it follows from what is published or configured.",
        asking.switch,
    ),
    Attack(
        "coverage",
        "Intervals",
        "Releases known truths again and again, beside thresholds too, and derives rates from them.",
        "95 % intervals hold the truth in 93 to 97 % of releases, beside a threshold, too.",
        coverage.coverage,
    ),
    Attack(
        "days",
        "Several days",
        "Guesses whether a visitor came on all days of a week.",
        "Days add up to kρ apart and to k²ρ within one window, and to no more.",
        membership.several_days,
    ),
)


@dataclass(frozen=True)
class Finding:
    """An attack and what became of it."""

    attack: Attack
    result: Result

    def as_row(self) -> dict[str, Any]:
        """Plain values, for programs."""
        attack, result = self.attack, self.result
        points = [
            {"name": p.name, "value": p.value, "low": p.low, "high": p.high, "bound": p.bound}
            for p in result.points
        ]
        return {
            "attack": attack.key,
            "tries": attack.tries,
            "bound": attack.bound,
            "measured": result.measured,
            "control": result.control,
            "verdict": result.verdict,
            "points": points,
        }


def attack(policy: Policy, effort: Effort, progress: Progress) -> Iterator[Finding]:
    """Try every attack on one configuration, on synthetic visitors only.

    Raises  PolicyError for a policy that no run accepts either
    """
    mistakes = check.mistakes(policy)
    if mistakes:
        raise PolicyError(mistakes)
    with TemporaryDirectory(prefix="impersonal-audit-") as directory:
        site = site_of(policy, Path(directory))
        for number, each in enumerate(ATTACKS):
            progress("attacking", number, len(ATTACKS))
            yield Finding(each, each.run(site, effort))
        progress("attacking", len(ATTACKS), len(ATTACKS))
