"""Who beats whom on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from favonius.statistics import Estimate, share
from favonius.types import Answer


class Judged(NamedTuple):
    answer: Answer
    score: float | None
    """None: the judge could not rate it, as with an empty answer."""


def preferred(first: Judged, second: Judged, mind_flaws: bool) -> float:
    """1 where the first answer wins, 0 where the second does, 0.5 for a tie.

    With `mind_flaws` an answer without flaw beats one with any (empty, unfinished, looping, leaking role markers),
    whatever the score: a likelihood judge takes loops for excellent prose.
    """
    if mind_flaws and bool(first.answer.flaws) != bool(second.answer.flaws):
        return float(not first.answer.flaws)
    if first.score is None or second.score is None:
        return 0.5 + 0.5 * (first.score is not None) - 0.5 * (second.score is not None)
    return 0.5 + 0.5 * (first.score > second.score) - 0.5 * (first.score < second.score)


def win_rate(first: Sequence[Judged], second: Sequence[Judged], mind_flaws: bool = True) -> Estimate | None:
    """Share of prompt-and-sample games that the first model wins, ties half. Both lists in one order of prompts."""
    wins: dict[str, float] = {}
    games: dict[str, float] = {}
    for mine, theirs in zip(first, second, strict=True):
        if mine.answer.prompt_id != theirs.answer.prompt_id:
            raise ValueError("the two models' answers are not to the same prompts in the same order")
        prompt = mine.answer.prompt_id
        wins[prompt] = wins.get(prompt, 0.0) + preferred(mine, theirs, mind_flaws)
        games[prompt] = games.get(prompt, 0.0) + 1
    return share(list(wins.values()), list(games.values()))
