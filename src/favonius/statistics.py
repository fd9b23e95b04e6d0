"""Numbers with their uncertainty. Prompts are what is resampled: two answers to one prompt are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 4000
MANY = 4000
"""From so many units on, the bootstrap of a ratio is as good as normal, and its draws would fill the memory."""
Z = 1.96


class Estimate(NamedTuple):
    """A value with its 95 % interval, and how many units it rests on."""

    value: float
    low: float
    high: float
    n: int


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate | None:
    """Σ numerators / Σ denominators over units, with a percentile bootstrap over units; None where there is nothing.

    A share of answers is (hits, answers) per prompt; a mean per token is (sum, tokens) per dialogue. From `MANY` units
    on, the interval is the normal one of the linearised ratio.
    """
    above, below = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if below.sum() <= 0:
        return None
    value = float(above.sum() / below.sum())
    if len(above) >= MANY:
        half = Z * float(np.sqrt(((above - value * below) ** 2).sum())) / float(below.sum())
        return Estimate(value, value - half, value + half, len(above))
    draws = np.random.default_rng(0).integers(0, len(above), (RESAMPLES, len(above)))
    totals = below[draws].sum(1)
    values = above[draws].sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(values, (0.025, 0.975))
    return Estimate(value, float(low), float(high), len(above))


def share(hits: Sequence[float], trials: Sequence[float]) -> Estimate | None:
    """Σ hits / Σ trials, a number from 0 to 1, over units.

    Units that all agree have a bootstrap interval of no width, which claims far too much; there Wilson's interval for
    as many trials as there are units stands in: 15 prompts without a miss allow for a rate of 80 %.
    """
    estimate = ratio(hits, trials)
    if estimate is None or estimate.low < estimate.high:
        return estimate
    centre = (estimate.value + Z**2 / (2 * estimate.n)) / (1 + Z**2 / estimate.n)
    spread = estimate.value * (1 - estimate.value) / estimate.n + Z**2 / (4 * estimate.n**2)
    half = Z * spread**0.5 / (1 + Z**2 / estimate.n)
    # The interval holds the value, rounded or not: a share of 1 with an end of 0.9999999999999999 cannot be drawn.
    low, high = min(estimate.value, centre - half), max(estimate.value, centre + half)
    return estimate._replace(low=max(0.0, low), high=min(1.0, high))


def balance(sums: Sequence[float], trials: Sequence[float]) -> Estimate | None:
    """Σ sums / Σ trials over units, a trial counting from −1 to 1: how far a share is from even, or two are apart.

    Units that are all alike get an interval as wide as Wilson's would be for none of them being otherwise.
    """
    estimate = ratio(sums, trials)
    if estimate is None or estimate.low < estimate.high:
        return estimate
    half = Z**2 / (estimate.n + Z**2)
    return estimate._replace(low=max(-1.0, estimate.value - half), high=min(1.0, estimate.value + half))


def mean(values: Sequence[float]) -> Estimate | None:
    """Mean over units."""
    return ratio(values, [1.0] * len(values))


def standard_error(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Of Σ numerators / Σ denominators over units, linearised; None with fewer than two units.

    With denominators of 1 it is the sample's standard deviation over √n.
    """
    above, below = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    units = len(above)
    if units < 2 or below.sum() <= 0:
        return None
    rest = above - below * above.sum() / below.sum()
    return float(np.sqrt((rest**2).sum() * units / (units - 1)) / below.sum())


def sign_test(wins: int, losses: int) -> float:
    """How often a fair coin would part wins and losses at least so unevenly: the exact two-sided p-value, ties set
    aside; 1 where there is neither."""
    tosses, fewer = wins + losses, min(wins, losses)
    if 2 * fewer == tosses:
        return 1.0
    # log C(tosses, k) for k = 0 … fewer: in logarithms, as 2^-tosses is too small for a float from 1,075 tosses on.
    k = np.arange(1, fewer + 1)
    ways = np.concatenate(([0.0], np.cumsum(np.log(tosses - k + 1) - np.log(k))))
    return min(1.0, 2.0 * float(np.exp(ways - tosses * np.log(2.0)).sum()))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values made larger for their number, by Holm's step-down procedure: whoever calls those below 0.05 real is
    wrong about any of them in at most one study of twenty."""
    adjusted, largest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        largest = max(largest, min(1.0, chances[place] * (len(chances) - rank)))
        adjusted[place] = largest
    return adjusted
