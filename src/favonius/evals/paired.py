"""Two models on the same items: how far they are apart, and whether that can be chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from favonius.judges.figures import DUST, by_prompt
from favonius.statistics import Estimate, balance, sign_test, standard_error

Item = TypeVar("Item", bound=Hashable)
FEWEST = 6
"""Of units that differ. Fewer, all to one side, are still what a coin does more often than once in twenty times; and a
bootstrap of so few, or an interval for units that are all alike, claims too much."""


@dataclass(frozen=True)
class Paired:
    """The first model against the second. Units are what is independent: questions, prompts, documents."""

    difference: Estimate
    """Mean of first − second over the items, with the paired bootstrap's 95 % interval over units."""
    standard_error: float | None
    """Of the difference; None with a single unit."""
    wins: int
    """Units on which the first has the higher sum."""
    losses: int
    ties: int
    p: float
    """Two-sided sign test over units, ties set aside."""
    only_first: int
    """Items without a score of the second, which are left out."""
    only_second: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out no difference at all, and enough units differ for that to mean much."""
        differ = self.wins + self.losses >= FEWEST
        return differ and not self.difference.low <= 0.0 <= self.difference.high


def compare(
    first: Mapping[Item, float],
    second: Mapping[Item, float],
    unit: Callable[[Item], Hashable] = lambda item: item,
    span: float = 1.0,
    weight: Callable[[Item], float] = lambda item: 1.0,
) -> Paired | None:
    """Compare scores by item, on the items that both models have; None where there is none that weighs anything.

    Items of one `unit` are resampled together: the two turns of a question, the instructions of a prompt. `span` is
    how far two scores can be apart, 1 for shares and 9 for grades from 1 to 10; units that all differ alike get an
    interval by it, as a bootstrap of them has no width. `weight` is how much an item counts, such as its tokens.
    ValueError where a score is not finite.
    """
    shared = [item for item in first if item in second]
    if not shared:
        return None
    if any(not math.isfinite(scores[item]) for item in shared for scores in (first, second)):
        raise ValueError("a score is not a finite number")
    sums, _ = by_prompt((unit(item), weight(item) * (first[item] - second[item]) / span) for item in shared)
    counts, _ = by_prompt((unit(item), weight(item)) for item in shared)
    apart = balance(sums, counts)
    if apart is None:
        return None
    error = standard_error(sums, counts)
    wins, losses = sum(total > DUST for total in sums), sum(total < -DUST for total in sums)
    return Paired(
        difference=Estimate(apart.value * span, apart.low * span, apart.high * span, apart.n),
        standard_error=None if error is None else error * span,
        wins=wins,
        losses=losses,
        ties=len(sums) - wins - losses,
        p=sign_test(wins, losses),
        only_first=len(first) - len(shared),
        only_second=len(second) - len(shared),
    )
