"""Answers two by two: whom a judge prefers, and whether length, kinship or the labels of a reference explain it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from favonius.judges.figures import Trial, Written, by_prompt, partial_slope, slope
from favonius.judges.judge import Judgement, Score, Verdict
from favonius.statistics import Estimate, balance, share
from favonius.types import Feedback, Noun

MATCHED = 0.9
"""Two answers are of one length where the shorter has so much of the longer one's characters."""
LENGTH_STEPS = (1.0, 1.1, 1.5, 2.0, 4.0, math.inf)
"""How many times as long the longer answer is: where the bins of `length_curve` begin and end."""
EVEN = 0.5
SLACK = 1e-9
"""Preferences so near to a half are ties: means of log-probs leave dust."""

Labels = Sequence[float | None]
"""A reference's score of each answer to a prompt, None where it gave none."""
Preferences = dict[tuple[int, int], float]


@dataclass(frozen=True, slots=True)
class Duel:
    """Two answers to one prompt. `won` and `label` are the judge's and the reference's word on the first: 1 better,
    0 worse, 0.5 neither; the gaps are the differences of their scores."""

    prompt: int
    won: float
    gap: float | None
    label: float | None
    label_gap: float | None
    doublings: float
    """log2 of the first one's length over the second's, in characters."""
    own: int
    """1 where only the first is of the judge's family, −1 where only the second is."""

    @property
    def matched(self) -> bool:
        return abs(self.doublings) <= -math.log2(MATCHED)


Word = Callable[[Duel], float | None]
"""What is said of a pair, a number from 0 to 1, if anything."""


class LengthBin(Noun):
    """How often the longer of two answers wins where it is `low` to `high` times as long; no `high`: or longer."""

    low: float
    high: float | None
    judge: Written
    reference: Written | None = None


def value(verdict: Verdict) -> float | None:
    return verdict.value if isinstance(verdict, Score) else None


def decided(preference: float) -> float:
    """1, 0 or, where neither is preferred, 0.5."""
    return EVEN if abs(preference - EVEN) < SLACK else float(preference > EVEN)


def preferences(judgement: Judgement) -> Preferences:
    """How far the first of two answers is preferred, by their places, the lower first: as they were compared or, by a
    judge that compares none, as they were scored."""
    if judgement.comparisons:
        return dict(
            ((one.first, one.second), one.preference)
            if one.first < one.second
            else ((one.second, one.first), 1 - one.preference)
            for one in judgement.comparisons
        )
    return scored_preferences([value(verdict) for verdict in judgement.verdicts])


def scored_preferences(scores: Labels) -> Preferences:
    known = [(place, score) for place, score in enumerate(scores) if score is not None]
    return {(i, j): EVEN if mine == other else float(mine > other) for (i, mine), (j, other) in combinations(known, 2)}


def duels(prompt: int, case: Feedback, judgement: Judgement, labels: Labels, own: Collection[str]) -> Iterator[Duel]:
    """Every two answers of a case on which the judge had a word. Empty `labels`: there is no reference."""
    scores = [value(verdict) for verdict in judgement.verdicts]
    labelled = scored_preferences(labels)
    lengths = [math.log2(max(1, len(answer.text))) for answer in case.completions]
    kin = [answer.source in own for answer in case.completions]
    for (i, j), preference in preferences(judgement).items():
        yield Duel(
            prompt=prompt,
            won=decided(preference),
            gap=_gap(scores, i, j),
            label=labelled.get((i, j)),
            label_gap=_gap(labels, i, j) if (i, j) in labelled else None,
            doublings=lengths[i] - lengths[j],
            own=kin[i] - kin[j],
        )


def _gap(scores: Labels, first: int, second: int) -> float | None:
    mine, other = scores[first], scores[second]
    return None if mine is None or other is None else mine - other


def _favoured(word: float, lean: float) -> float | None:
    """Whether the side to which `lean` points was preferred; None where neither was, or it points to none."""
    return None if word == EVEN or lean == 0 else float((word > EVEN) == (lean > 0))


def rate(all_duels: Sequence[Duel], word: Word) -> Estimate | None:
    """Mean of `word`, a number from 0 to 1, over the duels on which there is one."""
    return share(*by_prompt(_trials(all_duels, word)))


def excess(all_duels: Sequence[Duel], judge: Word, reference: Word) -> Estimate | None:
    """How much larger the judge's rate is than the reference's, over the duels on which both have a word."""

    def difference(duel: Duel) -> float | None:
        mine, true = judge(duel), reference(duel)
        return None if mine is None or true is None else mine - true

    return balance(*by_prompt(_trials(all_duels, difference)))


def _trials(all_duels: Sequence[Duel], word: Word) -> Iterator[Trial]:
    return ((duel.prompt, found) for duel in all_duels if (found := word(duel)) is not None)


def both(duel: Duel) -> bool:
    """Judge and reference prefer one of the two."""
    return duel.won != EVEN and duel.label is not None and duel.label != EVEN


def right(duel: Duel) -> float | None:
    """Whether the judge says what the reference says; half where the judge has no preference."""
    if duel.label is None or duel.label == EVEN:
        return None
    return EVEN if duel.won == EVEN else float(duel.won == duel.label)


def longer_won(duel: Duel) -> float | None:
    return _favoured(duel.won, duel.doublings)


def longer_labelled(duel: Duel) -> float | None:
    return None if duel.label is None else _favoured(duel.label, duel.doublings)


def own_won(duel: Duel) -> float | None:
    return _favoured(duel.won, duel.own)


def own_labelled(duel: Duel) -> float | None:
    return None if duel.label is None else _favoured(duel.label, duel.own)


def length_slope(all_duels: Sequence[Duel], gap: Callable[[Duel], float | None]) -> Estimate | None:
    """What twice the length adds to a score, in typical gaps, so that judges of different scales can be compared."""
    known = [(duel, found) for duel in all_duels if (found := gap(duel)) is not None]
    spread = typical_gap(found for _, found in known)
    return slope((duel.prompt, duel.doublings, found / spread) for duel, found in known) if spread else None


def lean(all_duels: Sequence[Duel], trait: Callable[[Duel], float]) -> Estimate | None:
    """What a trait of the first answer adds to the judge's score, in typical gaps, where the reference scores both
    alike. A judge that is the reference with noise has none, while its excess over the reference is below 0: noise
    takes from every preference."""
    known = [(duel, duel.gap, duel.label_gap) for duel in all_duels]
    both = [(duel, gap, label) for duel, gap, label in known if gap is not None and label is not None]
    spread = typical_gap(gap for _, gap, _ in both)
    if not spread:
        return None
    return partial_slope((duel.prompt, label, trait(duel), gap / spread) for duel, gap, label in both)


def typical_gap(gaps: Iterable[float]) -> float:
    """The root mean square; 0 where there are none."""
    squares = [gap**2 for gap in gaps]
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def length_curve(all_duels: Sequence[Duel]) -> tuple[LengthBin, ...]:
    """The share of longer winners by how much longer they are; where there are labels, the reference's too."""
    curve = []
    for low, high in pairwise(LENGTH_STEPS):
        within = [duel for duel in all_duels if math.log2(low) <= abs(duel.doublings) < math.log2(high)]
        judge = rate(within, longer_won)
        if judge is not None:
            reference = rate(within, longer_labelled)
            upto = None if math.isinf(high) else high
            curve.append(LengthBin(low=low, high=upto, judge=judge, reference=reference))
    return tuple(curve)
