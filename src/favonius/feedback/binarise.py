"""From the rated answers to one prompt to pairs, by a rule. Pure: the same row, rule and seed give the same pairs.

Every draw is seeded by its prompt, so that one prompt more or less changes no other pair, and every rule meets the
same prompt with the same draw.
"""

from __future__ import annotations

import random
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from favonius.data.checks import Drops
from favonius.feedback.rules import (
    AllPairs,
    BestVsRandomLower,
    BestVsRandomOther,
    BestVsWorst,
    LengthMatched,
    Margin,
    Rule,
    ScoredBy,
    ScoreName,
)
from favonius.types import Feedback, Pair, PairOrigin, RatedText

FEW_SCORES = "fewer than two answers have a score"
ALL_FLAWED = "every answer has a flaw"
ALL_SAME = "all answers are the same"
TIE = "tie"
NO_MARGIN = "no answer is lower by the margin"
NO_MATCH = "no lower answer is of about the length"

SCORE_DIGITS = 12
"""Decimals of a difference of scores that count: 13/3 - 10/3 is a margin of 1, and means that should tie do."""


class NoPairError(Exception):
    """A rule makes no pair of a prompt; `cause` is one of the fixed wordings above, to count by."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer with a score. `place` is where it stands in `Feedback.completions`; `sound`: it may be chosen."""

    place: int
    text: str
    score: float
    sound: bool

    def lead(self, other: Candidate) -> float:
        """By how much its score is above the other's."""
        return round(self.score - other.score, SCORE_DIGITS)


class Choice(NamedTuple):
    chosen: Candidate
    rejected: Candidate


class Made(NamedTuple):
    """What a rule makes of one prompt: nothing, where the cause was counted. `used` is the score that it went by."""

    used: ScoreName
    choices: tuple[Choice, ...]


def choices_of(
    feedback: Feedback, rule: Rule, score: ScoredBy, never_chosen: Sequence[str], seed: int, drops: Drops
) -> Made:
    """What `rule` chooses among one prompt's answers; where that is nothing, the cause is counted in `drops`.

    Answers without a score take no part (`without_score` counts them). Those with a flaw of `never_chosen` are lower
    than all others. Of several best answers one is drawn; answers with the same text are never paired.
    """
    used, numbers = scores_of(feedback.completions, score)
    try:
        found = choose(candidates(feedback.completions, numbers, frozenset(never_chosen)), rule, seed, feedback.id)
    except NoPairError as error:
        drops.add(error.cause, feedback.id)
        found = []
    return Made(used, tuple(found))


def as_pairs(feedback: Feedback, made: Made, rule: Rule, score: ScoredBy, seed: int) -> list[Pair]:
    """Rows with their origin. Where a rule may make several of a prompt, their ids have the answers' places in them."""
    name, several = f"{rule.name} by {score.named(made.used)}", isinstance(rule, AllPairs)
    return [_pair(feedback, choice, name, seed, several) for choice in made.choices]


def scores_of(answers: Sequence[RatedText], score: ScoredBy) -> tuple[ScoreName, list[float | None]]:
    """Which number counts for these answers, and each one's.

    `both` never sets an overall score against a mean of aspects, which has another unit: the number that more of the
    answers have counts for all of them, and the overall score where as many have either.
    """
    if score.by == "overall":
        return "overall", [answer.overall for answer in answers]
    means = [aspects_mean(answer, score) for answer in answers]
    overall = [answer.overall for answer in answers]
    if score.by == "aspects" or overall.count(None) > means.count(None):
        return "aspects", means
    return "overall", overall


def aspects_mean(answer: RatedText, score: ScoredBy) -> float | None:
    """The weighted mean of the aspects that have a number (Notus: all of them alike); None where none has."""
    total = weight = 0.0
    for aspect, number in answer.scores.items():
        own = score.weights.get(aspect, 0.0) if score.weights else 1.0
        if number is not None and own:
            total += own * number
            weight += own
    return total / weight if weight else None


def without_score(feedback: Feedback, score: ScoredBy) -> int:
    """How many of the answers no rule can use."""
    return scores_of(feedback.completions, score)[1].count(None)


def candidates(answers: Sequence[RatedText], scores: Sequence[float | None], never_chosen: Set[str]) -> list[Candidate]:
    return [
        Candidate(place, answer.text.strip(), number, never_chosen.isdisjoint(answer.flaws))
        for place, (answer, number) in enumerate(zip(answers, scores, strict=True))
        if number is not None
    ]


