"""Judges that are asked in words, with scripted models in their place."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.engines import interview
from favonius.engines.account import SpentError
from favonius.engines.ledger import Ledger
from favonius.engines.scripted import ScriptedEngine
from favonius.errors import UserError
from favonius.judges.config import AspectsJudge, CritiqueJudge, EnsembleJudge, JudgeConfig, PairwiseJudge
from favonius.judges.judge import FIRST, Failure, Judgement, Score, Showing
from favonius.judges.open import open_judge
from favonius.judges.spoken import critique
from favonius.judges.spoken.asking import REASK_TEMPERATURE, REASKED, Ask, Heard
from favonius.judges.spoken.expected import expected_preference, expected_score
from favonius.judges.spoken.numerals import Number, Scale, Unreadable
from favonius.judges.spoken.pairwise import VERDICT_TOKENS, Pairwise
from favonius.judges.spoken.templates import PairwisePrompt, fill, read_template
from favonius.judges.spoken.verdicts import Names, Said
from favonius.run import FileRef, Inputs, ModelRef
from favonius.types import (
    Completion,
    Feedback,
    Knowledge,
    Message,
    Principle,
    RatedText,
    Request,
    RequestError,
    Sampling,
    TokenLogprob,
)
from tests.voices import context, source, speak

JUDGE = ModelRef("judge")
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=512)
Voice = Callable[[Request], str]


def case(*texts: str, id: str = "p1", prompt: str = "Name a river.", **fields: object) -> Feedback:
    return Feedback(
        id=id,
        split="train",
        prompt=(Message(role="user", content=prompt),),
        completions=tuple(RatedText(source=f"m{place}", text=text) for place, text in enumerate(texts)),
        **fields,  # type: ignore[arg-type]
    )


def inputs(world: Path, **files: str) -> Inputs:
    paths = {}
    for name, text in files.items():
        paths[name] = world / name
        paths[name].write_text(text, encoding="utf-8")
    return Inputs({}, {"judge": source(world, "judge")}, paths)


class Bench:
    """Judges cases with a scripted model; `asked` are the requests that reached it."""

    def __init__(self, world: Path, monkeypatch: pytest.MonkeyPatch, voice: Voice) -> None:
        self.world = world
        self.engine = speak(monkeypatch, {"judge": voice})["judge"]
        self.asked = self.engine.asked

    def judge(self, config: JudgeConfig, *cases: Feedback, showing: Showing = FIRST, **files: str) -> list[Judgement]:
        with open_judge(config, inputs(self.world, **files), context(self.world)) as judge:
            return judge.judge(cases, showing)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Voice], Bench]:
    return lambda voice: Bench(tmp_path, monkeypatch, voice)


def said(request: Request) -> str:
    return request.messages[-1].content


def shown_pair(request: Request) -> tuple[str, str]:
    found = re.search(r"### Answer A\n(.*?)\n\n### Answer B\n(.*?)\n\n###", said(request), re.DOTALL)
    assert found
    return found[1], found[2]


def shown_texts(request: Request) -> list[str]:
    return re.findall(r"<text \d+>\n(.*?)\n</text", said(request), re.DOTALL)


def values(judgement: Judgement) -> list[float]:
    assert all(isinstance(verdict, Score) for verdict in judgement.verdicts), judgement.verdicts
    return [verdict.value for verdict in judgement.verdicts if isinstance(verdict, Score)]


def rate_texts(request: Request, rating: Callable[[str], object], typed: bool = False) -> str:
    fields = (
        "Type: 1\nRationale: because\nRating: {}\nRationale (For Rating): so" if typed else "Rating: {}\nRationale: so"
    )
    parts = enumerate(shown_texts(request), 1)
    return "\n\n".join(f"#### Output for Text {n}\n" + fields.format(rating(text)) for n, text in parts)


# ---------------------------------------------------------------------------------------------------------- pairwise


def prefers_first(request: Request) -> str:
    return "A"


def prefers_longer(request: Request) -> str:
    first, second = shown_pair(request)
    return "C" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


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

WORTH = {"good": 5, "fair": 3, "poor": 1, "good and more": 5}


def by_worth(request: Request) -> str:
    return rate_texts(request, lambda text: WORTH[text], typed="Type:" in said(request))


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


def grades(request: Request) -> str:
    return f"It is an answer.\n\nOverall Score: {WORTH[said(request).partition('### Answer')[2].split()[0]]}"


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


# ------------------------------------------------------------------------------------------------ asking and the ledger

KINDS: list[tuple[JudgeConfig, Voice]] = [
    (AspectsJudge(model=JUDGE), by_worth),
    (CritiqueJudge(model=JUDGE), grades),
    (PairwiseJudge(model=JUDGE), prefers_longer),
]


@pytest.mark.parametrize(("config", "voice"), KINDS)
def test_a_case_judged_twice_asks_nothing_the_second_time(
    bench: Callable[[Voice], Bench], config: JudgeConfig, voice: Voice
) -> None:
    one = bench(voice)
    cases = [case("good", "poor", "fair", id=f"p{n}", prompt=f"Question {n}") for n in range(5)]
    first = one.judge(config, *cases)
    asked = len(one.asked)
    assert asked == sum(len(judgement.calls) for judgement in first)
    assert one.judge(config, *cases) == first
    assert one.judge(config, *cases, showing=Showing(sample=1)) == first  # greedy: there is only one draw
    assert len(one.asked) == asked


def test_reading_again_is_free(bench: Callable[[Voice], Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that understands more needs no request: the raw texts are in the ledger."""
    one = bench(lambda request: "I give it seven.")
    config = CritiqueJudge(model=JUDGE)
    [judgement] = one.judge(config, case("good"))
    assert judgement.verdicts == (Failure("no score is stated", "I give it seven."),)
    asked = len(one.asked)
    monkeypatch.setattr(critique, "read_score", lambda text, scale, cut_off: (Number(7.0, 10, 15), text))
    [judgement] = one.judge(config, case("good"))
    assert values(judgement) == [7.0]
    assert len(one.asked) == asked == 3


