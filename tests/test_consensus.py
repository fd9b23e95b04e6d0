"""Consensus: a judge's scores moved by what answers share; against values worked by hand, and by its own promises."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.judges.config import ConsensusJudge, DistilledJudge
from favonius.judges.consensus import Consensus, likenesses, moved, standard, supports
from favonius.judges.judge import FIRST, Failure, Judgement, Score, Showing
from favonius.run import ModelRef
from favonius.types import Comparison, Feedback, JudgedBy, Message, RatedText

CONFIG = ConsensusJudge(judge=DistilledJudge(model=ModelRef("judge")), least=2)
WORDS = st.text(alphabet="abc ", max_size=12)
ANSWERS = st.lists(st.tuples(st.floats(-5, 5), WORDS), min_size=2, max_size=7)


def heard(scores: Sequence[float | None]) -> Judgement:
    return Judgement(tuple(Failure("empty answer") if score is None else Score(score) for score in scores))


def values(judgement: Judgement) -> list[float | None]:
    return [verdict.value if isinstance(verdict, Score) else None for verdict in judgement.verdicts]


def test_likeness_is_the_share_of_words_and_pairs_of_words_rare_ones_counting_more() -> None:
    # Terms: {it, is, "it is"}, {it, was, "it was"}, {no}. "it" is in two of three texts, all others in one.
    often, once = log(1 + 3 / 2), log(1 + 3)
    expected = 2 * often / (2 * (often + 2 * once))
    found = likenesses(["It is.", "it was", "No!"])
    assert found[0][1] == found[1][0] == pytest.approx(expected, abs=1e-12)
    assert found[0][2] == 0.0 and found[1][1] == 1.0


def test_scripts_without_spaces_are_compared_by_their_characters() -> None:
    found = likenesses(["東京です", "東京だよ", "大阪です"])
    assert 0 < found[0][1] < 1 and 0 < found[0][2] < 1 and found[1][2] == 0.0


def test_what_stands_before_such_a_script_is_a_word_of_its_own() -> None:
    found = likenesses(["2023年に", "2023年", "1999年"])
    assert found[0][1] > found[0][2] > 0


def test_texts_without_a_word_are_alike_where_they_are_the_same() -> None:
    found = likenesses(["👍", "👍", "👎", ""])
    assert found[0][1] == 1.0 and found[0][2] == found[0][3] == 0.0


@given(ANSWERS, st.data())
def test_answers_that_say_the_same_and_score_the_same_tie_to_the_last_bit(
    answers: list[tuple[float, str]], data: st.DataObject
) -> None:
    again = data.draw(st.sampled_from(answers))
    answers.insert(data.draw(st.integers(0, len(answers))), again)
    found = values(moved(heard([score for score, _ in answers]), [text for _, text in answers], CONFIG))
    assert len({found[place] for place, answer in enumerate(answers) if answer == again}) == 1


def test_support_weighs_others_by_how_well_they_are_liked() -> None:
    texts = ["Paris", "Paris", "Lyon", "Lyon"]
    even = supports([1.0, 1.0, 1.0, 1.0], texts)
    assert even == pytest.approx([1 / 3] * 4)
    liked, other, *_ = supports([2.0, 2.0, 0.0, 0.0], texts)
    # Standard scores are ±1: e for the like-minded one, 1 / e for each of the two others.
    assert liked == other == pytest.approx(2.718281828 / (2.718281828 + 2 / 2.718281828), abs=1e-9)


def test_an_answer_that_many_give_passes_one_that_is_alone() -> None:
    texts = [
        "It was built in 1889.",
        "Built in 1889.",
        "It was built in 1889 in Paris.",
        "Somewhere around noon, perhaps",
    ]
    scores = [1.0, 0.6, 0.8, 1.1]
    found = values(moved(heard(scores), texts, CONFIG))
    assert scores.index(max(scores)) == 3
    assert found.index(max(one for one in found if one is not None)) == 0
    verdict = moved(heard(scores), texts, CONFIG).verdicts[3]
    assert isinstance(verdict, Score) and verdict.aspects["judge"] == 1.1 and verdict.aspects["support"] == 0.0


def test_answers_without_a_score_get_none_and_support_nobody() -> None:
    texts = ["Paris", "Paris", "Lyon", "Rome"]
    with_failure = values(moved(heard([1.0, None, 2.0, 3.0]), texts, CONFIG))
    assert with_failure[1] is None
    assert [with_failure[place] for place in (0, 2, 3)] == values(
        moved(heard([1.0, 2.0, 3.0]), texts[::2] + texts[3:], CONFIG)
    )


def test_few_answers_keep_the_judges_own_word() -> None:
    own = Judgement(heard([1.0, 2.0, None]).verdicts, (Comparison(first=0, second=1, preference=0.1),))
    assert moved(own, ["a", "a", "b"], CONFIG.model_copy(update={"least": 3})) is own
    assert moved(own, ["a", "a", "b"], CONFIG).comparisons == ()


@given(ANSWERS)
def test_nothing_hangs_on_the_order_of_answers(answers: list[tuple[float, str]]) -> None:
    scores, texts = [score for score, _ in answers], [text for _, text in answers]
    found = values(moved(heard(scores), texts, CONFIG))
    turned = values(moved(heard(scores[::-1]), texts[::-1], CONFIG))
    assert turned[::-1] == pytest.approx(found, abs=1e-6)
    likeness = likenesses(texts)
    assert all(0 <= one <= 1 + 1e-12 for row in likeness for one in row)


@given(st.lists(WORDS, min_size=2, max_size=6), st.floats(-3, 3))
def test_where_the_judge_sees_no_difference_none_is_made(texts: list[str], score: float) -> None:
    assert values(moved(heard([score] * len(texts)), texts, CONFIG)) == pytest.approx([score] * len(texts))


@given(ANSWERS, st.floats(0.1, 9), st.floats(-9, 9))
def test_scores_keep_their_unit(answers: list[tuple[float, str]], scale: float, shift: float) -> None:
    scores, texts = [round(score, 3) for score, _ in answers], [text for _, text in answers]
    found = values(moved(heard(scores), texts, CONFIG))
    other = values(moved(heard([scale * score + shift for score in scores]), texts, CONFIG))
    assert other == pytest.approx([scale * one + shift for one in found if one is not None], abs=1e-6)


def test_standard_scores() -> None:
    assert standard([1.0, 3.0]) == [-1.0, 1.0] and standard([2.0, 2.0]) == [0.0, 0.0]
    assert standard([3 / 7, 3 / 7 - 1e-16, 3 / 7]) == [0.0, 0.0, 0.0]


class Fixed:
    """A judge that scores every answer by the number that it ends with."""

    mark = JudgedBy(name="fixed", kind="distilled", template="t")
    tokens = 7

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "") -> list[Judgement]:
        return [heard([float(answer.text.split()[-1]) for answer in case.completions]) for case in cases]


def test_it_is_a_judge_over_a_judge() -> None:
    judge = Consensus(CONFIG, Fixed())
    assert judge.mark == JudgedBy(name="consensus by fixed", kind="consensus", template="t") and judge.tokens == 7
    completions = tuple(RatedText(source="s", text=text) for text in ("Paris it is 1", "Paris it is 2", "Lyon 3"))
    case = Feedback(id="f", split="test", prompt=(Message(role="user", content="?"),), completions=completions)
    first, second = judge.judge([case, case])
    assert first == second and first == moved(heard([1.0, 2.0, 3.0]), [one.text for one in completions], CONFIG)
