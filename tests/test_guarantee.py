"""GUARANTEE.md says what is tested, and its tables are computed anew."""

import ast
import re
from math import erf, sqrt
from pathlib import Path

import opendp.prelude as dp
import pytest

from pipeline.audit.result import guessing_bound
from pipeline.statistics import ATTO_DELTA_PER_DAY
from pipeline.windows import TIERS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "GUARANTEE.md").read_text()
LINKS = re.findall(r"\]\((tests/[^)#]+)#(\w+)\)", TEXT)
DELTA = 1e-9

dp.enable_features("contrib")


@pytest.mark.parametrize(("file", "name"), LINKS)
def test_every_link_leads_to_a_test(file: str, name: str) -> None:
    """The file exists and has a test of that name."""
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_has_a_test() -> None:
    """Each point of the promise links to one at least; the whole is a page or two."""
    promise = TEXT.partition("## The promise")[2].partition("## What adds up")[0]
    points = re.split(r"^- ", promise, flags=re.MULTILINE)[1:]
    assert len(points) > 8
    for point in points:
        assert "[test](" in point, point
    assert len(TEXT.splitlines()) < 140


def test_the_promise_is_what_the_ledger_allows() -> None:
    """The ρ and δ of the first paragraph are the caps of a day, in every tier."""
    promise = TEXT.partition("## The promise")[2].partition("\n|")[0]
    rho, largest = (float(number) for number in re.findall(r"0\.\d+", promise)[:2])
    caps = {tier.name: tier.nano_rho * 1e-9 for tier in TIERS}
    assert max(caps.values()) == pytest.approx(rho) and caps["large"] == pytest.approx(largest)
    assert "δ ≤ 10⁻¹²" in promise and ATTO_DELTA_PER_DAY == 10**6
    assert f"at most {100 * guessing_bound(max(tier.nano_rho for tier in TIERS)):.1f} times" in promise


def epsilon(rho: float) -> float:
    """ε at δ = 1e-9 of ρ-zCDP."""
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    gaussian = dp.m.make_gaussian(*space, scale=(1 / (2 * rho)) ** 0.5)
    profile = dp.c.make_zCDP_to_approxDP(gaussian).map(1.0)  # type: ignore[no-untyped-call]
    return float(profile.epsilon(DELTA))


def guesses(rho: float) -> float:
    """How many of 100 guesses with even odds are right at most, by the best test against Gaussian noise."""
    return 50 * (1 + erf(sqrt(2 * rho) / 2 / sqrt(2)))


def row(label: str) -> list[float]:
    """The numbers of one row of a table."""
    found = re.search(rf"^\| {re.escape(label)} \|(.*)\|$", TEXT, re.MULTILINE)
    assert found, label
    return [float(cell) for cell in found[1].split("|")]


def test_the_tables_are_what_opendp_computes() -> None:
    """k days of separate releases cost kρ, k days inside one window k²ρ; to the digit that is printed."""
    days = row("active days k")
    inside = row("active days k inside one window")
    for rho in (0.015, 0.004):
        expected = [epsilon(k * rho) for k in days]
        assert row(f"ε, daily releases, ρ = {rho}") == pytest.approx(expected, abs=0.051)
    assert row("right guesses of 100, ρ = 0.015") == pytest.approx(
        [guesses(0.015 * k) for k in days], abs=0.051
    )
    assert row("ε, ρ = 0.015") == pytest.approx([epsilon(0.015 * k * k) for k in inside], abs=0.051)
    assert row("right guesses of 100") == pytest.approx([guesses(0.015 * k * k) for k in inside], abs=0.051)
