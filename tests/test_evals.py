"""Stage `evaluate` with scripted models and judges: who wins, what is left out, what the table says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.data.checks import Drops
from favonius.engines.account import SpentError
from favonius.evals import stage as evaluate
from favonius.evals.compare import Contest, Judged, share_of_games, win_rate
from favonius.evals.config import EvaluateConfig
from favonius.evals.heldout import HeldOut
from favonius.evals.results import Units, failures, results, verdict
from favonius.files import read_json
from favonius.judges.config import EnsembleJudge, JudgeConfig, LikelihoodJudge, PairwiseJudge
from favonius.judges.judge import Failure, Judgement, Score, Verdict
from favonius.report.gather import Results
from favonius.run import Budget, Inputs, LeftOpen, ModelRef, ServedModel, StepRef
from favonius.types import (
    Answer,
    Comparison,
    Completion,
    Dialogue,
    JudgedBy,
    Message,
    Pair,
    Price,
    Request,
    RequestError,
    Sampling,
    TokenLogprob,
)
from tests.tiny import save_tiny
from tests.voices import Voice, context, source, speak, stats

MARK = JudgedBy(name="j", kind="scripted")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path


# ---------------------------------------------------------------------------------------------------- who wins


def answer(label: str, *flaws: str, prompt: str = "p") -> Answer:
    asked = (Message(role="user", content="q"),)
    return Answer(
        prompt_id=prompt, split="test", prompt=asked, source=label, text=label, finished=True, tokens=3, flaws=flaws
    )


def contest(
    verdicts: Sequence[float | None],
    comparisons: Sequence[Comparison] = (),
    flaws: Mapping[str, tuple[str, ...]] | None = None,
    prompt: str = "p",
) -> Contest:
    """Of models a, b, c, …; None stands for a failure."""
    labels = "abcdef"[: len(verdicts)]
    found = tuple(Failure("mute") if value is None else Score(value) for value in verdicts)
    answers = {label: answer(label, *(flaws or {}).get(label, ()), prompt=prompt) for label in labels}
    return Contest(answers, Judgement(found, tuple(comparisons)))


def test_the_higher_score_wins_and_flaws_go_first() -> None:
    assert contest([-1.0, -2.0]).result("a", "b") == 1.0
    assert contest([-1.0, -1.0]).result("a", "b") == 0.5 == contest([-1.0, -1.0]).word("b", "a")
    loops = contest([-2.0, -1.0], flaws={"b": ("loop",)})
    assert (loops.result("a", "b"), loops.word("a", "b"), loops.result("b", "a")) == (1.0, 0.0, 0.0)
    assert contest([-1.0, -1.0], flaws={"a": ("leak",), "b": ("loop",)}).result("a", "b") == 0.5


def test_what_a_judge_could_not_say_is_left_out_and_is_no_defeat() -> None:
    mute = contest([None, -9.0])
    assert mute.word("a", "b") is None is mute.result("b", "a")
    assert contest([None, -9.0], flaws={"a": ("empty",)}).result("a", "b") == 0.0
    told = [contest([1.0, 0.0], prompt="x"), contest([None, 0.0], prompt="x"), contest([None, 0.0], prompt="y")]
    estimate = win_rate(told, "a", "b")
    assert estimate is not None and (estimate.value, estimate.n) == (1.0, 1)
    silence = share_of_games(told, "a", "b", Contest.silence)
    assert silence is not None and silence.value == pytest.approx(2 / 3) and silence.n == 2
    assert win_rate(told[1:], "a", "b") is None


def test_a_judge_that_compares_is_taken_at_its_comparison_and_not_at_its_means() -> None:
    """a loses to b and beats c by far, so that its mean is the higher one."""
    first = Comparison(first=0, second=1, preference=0.25)
    compared = contest([0.625, 0.5, 0.0], [first, Comparison(first=2, second=0, preference=0.0)])
    assert (compared.word("a", "b"), compared.word("b", "a")) == (0.25, 0.75)
    assert (compared.word("a", "c"), compared.word("c", "a")) == (1.0, 0.0)
    assert compared.word("b", "c") is None and compared.silence("b", "c") == 1.0
    assert compared.tie("a", "b") == 0.0 and compared.tie("b", "c") is None


@given(scores=st.lists(st.one_of(st.none(), st.integers(-2, 2).map(float)), min_size=2, max_size=6))
def test_one_models_win_is_the_others_defeat(scores: list[float | None]) -> None:
    one = contest(scores)
    for first in one.answers:
        for second in one.answers:
            if first != second:
                mine, theirs = one.word(first, second), one.word(second, first)
                assert (mine is None) == (theirs is None)
                assert mine is None or theirs is None or mine + theirs == 1.0


def config(judge: JudgeConfig, **changes: Any) -> EvaluateConfig:
    models = {"base": ModelRef("base"), "dSFT": ModelRef("student")}
    told: dict[str, Any] = {
        "models": models, "baseline": "dSFT", "prompts": StepRef("dialogues"), "pairs": StepRef("pairs"),
        "judge": judge, "samples": 2, "sampling": Sampling(max_tokens=20),
    }  # fmt: skip
    return EvaluateConfig(**{**told, **changes})


def test_the_verdict_says_what_is_left_out_and_what_was_not_asked() -> None:
    one = config(LikelihoodJudge(model=ModelRef("j")), models={"a": "x", "b": "y"}, baseline="b")

    def said(*rows: Sequence[Verdict]) -> str:
        contests = tuple(
            Contest({"a": answer("a", prompt=str(n)), "b": answer("b", prompt=str(n))}, Judgement(tuple(row)))
            for n, row in enumerate(rows)
        )
        return verdict(one, Judged(MARK, contests, 0))

    better = (Score(1.0), Score(0.0))
    assert said(*[better] * 9) == "a beats b: it wins 100% of the games (95 % interval 70% to 100%)."
    assert "1 of 10 games are left out" in said(*[better] * 9, (Failure("mute"), Score(0.0)))
    nothing = said((Failure("mute"), Score(0.0)))
    assert "Of a against b nothing can be said" in nothing and "money" not in nothing
    poor = (Failure("the budget is spent", asked=False),) * 2
    assert "not asked about 2 answers: the money is spent" in said(*[better] * 9, poor)
    contests = (Contest({"a": answer("a"), "b": answer("b")}, Judgement((poor[0], Failure("mute")))),)
    assert failures(Judged(MARK, contests, 0)) == {"answers": 2, "not_asked": 1, "causes": {"mute": 1}}


# ---------------------------------------------------------------------------------------------------- the stage


def make_rows(world: Path, count: int = 8) -> None:
    """Held-out dialogues and pairs."""
    prompts = [(Message(role="user", content=f"What about {n}?"),) for n in range(count)]
    rows: dict[str, list[Dialogue | Pair]] = {
        "dialogues": [
            Dialogue(id=f"s{n}", split="test", messages=(*prompt, Message(role="assistant", content="The fox.")))
            for n, prompt in enumerate(prompts)
        ],
        "pairs": [
            Pair(id=f"s{n}", split="test", prompt=prompt, chosen="The fox.", rejected="A word " * (n + 1))
            for n, prompt in enumerate(prompts)
        ],
    }
    for name, own in rows.items():
        (world / name).mkdir()
        (world / name / f"{name}.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in own))


def run(
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    one: EvaluateConfig,
    judge: Voice | None = None,
    left_open: list[LeftOpen] | None = None,
) -> dict[str, Any]:
    """The stage's results.json, which the report can read. `api` is served by an API."""
    voices: dict[str, Voice] = {
        "base": lambda asked: "<|user|> the the the",
        "student": lambda asked: "The fox answers.",
    }
    speak(monkeypatch, {**voices, **({} if judge is None else {"judge": judge, "api": judge})})
    for seed, name in enumerate(("base", "student", "judge")):
        save_tiny(world / name, seed=seed)
    make_rows(world)
    (world / "e").mkdir()
    models = {name: source(world, name) for name in ("base", "student", "judge")}
    served = {"api": ServedModel("api", "gpt", "digest of api", Price(prompt=1, completion=1))}
    folders = {"dialogues": world / "dialogues", "pairs": world / "pairs"}
    around = replace(context(world), budget=Budget(dollars=1), left_open=[] if left_open is None else left_open)
    evaluate.run(one, Inputs(folders, {**models, **served}, {}), world / "e", around)
    Results.model_validate(read_json(world / "e" / "results.json"))
    return dict(json.loads((world / "e" / "results.json").read_text()))


