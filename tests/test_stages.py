"""The stages between the trainings, with scripted models: what is kept, dropped, preferred and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.data.checks import Drops
from favonius.data.rows import read_rows
from favonius.dialogues import stage as dialogues
from favonius.dialogues.config import DialoguesConfig
from favonius.evals import stage as evaluate
from favonius.evals.compare import Judged, preferred, win_rate
from favonius.evals.config import EvaluateConfig
from favonius.statistics import mean, ratio, share
from favonius.feedback import answers, pairs, ratings
from favonius.feedback.config import AnswersConfig, PairsConfig, PoolMember, RatingsConfig
from favonius.judges.config import LikelihoodJudge
from favonius.judges.judge import Failure, Score
from favonius.judges.likelihood import Likelihood
from favonius.run import Inputs, ModelRef, StepRef
from favonius.types import Answer, Dialogue, Message, Pair, Rating, Request, Sampling
from tests.tiny import save_tiny
from tests.voices import context, source, speak, stats

SEEDS = [{"id": f"s{n}", "prompt": f"What about {n}?"} for n in range(40)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(seed) + "\n" for seed in SEEDS))
    return tmp_path


def make_dialogues(world: Path, **changes: object) -> Path:
    config = DialoguesConfig(seeds="seeds.jsonl", teacher="teacher", **changes)  # type: ignore[arg-type]
    inputs = Inputs({}, {"teacher": source(world, "teacher")}, {"seeds.jsonl": world / "seeds.jsonl"})
    out = world / "dialogues"
    out.mkdir(exist_ok=True)
    dialogues.run(config, inputs, out, context(world))
    return out


def test_answers_ratings_pairs(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voices: dict[str, Callable[[Request], str]] = {
        "teacher": lambda asked: f"An answer to: {asked.messages[-1].content}",
        "base": lambda asked: "<|user|> I leak",
        "student": lambda asked: "" if "7" in asked.messages[-1].content else "The fox answers.",
    }
    speak(monkeypatch, voices)
    save_tiny(world / "judge")
    made = make_dialogues(world, rounds={1: 1})
    models = {name: source(world, name) for name in ("teacher", "base", "student", "judge")}
    inputs = Inputs({"dialogues": made, "answers": world / "a", "ratings": world / "r"}, models, {})
    for name in ("a", "r", "p"):
        (world / name).mkdir()
    pool = {name: PoolMember(model=ModelRef(name)) for name in ("base", "student", "teacher")}
    answers.run(AnswersConfig(prompts=StepRef("dialogues"), pool=pool, limit=30), inputs, world / "a", context(world))
    given_answers = read_rows(world / "a" / "answers.jsonl", Answer)
    prompts = {answer.prompt_id for answer in given_answers}
    assert len([answer for answer in given_answers if answer.split == "train"]) == 3 * 30
    assert {a.flaws for a in given_answers if a.source == "base"} == {("leak",)}

    judge = LikelihoodJudge(model=ModelRef("judge"))
    ratings.run(RatingsConfig(answers=StepRef("answers"), judge=judge), inputs, world / "r", context(world))
    rated = read_rows(world / "r" / "ratings.jsonl", Rating)
    empty = [answer for answer in given_answers if not answer.text]
    assert stats(world / "r")["dropped"] == {"empty answer": len(empty)} and empty
    assert len(rated) == len(given_answers) - len(empty)

    pairs.run(PairsConfig(ratings=StepRef("ratings")), inputs, world / "p", context(world))
    kept = read_rows(world / "p" / "pairs.jsonl", Pair)
    assert {pair.id for pair in kept} == prompts
    assert all(pair.chosen_source != "base" for pair in kept)
    for pair in kept:
        if pair.rejected_source != "base":
            assert pair.chosen_score is not None and pair.rejected_score is not None
            assert pair.chosen_score > pair.rejected_score


def test_likelihood_judge_is_the_mean_log_prob_of_content_and_end(world: Path) -> None:
    import torch

    from favonius.chat.format import ChatFormat
    from tests.tiny import tiny_model

    save_tiny(world / "judge", "gemma3")
    judge = Likelihood(source(world, "judge"), max_length=60)
    prompt = (Message(role="user", content="a question?"),)
    texts = [("the weather", True), ("the weather", False), ("another fox", True), ("", True), ("the fox " * 60, True)]
    asked = [
        Answer(prompt_id="p", split="test", prompt=prompt, source="s", text=text, finished=finished, tokens=1)
        for text, finished in texts
    ]
    verdicts = judge.rate(asked, lambda prompts, tokens: None)
    model, form = tiny_model("gemma3", attention="sdpa"), ChatFormat.load(source(world, "judge"))
    for answer, verdict in zip(asked[:3], verdicts, strict=False):
        encoded = form.encode((*prompt, Message(role="assistant", content=answer.text)), finished=answer.finished)
        logps = torch.log_softmax(model(input_ids=torch.tensor([encoded.ids])).logits[0, :-1].float(), -1)
        picked = logps.gather(1, torch.tensor(encoded.ids[1:])[:, None])[:, 0][torch.tensor(encoded.scored[1:])]
        assert isinstance(verdict, Score) and verdict.value == pytest.approx(float(picked.detach().mean()), rel=2e-2)
    assert verdicts[3] == Failure("empty answer")
    assert verdicts[4] == Failure("longer than the judge's max_length (60 tokens)")


def rating(source_name: str, score: float, text: str = "", flaws: tuple[str, ...] = ()) -> Rating:
    answer = Answer(
        prompt_id="p", split="train", prompt=(Message(role="user", content="q"),), source=source_name,
        text=text or source_name, finished="unfinished" not in flaws, tokens=3, flaws=flaws,
    )  # fmt: skip
    return Rating(answer=answer, judge="j", score=score)


def pair_of(*rated: Rating, seed: int = 0) -> tuple[Pair | None, dict[str, int]]:
    drops = Drops()
    pair = pairs.binarise(rated, PairsConfig(ratings=StepRef("r"), seed=seed), drops)
    return pair, dict(drops.counts)


def test_pairs_by_hand() -> None:
    pair, _ = pair_of(rating("a", -1.0), rating("b", -2.0), rating("c", -0.5, flaws=("loop",)))
    assert pair is not None and pair.chosen_source == "a" and pair.rejected_source in ("b", "c")
    assert pair_of(rating("a", -1.0), rating("b", -1.0)) == (None, {"tie": 1})
    assert pair_of(rating("a", -1.0, "x"), rating("b", -2.0, "x")) == (None, {"all answers are the same": 1})
    assert pair_of(rating("a", -1.0, flaws=("leak",)), rating("b", -2.0, flaws=("loop",)))[1] == {
        "every answer has a flaw": 1
    }
    rejected = {pair_of(rating("a", 0.0), *(rating(n, -1.0) for n in "bcd"), seed=seed)[0] for seed in range(30)}
    assert {pair.rejected_source for pair in rejected if pair is not None} == {"b", "c", "d"}


@given(scores=st.lists(st.integers(-3, 3), min_size=2, max_size=6), seed=st.integers(0, 9))
def test_a_pair_is_the_best_against_a_lower_one(scores: list[int], seed: int) -> None:
    rated = [rating(f"m{n}", score) for n, score in enumerate(scores)]
    pair, counts = pair_of(*rated, seed=seed)
    assert (pair is None) == (len(set(scores)) == 1)
    assert counts == ({"tie": 1} if pair is None else {})
    if pair is not None:
        assert pair.chosen_score == max(scores) > pair.rejected_score  # type: ignore[operator]
        assert pair_of(*rated, seed=seed)[0] == pair


def judged(score: float | None, *flaws: str, prompt: str = "p") -> Judged:
    one = rating("m", 0.0, flaws=flaws).answer
    return Judged(one.model_copy(update={"prompt_id": prompt}), score)


def test_who_is_preferred() -> None:
    assert preferred(judged(-1.0), judged(-2.0), True) == 1.0
    assert preferred(judged(-2.0), judged(-1.0, "loop"), True) == 1.0
    assert preferred(judged(-2.0), judged(-1.0, "loop"), False) == 0.0
    assert preferred(judged(-1.0, "leak"), judged(-1.0, "loop"), True) == 0.5
    assert preferred(judged(None, "empty"), judged(-9.0), False) == 0.0
    mine, theirs = (
        [judged(1.0, prompt="a"), judged(0.0, prompt="b")],
        [judged(0.0, prompt="a"), judged(0.0, prompt="b")],
    )
    estimate = win_rate(mine, theirs)
    assert estimate is not None and (estimate.value, estimate.n) == (0.75, 2)
    with pytest.raises(ValueError, match="not to the same prompts"):
        win_rate(mine, theirs[::-1])


def test_intervals_cover_the_truth() -> None:
    """The bootstrap's 95 % interval of a mean is close to the normal one, and holds the value."""
    values = [float(n % 10) for n in range(200)]
    estimate = mean(values)
    assert estimate is not None
    half = 1.96 * (8.25 / 200) ** 0.5
    assert (estimate.low, estimate.high) == pytest.approx((4.5 - half, 4.5 + half), abs=0.05)
    assert ratio([2.0, 4.0], [1.0, 3.0]) is not None and ratio([2.0, 4.0], [1.0, 3.0]).value == 1.5  # type: ignore[union-attr]
    assert ratio([], []) is None
    sure = share([2.0] * 15, [2.0] * 15)
    assert sure is not None and (sure.value, sure.high) == (1.0, 1.0) and sure.low == pytest.approx(0.796, abs=1e-3)
    never = share([0.0] * 15, [2.0] * 15)
    assert never is not None and (never.value, never.low) == (0.0, 0.0) and never.high == pytest.approx(0.204, abs=1e-3)


