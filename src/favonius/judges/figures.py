"""What is measured of a judge: numbers with their intervals over prompts, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Annotated

from pydantic import PlainSerializer

from favonius.statistics import Estimate, ratio
from favonius.types import Noun

Written = Annotated[Estimate, PlainSerializer(Estimate._asdict)]
"""An estimate that stands in a file with its names."""
DUST = 1e-9
"""What rounding leaves of nothing."""
Trial = tuple[int, float]
"""A prompt's number, and what happened there once."""


class Figure(Noun):
    """An estimate, or in words why it cannot be had."""

    estimate: Written | None = None
    why: str = ""


def figure(estimate: Estimate | None, why: str) -> Figure:
    """`why` is what to say where there is no estimate."""
    return Figure(why=why) if estimate is None else Figure(estimate=estimate)


def by_prompt(trials: Iterable[tuple[Hashable, float]]) -> tuple[list[float], list[float]]:
    """The sum and the number of each prompt's trials, for `statistics.share` and its like."""
    sums: dict[Hashable, float] = {}
    counts: dict[Hashable, float] = {}
    for prompt, value in trials:
        sums[prompt] = sums.get(prompt, 0.0) + value
        counts[prompt] = counts.get(prompt, 0.0) + 1
    return list(sums.values()), list(counts.values())


def slope(points: Iterable[tuple[int, float, float]]) -> Estimate | None:
    """Of y over x through the origin, by least squares; points are (prompt, x, y)."""
    known = list(points)
    products, _ = by_prompt((prompt, x * y) for prompt, x, y in known)
    squares, _ = by_prompt((prompt, x * x) for prompt, x, _ in known)
    return ratio(products, squares)


def partial_slope(points: Iterable[tuple[int, float, float, float]]) -> Estimate | None:
    """Of y over x at equal z, by least squares through the origin; points are (prompt, z, x, y).

    What of x runs along with z is taken out of x, and what z explains out of y. None where x or z do not vary by
    themselves.
    """
    known = list(points)
    zz, zx, xx = (sum(one[i] * one[j] for one in known) for i, j in ((1, 1), (1, 2), (2, 2)))
    zy, xy = (sum(one[i] * one[3] for one in known) for i in (1, 2))
    apart = zz * xx - zx**2
    if apart <= DUST * zz * xx:
        return None
    of_z, of_x = (zy * xx - xy * zx) / apart, (xy * zz - zy * zx) / apart
    own = [(prompt, x - zx / zz * z, y - of_z * z - of_x * x) for prompt, z, x, y in known]
    return slope((prompt, left, rest + of_x * left) for prompt, left, rest in own)