def test_what_cannot_be_read_is_asked_again_above_temperature_zero(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "Well." if request.sample < 2 * REASKED else "Overall Score: 6")
    assert values(one.judge(CritiqueJudge(model=JUDGE), case("good"))[0]) == [6]
    drawn = [(request.sample, request.sampling.temperature) for request in one.asked]
    assert drawn == [(0, 0.0), (REASKED, REASK_TEMPERATURE), (2 * REASKED, REASK_TEMPERATURE)]
    warm = CritiqueJudge(model=JUDGE, sampling=Sampling(temperature=0.9, max_tokens=512))
    one.judge(warm, case("good"), showing=Showing(sample=3))
    drawn = [(request.sample, request.sampling.temperature) for request in one.asked[3:]]
    assert drawn == [(3, 0.9), (REASKED + 3, 0.9), (2 * REASKED + 3, 0.9)]


def test_tokens_of_all_replies_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"judge": lambda request: "Overall Score: 6" if request.sample else "Well."})
    for _ in range(2):  # asked now or found in the ledger
        with open_judge(CritiqueJudge(model=JUDGE), inputs(tmp_path), context(tmp_path)) as judge:
            judge.judge([case("good")])
            assert judge.tokens == 1 + 3
            assert (judge.mark.name, judge.mark.kind) == ("judge", "critique")


@pytest.mark.parametrize(("config", "voice"), KINDS)
def test_a_request_that_fails_leaves_all_others(
    bench: Callable[[Voice], Bench], config: JudgeConfig, voice: Voice
) -> None:
    down = {"Question 2"}

    def answer(request: Request) -> str:
        if any(question in said(request) for question in down):
            raise RequestError("the server hung up")
        return voice(request)

    one = bench(answer)
    cases = [case("good", "poor", id=f"p{n}", prompt=f"Question {n}") for n in range(5)]
    judged = one.judge(config, *cases)
    for number, judgement in enumerate(judged):
        assert all(isinstance(verdict, Failure if number == 2 else Score) for verdict in judgement.verdicts)
    assert all("the server hung up" in verdict.cause for verdict in judged[2].verdicts if isinstance(verdict, Failure))
    down.clear()
    asked = len(one.asked)
    [*again] = one.judge(config, *cases)
    assert all(isinstance(verdict, Score) for verdict in again[2].verdicts)
    assert again[:2] + again[3:] == judged[:2] + judged[3:]
    assert all("Question 2" in said(request) for request in one.asked[asked:])


