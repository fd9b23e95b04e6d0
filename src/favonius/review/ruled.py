"""The voice of a rule of binarisation: which pairs it makes of the same feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from favonius.data.checks import Drops
from favonius.feedback.binarise import choices_of, scores_of
from favonius.feedback.config import Binarisation
from favonius.feedback.pairs import Account, prepared
from favonius.feedback.rules import AllPairs
from favonius.review.contest import Contest, Opinion
from favonius.types import Feedback

Places = tuple[int, int]
"""Of the chosen and the rejected answer."""


@dataclass(frozen=True)
class Made:
    """What a rule makes of one prompt: pairs, and why there are none."""

    pairs: tuple[Places, ...]
    scores: tuple[float | None, ...]
    cause: str = ""

    @property
    def chosen(self) -> frozenset[int]:
        return frozenset(chosen for chosen, _ in self.pairs)

    def gap(self, one: int, other: int) -> float:
        """How far the scores of two answers are apart; 0 where one has none."""
        first, second = self.scores[one], self.scores[other]
        return 0.0 if first is None or second is None else abs(first - second)


class Ruled:
    """A rule with its score, seed and the rest of how pairs are made."""

    def __init__(self, how: Binarisation, name: str) -> None:
        self.how, self.name = how, name

    def made(self, row: Feedback) -> Made:
        how, drops, account = self.how, Drops(), Account()
        ready = next(prepared([row], how, account), None)
        if ready is None:
            return Made((), tuple(None for _ in row.completions), "".join(account.dropped.counts))
        found = choices_of(ready, how.rule, how.score, how.never_chosen, how.seed, drops)
        pairs = tuple((choice.chosen.place, choice.rejected.place) for choice in found.choices)
        return Made(pairs, tuple(scores_of(ready.completions, how.score)[1]), "".join(drops.counts))

    def opinion(self, contest: Contest) -> Opinion:
        made = self.made(contest.row)
        return Opinion(
            voice=self.name, lean=self._lean(made, contest.places), says=_says(made, contest),
            scores=(made.scores[contest.places[0]], made.scores[contest.places[1]]),
        )  # fmt: skip

    def _lean(self, made: Made, shown: Places) -> float | None:
        """A pair of the two says which is better; so does choosing one for the best of all, and not the other."""
        for first, second, lean in ((*shown, 1.0), (*reversed(shown), -1.0)):
            is_best = first in made.chosen and second not in made.chosen and not isinstance(self.how.rule, AllPairs)
            if (first, second) in made.pairs or is_best:
                return lean
        return None


def _says(made: Made, contest: Contest) -> str:
    if not made.pairs:
        return f"makes no pair of this prompt: {made.cause}"
    shown = contest.places
    if shown in made.pairs:
        return "chooses 1, rejects 2"
    if shown[::-1] in made.pairs:
        return "chooses 2, rejects 1"
    parts = [part for side, place in enumerate(shown, start=1) for part in _parts(made, contest.row, side, place)]
    return ", ".join(parts) or "makes pairs of other answers"


def _parts(made: Made, row: Feedback, side: int, place: int) -> list[str]:
    """What becomes of one of the answers shown in a pair with another that is not."""
    beaten = [row.completions[rejected].source for chosen, rejected in made.pairs if chosen == place]
    better = [row.completions[chosen].source for chosen, rejected in made.pairs if rejected == place]
    chooses = [f"chooses {side} over {_several(beaten)}"] if beaten else []
    return chooses + ([f"rejects {side} for {_several(better)}"] if better else [])


def _several(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return sources[0] + more
