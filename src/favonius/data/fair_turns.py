"""Who is next when several take turns by weights: whole numbers of turns, and an order that keeps to them at each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from favonius.errors import UserError

LONGEST_PERIOD = 100_000
PARTS = 10_000
"""Weights that repeat only after more than LONGEST_PERIOD turns are rounded to this part of their sum."""


def whole_shares(weights: Sequence[float]) -> dict[int, int]:
    """Weights as whole numbers of turns, by source. UserError where one is not above 0, or next to nothing."""
    if not weights or not all(0 < weight < math.inf for weight in weights):
        raise UserError(f"the weights {', '.join(map(str, weights)) or '(none)'} must be numbers above 0")
    exact = [Fraction(weight).limit_denominator(PARTS) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in exact))
    whole = [int(fraction * scale) for fraction in exact]
    whole = [number // max(1, math.gcd(*whole)) for number in whole]
    if sum(whole) > LONGEST_PERIOD or not all(whole):
        whole = [round(PARTS * weight / sum(weights)) for weight in weights]
    if not all(whole):
        raise UserError(f"the weight {min(weights)} is less than a {2 * PARTS:,}th of all; leave that source out")
    return dict(enumerate(whole))


def turns(shares: Mapping[int, int]) -> list[int]:
    """Who is next, over one period of sum(shares) turns, so that after each everybody is within one turn of its share.

    Tijdeman's solution of the chairman assignment problem (Discrete Mathematics 32, 1980): of those that are far enough
    behind, the one that would first be a whole turn behind. Taking whoever is furthest behind does not keep the bound.
    """
    divisor = math.gcd(*shares.values())
    wanted = {source: share // divisor for source, share in shares.items()}
    total, slack = sum(wanted.values()), max(2, 2 * len(wanted) - 2)
    behind = dict.fromkeys(wanted, 0)
    """In units of 1 / total turns."""
    order: list[int] = []
    for _ in range(total):
        for source, share in wanted.items():
            behind[source] += share
        ready = [source for source in wanted if slack * behind[source] >= total]
        chosen = min(ready, key=lambda source: ((slack - 1) * total - slack * behind[source]) / wanted[source])
        behind[chosen] -= total
        order.append(chosen)
    return order
