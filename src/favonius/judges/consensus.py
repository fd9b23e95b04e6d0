"""Consensus: what other good answers say too counts for an answer. A judge's scores, moved by what answers share.

Right answers to a question are alike and wrong ones differ, each in its way; a small judge that cannot tell the two
sees at least how many agree (self-consistency, Wang et al. 2022; minimum Bayes risk decoding, with texts for labels).
The support of an answer is its mean likeness to the others, each weighted by how well the judge likes it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean, pstdev

from favonius.data.words import plain, words
from favonius.judges.config import ConsensusJudge
from favonius.judges.judge import FIRST, Judge, Judgement, Score, Showing
from favonius.types import Feedback, JudgedBy

DUST = 1e-9


class Consensus:
    """The judge of `config.judge`, opened, with its scores moved."""

    def __init__(self, config: ConsensusJudge, judge: Judge) -> None:
        self.config, self.inner = config, judge
        self.mark = JudgedBy(name=f"consensus by {judge.mark.name}", kind=config.kind, template=judge.mark.template)

    @property
    def tokens(self) -> int:
        return self.inner.tokens

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "  judging") -> list[Judgement]:
        heard = self.inner.judge(cases, showing, label)
        texts = ([answer.text for answer in case.completions] for case in cases)
        return [moved(judgement, told, self.config) for judgement, told in zip(heard, texts, strict=True)]


def moved(heard: Judgement, texts: Sequence[str], config: ConsensusJudge) -> Judgement:
    """What a judge made of answers with these texts, its scores moved by their support. Answers without a score neither
    get one nor support others. Comparisons are left out: they are the judge's word before it was moved."""
    scored = {place: verdict for place, verdict in enumerate(heard.verdicts) if isinstance(verdict, Score)}
    if len(scored) < config.least:
        return heard
    own = [score.value for score in scored.values()]
    found = supports(own, [texts[place] for place in scored])
    spread = config.weight * pstdev(own)
    new = {
        place: Score(score.value + spread * away, {"judge": score.value, "support": support}, score.critique)
        for (place, score), support, away in zip(scored.items(), found, standard(found), strict=True)
    }
    verdicts = tuple(new.get(place, verdict) for place, verdict in enumerate(heard.verdicts))
    return replace(heard, verdicts=verdicts, comparisons=())


def supports(scores: Sequence[float], texts: Sequence[str]) -> list[float]:
    """Of each answer its mean likeness to the others, 0 to 1, weighted by the exponential of their standard scores: one
    spread above the mean weighs e times as much as the mean."""
    likeness = likenesses(texts)
    weights = [math.exp(one) for one in standard(scores)]
    others = [[place for place in range(len(texts)) if place != own] for own in range(len(texts))]
    # Sums that hang on no order: answers that say the same must tie to the last bit.
    return [
        math.fsum(weights[other] * likeness[own][other] for other in rest) / math.fsum(weights[other] for other in rest)
        for own, rest in enumerate(others)
    ]


def likenesses(texts: Sequence[str]) -> list[list[float]]:
    """Of every two texts the share of their words and pairs of words that both have (Dice; see `words.words`), each
    weighted by log(1 + n / how many of the n texts have it): what nearly all say, such as "the", tells little."""
    terms = [_terms(text) for text in texts]
    spread = Counter(term for own in terms for term in own)
    weight = {term: math.log1p(len(texts) / count) for term, count in spread.items()}
    mass = [math.fsum(weight[term] for term in own) for own in terms]
    found = [[1.0] * len(texts) for _ in texts]
    for one in range(len(texts)):
        for other in range(one):
            shared = math.fsum(weight[term] for term in terms[one] & terms[other])
            found[one][other] = found[other][one] = 2 * shared / (mass[one] + mass[other])
    return found


def standard(values: Sequence[float]) -> list[float]:
    """Standard scores; 0 where all values are alike but for the dust of their sums, which must not be told apart."""
    middle, spread = fmean(values), pstdev(values)
    alike = spread <= DUST * max(map(abs, values))
    return [0.0 if alike else (value - middle) / spread for value in values]


def _terms(text: str) -> frozenset[str]:
    found = words(text) or [plain(text)]  # an emoji, "???"
    return frozenset(found) | {f"{one} {other}" for one, other in pairwise(found)}