def choose(answers: Sequence[Candidate], rule: Rule, seed: int, prompt: str) -> list[Choice]:
    """What `rule` chooses and rejects. NoPairError where it finds nothing to pair."""
    if len(answers) < 2:
        raise NoPairError(FEW_SCORES)
    sound = [answer for answer in answers if answer.sound]
    if not sound:
        raise NoPairError(ALL_FLAWED)
    draw = random.Random(f"{seed} {prompt}")
    if isinstance(rule, AllPairs):
        return _all_pairs(answers, rule, draw)
    best = drawn_best(sound, seed, prompt)
    others = [answer for answer in answers if answer.text != best.text]
    if not others:
        raise NoPairError(ALL_SAME)
    return [Choice(best, _rejected(best, others, rule, draw))]


def drawn_best(answers: Sequence[Candidate], seed: int, prompt: str) -> Candidate:
    """The answer with the highest score; of several one is drawn."""
    top = max(answers, key=lambda answer: answer.score)
    tied = [answer for answer in answers if not top.lead(answer)]
    # A generator of its own: what is rejected must not depend on whether the best was drawn.
    return tied[0] if len(tied) == 1 else random.Random(f"{seed} best {prompt}").choice(tied)


def _rejected(best: Candidate, others: Sequence[Candidate], rule: Rule, draw: random.Random) -> Candidate:
    lower = [answer for answer in others if _is_lower(answer, best)]
    if not lower:
        raise NoPairError(TIE)
    match rule:
        case BestVsRandomLower():
            return draw.choice(lower)
        case BestVsRandomOther():
            other = draw.choice(others)
            if not _is_lower(other, best):
                raise NoPairError(TIE)
            return other
        case BestVsWorst():
            worst = min(lower, key=lambda answer: (answer.sound, answer.score))
            return draw.choice([one for one in lower if one.sound == worst.sound and not one.lead(worst)])
        case Margin():
            return _drawn([other for other in lower if best.lead(other) >= rule.least], draw, NO_MARGIN)
        case LengthMatched():
            return _drawn([other for other in lower if alike(best.text, other.text, rule.within)], draw, NO_MATCH)
        case AllPairs():
            raise AssertionError("it pairs more than the best")


def _is_lower(answer: Candidate, best: Candidate) -> bool:
    return not answer.sound or best.lead(answer) > 0


def _drawn(answers: Sequence[Candidate], draw: random.Random, cause: str) -> Candidate:
    if not answers:
        raise NoPairError(cause)
    return draw.choice(answers)


def alike(one: str, other: str, within: float) -> bool:
    """Whether two texts have about the same number of characters: they differ by at most `within` of the longer."""
    return abs(len(one) - len(other)) <= within * max(len(one), len(other))


def _all_pairs(answers: Sequence[Candidate], rule: AllPairs, draw: random.Random) -> list[Choice]:
    different = [(one, other) for one, other in combinations(answers, 2) if one.text != other.text]
    if not different:
        raise NoPairError(ALL_SAME)
    ordered = [Choice(*sorted(two, key=lambda answer: -answer.score)) for two in different]
    found = [pair for pair in ordered if pair.chosen.sound and pair.chosen.lead(pair.rejected) > rule.least]
    if not found:
        raise NoPairError(NO_MARGIN if rule.least else TIE)
    if rule.most is None or len(found) <= rule.most:
        return found
    return [found[number] for number in sorted(draw.sample(range(len(found)), rule.most))]


def _pair(feedback: Feedback, choice: Choice, rule: str, seed: int, several: bool) -> Pair:
    places = (choice.chosen.place, choice.rejected.place)
    chosen, rejected = (feedback.completions[place] for place in places)
    origin = PairOrigin(
        rule=rule, seed=seed, prompt_source=feedback.source, judge=feedback.judge, places=places,
        calls=tuple(call for call in feedback.calls if not set(places).isdisjoint(call.order)),
        chosen=chosen.origin, rejected=rejected.origin,
        chosen_principle=chosen.principle, rejected_principle=rejected.principle,
    )  # fmt: skip
    return Pair(
        id=f"{feedback.id}/{places[0]}-{places[1]}" if several else feedback.id,
        split=feedback.split, prompt=feedback.prompt, chosen=chosen.text, rejected=rejected.text,
        chosen_finished=chosen.finished, rejected_finished=rejected.finished,
        chosen_source=chosen.source, rejected_source=rejected.source,
        chosen_score=choice.chosen.score, rejected_score=choice.rejected.score, origin=origin,
    )  # fmt: skip