@pytest.mark.parametrize(("config", "voice"), KINDS)
def test_a_case_for_which_the_money_ends_is_not_asked_in_full_and_has_no_score(
    bench: Callable[[Voice], Bench], config: JudgeConfig, voice: Voice
) -> None:
    money = 3

    def answer(request: Request) -> str:
        nonlocal money
        money -= 1
        if money < 0:
            raise SpentError
        return voice(request)

    one = bench(answer)
    one.engine.slots = 1
    [judgement] = one.judge(config, case("good", "poor", "fair", "good and more"))
    failures = [verdict for verdict in judgement.verdicts if isinstance(verdict, Failure)]
    assert failures and not any(failure.asked for failure in failures)
    assert len(failures) == (1 if config.kind == "critique" else 4)
    assert judgement.comparisons == ()
    assert len(judgement.calls) == 3


def test_a_judge_that_dies_keeps_what_was_answered(bench: Callable[[Voice], Bench]) -> None:
    alive = 7

    def answer(request: Request) -> str:
        nonlocal alive
        alive -= 1
        if alive == 0:
            raise KeyboardInterrupt
        return grades(request)

    one = bench(answer)
    one.engine.slots = 1
    cases = [case("good", "poor", id=f"p{n}", prompt=f"Question {n}") for n in range(6)]
    with pytest.raises(KeyboardInterrupt):
        one.judge(CritiqueJudge(model=JUDGE), *cases)
    assert [values(judgement) for judgement in one.judge(CritiqueJudge(model=JUDGE), *cases)] == [[5, 1]] * 6
    assert len(one.asked) == 12 + 1


def test_members_of_an_ensemble_share_one_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = pytest.importorskip("favonius.judges.ensemble")
    speak(monkeypatch, {"judge": lambda request: "A" if "Answer A" in said(request) else grades(request)})
    opened: list[Path] = []
    monkeypatch.setattr(interview, "Ledger", lambda path, step="": opened.append(path) or Ledger(path, step))
    config = EnsembleJudge(judges={"one": CritiqueJudge(model=JUDGE), "two": PairwiseJudge(model=JUDGE)})
    with open_judge(config, inputs(tmp_path), context(tmp_path)) as judge:
        assert isinstance(judge, ensemble.Ensemble)
        [judgement] = judge.judge([case("good", "poor")])
    assert len(judgement.verdicts) == 2
    assert len(opened) == 1


