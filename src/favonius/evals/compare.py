"""Who beats whom on the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from favonius.judges.duels import EVEN, Preferences, decided, preferences, value
from favonius.judges.figures import by_prompt
from favonius.judges.judge import Judgement, Verdict
from favonius.statistics import Estimate, share
from favonius.types import Answer, JudgedBy


@dataclass(frozen=True)
class Contest:
    """Every model's answer to one prompt, by label, and the judgement of them as one case, in this order."""

    answers: Mapping[str, Answer]
    judgement: Judgement

    @property
    def prompt_id(self) -> str:
        return next(iter(self.answers.values())).prompt_id

    def score(self, label: str) -> float | None:
        return value(self.judgement.verdicts[list(self.answers).index(label)])

    @cached_property
    def _preferences(self) -> Preferences:
        return preferences(self.judgement)

    def word(self, first: str, second: str) -> float | None:
        """How far the judge prefers the first model's answer: 1 wholly, 0 wholly the second's, 0.5 neither.

        None where it has no word on these two. A judge that compares is taken at its comparison of them, never at its
        scores, which are means over all that an answer was compared with.
        """
        labels = list(self.answers)
        i, j = labels.index(first), labels.index(second)
        if i < j:
            return self._preferences.get((i, j))
        other = self._preferences.get((j, i))
        return None if other is None else 1.0 - other

    def result(self, first: str, second: str) -> float | None:
        """As `word`, but an answer without flaw beats one with any (empty, unfinished, looping, leaking role markers),
        whatever the judge says: a likelihood judge takes loops for excellent prose."""
        mine, theirs = self.answers[first].flaws, self.answers[second].flaws
        return float(not mine) if bool(mine) != bool(theirs) else self.word(first, second)

    def tie(self, first: str, second: str) -> float | None:
        """1 where the judge prefers neither, 0 where it does, None where it has no word."""
        word = self.word(first, second)
        return None if word is None else float(decided(word) == EVEN)

    def silence(self, first: str, second: str) -> float:
        """1 where the judge has no word, else 0."""
        return float(self.word(first, second) is None)


@dataclass(frozen=True)
class Judged:
    """All contests, prompt by prompt, and who judged them."""

    mark: JudgedBy
    contests: tuple[Contest, ...]
    tokens: int

    def answers(self, label: str) -> list[Answer]:
        return [contest.answers[label] for contest in self.contests]

    def verdicts(self) -> Iterator[Verdict]:
        return (verdict for contest in self.contests for verdict in contest.judgement.verdicts)


Measured = Callable[[Contest, str, str], float | None]
"""A number from 0 to 1 of the first model's game against the second's, such as `Contest.result`; None is left out."""


def share_of_games(contests: Sequence[Contest], first: str, second: str, measured: Measured) -> Estimate | None:
    """Mean over the games in which there is something to measure; None where there is none. Prompts are the units."""
    games = ((one.prompt_id, found) for one in contests if (found := measured(one, first, second)) is not None)
    return share(*by_prompt(games))


def win_rate(contests: Sequence[Contest], first: str, second: str) -> Estimate | None:
    """Share of the games that the first model wins, ties half; games without a result are left out."""
    return share_of_games(contests, first, second, Contest.result)
