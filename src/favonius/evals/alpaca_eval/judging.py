"""How AlpacaEval shows two answers to its judges and takes their word. Source: Li et al. 2023 and the released code."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

FIRST, SECOND = "m", "M"
"""What AlpacaEval 2 calls the answer that is shown first and the other."""


def is_switched(instruction: str, seed: int = 0) -> bool:
    """Whether the model's answer is shown first, and the reference's second; drawn from the instruction alone.

    The text that seeds the draw is the original's, so that the same instructions are switched.
    """
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)[0]


def unswitched(preference: float, switched: bool) -> float:
    """A preference, 1 to 2, between answers as shown → between reference (1) and model (2)."""
    return 3 - preference if switched else preference


def weighted_preference(logprobs: Mapping[str, float], first: str = FIRST, second: str = SECOND) -> float | None:
    """1 (the first shown) to 2 (the second), from the log-probs of the likeliest first tokens of the judge's reply.

    2 − p(first) / (p(first) + p(second)); a token that is not among them has no probability. None where neither is.
    """
    weights = [logprobs.get(name, -math.inf) for name in (first, second)]
    top = max(weights)  # so that exp of very small log-probs is not 0 twice
    if top == -math.inf:
        return None
    one, other = (math.exp(weight - top) for weight in weights)
    return 2 - one / (one + other)
