"""What an estimate is, and how text is counted in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from favonius.recipe import Recipe

BYTES_PER_TOKEN = 3.0
"""Of English prose 4 to 5; of code, and of other languages, less."""
INSTRUCTION_TOKENS = 400
"""What Favonius' own prompts take at most, with the examples or passages that they quote."""
UNWRITTEN_TOKENS = 120
"""An opening that nobody has written yet."""


@dataclass(frozen=True)
class Asks:
    """Requests to one model, and their tokens."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Estimate:
    """Upper bounds for one step; `train` and `test` are the rows that it makes, or the prompts whose answers it makes.

    Where a hash or a seed decides what a part of them is, the bound holds for all but one draw in a thousand.
    """

    train: int = 0
    test: int = 0
    written: int = 0
    """Tokens that models write."""
    read: int = 0
    """Tokens of rows that are trained on or judged, each as long as it may be."""
    optimizer_steps: int = 0
    answers: int = 0
    """Answers per prompt."""
    prompt_tokens: int = 0
    """Of the longest prompt, about."""
    answer_tokens: int = 0
    """Of the longest answer, about."""
    asks: tuple[Asks, ...] = ()
    """What models are asked."""
    reasks: bool = False
    """Whether replies that cannot be read are asked for again; how many nobody knows, and none is counted."""
    uncounted: tuple[str, ...] = ()
    """Sources whose rows are not in these numbers, which are no bounds then."""

    @property
    def prompts(self) -> int:
        return self.train + self.test

    @property
    def requests(self) -> int:
        return sum(ask.requests for ask in self.asks)


def tokens_of(text: str | None) -> int:
    return 0 if text is None else math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


def part_of(count: int, share: float) -> int:
    """How many of `count` belong to a share that a hash decides, at most: the mean and three standard deviations."""
    mean = count * share
    return min(count, math.ceil(mean + 3 * math.sqrt(mean * (1 - share))))


def dollars(recipe: Recipe, step: Estimate) -> float:
    """What a step can cost at its models' prices."""
    bills = ((recipe.models[ask.model].price, ask) for ask in step.asks if ask.model in recipe.models)
    return sum(
        (price.prompt * ask.prompt_tokens + price.completion * ask.completion_tokens) / 1e6
        for price, ask in bills
        if price is not None
    )
