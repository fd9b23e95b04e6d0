"""Which two answers of which prompts are worth a person's look: where judges or rules differ, or drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from favonius.review.contest import Contest, Voice
from favonius.review.judged import Judged, Rated
from favonius.review.ruled import Made, Ruled
from favonius.types import Feedback

REVERSED = "what one rule chooses, the other rejects"
OTHER_CHOSEN = "the rules choose different answers"
ONE_ALONE = "only one of the rules makes this pair"
OTHER_REJECTED = "the rules reject different answers"
KINDS = (OTHER_REJECTED, ONE_ALONE, OTHER_CHOSEN, REVERSED)
"""The most telling last."""


@dataclass(frozen=True)
class Deck:
    """What there is to look at, in order. `prompts`: of so many could the voices be held against each other.

    `drawn`: the contests are a random sample, and not the disagreements.
    """

    voices: tuple[Voice, ...]
    contests: tuple[Contest, ...]
    prompts: int
    drawn: bool


def between_judges(voices: Sequence[Judged], everything: bool, seed: int) -> Deck:
    """Two answers of every prompt: those on which two judges differ most, the clearest disagreement first.

    A disagreement is as large as the lean of the less decided of the two. With `everything`, or one judge alone: two
    answers drawn at random, and prompts in random order.
    """
    drawn = everything or len(voices) < 2
    found, prompts = [], 0
    for at, rated in enumerate(voices[0].rated):
        leans = leans_of_all(rated, voices)
        prompts += bool(leans)
        if leans and drawn:
            draw = random.Random(f"{seed} {rated.row.id} {at}")
            found.append(Contest(rated.row, draw.choice(list(leans)), (draw.random(),)))
        elif leans:
            places = max(leans, key=lambda two: _size(*leans[two]))
            found.append(Contest(rated.row, places, (_size(*leans[places]),)))
    kept = found if drawn else [contest for contest in found if contest.telling > (0.0,)]
    return Deck(tuple(voices), _ordered(kept, seed), prompts, drawn)


def leans_of_all(rated: Rated, voices: Sequence[Judged]) -> dict[tuple[int, int], tuple[float, ...]]:
    """How far each voice prefers the first of every two different answers of a row, where all of them judge both."""
    readings = [voice.reading(rated) for voice in voices]
    found = {}
    for two in combinations(sorted(rated.places.values()), 2):
        leans = tuple(lean for reading in readings if (lean := reading(*two)) is not None)
        if len(leans) == len(voices):
            found[two] = leans
    return found


def _size(one: float, other: float) -> float:
    """How decided the less decided of two judges is where they lean to different sides, else 0 or less."""
    return min(abs(one), abs(other)) if one * other < 0 else -abs(one - other)


def between_rules(voices: Sequence[Ruled], rows: Iterable[Feedback], everything: bool, seed: int) -> Deck:
    """Two answers of every prompt of which rules make different pairs: reversals first, wide gaps of score first.

    With `everything`, or one rule alone: a pair of every prompt, drawn at random from those that the rules make.
    """
    drawn = everything or len(voices) < 2
    found, prompts = [], 0
    for at, row in enumerate(rows):
        made = [voice.made(row) for voice in voices]
        pairs = sorted({pair for one in made for pair in one.pairs})
        prompts += bool(pairs)
        draw = random.Random(f"{seed} {row.id} {at}")
        if drawn and pairs:
            found.append(Contest(row, draw.choice(pairs), (draw.random(),)))
        elif not drawn:
            found += list(_difference(row, *made))[:1]
    return Deck(tuple(voices), _ordered(found, seed), prompts, drawn)


def _difference(row: Feedback, one: Made, other: Made) -> Iterator[Contest]:
    """Ways in which two rules differ on a prompt, the most telling first."""

    def contests(kind: str, places: Iterable[tuple[int, int]], gap: Callable[[int, int], float]) -> list[Contest]:
        found = [Contest(row, two, (float(KINDS.index(kind)), gap(*two)), kind) for two in sorted(places)]
        return sorted(found, key=lambda contest: contest.telling, reverse=True)

    ours, theirs = set(one.pairs), set(other.pairs)
    turned = {(rejected, chosen) for chosen, rejected in theirs}
    yield from contests(REVERSED, ours & turned, one.gap)
    best = ((x, y) for x in one.chosen - other.chosen for y in other.chosen - one.chosen)
    yield from contests(OTHER_CHOSEN, best, one.gap)
    if not (ours - theirs and theirs - ours):
        yield from contests(ONE_ALONE, ours - theirs, one.gap)
        yield from contests(ONE_ALONE, theirs - ours, other.gap)
        return
    rejected = ((a, b) for c, a in ours - theirs for d, b in theirs - ours if c == d)
    yield from contests(OTHER_REJECTED, rejected, one.gap)


def _ordered(contests: Sequence[Contest], seed: int) -> tuple[Contest, ...]:
    """The most telling first, each once, and which answer is shown first drawn: no place shall give a side away."""
    once = {contest.key: contest for contest in contests}.values()
    ordered = sorted(once, key=lambda contest: (*(-part for part in contest.telling), contest.row.id))
    turned = (random.Random(f"{seed} side {contest.key}").random() < 0.5 for contest in ordered)
    return tuple(
        replace(contest, places=contest.places[::-1]) if turn else contest
        for contest, turn in zip(ordered, turned, strict=True)
    )
