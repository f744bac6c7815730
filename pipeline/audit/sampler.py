"""The noise itself: its distribution, where its randomness comes from, and a stand-in that has none."""

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from math import exp

import numpy as np
from numpy.typing import NDArray

from pipeline import noise
from pipeline.audit.apart import in_a_process
from pipeline.audit.result import Result
from pipeline.audit.site import Effort, Site

_SEEDED = re.compile(r"\b(seed|rng|random_state|default_rng|numpy|import random)\b")
_FIT = 1e-4
"""The least p of a fit. What falls below is drawn once more: noise that is right fails once in 10⁸."""


def quality(site: Site, effort: Effort) -> Result:
    """Compare draws with the discrete Gaussian's exact probabilities, and look for a seed."""
    sigmas = sorted(
        {site.mechanism(row, tier).sigma for tier in site.tiers for row, _ in site.released(tier)}
    )
    tried = [4.0, *dict.fromkeys((sigmas[0], sigmas[-1]))]
    fits = [_fit_twice(effort.draws, sigma) for sigma in tried]
    draws = np.array(noise.gaussian([0] * effort.draws, tried[0]), dtype=float)
    related = abs(float(np.corrcoef(draws[:-1], draws[1:])[0, 1])) * effort.draws**0.5
    seeded = _seeds()
    alike = in_a_process(_after_a_fork)
    off = fit(noise.gaussian([0] * effort.draws, 4.4), 4.0)
    return Result(
        f"χ² against the exact probabilities: p = {', '.join(f'{p:.2g}' for p in fits)}; "
        + (f"seed in {', '.join(seeded)}" if seeded else "no seed")
        + ("; a forked process draws the same" if alike else "; forked processes draw their own"),
        min(fits) > _FIT and related < 5 and not seeded and not alike,
        f"noise that is 10 % too large: p = {off:.1g}",
        off <= _FIT,
    )


def _fit_twice(draws: int, sigma: float) -> float:
    p = fit(noise.gaussian([0] * draws, sigma), sigma)
    return p if p > _FIT else fit(noise.gaussian([0] * draws, sigma), sigma)


def fit(draws: Sequence[int], sigma: float) -> float:
    """p of Pearson's χ² against the discrete Gaussian of this σ, in 21 cells of like size."""
    reach = int(12 * sigma) + 1
    support = np.arange(-reach, reach + 1)
    weights = np.exp(-(support**2) / (2 * sigma * sigma))
    below = np.cumsum(weights) / weights.sum()
    edges = np.unique(np.searchsorted(below, np.arange(1, 21) / 21))
    # An odd number of cells leaves an even number of degrees of freedom, whose tail is a finite sum.
    edges = edges[: len(edges) // 2 * 2]
    expected = np.diff([0.0, *below[edges], 1.0]) * len(draws)
    cells = np.searchsorted(support[edges], np.array(draws), side="left")
    observed = np.bincount(cells, minlength=len(expected))
    return tail(float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1)


def tail(chi2: float, freedom: int) -> float:
    """The chance of a larger χ² at an even number of degrees of freedom."""
    terms, term = [1.0], 1.0
    for n in range(1, freedom // 2):
        term *= chi2 / 2 / n
        terms.append(term)
    return exp(-chi2 / 2) * sum(terms)


def _seeds() -> list[str]:
    """Where the source of the noise takes or makes a seed."""
    return sorted(set(_SEEDED.findall("\n".join(_code(inspect.getsource(noise))))))


def _code(source: str) -> list[str]:
    """Lines of code: the docstring says that there are no seeds."""
    return [
        line
        for line in source.replace(str(noise.__doc__), "").splitlines()
        if not line.strip().startswith("#")
    ]


def _after_a_fork() -> bool:
    """Whether two children of one process draw the same noise, or its own."""
    noise.gaussian([0], 20.0)
    drawn = []
    for _ in range(2):
        source, sink = os.pipe()
        if not (child := os.fork()):
            os.write(sink, repr(noise.gaussian([0] * 20, 20.0)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        drawn.append(os.read(source, 4096))
        os.close(source)
        os.close(sink)
    drawn.append(repr(noise.gaussian([0] * 20, 20.0)).encode())
    return len(set(drawn)) < len(drawn)


def silence(is_exact: bool) -> None:
    """Replace the noise in this process: by fixed values, or by none so that the data shows.

    For processes that only ever see synthetic data, to find what besides the noise depends on it.
    """

    def gaussian(counts: Sequence[int], sigma: float) -> list[int]:
        return list(counts) if is_exact else [round(sigma)] * len(counts)

    def gaussian_threshold(counts: Mapping[str, int], sigma: float, threshold: int) -> dict[str, int]:
        return dict(counts) if is_exact else {}

    noise.gaussian = gaussian
    noise.gaussian_threshold = gaussian_threshold


def floats(count: int, draws: int) -> NDArray[np.float64]:
    """What must not be published: a count with numpy's Laplace noise."""
    return count + np.random.default_rng().laplace(size=draws)
