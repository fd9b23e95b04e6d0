"""The voice of a judge, of reference labels or of a person: a file of feedback with scores."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from favonius.feedback.binarise import scores_of
from favonius.feedback.rules import ScoredBy
from favonius.review.contest import Contest, Opinion, known_by, preference
from favonius.types import Comparison, Feedback, JudgeCall, Messages

SCORED = ScoredBy()


@dataclass(frozen=True)
class Rated:
    """A row with the score that counts of each of its answers, and where each text stands in it."""

    row: Feedback
    scores: tuple[float | None, ...]
    places: dict[str, int]

    @classmethod
    def of(cls, row: Feedback) -> Rated:
        texts = [known_by(answer.text) for answer in row.completions]
        places = {text: place for place, text in reversed(list(enumerate(texts)))}
        return cls(row, tuple(scores_of(row.completions, SCORED)[1]), places)


class Judged:
    """`run` is the run folder whose ledger holds the judge's raw replies, where there is one."""

    def __init__(self, name: str, rows: Sequence[Feedback], run: Path | None = None) -> None:
        self.name, self.run = name, run
        self.rated = [Rated.of(row) for row in rows]
        self._by_prompt: dict[Messages, list[Rated]] = {}
        for rated in self.rated:
            self._by_prompt.setdefault(rated.row.prompt, []).append(rated)
        self._all = sorted(score for rated in self.rated for score in rated.scores if score is not None)

    def has_scores(self) -> bool:
        return bool(self._all)

    def reading(self, other: Rated) -> Callable[[int, int], float | None]:
        """How far this judge prefers the first of two answers of `other`, told by their places there.

        From -1 to 1, and None where it did not judge both. Where it compared the two, that counts; else the difference
        of their scores' ranks among all that it gave, so that judges of different units can be held against each other.
        """
        rows = self._by_prompt.get(other.row.prompt, [])
        texts = {place: text for text, place in other.places.items()}

        def lean(first: int, second: int) -> float | None:
            found = _last(rows, texts[first], texts[second])
            return None if found is None else self._lean(*found)

        return lean

    def opinion(self, contest: Contest) -> Opinion:
        found = _last(self._by_prompt.get(contest.row.prompt, []), *contest.texts)
        if found is None:
            return Opinion(self.name, None, "did not judge both")
        rated, places = found
        lean = self._lean(rated, places)
        first, second = (rated.row.completions[place] for place in places)
        names = dict.fromkeys([*first.scores, *second.scores])
        return Opinion(
            voice=self.name, lean=lean, says=preference(lean),
            scores=(rated.scores[places[0]], rated.scores[places[1]]),
            aspects=tuple((name, (first.scores.get(name), second.scores.get(name))) for name in names),
            critiques=(first.critique, second.critique), notes=tuple(_orders(rated.row, places)),
            calls=asked_of(rated.row.calls, places), places=places, run=self.run,
        )  # fmt: skip

    def _lean(self, rated: Rated, places: tuple[int, int]) -> float | None:
        compared = compared_of(rated.row, places)
        if compared is not None:
            return 2 * compared.preference - 1
        first, second = (rated.scores[place] for place in places)
        return None if first is None or second is None else self._rank(first) - self._rank(second)

    def _rank(self, score: float) -> float:
        """The share of all scores that are lower; equal ones count half."""
        return (bisect_left(self._all, score) + bisect_right(self._all, score)) / (2 * len(self._all))


def _last(rows: Sequence[Rated], *texts: str) -> tuple[Rated, tuple[int, int]] | None:
    """The last row that holds both texts: a verdict that was given again replaces the one before."""
    for rated in reversed(rows):
        first, second = (rated.places.get(text) for text in texts)
        if first is not None and second is not None:
            return rated, (first, second)
    return None


def compared_of(row: Feedback, places: tuple[int, int]) -> Comparison | None:
    """What the judge said of the two set against each other, with `first` the first of `places`."""
    for found in row.comparisons:
        if (found.first, found.second) == places:
            return found
        if (found.second, found.first) == places:
            return _turned(found)
    return None


def _turned(found: Comparison) -> Comparison:
    """The same comparison told of its second answer: shown first is then what was shown second."""
    first, second = (None if seen is None else 1 - seen for seen in (found.seen_first, found.seen_second))
    return Comparison(
        first=found.second, second=found.first, preference=1 - found.preference, seen_first=second, seen_second=first
    )


def _orders(row: Feedback, places: tuple[int, int]) -> Iterator[str]:
    """How much position decided, where both orders were asked."""
    found = compared_of(row, places)
    if found is not None and found.seen_first is not None and found.seen_second is not None:
        first, second = (f"{100 * seen:.0f} %" for seen in (found.seen_first, found.seen_second))
        yield f"preference for 1: {first} when it is shown first, {second} second"


def asked_of(calls: Sequence[JudgeCall], places: tuple[int, int]) -> tuple[JudgeCall, ...]:
    """The calls that showed both answers; those that showed one, where none showed both."""
    both = tuple(call for call in calls if set(places) <= set(call.order))
    return both or tuple(call for call in calls if not set(places).isdisjoint(call.order))
