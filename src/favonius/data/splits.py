"""Which rows are held out, and which belong to a fraction: functions of a prompt's text, never of its position.

A row that is added moves no other. A prompt that comes twice, or with other case, spaces or punctuation, is on one side
both times, so that nothing that is learned from is also measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TypeVar

from favonius.data.words import plain, words
from favonius.types import Messages, Split

T = TypeVar("T")


def split_of(prompt: str, test_share: float) -> Split:
    """The side of a prompt; a larger `test_share` moves prompts to the test side and none back."""
    return "test" if share_of("split", prompt) < test_share else "train"


def in_fraction(prompt: str, fraction: float, seed: int = 0) -> bool:
    """Whether a prompt belongs to this fraction of its source, independently of its split.

    As the weights of the handbook's `dataset_mixer`, without their flaw: it takes the first rows of a file. Here the
    number of rows is the fraction only in the mean, a source that grows keeps the rows it gave, and a larger fraction
    holds every smaller one of the same seed.
    """
    return share_of(f"fraction {seed}", prompt) < fraction


def share_of(purpose: str, prompt: str) -> float:
    """An even draw from [0, 1) that depends on the purpose and the prompt's words alone."""
    drawn = blake2b(f"{purpose}\0{prompt_key(prompt)}".encode("utf-8", "surrogatepass"), digest_size=6)
    return int.from_bytes(drawn.digest()) / 2**48


def weighted(weights: Mapping[T, float], at: float) -> T:
    """The one whose share of the weights covers `at` in [0, 1), their shares laid side by side in the mapping's order.

    One weight at least must be above 0.
    """
    reached, total = 0.0, sum(weights.values())
    for item, weight in weights.items():
        reached += weight / total
        if at < reached:
            return item
    return [item for item, weight in weights.items() if weight][-1]  # rounding may leave a little


def prompt_key(prompt: str) -> str:
    """Equal for prompts that differ in case, spaces and punctuation only: to splits they are one."""
    return " ".join(words(prompt)) or plain(prompt)


def first_question(messages: Messages) -> Messages:
    """What is asked before the first answer: the first user turn, with a system message if one stands before it."""
    turns = (number for number, message in enumerate(messages, start=1) if message.role == "user")
    return messages[: next(turns, 1)]


def opening(messages: Messages) -> str:
    """The text whose split a conversation takes: its first user turn, so that all that opens alike stays together."""
    return next((message.content for message in messages if message.role == "user"), messages[0].content)