def test_evaluate_writes_the_table(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(
        monkeypatch,
        {
            "teacher": lambda asked: f"An answer to: {asked.messages[-1].content}",
            "base": lambda asked: "<|user|> the the the",
            "student": lambda asked: "The fox answers.",
        },
    )
    for seed, name in enumerate(("base", "student", "judge")):
        save_tiny(world / name, seed=seed)
    made = make_dialogues(world, rounds={1: 1}, test_share=0.4)
    heldout = [row for row in read_rows(made / "dialogues.jsonl", Dialogue) if row.split == "test"]
    (world / "p").mkdir()
    rows = [
        Pair(id=row.id, split="test", prompt=row.messages[:1], chosen="The fox.", rejected="A word " * (n + 1))
        for n, row in enumerate(heldout)
    ]
    (world / "p" / "pairs.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    config = EvaluateConfig(
        models={"base": ModelRef("base"), "dSFT": ModelRef("student")}, baseline="dSFT", prompts=StepRef("dialogues"),
        pairs=StepRef("pairs"), judge=LikelihoodJudge(model=ModelRef("judge")), teacher=ModelRef("judge"), samples=2,
        sampling=Sampling(max_tokens=20),
    )  # fmt: skip
    models = {name: source(world, name) for name in ("base", "student", "judge")}
    (world / "e").mkdir()
    evaluate.run(config, Inputs({"dialogues": made, "pairs": world / "p"}, models, {}), world / "e", context(world))
    results = json.loads((world / "e" / "results.json").read_text())
    table = {row["key"]: row["values"] for row in results["metrics"]}
    assert results["judge_is_teacher"] and results["labels"] == ["base", "dSFT"]
    assert results["prompts"] == len(heldout) and len(results["examples"]) == min(6, len(heldout))
    assert table["win_rate"]["base"]["value"] == 0.0 and table["win_rate"]["dSFT"] is None
    assert table["leak"]["base"]["value"] == 1.0 and table["leak"]["dSFT"]["value"] == 0.0
    assert table["ended"]["dSFT"]["value"] == 1.0 and table["length"]["dSFT"]["value"] == 3.0
    assert 3 < table["nll"]["base"]["value"] < 30 and table["nll"]["base"]["n"] == len(heldout)
    assert table["implied_accuracy"]["dSFT"] is None and 0 <= table["implied_accuracy"]["base"]["value"] <= 1
    assert "base loses to dSFT" in results["verdict"]
    assert results["win_matrix"]["dSFT"]["base"]["value"] == 1.0