def test_asking_needs_no_torch() -> None:
    code = (
        "import sys, favonius.judges.open, favonius.judges.spoken.asking, favonius.judges.spoken.aspects, "
        "favonius.judges.spoken.critique, favonius.judges.spoken.pairwise; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------------------------------------- expected scores


def token(text: str, top: dict[str, float] | None = None) -> TokenLogprob:
    odds = tuple((name, math.log(probability)) for name, probability in (top or {}).items())
    return TokenLogprob(token=text, logprob=dict(odds).get(text, -0.1), top=odds)


def reply(*tokens: TokenLogprob, text: str | None = None) -> Completion:
    spelled = "".join(one.token for one in tokens) if text is None else text
    return Completion(text=spelled, finish="stop", prompt_tokens=1, completion_tokens=len(tokens), logprobs=tokens)


def place(completion: Completion, digits: str, value: float | None = None) -> Number:
    start = completion.text.rindex(digits)
    return Number(float(digits) if value is None else value, start, start + len(digits))


TEN, FIVE = Scale(1, 10), Scale(1, 5)
SCORE = (token("Overall"), token(" Score"), token(":"))


def test_the_mean_of_what_might_have_been_said() -> None:
    heard = reply(*SCORE, token(" 4", {" 4": 0.6, " 5": 0.3, " good": 0.05, " 9": 0.05}))
    assert expected_score(heard, place(heard, "4"), FIVE) == pytest.approx((4 * 0.6 + 5 * 0.3) / 0.9)
    bare = reply(token("4", {"4": 0.5, " 4": 0.1, "2": 0.4}))  # one rating in two spellings
    assert expected_score(bare, place(bare, "4"), FIVE) == pytest.approx((4 * 0.6 + 2 * 0.4) / 1.0)
    inside = reply(token("Rating: "), token("[[4", {"[[4": 0.5, "[[3": 0.5, "[": 0.0001}), token("]]"))
    assert expected_score(inside, place(inside, "4"), FIVE) == pytest.approx(3.5)


def test_ten_in_one_token() -> None:
    heard = reply(*SCORE, token(" 10", {" 10": 0.7, " 9": 0.2, " 1": 0.1}))
    assert expected_score(heard, place(heard, "10"), TEN) == pytest.approx(7 + 1.8 + 0.1)
    heard = reply(*SCORE, token(" 9", {" 10": 0.3, " 9": 0.6, " 1": 0.1}))
    assert expected_score(heard, place(heard, "9"), TEN) == pytest.approx(3 + 5.4 + 0.1)


def test_ten_in_two_tokens_is_told_by_the_second() -> None:
    begun = token("1", {"1": 0.8, "9": 0.2})
    ten = reply(*SCORE, token(" "), begun, token("0", {"0": 0.9, "\n": 0.1}))
    expected = (10 * 0.8 * 0.9 + 1 * 0.8 * 0.1 + 9 * 0.2) / 1.0
    assert expected_score(ten, place(ten, "10"), TEN) == pytest.approx(expected)
    one = reply(*SCORE, token(" "), begun, token("\n", {"0": 0.9, "\n": 0.1}))
    assert expected_score(one, place(one, "1"), TEN) == pytest.approx(expected)  # the draw does not matter
    eleven = reply(*SCORE, token(" "), begun, token("\n", {"0": 0.5, "1": 0.25, "\n": 0.25}))
    assert expected_score(eleven, place(eleven, "1"), TEN) == pytest.approx((4 + 0.2 + 1.8) / (0.4 + 0.2 + 0.2))


def test_a_one_that_was_not_drawn_may_begin_a_ten_and_is_left_out_only_where_it_hardly_matters() -> None:
    little = reply(*SCORE, token(" "), token("8", {"8": 0.69, "7": 0.3, "1": 0.01}))
    assert expected_score(little, place(little, "8"), TEN) == pytest.approx((8 * 0.69 + 7 * 0.3) / 0.99)
    much = reply(*SCORE, token(" "), token("8", {"8": 0.6, "7": 0.3, "1": 0.1}))
    with pytest.raises(Unreadable, match="a 1 cannot be told from a 10"):
        expected_score(much, place(much, "8"), TEN)
    closed = reply(token("[["), token("8]]", {"8]]": 0.5, "1]]": 0.5}))  # this one is over
    assert expected_score(closed, place(closed, "8"), TEN) == pytest.approx(4.5)


def test_a_one_with_which_the_reply_ends_is_a_one() -> None:
    heard = reply(*SCORE, token(" "), token("1", {"1": 0.6, "3": 0.4}))
    assert expected_score(heard, place(heard, "1"), TEN) == pytest.approx(0.6 + 1.2)


@pytest.mark.parametrize(
    ("heard", "digits", "why"),
    [
        (reply(text="4"), "4", "the engine gave no log-probs"),
        (reply(token("4")), "4", "no score is among the likeliest tokens"),
        (reply(token("4", {"x": 0.9, "y": 0.1}), text="4"), "4", None),
        (reply(token("4", {"4": 1.0}), text="40 4"), "4", "the tokens do not spell the reply"),
        (reply(token("4"), token("."), token("5", {"5": 1.0})), "4.5", "the score is no whole number"),
    ],
)
def test_odds_that_cannot_be_known_are_a_failure_and_never_the_drawn_rating(
    heard: Completion, digits: str, why: str | None
) -> None:
    if why is None:  # the drawn token counts with its own log-prob where the list leaves it out
        assert expected_score(heard, place(heard, digits), FIVE) == 4
        return
    with pytest.raises(Unreadable, match=why):
        expected_score(heard, place(heard, digits), FIVE)


def test_tokens_are_found_whatever_engines_do_with_spaces_and_broken_letters() -> None:
    odds = {"4": 0.5, "2": 0.5}
    stripped = reply(token("Rating"), token(":"), token("4", odds), text="Rating: 4")
    special = reply(token("<s>"), token("▁Rating"), token(":"), token("▁4", {"▁4": 0.5, "▁2": 0.5}), text="Rating: 4")
    broken = reply(token("Zür�"), token("�ch 4\n"), token("Rating: "), token("4", odds), text="Zürich 4\nRating: 4")
    for heard in (stripped, special, broken):
        assert expected_score(heard, place(heard, "4"), FIVE) == pytest.approx(3.0)


@given(st.dictionaries(st.integers(1, 10), st.floats(0.01, 1.0), min_size=1), st.booleans(), st.data())
def test_both_spellings_of_ten_give_the_mean(weights: dict[int, float], split: bool, data: st.DataObject) -> None:
    total = sum(weights.values())
    odds = {value: weight / total for value, weight in weights.items()}
    drawn = data.draw(st.sampled_from(sorted(odds)))
    if not split:
        heard = reply(*SCORE, token(f" {drawn}", {f" {value}": p for value, p in odds.items()}))
        if 1 in odds and 10 not in odds and drawn != 1:
            return  # whether this judge writes 10 in one token is not to be seen
    else:
        one = odds.get(1, 0.0) + odds.get(10, 0.0)
        if one and drawn not in (1, 10):
            return
        top = {str(value): p for value, p in odds.items() if value not in (1, 10)} | ({"1": one} if one else {})
        rest = {"0": odds.get(10, 0) / one, "\n": odds.get(1, 0) / one} if one else {"\n": 1.0}
        following = token("0" if drawn == 10 else "\n", {text: p for text, p in rest.items() if p})
        heard = reply(*SCORE, token(" "), token(str(drawn)[0], top), following)
    expected = sum(value * p for value, p in odds.items())
    assert expected_score(heard, place(heard, str(drawn)), TEN) == pytest.approx(expected)


def test_preferences_are_those_of_alpaca_eval() -> None:
    names = Names(first="m", second="M", tie=None)
    heard = reply(token("m", {"m": 0.6, "M": 0.2, "Both": 0.2}))
    assert expected_preference(heard, Said("first", 0, 1), names) == pytest.approx(0.75)
    tied = reply(token("[["), token("A", {"A": 0.5, "B": 0.25, "C": 0.25}), token("]]"))
    assert expected_preference(tied, Said("first", 2, 3), Names()) == pytest.approx(0.625)
    with pytest.raises(Unreadable, match="no verdict is among the likeliest tokens"):
        expected_preference(reply(token("A")), Said("first", 0, 1), Names())


class Telling(ScriptedEngine):
    """Answers with tokens and their log-probs, where these are asked for."""

    def __init__(self, tokens: Callable[[Request], Iterable[TokenLogprob]]) -> None:
        super().__init__(lambda request: "", "digest of judge")
        self.tokens = tokens

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        assert request.logprobs
        return reply(*self.tokens(request))


def test_expected_scores_of_all_three_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rated(request: Request) -> Iterator[TokenLogprob]:
        for number, text in enumerate(shown_texts(request), 1):
            high = {"good": 0.9, "poor": 0.2}[text]
            yield token(f"#### Output for Text {number}\nRating:")
            yield token(" 5", {" 5": high, " 1": 1 - high})
            yield token("\nRationale: so\n\n")

    def tokens(request: Request) -> Iterable[TokenLogprob]:
        if "<text 1>" in said(request):
            return rated(request)
        if "### Answer A" in said(request):
            first = 0.9 if shown_pair(request)[0] == "good" else 0.3
            return [token("A" if first > 0.5 else "B", {"A": first, "B": 1 - first})]
        return [token("Fine.\n"), *SCORE, token(" 8", {" 8": 0.5, " 6": 0.5}), token("/10")]

    engine = Telling(tokens)

    @contextmanager
    def opened(*_: object) -> Iterator[ScriptedEngine]:
        yield engine

    monkeypatch.setattr(interview, "open_engine", opened)
    wanted = {"aspects": [4.6, 1.8], "critique": [7.0, 7.0], "pairwise": [0.8, 0.2]}
    for kind in (AspectsJudge, CritiqueJudge, PairwiseJudge):
        for _ in range(2):
            with open_judge(kind(model=JUDGE, expected=True), inputs(tmp_path), context(tmp_path)) as judge:
                [judgement] = judge.judge([case("good", "poor")])
                assert values(judgement) == pytest.approx(wanted[judge.mark.kind])
    assert len(engine.asked) == 4 + 2 + 2


def test_an_engine_without_log_probs_gives_no_scores(bench: Callable[[Voice], Bench]) -> None:
    one = bench(grades)
    [judgement] = one.judge(CritiqueJudge(model=JUDGE, expected=True, reasks=0), case("good"))
    assert judgement.verdicts == (Failure("the engine gave no log-probs", "It is an answer.\n\nOverall Score: 5"),)


# --------------------------------------------------------------------------------------------------------- templates

PAIR_FILE = """
kind: pairwise
system: >-
  Please compare two assistants. Write [[A]], [[B]] or [[C]] and {{nothing}} else, {"as": "said"}.
user: |
  [User Question]
  {instruction}

  Reference: {knowledge}

  [The Start of Assistant A's Answer]
  {first}
  [The End of Assistant A's Answer]

  [The Start of Assistant B's Answer]
  {second}
  [The End of Assistant B's Answer]
knowledge: "{correct}"
"""
ALPACA_FILE = """
kind: pairwise
user: |
  I require a leaderboard. {"instruction": "{instruction}"}
  {"m": {"output": "{first}"}, "M": {"output": "{second}"}}
verdicts: {first: m, second: M, tie: null}
"""
SINGLE_FILE = """
kind: critique
user: |
  Explain, then rate the answer from 1 to 10 in this form: "[[rating]]", for example: "Rating: [[5]]".
  {instruction}
  Written by: {principle}
  {answer}
"""
ASPECTS_FILE = """
kind: aspects
system: You rate.
user: "# {rubric}\\n{instruction}\\n{texts}"
text: "<text {number}>\\n{text}\\n</text {number}>"
aspects:
  honesty: {rubric: Honesty}
  helpfulness:
    rubric: Helpfulness
    user: "{rubric}, by {count}: {instruction}\\n{texts}\\n{outputs}"
    output: "Text {number}: Rating:"
"""


def test_a_pairwise_prompt_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "[[B]]" if "It is right" in said(request).partition("Assistant B")[2] else "[[A]]")
    config = PairwiseJudge(model=JUDGE, template=FileRef("mt.yaml"), explain=True)
    answers = ("It is right", "It is {second} and [[A]] {instruction}")
    [judgement] = one.judge(config, case(*answers), **{"mt.yaml": PAIR_FILE})
    assert values(judgement) == [1.0, 0.0]
    system, user = one.asked[0].messages
    assert (
        system.content
        == 'Please compare two assistants. Write [[A]], [[B]] or [[C]] and {nothing} else, {"as": "said"}.'
    )
    assert user.content == (
        "[User Question]\nName a river.\n\n[The Start of Assistant A's Answer]\nIt is right\n[The End of Assistant A's "
        "Answer]\n\n[The Start of Assistant B's Answer]\nIt is {second} and [[A]] {instruction}\n[The End of Assistant "
        "B's Answer]"
    )
    one.judge(config, case(*answers, id="p2", knowledge=Knowledge(correct=("Rhine",))), **{"mt.yaml": PAIR_FILE})
    assert "\nReference: Rhine\n" in said(one.asked[-1])


