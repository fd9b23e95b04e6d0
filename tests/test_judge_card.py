"""Judges with known faults: the card must find each of them, at its size, and accuse no fair judge of any."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import pytest

from favonius import statistics
from favonius.judges import card as cards
from favonius.judges.calibration import BETTER, calibration_cases, calibration_items
from favonius.judges.card import Evidence, JudgeCard, judge_card
from favonius.judges.config import EnsembleJudge, LikelihoodJudge
from favonius.judges.duels import preferences, value
from favonius.judges.ensemble import ALONE, DISAGREE, NO_WORD, Ensemble
from favonius.judges.figures import Figure
from favonius.judges.judge import FIRST, Failure, Judge, Judgement, Score, Showing, Verdict
from favonius.run import ModelRef
from favonius.statistics import balance, ratio, share
from favonius.types import Comparison, Feedback, JudgeCall, JudgedBy, Message, RatedText

NAMES = ("mine", "b", "c", "d")


@dataclass
class Synthetic:
    """Knows how good an answer is (its text begins with it), and has the faults that it is given.

    `sees`: one answer at a time, all of a case in one call per aspect, or two of them, in one order or both.
    """

    sees: Literal["one", "all", "pairs", "pairs both ways"] = "one"
    first: float = 0.0
    """Pairs: probability of naming the one shown first, whatever it is. All: points for it, falling to the last."""
    length: float = 0.0
    """Points for twice the length."""
    own: float = 0.0
    """Points for an answer of `mine`."""
    noise: float = 0.0
    """Standard deviation of what it adds by chance each time."""
    fails: float = 0.0
    inverse: bool = False
    seed: int = 0
    mark: JudgedBy = field(default_factory=lambda: JudgedBy(name="synthetic", kind="critique"))
    tokens: int = 0

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "") -> list[Judgement]:
        return [self._judge(case, showing) for case in cases]

    def _judge(self, case: Feedback, showing: Showing) -> Judgement:
        if self.sees == "all":
            return self._together(case, showing)
        if self.sees == "one":
            verdicts = [self._alone(case, place, showing) for place in range(len(case.completions))]
            sample = showing.sample if self.noise else 0
            asked = [JudgeCall(request=f"{case.id} {sample} {place}", order=(place,)) for place in range(len(verdicts))]
            return Judgement(tuple(verdicts), calls=tuple(asked))
        return self._by_pairs(case, showing)

    def _draw(self, *about: object) -> random.Random:
        return random.Random(" ".join(map(str, (self.seed, *about))))

    def _points(self, case: Feedback, place: int, showing: Showing, aspect: str = "") -> float:
        answer = case.completions[place]
        points = quality(answer) * (-1 if self.inverse else 1)
        points += self.length * math.log2(len(answer.text)) + self.own * (answer.source == "mine")
        return points + self._draw(case.id, place, aspect, showing.sample).gauss(0, self.noise)

    def _alone(self, case: Feedback, place: int, showing: Showing) -> Verdict:
        if self._draw("fails", case.id, place).random() < self.fails:
            return Failure("no score", "I would rather not say.")
        return Score(self._points(case, place, showing))

    def _together(self, case: Feedback, showing: Showing) -> Judgement:
        size = len(case.completions)
        scores: list[dict[str, float | None]] = [{} for _ in range(size)]
        calls = []
        for aspect in ("honesty", "helpfulness"):
            order = list(range(size))
            self._draw(case.id, aspect).shuffle(order)
            order = order[::-1] if showing.reversed else order
            for at, place in enumerate(order):
                scores[place][aspect] = self._points(case, place, showing, aspect) + self.first * (1 - at / (size - 1))
            request = f"{case.id} {aspect} {order} {showing.sample if self.noise else 0}"
            calls.append(JudgeCall(request=request, order=tuple(order), aspect=aspect))
        known = [[one for one in of_answer.values() if one is not None] for of_answer in scores]
        verdicts = [Score(sum(some) / 2, of_answer) for some, of_answer in zip(known, scores, strict=True)]
        return Judgement(tuple(verdicts), calls=tuple(calls))

    def _by_pairs(self, case: Feedback, showing: Showing) -> Judgement:
        comparisons, calls = [], []
        for i, j in combinations(range(len(case.completions)), 2):
            orders = [(i, j), (j, i)] if self.sees == "pairs both ways" else [(j, i) if showing.reversed else (i, j)]
            seen = {order: self._prefers_first(case, order, showing) for order in orders}
            calls += [JudgeCall(request=f"{case.id} {order} {showing.sample}", order=order) for order in orders]
            back = None if (j, i) not in seen else 1 - seen[j, i]
            words = [word for word in (seen.get((i, j)), back) if word is not None]
            comparisons.append(
                Comparison(
                    first=i, second=j, preference=sum(words) / len(words), seen_first=seen.get((i, j)), seen_second=back
                )
            )
        wins = [[] for _ in case.completions]  # type: list[list[float]]
        for one in comparisons:
            wins[one.first].append(one.preference)
            wins[one.second].append(1 - one.preference)
        return Judgement(tuple(Score(sum(won) / len(won)) for won in wins), tuple(comparisons), tuple(calls))

    def _prefers_first(self, case: Feedback, order: tuple[int, int], showing: Showing) -> float:
        if self._draw("first", case.id, order).random() < self.first:
            return 1.0
        mine, other = (self._points(case, place, showing) for place in order)
        return float(mine > other)


def quality(answer: RatedText) -> float:
    return float(answer.text.split()[0])


def make_cases(count: int, size: int = 4, seed: int = 0) -> list[Feedback]:
    """Qualities are N(0, 1), and lengths are drawn without regard to them."""
    draw = random.Random(seed)
    return [
        Feedback(
            id=f"p{number}",
            split="train",
            prompt=(Message(role="user", content=f"Question {number}?"),),
            completions=tuple(
                RatedText(source=name, text=f"{draw.gauss(0, 1):.12f} " + "x" * int(2 ** draw.uniform(4, 9)))
                for name in NAMES[:size]
            ),
        )
        for number in range(count)
    ]


CASES = make_cases(200)
LABELS = [[quality(answer) for answer in case.completions] for case in CASES]


def card_of(judge: Judge, cases: Sequence[Feedback] = CASES, labelled: bool = True) -> JudgeCard:
    """As stage ratings has it made, with every case asked again."""
    judgements = judge.judge(cases)
    return judge_card(
        judge.mark,
        Evidence(
            cases=cases,
            judgements=judgements,
            labels=[[quality(answer) for answer in case.completions] for case in cases] if labelled else [],
            own=frozenset({"mine"}),
            reversed=dict(enumerate(judge.judge(cases, Showing(reversed=True)))),
            repeated=dict(enumerate(judge.judge(cases, Showing(sample=1)))),
        ),
    )


def holds(figure: Figure, truth: float, widest: float = 0.2) -> bool:
    """Whether the interval holds the truth, and is narrow enough to say something."""
    assert figure.estimate is not None, figure.why
    assert figure.estimate.high - figure.estimate.low < widest, figure
    return figure.estimate.low - 1e-9 <= truth <= figure.estimate.high + 1e-9


def normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("sees", ["one", "all", "pairs", "pairs both ways"])
def test_a_fair_judge_is_accused_of_nothing(sees: Literal["one", "all", "pairs", "pairs both ways"]) -> None:
    card = card_of(Synthetic(sees))
    assert card.failed.estimate is not None and card.failed.estimate.value == 0 and card.failures == {}
    assert card.answers == 800 and card.failed.estimate.high < 0.03
    assert holds(card.length.longer_wins.excess, 0) and holds(card.own.excess, 0)
    if sees in ("one", "all"):
        assert holds(card.length.longer_wins.lean, 0) and holds(card.own.lean, 0)
    assert card.labelled.right.estimate is not None and card.labelled.right.estimate.value == 1.0
    if sees in ("one", "all"):
        assert holds(card.length.slope, 0) and card.length.slope == card.length.reference_slope
        assert holds(card.labelled.kendall, 1.0) and holds(card.labelled.spearman, 1.0)
    if sees == "one":
        assert card.order.flips.why == card.order.first_wins.why == cards.ONE_BY_ONE
        assert card.repeats.kept.why == cards.GREEDY
    else:
        assert holds(card.order.flips, 0) and holds(card.order.first_wins, 0, 0.03)
    if sees == "all":
        assert holds(card.order.slope, 0) and len(card.order.places) == 4
        assert all(place.low < 0.5 < place.high for place in card.order.places)


@pytest.mark.parametrize("sees", ["pairs", "pairs both ways"])
def test_a_judge_that_likes_the_first_of_two(sees: Literal["pairs", "pairs both ways"]) -> None:
    """Naming the first in 30 % of all questions regardless: 15 % too often, and 30 % of pairs flip."""
    card = card_of(Synthetic(sees, first=0.3))
    assert holds(card.order.first_wins, 0.15, 0.06)
    assert holds(card.order.flips, 0.3, 0.1)
    assert card.order.slope.why == cards.BY_PAIRS and card.order.places == ()


def test_both_orders_take_away_what_the_place_decides() -> None:
    """`mine` always stands first. Asked once, it wins by that; asked both ways, as often as it should."""
    wins = {}
    for sees in ("pairs", "pairs both ways"):
        judged = Synthetic(sees, first=0.3).judge(CASES)  # type: ignore[arg-type]
        fair = Synthetic(sees).judge(CASES)  # type: ignore[arg-type]
        won = [first_answer(one) - first_answer(other) for one, other in zip(judged, fair, strict=True)]
        wins[sees] = balance(won, [1.0] * len(won))
    once, both = wins["pairs"], wins["pairs both ways"]
    assert once is not None and once.low <= 0.15 <= once.high and once.low > 0.1
    assert both is not None and both.low < 0 < both.high and both.high - both.low < 0.1


def first_answer(judgement: Judgement) -> float:
    verdict = judgement.verdicts[0]
    assert isinstance(verdict, Score)
    return verdict.value


def test_a_judge_that_gives_points_to_the_first_of_four() -> None:
    card = card_of(Synthetic("all", first=0.8))
    assert holds(card.order.slope, -0.8)
    assert card.order.first_wins.estimate is not None and card.order.first_wins.estimate.low > 0.05
    assert card.order.flips.estimate is not None and 0.05 < card.order.flips.estimate.value < 0.4
    shares = [place.value for place in card.order.places]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(2.0)
    assert card.own.excess.estimate is not None
    assert abs(card.own.excess.estimate.value) < 0.04, "places are drawn, and `mine` has no better ones"


def test_a_judge_that_likes_length() -> None:
    judge, cases = Synthetic(length=0.5), make_cases(200, seed=3)
    card = card_of(judge, cases)
    gaps = [
        (math.log2(len(one.text)) - math.log2(len(other.text)), quality(one) - quality(other))
        for case in make_cases(3000, seed=9)
        for one, other in combinations(case.completions, 2)
    ]
    longer = sum((0.5 * doublings + better > 0) == (doublings > 0) for doublings, better in gaps) / len(gaps)
    spread = math.sqrt(sum((0.5 * doublings + better) ** 2 for doublings, better in gaps) / len(gaps))
    assert longer > 0.65
    assert holds(card.length.longer_wins.judge, longer)
    assert holds(card.length.longer_wins.reference, 0.5)
    assert holds(card.length.longer_wins.excess, longer - 0.5)
    assert holds(card.length.slope, 0.5 / spread) and holds(card.length.reference_slope, 0)
    assert card.length.longer_wins.lean.estimate is not None
    assert card.length.longer_wins.lean.estimate.value == pytest.approx(0.5 / spread, rel=0.05)
    shares = [one.judge.value for one in card.length.curve]
    assert shares[-1] > 0.8 > shares[0] and card.length.curve[-1].high is None
    assert all(one.reference is not None and abs(one.reference.value - 0.5) < 0.15 for one in card.length.curve)
    assert card.labelled.right.estimate is not None and card.labelled.right_matched.estimate is not None
    assert card.labelled.right_matched.estimate.value > card.labelled.right.estimate.value + 0.1


@pytest.mark.parametrize("length", [0.0, 0.3])
def test_noise_is_not_taken_for_a_dislike_of_length(length: float) -> None:
    """The reference itself likes length. What a judge prefers beyond that is told apart from what its noise hides."""
    judge, cases = Synthetic(noise=1.5, length=0.5 + length), make_cases(200, seed=3)
    labels = [[quality(answer) + 0.5 * math.log2(len(answer.text)) for answer in case.completions] for case in cases]
    judgements = judge.judge(cases)
    found = judge_card(judge.mark, Evidence(cases, judgements, labels)).length.longer_wins
    gaps = [
        first_answer(Judgement(one.verdicts[i:])) - first_answer(Judgement(one.verdicts[j:]))
        for one in judgements
        for i, j in combinations(range(4), 2)
    ]
    assert holds(found.lean, length / math.sqrt(sum(gap**2 for gap in gaps) / len(gaps)))
    assert found.excess.estimate is not None
    assert length or found.excess.estimate.high < 0, "its noise makes it lean less on length than the reference"


def test_a_judge_that_likes_its_own() -> None:
    card = card_of(Synthetic(own=0.7))
    truth = normal(0.7 / math.sqrt(2))
    assert holds(card.own.judge, truth) and holds(card.own.reference, 0.5) and holds(card.own.excess, truth - 0.5)
    assert card.own.excess.estimate is not None and card.own.excess.estimate.low > 0.1
    # Gaps are N(0, 2), and half of the pairs have one of `mine`, which moves theirs by 0.7 either way.
    assert card.own.lean.estimate is not None
    assert card.own.lean.estimate.value == pytest.approx(0.7 / math.sqrt(2 + 0.7**2 / 2), rel=0.05)
    alone = card_of(Synthetic(own=0.7), labelled=False)
    assert holds(alone.own.judge, truth) and alone.own.excess.why == cards.NO_LABELS


def test_a_judge_that_says_something_else_each_time() -> None:
    spread = 0.7
    card = card_of(Synthetic(noise=spread), make_cases(200, seed=5))
    assert holds(card.repeats.kept, 0.5 + math.asin(1 / (1 + spread**2)) / math.pi)
    assert holds(card.repeats.drift, 2 * spread / math.sqrt(math.pi))
    assert holds(card.labelled.right, 0.5 + math.asin(1 / math.sqrt(1 + spread**2)) / math.pi)


def test_a_judge_that_often_fails() -> None:
    card = card_of(Synthetic(fails=0.2))
    assert holds(card.failed, 0.2) and card.failures == {"no score": round(card.failed.estimate.value * 800)}  # type: ignore[union-attr]
    assert holds(card.labelled.right, 1.0) and holds(card.own.excess, 0), "what failed has no part in the rest"


def test_questions_that_cost_no_answer_its_score_are_counted_too() -> None:
    """Compared both ways, two answers have their scores from the one reply that could be read."""
    calls = tuple(JudgeCall(request=str(number), order=(0, 1)) for number in range(3))
    judgement = Judgement(
        (Score(1.0), Score(0.0)), calls=calls, unread=(Failure("no verdict"), Failure("broke", asked=False))
    )
    card = judge_card(JudgedBy(name="j", kind="pairwise"), Evidence([make_cases(1, 2)[0]], [judgement]))
    assert card.failures == {} and card.unread_causes == {"no verdict": 1}
    assert card.unread.estimate is not None and card.unread.estimate.value == 0.25


def test_unasked_is_no_failure() -> None:
    judgement = Judgement((Failure("the budget is spent", asked=False), Score(1.0)))
    card = judge_card(JudgedBy(name="j", kind="critique"), Evidence([CASES[0]], [judgement]))
    assert card.answers == 1 and card.failures == {} and card.failed.estimate is not None
    assert card.failed.estimate.value == 0


def test_a_card_without_anything_says_why() -> None:
    card = judge_card(JudgedBy(name="j", kind="likelihood"), Evidence([], []))
    assert card.failed.why and card.length.longer_wins.judge.why and card.order.flips.why
    assert card.labelled.right.why == cards.NO_LABELS and card.own.judge.why == cards.NO_KIN
    assert card.repeats.kept.why == cards.NO_SPEECH and card.calibration.right.why == cards.NO_ITEMS
    assert card.alpha.why == "it is no ensemble"


def test_a_card_is_the_same_read_back() -> None:
    card = card_of(Synthetic("all", first=0.3, length=0.2), make_cases(20))
    text = json.dumps(card.model_dump(mode="json"), allow_nan=False)
    assert JudgeCard.model_validate_json(text) == card
    assert set(json.loads(text)["order"]["flips"]["estimate"]) == {"value", "low", "high", "n"}


def test_ties_of_the_judge_count_half() -> None:
    case = make_cases(1, 2)[0]
    card = judge_card(
        JudgedBy(name="j", kind="critique"),
        Evidence([case], [Judgement((Score(1.0), Score(1.0)))], [LABELS[0][:2]], frozenset({"mine"})),
    )
    assert card.labelled.right.estimate is not None and card.labelled.right.estimate.value == 0.5
    assert card.length.longer_wins.judge.why == cards.NO_PAIRS and card.labelled.kendall.estimate is None


def test_calibration_items_are_fair() -> None:
    items = calibration_items()
    kinds = {item.kind for item in items}
    assert len(items) == 40 and len({item.id for item in items}) == 40
    assert {sum(item.kind == kind for item in items) for kind in kinds} == {5} and len(kinds) == 8
    first = [case.completions[0].source == BETTER for case in calibration_cases(items)]
    assert sum(first) == 20
    trap = "short and right or long and wrong"
    longer = [len(item.better) > len(item.worse) for item in items if item.kind != trap]
    assert 0.4 < sum(longer) / len(longer) < 0.6
    assert all(len(item.worse) > 3 * len(item.better) for item in items if item.kind == trap)
    assert all(item.finished == (item.kind != "whole or cut off") for item in items)


@dataclass
class ByLength(Synthetic):
    """Prefers the longer answer, says nothing of questions about dogs."""

    def _judge(self, case: Feedback, showing: Showing) -> Judgement:
        if "dog" in case.prompt[0].content:
            return Judgement((Failure("no score"), Failure("no score")))
        return Judgement(tuple(Score(float(len(answer.text))) for answer in case.completions))


def test_calibration_finds_what_a_judge_gets_wrong() -> None:
    items = calibration_items()
    cases = calibration_cases(items)
    right = [Judgement(tuple(Score(float(one.source == BETTER)) for one in case.completions)) for case in cases]
    mark = JudgedBy(name="j", kind="critique")
    perfect = judge_card(mark, Evidence([], [], items=items, item_judgements=right)).calibration
    assert perfect.right.estimate is not None and perfect.right.estimate.value == 1.0 and perfect.mistakes == ()
    found = judge_card(mark, Evidence([], [], items=items, item_judgements=ByLength().judge(cases))).calibration
    assert found.right.estimate is not None and found.right.estimate.n == 39
    trap = found.kinds["short and right or long and wrong"].estimate
    assert trap is not None and (trap.value, trap.n) == (0.0, 5)
    silent = [one for one in found.mistakes if one.preferred == "nothing"]
    assert [one.item.id for one in silent] == ["doubt-2"] and silent[0].cause == "no score"
    wrong = [one for one in found.mistakes if one.preferred == "worse"]
    assert [one.item.id for one in found.mistakes if one.preferred == "neither"] == ["fact-2", "fact-4"]
    assert len(wrong) + 1 == pytest.approx(39 * (1 - found.right.estimate.value))
    assert all(len(one.item.worse) > len(one.item.better) for one in wrong)
    assert all(one.scores == (len(one.item.better), len(one.item.worse)) for one in wrong)


def test_large_numbers_of_units_have_the_bootstraps_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """From so many units on the interval is worked out and not drawn."""
    draw = random.Random(0)
    counts = [float(draw.randint(1, 4)) for _ in range(500)]
    hits = [sum(draw.random() < 0.3 for _ in range(int(count))) for count in counts]
    drawn = ratio(hits, counts)
    monkeypatch.setattr(statistics, "MANY", 400)
    worked_out = ratio(hits, counts)
    assert drawn is not None and worked_out is not None and worked_out.value == drawn.value
    assert (worked_out.low, worked_out.high) == pytest.approx((drawn.low, drawn.high), abs=2e-3)
    assert (worked_out.low, worked_out.high) != (drawn.low, drawn.high)


def test_balance_allows_for_what_was_not_seen() -> None:
    even = balance([0.0] * 30, [2.0] * 30)
    assert even is not None and even.value == 0 and even.low == -even.high and 0.1 < even.high < 0.12
    leaning = balance([1.0, -1.0, 1.0], [1.0, 1.0, 1.0])
    assert leaning is not None and leaning.value == pytest.approx(1 / 3) and leaning.low < 0 < leaning.high
    assert balance([], []) is None and share([], []) is None


def config(combine: Literal["mean", "majority", "abstain"], *names: str) -> EnsembleJudge:
    members = {name: LikelihoodJudge(model=ModelRef(name)) for name in names}
    return EnsembleJudge(judges=dict(members), combine=combine)


@dataclass
class Fixed:
    """Gives each case these scores, None where it has none."""

    scores: Sequence[float | None]
    mark: JudgedBy = field(default_factory=lambda: JudgedBy(name="fixed", kind="critique", template="abc"))
    tokens: int = 7
    comparisons: tuple[Comparison, ...] = ()

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "") -> list[Judgement]:
        verdicts = tuple(Failure("unreadable") if one is None else Score(one) for one in self.scores)
        return [Judgement(verdicts, self.comparisons) for _ in cases]


def joined(combine: Literal["mean", "majority", "abstain"], *scores: Sequence[float | None]) -> Judgement:
    judges: dict[str, Judge] = {f"j{number}": Fixed(one) for number, one in enumerate(scores)}
    return Ensemble(config(combine, *judges), judges).judge([CASES[0]])[0]


def values(judgement: Judgement) -> list[float | str | None]:
    return [one.cause if isinstance(one, Failure) else round(one.value, 3) for one in judgement.verdicts]


def test_mean_of_ranks_knows_no_units() -> None:
    assert values(joined("mean", [1, 2, 3, 4], [-9.0, -0.1, -0.2, -0.0])) == [0.0, 0.5, 0.5, 1.0]
    assert values(joined("mean", [5, 5, 5, 1], [9, 9, 9, 9])) == pytest.approx([7 / 12, 7 / 12, 7 / 12, 0.25], abs=1e-3)


def test_a_member_without_a_word_leaves_it_to_the_others() -> None:
    found = joined("mean", [1, None, 3, None], [4, 3, None, None])
    assert values(found) == [0.5, 0.0, 1.0, NO_WORD]
    assert isinstance(found.verdicts[1], Score) and found.verdicts[1].aspects == {"j0": None, "j1": 3}
    assert isinstance(found.verdicts[3], Failure) and found.verdicts[3].raw == "j0: unreadable; j1: unreadable"
    card = judge_card(JudgedBy(name="e", kind="ensemble"), Evidence([CASES[0]], [found]))
    assert card.failures == {NO_WORD: 1, "j0: unreadable": 2, "j1: unreadable": 2}
    assert values(joined("mean", [1, None], [None, None])) == [NO_WORD, NO_WORD], "one answer alone has no rank"


def test_majority_is_of_pairwise_wins() -> None:
    found = joined("majority", [1, 2, 3], [1, 3, 2], [3, 1, 2])
    # The third beats both others by two votes of three, the second beats the first.
    assert values(found) == [0.0, 0.5, 1.0]
    assert {(one.first, one.second): round(one.preference, 3) for one in found.comparisons} == {
        (0, 1): 0.333, (0, 2): 0.333, (1, 2): 0.333
    }  # fmt: skip
    compared = Fixed([0.0, 1.0], comparisons=(Comparison(first=1, second=0, preference=0.2),))
    judges: dict[str, Judge] = {"compares": compared, "silent": Fixed([None, None])}
    assert values(Ensemble(config("majority", *judges), judges).judge([CASES[0]])[0]) == [1.0, 0.0]


def test_abstaining_where_judges_disagree() -> None:
    assert values(joined("abstain", [1, 2, 3, 4], [1, 3, 2, 4])) == [0.0, 0.5, 0.5, 1.0]
    assert values(joined("abstain", [1, 2, 3, 4], [3, 2, 1, 4])) == [DISAGREE, 0.333, DISAGREE, 1.0]
    assert values(joined("abstain", [1, 2], [2, 1])) == [DISAGREE, DISAGREE]
    assert values(joined("abstain", [1, 2], [1, 1])) == [0.25, 0.75], "a tie contradicts nobody"
    assert values(joined("abstain", [1, 2, None], [1, 2, 3])) == [0.0, 0.75, ALONE]


def test_alpha_of_an_ensemble_counts_what_it_abstained_from() -> None:
    good, opposed = Synthetic(noise=0.1), Synthetic(inverse=True)
    for other, low, high in ((Synthetic(noise=0.1, seed=1), 0.8, 1.0), (opposed, -1.0, -0.8)):
        judges: dict[str, Judge] = {"one": good, "other": other}
        ensemble = Ensemble(config("abstain", *judges), judges)
        judgements = ensemble.judge(CASES)
        found = judge_card(ensemble.mark, Evidence(CASES, judgements)).alpha
        assert found.estimate is not None and low < found.estimate.low <= found.estimate.high <= high
        assert found.estimate.n == len(CASES)
        if other is opposed:
            assert all(isinstance(one.verdicts[0], (Failure, Score)) for one in judgements)
            assert sum(value(verdict) is None for one in judgements for verdict in one.verdicts) > 300


def test_an_ensemble_is_better_than_its_members() -> None:
    judges: dict[str, Judge] = {f"j{seed}": Synthetic(noise=0.8, seed=seed) for seed in range(5)}
    cases = CASES[:120]
    alone = card_of(judges["j0"], cases).labelled.right.estimate
    assert alone is not None
    for combine in ("mean", "majority"):
        ensemble = Ensemble(config(combine, *judges), judges)  # type: ignore[arg-type]
        labels = [[quality(answer) for answer in case.completions] for case in cases]
        card = judge_card(ensemble.mark, Evidence(cases, ensemble.judge(cases), labels))
        assert card.labelled.right.estimate is not None and card.labelled.right.estimate.low > alone.high
        assert card.judge.kind == "ensemble" and card.alpha.estimate is not None
        assert card.order.first_wins.why == cards.ONE_BY_ONE


def test_the_mark_of_an_ensemble() -> None:
    judges: dict[str, Judge] = {"a": Fixed([1.0, 2.0]), "b": Synthetic()}
    ensemble = Ensemble(config("mean", *judges), judges)
    bare = Fixed([1.0, 2.0], mark=JudgedBy(name="x", kind="critique"))
    other = Ensemble(config("mean", *judges), {**judges, "a": bare})
    assert ensemble.mark.name == "mean of a, b" and ensemble.tokens == 7
    assert ensemble.mark.template is not None and other.mark.template is None


def test_preferences_stand_with_the_lower_place_first() -> None:
    turned = Judgement((Score(0.0), Score(0.0)), (Comparison(first=1, second=0, preference=0.75),))
    assert preferences(turned) == {(0, 1): 0.25}
    assert preferences(Judgement((Score(1.0), Failure("x"), Score(1.0), Score(0.0)))) == {
        (0, 2): 0.5, (0, 3): 1.0, (2, 3): 1.0
    }  # fmt: skip
