"""Whole numbers by the million, summed up: they are kept as counts of each value."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise

from favonius.doctor.diagnosis import Bin, Distribution

MOST_BINS = 10


class Numbers:
    """Counts of values, added one at a time."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, value: int) -> None:
        self.counts[value] += 1

    def distribution(self, edges: Sequence[int] | None = None) -> Distribution | None:
        """Quantiles (nearest rank), and how many there are between `edges` and beyond; None of no numbers.

        Empty bins stand only between others.
        """
        if not self.counts:
            return None
        median, p90, p99 = self._quantiles(0.5, 0.9, 0.99)
        return Distribution(
            count=self.counts.total(),
            sum=sum(value * count for value, count in self.counts.items()),
            least=min(self.counts),
            median=median,
            p90=p90,
            p99=p99,
            most=max(self.counts),
            bins=self._bins(self.edges() if edges is None else edges),
        )

    def edges(self) -> list[int]:
        """Round numbers, evenly apart, around all but the lowest and highest hundredth."""
        return _round_edges(*self._quantiles(0.01, 0.99)) if self.counts else []

    def with_those_of(self, other: Numbers) -> Numbers:
        both = Numbers()
        both.counts = self.counts + other.counts
        return both

    def _quantiles(self, *shares: float) -> list[int]:
        values = sorted(self.counts)
        upto = list(accumulate(self.counts[value] for value in values))
        return [values[bisect_left(upto, math.ceil(share * upto[-1]))] for share in shares]

    def _bins(self, edges: Sequence[int]) -> tuple[Bin, ...]:
        borders: list[tuple[int | None, int | None]] = [(None, edges[0]), *pairwise(edges), (edges[-1], None)]
        bins = [Bin(low, high, self._between(low, high)) for low, high in borders]
        filled = [index for index, bin in enumerate(bins) if bin.count]
        return tuple(bins[filled[0] : filled[-1] + 1])

    def _between(self, low: int | None, high: int | None) -> int:
        return sum(
            count
            for value, count in self.counts.items()
            if (low is None or value >= low) and (high is None or value < high)
        )


def _round_edges(least: int, most: int) -> list[int]:
    """Round numbers, evenly apart, around all from `least` to `most`; a scale of lengths begins at nothing."""
    if 0 < least <= most / 2:
        least = 0
    width = _round_width(most - least + 1)
    return list(range(least // width * width, most + width + 1, width))


def _round_width(span: int) -> int:
    """1, 2 or 5 times a power of ten, so wide that MOST_BINS of them hold `span`, wherever it begins."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power * (MOST_BINS - 1) >= span:
                return digit * power
        power *= 10