def test_verdicts_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "M" if '"M": {"output": "Rhine"}' in said(request) else "m")
    config = PairwiseJudge(model=JUDGE, template=FileRef("alpaca.yaml"))
    [judgement] = one.judge(config, case("Rhine", "Rhone"), **{"alpaca.yaml": ALPACA_FILE})
    assert values(judgement) == [1.0, 0.0]
    assert len(one.asked[0].messages) == 1


def test_a_grading_prompt_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(lambda request: "It scores on two points: a score of 3 would be low.\n\nRating: [[1]]")
    config = CritiqueJudge(model=JUDGE, template=FileRef("single.yaml"))
    [judgement] = one.judge(config, case("good"), **{"single.yaml": SINGLE_FILE})
    assert values(judgement) == [1.0]
    assert said(one.asked[0]).endswith('"Rating: [[5]]".\nName a river.\ngood')


def test_aspects_of_ones_own(bench: Callable[[Voice], Bench]) -> None:
    one = bench(by_worth)
    config = AspectsJudge(model=JUDGE, template=FileRef("own.yaml"), aspects=("honesty", "helpfulness"))
    [judgement] = one.judge(config, case("good", "poor"), **{"own.yaml": ASPECTS_FILE})
    assert values(judgement) == [5, 1]
    asked = sorted(said(request) for request in one.asked)
    assert asked[0].startswith("# Honesty\nName a river.\n<text 1>\n")
    assert asked[1].startswith("Helpfulness, by 2: Name") and asked[1].endswith("Text 1: Rating:\n\nText 2: Rating:")
    with pytest.raises(
        UserError, match=r"own.yaml: aspects.instruction_following: is missing, and the judge is to rate it"
    ):
        one.judge(AspectsJudge(model=JUDGE, template=FileRef("own.yaml")), case("x"), **{"own.yaml": ASPECTS_FILE})


