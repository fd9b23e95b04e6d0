"""The stages between the trainings, with scripted models: what is kept, dropped, preferred and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from favonius.data.rows import read_rows
from favonius.dialogues import stage as dialogues
from favonius.dialogues.config import DialoguesConfig
from favonius.feedback import answers, pairs, ratings
from favonius.feedback.config import AnswersConfig, PairsConfig, PoolMember, RatingsConfig
from favonius.judges.config import LikelihoodJudge
from favonius.run import Inputs, ModelRef, StepRef
from favonius.types import Answer, Feedback, Pair, Request
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
    rated = [answer for row in read_rows(world / "r" / "feedback.jsonl", Feedback) for answer in row.completions]
    empty = [answer for answer in given_answers if not answer.text]
    assert stats(world / "r")["dropped"] == {"empty answer": len(empty)} and empty
    assert len(rated) == len(given_answers)
    assert [answer.overall for answer in rated].count(None) == len(empty)

    pairs.run(PairsConfig(ratings=StepRef("ratings")), inputs, world / "p", context(world))
    kept = read_rows(world / "p" / "pairs.jsonl", Pair)
    assert {pair.id for pair in kept} == prompts
    assert all(pair.chosen_source != "base" for pair in kept)
    for pair in kept:
        if pair.rejected_source != "base":
            assert pair.chosen_score is not None and pair.rejected_score is not None
            assert pair.chosen_score > pair.rejected_score
