"""What is measured of a judge: numbers with their intervals over prompts, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Annotated

from pydantic import PlainSerializer

from favonius.statistics import Estimate, ratio
from favonius.types import Noun

Written = Annotated[Estimate, PlainSerializer(Estimate._asdict)]
"""An estimate that stands in a file with its names."""
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
