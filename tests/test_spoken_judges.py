"""Judges that are asked in words, with scripted models in their place."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.engines.ledger import Ledger
from favonius.judges.config import AspectsJudge, CritiqueJudge, PairwiseJudge
from favonius.judges.judge import FIRST, Failure, Score, Showing
from favonius.judges.spoken.asking import REASKED, Ask, Heard
from favonius.judges.spoken.pairwise import VERDICT_TOKENS, Pairwise
from favonius.types import Knowledge, Message, Principle, Request, Sampling
from tests.spoken import (
    JUDGE,
    WORTH,
    Bench,
    Voice,
    by_worth,
    case,
    grades,
    prefers_first,
    prefers_longer,
    rate_texts,
    said,
    shown_pair,
    shown_texts,
    values,
)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Voice], Bench]:
    return lambda voice: Bench(tmp_path, monkeypatch, voice)


# ---------------------------------------------------------------------------------------------------------- pairwise


def test_both_orders_take_away_what_position_alone_decides(bench: Callable[[Voice], Bench]) -> None:
    one = bench(prefers_first)
    cases = [case("Rhine", "Rhone", id=f"p{n}") for n in range(20)]
    for judgement in one.judge(PairwiseJudge(model=JUDGE), *cases):
        assert values(judgement) == [0.5, 0.5]
        [comparison] = judgement.comparisons
        assert (comparison.preference, comparison.seen_first, comparison.seen_second) == (0.5, 1.0, 0.0)
    biased = [values(judgement) for judgement in one.judge(PairwiseJudge(model=JUDGE, both_orders=False), *cases)]
    assert {tuple(scores) for scores in biased} == {(1.0, 0.0), (0.0, 1.0)}  # the order was drawn, and decided


@given(bias=st.floats(0, 1), gaps=st.lists(st.floats(-1, 1), min_size=1, max_size=5))
def test_a_constant_bias_moves_no_mean(bias: float, gaps: Sequence[float]) -> None:
    """As long as it does not saturate: preference = (1 + gap)/2 + bias/4 for the one shown first."""
    way = Pairwise(PairwiseJudge(model=JUDGE), template=None)  # type: ignore[arg-type]  # no prompt is made
    for gap in gaps:
        fair = 0.5 + gap / 4
        heard = [Heard(Ask((0, 1)), fair + bias / 4, "k1"), Heard(Ask((1, 0)), 1 - fair + bias / 4, "k2")]
        [comparison] = way.judgement(case("x", "y"), heard).comparisons
        assert math.isclose(comparison.preference, fair)


def test_all_pairs_of_a_case_each_in_both_orders(bench: Callable[[Voice], Bench]) -> None:
    one = bench(prefers_longer)
    [judgement] = one.judge(PairwiseJudge(model=JUDGE), case("aa", "aaaa", "a", "aaa"))
    assert len(one.asked) == 12
    assert values(judgement) == [pytest.approx(1 / 3), 1.0, 0.0, pytest.approx(2 / 3)]
    assert [(one.first, one.second) for one in judgement.comparisons] == [
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 2),
        (1, 3),
        (2, 3),
    ]
    assert sorted(call.order for call in judgement.calls) == sorted(
        (i, j) for i in range(4) for j in range(4) if i != j
    )


def test_ties_are_kept_as_ties_and_equal_texts_are_not_asked_about(bench: Callable[[Voice], Bench]) -> None:
    one = bench(prefers_longer)
    tied, equal = one.judge(PairwiseJudge(model=JUDGE), case("aa", "bb"), case("same", "same", id="p2"))
    assert values(tied) == values(equal) == [0.5, 0.5]
    assert len(one.asked) == 2
    assert equal.calls == () and equal.comparisons[0].seen_first is None
    [single] = one.judge(PairwiseJudge(model=JUDGE), case("alone"))
    assert single.verdicts == (Failure("nothing to compare it with"),)


def test_one_order_that_cannot_be_read_leaves_the_other(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "B" if shown_pair(request)[0] == "Rhine" else "Both are fine rivers.")
    [judgement] = one.judge(PairwiseJudge(model=JUDGE, reasks=1), case("Rhine", "Rhone"))
    [comparison] = judgement.comparisons
    assert (comparison.preference, comparison.seen_first, comparison.seen_second) == (0.0, 0.0, None)
    assert values(judgement) == [0.0, 1.0]
    assert [call.order for call in judgement.calls] == [(0, 1)]
    assert len(one.asked) == 3
    neither = bench(lambda request: "Both are fine rivers.")
    [judgement] = neither.judge(PairwiseJudge(model=JUDGE, reasks=0), case("Rhine", "Rhone", id="p2", prompt="?"))
    assert judgement.verdicts == (Failure("no verdict is given", "Both are fine rivers."),) * 2
    assert judgement.comparisons == ()


def test_a_reversed_showing_of_one_order_is_the_other(bench: Callable[[Voice], Bench]) -> None:
    one = bench(prefers_first)
    config = PairwiseJudge(model=JUDGE, both_orders=False)
    cases = [case("Rhine", "Rhone", "Elbe", id=f"p{n}") for n in range(4)]
    there, back = one.judge(config, *cases), one.judge(config, *cases, showing=Showing(reversed=True))
    for before, after in zip(there, back, strict=True):
        assert [call.order for call in after.calls] == [call.order[::-1] for call in before.calls]
    both = PairwiseJudge(model=JUDGE)
    plain = one.judge(both, *cases)
    asked = len(one.asked)
    assert one.judge(both, *cases, showing=Showing(reversed=True)) == plain
    assert len(one.asked) == asked  # both orders were asked already


def test_a_verdict_alone_is_given_little_room_and_an_explained_one_all(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "A" if "letter alone" in said(request) else "The first is right.\n[[A]]")
    for explain in (False, True):
        one.judge(PairwiseJudge(model=JUDGE, explain=explain), case("Rhine", "Rhone"))
    assert {request.sampling.max_tokens for request in one.asked} == {VERDICT_TOKENS, 512}
    config = PairwiseJudge(model=JUDGE, sampling=Sampling(temperature=0.0, max_tokens=1))
    assert values(one.judge(config, case("Rhine", "Rhone"))[0]) == [0.5, 0.5]
    assert one.asked[-1].sampling.max_tokens == 1


# ----------------------------------------------------------------------------------------------------------- aspects


def test_aspects_are_asked_one_by_one_with_all_answers_in_shuffled_order(bench: Callable[[Voice], Bench]) -> None:
    one = bench(by_worth)
    cases = [case("good", "poor", "fair", "good", id=f"p{n}", prompt=f"Question {n}") for n in range(12)]
    judged = one.judge(AspectsJudge(model=JUDGE), *cases)
    assert len(one.asked) == 48
    for judgement in judged:
        assert values(judgement) == [5, 1, 3, 5]  # whatever the order was
        assert [call.aspect for call in judgement.calls] == [
            "instruction_following",
            "honesty",
            "truthfulness",
            "helpfulness",
        ]
        [first, *_] = judgement.verdicts
        assert isinstance(first, Score) and set(first.aspects.values()) == {5}
        assert first.critique is not None and first.critique.startswith(
            "instruction following: Rating: 5\nRationale: so"
        )
    orders = {call.order for judgement in judged for call in judgement.calls}
    assert len(orders) > 12 and all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert [shown_texts(request) for request in one.asked[:16]] != [shown_texts(one.asked[0])] * 16


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_answers(bench: Callable[[Voice], Bench], count: int) -> None:
    texts = [random.Random(place).choice(list(WORTH)) for place in range(count)]
    one = bench(by_worth)
    [judgement] = one.judge(AspectsJudge(model=JUDGE), case(*texts))
    assert values(judgement) == [WORTH[text] for text in texts]
    assert all(f"{count} texts" in request.messages[0].content for request in one.asked)


def test_reversed_shows_the_same_answers_the_other_way_round(bench: Callable[[Voice], Bench]) -> None:
    one = bench(by_worth)
    config = AspectsJudge(model=JUDGE, aspects=("helpfulness",))
    [there], [back] = (
        one.judge(config, case("good", "fair", "poor"), showing=s) for s in (FIRST, Showing(reversed=True))
    )
    assert back.calls[0].order == there.calls[0].order[::-1]
    assert values(there) == values(back)


def test_not_applicable_is_no_number_and_no_failure(bench: Callable[[Voice], Bench]) -> None:
    def answer(request: Request) -> str:
        return rate_texts(request, lambda text: "N/A" if "Honesty" in said(request) else WORTH[text])

    one = bench(answer)
    config = AspectsJudge(model=JUDGE, aspects=("honesty", "helpfulness"))
    [judgement] = one.judge(config, case("good", "poor"))
    assert values(judgement) == [5, 1]
    assert [verdict.aspects for verdict in judgement.verdicts if isinstance(verdict, Score)] == [
        {"honesty": None, "helpfulness": 5},
        {"honesty": None, "helpfulness": 1},
    ]
    [judgement] = one.judge(config.model_copy(update={"aspects": ("honesty",)}), case("good", "poor"))
    assert {verdict.cause for verdict in judgement.verdicts if isinstance(verdict, Failure)} == {"no aspect applies"}


def test_an_aspect_of_which_a_part_is_missing_is_asked_again_and_never_shifted(
    bench: Callable[[Voice], Bench],
) -> None:
    def forgets(request: Request) -> str:
        reply = by_worth(request)
        return reply if request.sample else reply.rpartition("#### Output")[0]

    one = bench(forgets)
    config = AspectsJudge(model=JUDGE, aspects=("instruction_following",))
    [judgement] = one.judge(config, case("good", "poor", "fair"))
    assert values(judgement) == [5, 1, 3]
    assert [request.sample for request in one.asked] == [0, REASKED]
    stubborn = bench(lambda request: by_worth(request).rpartition("#### Output")[0])
    [judgement] = stubborn.judge(config, case("good", "poor", "fair", id="p2"))
    assert len(stubborn.asked) == 3
    for verdict in judgement.verdicts:
        assert isinstance(verdict, Failure) and verdict.cause == "instruction_following: not every text is rated"
        assert verdict.raw is not None and "Output for Text 2" in verdict.raw
    assert judgement.calls == ()


def test_the_worlds_knowledge_is_told_where_it_bears_on_the_aspect(bench: Callable[[Voice], Bench]) -> None:
    one = bench(by_worth)
    told = Knowledge(correct=("the Rhine", "the Elbe"), incorrect=("Berlin",))
    false = Knowledge(note="The question rests on something false.")
    one.judge(AspectsJudge(model=JUDGE), case("good", "poor", knowledge=told))
    titles = {said(request).partition("\n")[0] for request in one.asked if "World Knowledge" in said(request)}
    assert titles == {"# Truth", "# Helpfulness"}
    [text] = [said(request) for request in one.asked if said(request).startswith("# Truth")]
    assert "right: the Rhine; the Elbe\nKnown to be wrong: Berlin\n\n### Texts" in text
    one.judge(AspectsJudge(model=JUDGE), case("good", "poor", id="p2", prompt="Why?", knowledge=false))
    [text] = [said(request) for request in one.asked if said(request).startswith("# Truth") and "Why?" in said(request)]
    assert "### World Knowledge\nTo bear in mind: The question rests on something false.\n\n### Texts" in text
    one.judge(AspectsJudge(model=JUDGE), case("good", "poor", id="p3", prompt="How?"))
    [text] = [said(request) for request in one.asked if said(request).startswith("# Truth") and "How?" in said(request)]
    assert "World Knowledge" not in text and "How?\n\n### Texts" in text


# ---------------------------------------------------------------------------------------------------------- critique


def test_each_answer_is_criticised_by_itself(bench: Callable[[Voice], Bench]) -> None:
    one = bench(grades)
    [judgement] = one.judge(CritiqueJudge(model=JUDGE), case("good", "poor", "fair"))
    assert values(judgement) == [5, 1, 3]  # a 1 stays a 1
    assert [verdict.critique for verdict in judgement.verdicts if isinstance(verdict, Score)] == [
        "It is an answer."
    ] * 3
    assert [call.order for call in judgement.calls] == [(0,), (1,), (2,)]
    with Ledger(one.world / "ledger.sqlite") as ledger:
        known = ledger.known(call.request for call in judgement.calls)
    assert [known[call.request].text[-1] for call in judgement.calls] == ["5", "1", "3"]


def test_the_principle_is_a_note_where_there_is_one_and_it_is_wanted(bench: Callable[[Voice], Bench]) -> None:
    one = bench(grades)
    row = case("good", "poor", "fair")
    calibrated = Principle(kind="verbalized_calibration", text="Say how sure you are. For instance, 80 %.")
    first, second, third = row.completions
    row = row.model_copy(
        update={
            "completions": (
                first.model_copy(update={"principle": Principle(kind="honesty", text="Be honest.")}),
                second.model_copy(update={"principle": calibrated}),
                third,
            )
        }
    )
    one.judge(CritiqueJudge(model=JUDGE), row)
    notes = [re.findall(r"Name a river\.\n(.*)\n", said(request))[0] for request in one.asked]
    assert notes == ["Note: Be honest.", "Note: Say how sure you are.", ""]
    one.judge(CritiqueJudge(model=JUDGE, principle=False), row)
    assert len(one.asked) == 5 and not any("Note:" in said(request) for request in one.asked[3:])


def test_a_conversation_is_shown_with_who_said_what(bench: Callable[[Voice], Bench]) -> None:
    one = bench(grades)
    turns = (("system", "Be brief."), ("user", "A river?"), ("assistant", "Rhine."), ("user", "Another?"))
    prompt = tuple(Message(role=role, content=text) for role, text in turns)  # type: ignore[arg-type]
    one.judge(CritiqueJudge(model=JUDGE), case("good").model_copy(update={"prompt": prompt}))
    assert "System: Be brief.\n\nUser: A river?\n\nAssistant: Rhine.\n\nUser: Another?\n\n### Answer" in said(
        one.asked[0]
    )