def table(results: Mapping[str, Any]) -> dict[str, Any]:
    return {row["key"]: row["values"] for row in results["metrics"]}


def test_evaluate_writes_the_table(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(world, monkeypatch, config(LikelihoodJudge(model=ModelRef("judge")), teacher=ModelRef("judge")))
    values = table(results)
    assert results["judge_is_teacher"] and results["labels"] == ["base", "dSFT"]
    assert results["judge"] == "likelihood of judge" and results["judged_by"]["kind"] == "likelihood"
    assert results["prompts"] == 8 and len(results["examples"]) == 6
    assert results["judge_failures"] == {"answers": 32, "not_asked": 0, "causes": {}}
    assert values["win_rate"]["base"]["value"] == 0.0 and values["win_rate"]["dSFT"] is None
    assert values["ties"]["base"]["value"] == 0.0 == values["without_word"]["base"]["value"]
    assert values["leak"]["base"]["value"] == 1.0 and values["leak"]["dSFT"]["value"] == 0.0
    assert values["ended"]["dSFT"]["value"] == 1.0 and values["length"]["dSFT"]["value"] == 3.0
    assert 3 < values["nll"]["base"]["value"] < 30 and values["nll"]["base"]["n"] == 8
    assert values["implied_accuracy"]["dSFT"] is None and 0 <= values["implied_accuracy"]["base"]["value"] <= 1
    assert "base loses to dSFT" in results["verdict"]
    assert results["win_matrix"]["dSFT"]["base"]["value"] == 1.0
    assert stats(world / "e")["kept"] == 32 and stats(world / "e")["tokens of the judge"] > 0


def test_held_out_rows_of_one_prompt_are_one_unit() -> None:
    """Pairs and dialogues of one prompt rest on one another; intervals are over prompts."""
    units = Units(dialogues={"d1": "x", "d2": "x", "d3": "y"}, pairs={"p1": "x", "p2": "x", "p3": "y"})
    teacher = {"d1": (-2.0, 1), "d2": (-4.0, 2), "d3": (-3.0, 3)}
    own = HeldOut(teacher, {"p1": (-1.0, -2.0, 1, 1), "p2": (-1.0, -2.0, 1, 1), "p3": (-3.0, -2.0, 1, 1)}, Drops())
    base = HeldOut(teacher, dict.fromkeys(("p1", "p2", "p3"), (-2.0, -2.0, 1, 1)), Drops())
    one = config(LikelihoodJudge(model=ModelRef("judge")), baseline="base")
    values = table(results(one, Judged(MARK, (), 0), {"base": base, "dSFT": own}, units, judge_is_teacher=False))
    assert values["nll"]["dSFT"]["value"] == 1.5 and values["nll"]["dSFT"]["n"] == 2
    for key in ("implied_accuracy", "pair_accuracy"):
        assert values[key]["dSFT"]["value"] == pytest.approx(2 / 3) and values[key]["dSFT"]["n"] == 2


PAIRWISE = PairwiseJudge(model=ModelRef("judge"))


def prefers(text: str, otherwise: str = "C") -> Voice:
    """A pairwise judge that prefers the answer with `text` in it, wherever it stands."""

    def say(asked: Request) -> str:
        first, second = asked.messages[-1].content.split("### Answer A")[1].split("### Answer B")
        return otherwise if (text in first) == (text in second) else "A" if text in first else "B"

    return say


def test_a_pairwise_judge_decides_by_its_comparisons(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(world, monkeypatch, config(PAIRWISE), prefers("the the"))
    values = table(results)
    assert values["win_rate_by_score"]["base"]["value"] == 1.0 and values["win_rate"]["base"]["value"] == 0.0
    assert values["ties"]["base"]["value"] == 0.0 == values["without_word"]["base"]["value"]
    assert results["judged_by"]["kind"] == "pairwise" and results["judged_by"]["template"]
    assert not results["judge_is_teacher"]


def test_a_judge_that_always_says_the_first_makes_ties_alone(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = table(run(world, monkeypatch, config(PAIRWISE), lambda asked: "A"))
    assert values["win_rate_by_score"]["base"]["value"] == 0.5 and values["ties"]["base"]["value"] == 1.0


def test_failures_of_the_judge_are_shown_and_count_for_nobody(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = prefers("the the")

    def judge(asked: Request) -> str | Completion:
        if "about 3" in asked.messages[-1].content:
            raise RequestError("refused")
        return "I cannot tell" if "about 4" in asked.messages[-1].content else good(asked)

    results = run(world, monkeypatch, config(PAIRWISE), judge)
    values = table(results)
    assert values["without_word"]["base"]["value"] == 0.25
    assert values["win_rate_by_score"]["base"]["value"] == 1.0 and values["win_rate_by_score"]["base"]["n"] == 6
    causes = results["judge_failures"]["causes"]
    assert causes["refused"] == 4 and sum(causes.values()) == 8 and results["judge_failures"]["not_asked"] == 0
    assert any(answer["score"] is None for example in results["examples"] for answer in example["answers"].values())


def test_what_there_was_no_money_to_ask_is_no_failure(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = prefers("the the")

    def judge(asked: Request) -> str | Completion:
        if "about 3" in asked.messages[-1].content:
            raise SpentError
        return good(asked)

    one = config(PAIRWISE.model_copy(update={"model": ModelRef("api")}), teacher=ModelRef("api"))
    left_open: list[LeftOpen] = []
    results = run(world, monkeypatch, one, judge, left_open)
    assert results["judge_failures"] == {"answers": 32, "not_asked": 4, "causes": {}}
    assert "not asked about 4 answers" in results["verdict"] and results["judge_is_teacher"]
    assert [left.cause for left in left_open] == ["budget"]


def test_graded_preferences_are_counted_as_they_are(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(asked: Request) -> Completion:
        said = str(prefers("the the")(asked))
        odds = tuple((name, math.log(0.75 if name == said else 0.25)) for name in "AB")
        told = TokenLogprob(token=said, logprob=math.log(0.75), top=odds)
        return Completion(text=said, finish="stop", prompt_tokens=9, completion_tokens=1, logprobs=(told,))

    values = table(run(world, monkeypatch, config(PAIRWISE.model_copy(update={"expected": True})), judge))
    assert values["win_rate_by_score"]["base"]["value"] == pytest.approx(0.75)


def test_the_teacher_is_found_in_an_ensemble(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = EnsembleJudge(judges={"words": PAIRWISE, "weights": LikelihoodJudge(model=ModelRef("student"))})
    results = run(world, monkeypatch, config(both, teacher=ModelRef("judge")), prefers("the the"))
    assert results["judge_is_teacher"] and results["judged_by"]["kind"] == "ensemble"
    assert not results["judge_failures"]["causes"]
