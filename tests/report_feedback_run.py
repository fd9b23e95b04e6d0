"""A run on its way from answers to preferences: real stages with scripted models, two judges made up, a real ledger."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from favonius.data.rows import read_rows, write_rows
from favonius.engines.ledger import Ledger
from favonius.feedback import answers, best, constitution, pairs
from favonius.feedback.config import AnswersConfig, BestConfig, ConstitutionConfig, PairsConfig
from favonius.feedback.revising import NOTHING
from favonius.files import write_json, write_text
from favonius.progress import Progress
from favonius.run import Context, Identity, Inputs, StageConfig, StepFolder
from favonius.types import (
    Answer,
    Comparison,
    Completion,
    Dialogue,
    Feedback,
    JudgeCall,
    JudgedBy,
    Message,
    RatedText,
    Request,
)
from tests.report_run import HOSTILE
from tests.voices import source, speak

ESCAPES = "\x1b[2J\x1b]0;owned\x07"
"""What would clear a terminal and rename its window."""
COMPLAINT = "which helps nobody."
"""How critiques end; a request for a revision quotes them."""
THINGS = ("amber", "birch", "copper", "dunes", "elder", "flint", "grain", "heath", "inlet", "jasper", "kelp", "loam")
PROMPTS = 24
ASPECTS = ("helpfulness", "honesty")
MODELS: dict[str, Any] = {"small": "org/small", "large": "org/large", "wise": "org/wise"}
STEPS: dict[str, dict[str, Any]] = {
    "prompts": {"stage": "data", "sources": {"own": {"path": "own.jsonl"}}},
    "answers": {
        "stage": "answers",
        "prompts": "prompts",
        "pool": {
            "small": {"model": "small", "temperatures": [0.3, 0.7, 1.0]},
            "large": {"model": "large"},
            "wise": {"model": "wise", "shows_principle": False},
        },
        "principles": {"harmlessness": 0.2},
    },
    "ratings": {
        "stage": "ratings",
        "answers": "answers",
        "judge": {"kind": "aspects", "model": "wise", "aspects": list(ASPECTS)},
    },
    "by_length": {"stage": "ratings", "answers": "answers", "judge": {"kind": "likelihood", "model": "small"}},
    "pairs": {"stage": "pairs", "ratings": "ratings", "rule": {"kind": "best_vs_worst"}},
    "best": {"stage": "best", "ratings": "ratings", "least": 2.0},
    "constitution": {"stage": "constitution", "prompts": "prompts", "model": "large", "limit": 12},
}
STAGES: dict[str, tuple[type[StageConfig], Callable[..., None]]] = {
    "answers": (AnswersConfig, answers.run),
    "pairs": (PairsConfig, pairs.run),
    "best": (BestConfig, best.run),
    "constitution": (ConstitutionConfig, constitution.run),
}


def make_feedback_run(folder: Path) -> Path:
    """Recipe, steps, ledger and done.json as the pipeline leaves them."""
    run = folder / "orchard"
    recipe = {"name": "orchard", "models": MODELS, "steps": STEPS}
    write_text(run / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        speak(patch, {name: _voice(name) for name in MODELS})
        for name, settings in STEPS.items():
            _run_step(run, name, settings)
    return run


def _voice(name: str) -> Callable[[Request], str]:
    def voice(asked: Request) -> str:
        said, key = asked.messages[-1].content, asked.key()
        if NOTHING in said:
            return NOTHING if key[0] in "01" else f"It says “{HOSTILE}”, {COMPLAINT}"
        if COMPLAINT in said:
            return f"Ask a {THINGS[ord(key[0]) % 12]} dealer, who knows how much of it there is to be had. {HOSTILE}"
        if name == "small" and key[0] in "abc":
            return f"It is what it is. {ESCAPES}{HOSTILE}"
        words = {"small": 2, "large": 9, "wise": 5}[name]
        return " ".join(f"It is {THINGS[ord(letter) % 12]} that {letter} needs." for letter in key[:words])

    return voice


def _run_step(run: Path, name: str, settings: dict[str, Any]) -> None:
    step = StepFolder(run / name)
    identity = Identity(stage=settings["stage"], version=1, config=settings, inputs={})
    attempt = step.begin(identity)
    if settings["stage"] in STAGES:
        kind, work = STAGES[settings["stage"]]
        config = kind.model_validate_json(json.dumps(settings))
        inputs = Inputs({other: run / other for other in STEPS}, {model: source(run, model) for model in MODELS}, {})
        work(config, inputs, step.path, Context(run, Progress(io.StringIO()), step=name))
    elif name == "prompts":
        write_rows(step.path / "dialogues.jsonl", _prompts())
        write_json(step.path / "stats.json", {"kept": PROMPTS, "made": "dialogues", "read": PROMPTS})
    else:
        rows = list(_rated(run, by_length=name == "by_length"))
        write_rows(step.path / "feedback.jsonl", rows)
        write_json(step.path / "stats.json", {"kept": sum(len(row.completions) for row in rows)})
    step.finish(identity, attempt, 12.0)


def _prompts() -> Iterator[Dialogue]:
    for number in range(PROMPTS):
        asked = f"What is {THINGS[number % 12]} number {number} good for? {HOSTILE if number == 3 else ''}"
        messages = (Message(role="user", content=asked), Message(role="assistant", content="For much."))
        split = "test" if number % 4 == 0 else "train"
        yield Dialogue(id=f"p{number}", split=split, messages=messages, source=("field", "wood")[number % 2])


def _rated(run: Path, by_length: bool) -> Iterator[Feedback]:
    """Wise answers are best and large ones worst, says one; the longer the better, says the other."""
    found = groupby(read_rows(run / "answers" / "answers.jsonl", Answer), lambda answer: answer.prompt_id)
    for prompt, group in found:
        said = list(group)
        first = said[0]
        scores = [float(len(one.text)) if by_length else _opinion(one) for one in said]
        judge = JudgedBy(name="the longer" if by_length else "aspects of wise", kind="aspects", template="a" * 64)
        yield Feedback(
            id=prompt, split=first.split, prompt=first.prompt, source=first.prompt_source, judge=judge,
            completions=tuple(map(_text, said, scores, [by_length] * len(said))),
            calls=() if by_length else tuple(_calls(run, prompt, len(said))),
            comparisons=(Comparison(first=1, second=0, preference=0.25, seen_first=0.4, seen_second=0.1),)
            if prompt == "p5" and not by_length else (),
        )  # fmt: skip


def _opinion(answer: Answer) -> float:
    return {"small": 3.0, "large": 1.0, "wise": 5.0}[answer.source] - (answer.prompt_id == "p7")


def _text(answer: Answer, score: float, by_length: bool) -> RatedText:
    aspects = {} if by_length else {"helpfulness": score, "honesty": None if score == 3.0 else score}
    return RatedText(
        source=answer.source, text=answer.text, finished=answer.finished, flaws=answer.flaws,
        principle=answer.principle, origin=answer.origin, scores=aspects, overall=score,
        critique=None if by_length else f"Worth {score:g} of 5. {ESCAPES}",
    )  # fmt: skip


def _calls(run: Path, prompt: str, count: int) -> Iterator[JudgeCall]:
    for aspect in ASPECTS:
        order = tuple(reversed(range(count)))
        asked = Request(model="digest of wise", messages=(Message(role="user", content=f"{aspect} of {prompt}?"),))
        said = f"#### Output for Text 1\nRating: 5\nRationale: {aspect} of {prompt} {HOSTILE}{ESCAPES}"
        if prompt != "p9":  # whose replies were pruned
            asyncio.run(_put(run, asked, said))
        yield JudgeCall(request=asked.key(), order=order, aspect=aspect)


async def _put(run: Path, asked: Request, said: str) -> None:
    with Ledger(run / "ledger.sqlite", "ratings") as ledger:
        await ledger.put(asked, Completion(text=said, finish="stop", prompt_tokens=90, completion_tokens=20), 1.0)
