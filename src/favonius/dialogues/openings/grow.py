"""Self-Instruct: a handful of prompts, and more of their kind (Wang et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from favonius.dialogues.openings.config import Grow
from favonius.dialogues.openings.desk import Desk, turns
from favonius.dialogues.openings.plan import GROWN_ITEMS, SLACK
from favonius.types import Messages, SeedPrompt

FIRST = (
    "Write {count} requests that people might send to an assistant, as different in subject and in kind as possible. "
    "Write a numbered list with one request on each line."
)
MORE = (
    "Write {count} more of them, on other subjects and of other kinds. Write a numbered list with one request on each "
    "line. Do not answer them."
)
GIVEN_EXAMPLES, GROWN_EXAMPLES = 6, 2
"""In each prompt: so many of the given prompts and so many of the grown, as in the paper."""
LEAST_WAVE = 4
"""Lists in a wave at least; later waves see what earlier ones brought."""


def write(sector: Grow, given: Sequence[SeedPrompt], desk: Desk) -> list[SeedPrompt]:
    """Up to `sector.count` prompts; a wave brings no more than there is to show as examples."""
    pool = desk.pool(sector.count, sector.similarity, [seed.prompt for seed in given])
    for wave in pool.waves():
        wanted = min(pool.missing, len(given) + len(pool.kept))
        lists = max(LEAST_WAVE, math.ceil(wanted * SLACK / GROWN_ITEMS))
        prompts = [_prompt(f"{wave} {number}", given, pool.kept, desk) for number in range(lists)]
        for found in desk.lists(prompts, "grown prompts", sample=wave):
            for prompt in found[:GROWN_ITEMS]:
                pool.add(desk.opening(prompt))
    return pool.kept[: sector.count]


def _prompt(which: str, given: Sequence[SeedPrompt], grown: Sequence[SeedPrompt], desk: Desk) -> Messages:
    """The examples as if the teacher had written them, which it then goes on with."""
    of_grown = desk.sample(grown, GROWN_EXAMPLES, f"grown {which}")
    of_given = desk.sample(given, GIVEN_EXAMPLES + GROWN_EXAMPLES - len(of_grown), f"given {which}")
    examples = desk.sample([*of_given, *of_grown], len(of_given) + len(of_grown), f"order {which}")
    lines = [f"{number}. {' '.join(seed.prompt.split())}" for number, seed in enumerate(examples, start=1)]
    return turns(FIRST.format(count=len(lines)), "\n".join(lines), MORE.format(count=GROWN_ITEMS))
