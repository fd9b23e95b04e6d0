"""How judges ask: nothing twice, what cannot be read once more; and requests that fail or that nobody can pay."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from favonius.engines import interview
from favonius.engines.account import SpentError
from favonius.engines.ledger import Ledger
from favonius.judges.config import AspectsJudge, CritiqueJudge, EnsembleJudge, JudgeConfig, PairwiseJudge
from favonius.judges.judge import Failure, Score, Showing
from favonius.judges.open import open_judge
from favonius.judges.spoken import critique
from favonius.judges.spoken.asking import REASK_TEMPERATURE, REASKED
from favonius.judges.spoken.numerals import Number
from favonius.types import Request, RequestError, Sampling
from tests.spoken import JUDGE, Bench, Voice, by_worth, case, grades, inputs, prefers_longer, said, values
from tests.voices import context, speak


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Voice], Bench]:
    return lambda voice: Bench(tmp_path, monkeypatch, voice)


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