def test_what_was_asked_is_marked_by_the_templates_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, {"judge": prefers_first})
    marks = []
    for config in (
        PairwiseJudge(model=JUDGE),
        PairwiseJudge(model=JUDGE, explain=True),
        PairwiseJudge(model=JUDGE, template=FileRef("a.yaml")),
        PairwiseJudge(model=JUDGE, template=FileRef("b.yaml")),
    ):
        files = inputs(tmp_path, **{"a.yaml": PAIR_FILE, "b.yaml": PAIR_FILE})
        with open_judge(config, files, context(tmp_path)) as judge:
            marks.append(judge.mark.template)
    assert marks[2] == marks[3] and len(set(marks)) == 3 and None not in marks


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"^t.yaml: "),
        ("kind: pairwise\nuser: [", r"^t.yaml:2: not valid YAML: "),
        ("kind: critique\nuser: x", r"^t.yaml: kind: .*'pairwise'"),
        ("kind: pairwise", r"^t.yaml: user: is missing$"),
        ("kind: pairwise\nuser: '{instruction} {first}'", r"^t.yaml: user needs the place \{second\}$"),
        (
            "kind: pairwise\nuser: '{instruction} {first} {second} {third}'",
            r"^t.yaml: user has no place \{third\}; it may",
        ),
        ("kind: pairwise\nuser: x\nsytem: y", r"^t.yaml: sytem: is no key of such a template$"),
        (
            "kind: pairwise\nuser: '{instruction} {first} {second}'\nknowledge: '{facts}'",
            r"^t.yaml: knowledge has no place \{facts\}; it may have correct, incorrect, note$",
        ),
        (
            "kind: pairwise\nuser: '{instruction} {first} {second}'\nverdicts: {first: A, second: A}",
            r"^t.yaml: verdicts: the names of verdicts must differ$",
        ),
    ],
)
def test_a_template_with_a_fault_is_refused_with_file_and_key(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_template(text, PairwisePrompt, "t.yaml")


def test_places_are_filled_once() -> None:
    assert fill("{a}{{a}}{b} {c d} {}", {"a": "{b}", "b": "2"}) == "{b}{a}2 {c d} {}"
    assert fill("x\n\n{a}\n\n{b}: {a}\n\ny", {"a": "", "b": ""}) == "x\n\ny"
    assert fill("x\n{a} {b}\ny", {"a": "", "b": "1"}) == "x\n 1\ny"
