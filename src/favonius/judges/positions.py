"""What the order in which answers are shown does to a judge's word.

Only answers shown in both orders count: what they are worth cancels out, and what is left is their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from favonius.judges.duels import EVEN, decided, preferences, value
from favonius.judges.figures import by_prompt, slope
from favonius.judges.judge import Judgement, Score, Verdict
from favonius.statistics import Estimate, balance, share


@dataclass(frozen=True)
class Shown:
    """One case as it was judged at first, and once more with its answers in the reverse order (if it had to be)."""

    prompt: int
    first: Judgement
    reversed: Judgement | None


@dataclass(frozen=True)
class Look:
    """How far one of two answers was preferred when it was shown before the other, and after it."""

    prompt: int
    before: float
    after: float


def shows_several(judgement: Judgement) -> bool:
    """Whether the judge saw answers beside each other, so that their order can matter."""
    return any(len(call.order) > 1 for call in judgement.calls)


def both_orders_seen(judgement: Judgement) -> bool:
    """Whether the order needs no second showing: the judge has compared everything both ways by itself. Joint votes of
    an ensemble were seen in no order of their own."""
    seen = [(one.seen_first, one.seen_second) for one in judgement.comparisons]
    return any(first is not None for first, _ in seen) and all(
        (first is None) == (second is None) for first, second in seen
    )


def looks(shown: Shown) -> list[Look]:
    """Of every two answers, and every aspect where each is asked for by itself."""
    if shown.first.comparisons:
        return list(_compared(shown))
    return [look for orders in _both_ways(shown) for look in _scored(shown.prompt, orders)]


def first_wins(seen: Sequence[Look]) -> Estimate | None:
    """How much more often than half the answer that is shown first is preferred, from −0.5 to 0.5."""
    found = balance(*by_prompt((look.prompt, look.before - look.after) for look in seen))
    return None if found is None else Estimate(found.value / 2, found.low / 2, found.high / 2, found.n)


def flips(all_shown: Sequence[Shown]) -> Estimate | None:
    """The share of pairs whose preference is the opposite in the reverse order, of those preferred in both."""
    trials = ((shown.prompt, one, other) for shown in all_shown for one, other in _two_words(shown))
    return share(*by_prompt((prompt, float(one != other)) for prompt, one, other in trials if EVEN not in (one, other)))


def place_slope(all_shown: Sequence[Shown]) -> Estimate | None:
    """What an answer's score gains from the first place to the last, in the judge's own unit."""
    return slope(point for shown in all_shown for orders in _both_ways(shown) for point in _moved(shown.prompt, orders))


def places(all_shown: Sequence[Shown]) -> tuple[Estimate, ...]:
    """How often the answer in each place is preferred to the others, of the cases with the commonest number of answers;
    a tie counts half. Empty where fewer than three are shown together: there `first_wins` says all."""
    orders = [(shown.prompt, both) for shown in all_shown for both in _both_ways(shown)]
    sizes = [len(both[0].order) for _, both in orders]
    size = max(set(sizes), key=lambda size: (sizes.count(size), size), default=0)
    wins: list[list[tuple[int, float]]] = [[] for _ in range(size)]
    for prompt, both in orders:
        for order in both:
            if len(order.order) == size > 2:
                for place, other, won in order.places():
                    wins[place].append((prompt, won))
                    wins[other].append((prompt, 1 - won))
    found = [share(*by_prompt(of_place)) for of_place in wins]
    return tuple(estimate for estimate in found if estimate is not None)


@dataclass(frozen=True)
class _Order:
    """The answers of one call as they were shown, and what each got."""

    order: tuple[int, ...]
    scores: tuple[float, ...]

    def preferred(self) -> dict[tuple[int, int], float]:
        """Of every two answers how far the one shown before is preferred, by (before, after)."""
        known = zip(self.order, self.scores, strict=True)
        return {(i, j): _preferred(mine, other) for (i, mine), (j, other) in combinations(known, 2)}

    def places(self) -> Iterator[tuple[int, int, float]]:
        """Of every two places how far the former is preferred."""
        for (i, mine), (j, other) in combinations(enumerate(self.scores), 2):
            yield i, j, _preferred(mine, other)


def _preferred(mine: float, other: float) -> float:
    return EVEN if mine == other else float(mine > other)


def _both_ways(shown: Shown) -> Iterator[tuple[_Order, _Order]]:
    """The calls that were made in both orders and scored every answer both times."""
    if shown.reversed is None or shown.first.comparisons:
        return
    again = _orders(shown.reversed)
    for aspect, order in _orders(shown.first).items():
        if aspect in again and sorted(again[aspect].order) == sorted(order.order):
            yield order, again[aspect]


def _orders(judgement: Judgement) -> dict[str | None, _Order]:
    """By aspect; where a reply was asked for again, the last."""
    found = {}
    for call in judgement.calls:
        scores = [_score(judgement.verdicts[place], call.aspect) for place in call.order]
        known = [score for score in scores if score is not None]
        if len(call.order) > 1 and len(known) == len(scores):
            found[call.aspect] = _Order(call.order, tuple(known))
    return found


def _score(verdict: Verdict, aspect: str | None) -> float | None:
    if not isinstance(verdict, Score) or aspect is None:
        return value(verdict)
    return verdict.aspects.get(aspect)


def _scored(prompt: int, orders: tuple[_Order, _Order]) -> Iterator[Look]:
    once, again = (order.preferred() for order in orders)
    for (i, j), before in once.items():
        if (j, i) in again:  # shown the other way round
            yield Look(prompt, before, 1 - again[j, i])


def _moved(prompt: int, orders: tuple[_Order, _Order]) -> Iterator[tuple[int, float, float]]:
    """(prompt, change of place from 0 to 1, change of score) of every answer."""
    once, again = orders
    for place, answer in enumerate(once.order):
        other = again.order.index(answer)
        yield prompt, (place - other) / (len(once.order) - 1), once.scores[place] - again.scores[other]


def _compared(shown: Shown) -> Iterator[Look]:
    """From comparisons; an order that the first showing lacks is taken from the second."""
    before: dict[tuple[int, int], float] = {}
    for judgement in (shown.reversed, shown.first):
        for one in judgement.comparisons if judgement is not None else ():
            if one.seen_first is not None:
                before[one.first, one.second] = one.seen_first
            if one.seen_second is not None:
                before[one.second, one.first] = 1 - one.seen_second
    for (i, j), preference in before.items():
        if i < j and (j, i) in before:
            yield Look(shown.prompt, preference, 1 - before[j, i])


def _two_words(shown: Shown) -> Iterator[tuple[float, float]]:
    """Of every two answers the preference in one order and in the other."""
    if shown.first.comparisons and not shown.first.members:
        for look in looks(shown):
            yield decided(look.before), decided(look.after)
    elif shown.reversed is not None:
        again = preferences(shown.reversed)
        for pair, preference in preferences(shown.first).items():
            if pair in again:
                yield decided(preference), decided(again[pair])
