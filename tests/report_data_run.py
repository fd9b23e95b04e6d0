"""A run that makes and takes in data: real stages with a scripted teacher, a real ledger, texts that break pages."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from favonius.corpus import stage as corpus
from favonius.corpus.config import DataConfig
from favonius.dialogues import stage as dialogues
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.openings import stage as openings
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.engines.ledger import Ledger
from favonius.files import write_json, write_text
from favonius.progress import Progress
from favonius.run import Context, FileRef, Identity, Inputs, StageConfig, StepFolder, references
from favonius.types import Completion, Message, Messages, Request, RequestError
from tests.report_run import HOSTILE
from tests.voices import source, speak

SERVER = "http://teacher.internal:8000/v1"
TEACHER = "digest of teacher"
DOLLAR = 10**9
LEFT_OPEN = "the budget of $3.00 is spent and 17 requests were not asked"
ENGINE = {"kind": "openai", "endpoints": [{"base_url": SERVER, "key_env": "TEACHER_KEY"}]}
MODELS: dict[str, Any] = {"teacher": {"source": "api://large-1", "price": {"prompt": 0.5, "completion": 1.5}}}
BUDGET = {"dollars": 5.0, "steps": {"dialogues": 3.0}}
FILTERS = [{"kind": "truecase"}, {"kind": "refusals"}, {"kind": "politeness"}]
STEPS: dict[str, dict[str, Any]] = {
    "corpus": {
        "stage": "data",
        "sources": {
            "web": {"path": "web.jsonl", "weight": 3.0},
            "own": {"path": "own.jsonl", "weight": 1.0, "max_repeats": 4, "salvage": True},
            "exam": {"path": "exam.jsonl", "held_out": True},
        },
        "filters": [
            *FILTERS,
            {"kind": "decontaminate", "files": {"quiz": "quiz.jsonl", "other": "other.jsonl"}},
            {"kind": "near_duplicates"},
        ],
    },
    "openings": {
        "stage": "openings",
        "teacher": "teacher",
        "engine": ENGINE,
        "sectors": {
            "world": {"kind": "world", "topics": "topics.txt", "count": 24},
            "ours": {"kind": "given", "seeds": "seeds.jsonl", "count": 40},
        },
    },
    "dialogues": {
        "stage": "dialogues",
        "openings": "openings",
        "teacher": "teacher",
        "engine": ENGINE,
        "filters": FILTERS,
    },
}
STAGES: dict[str, tuple[type[StageConfig], Callable[..., None]]] = {
    "data": (DataConfig, corpus.run),
    "openings": (OpeningsConfig, openings.run),
    "dialogues": (DialoguesConfig, dialogues.run),
}
THINGS = ("amber", "birch", "copper", "dunes", "elder", "flint", "grain", "heath", "inlet", "jasper", "kelp", "loam")
TOPICS = [f"{thing} & <b>{thing}</b>" for thing in THINGS] + [f"the {thing} trade" for thing in THINGS]


def voice(asked: Request) -> str:
    """Lists where lists are asked for, a user's questions, and answers some of which filters and pages stumble over."""
    said, key = asked.messages[-1].content, asked.key()
    if "numbered list" in said:
        return _list(said, key)
    if asked.messages[0].content in ("You write questions.", "You write requests."):
        if key[0] in "012":
            return "You are welcome."
        return f"Why does the {_thing(key[1])} of {key[2:7]} matter to {_thing(key[7])} and {key[8:12]}?"
    if key[0] == "f":
        raise RequestError(f"{SERVER} answered 500 (internal error)")
    if key[0] == "e":
        return "As an AI language model, I do not have personal opinions."
    if key[0] in "cd":
        return f"it depends on {key[:5]}, and i think that it rains. {HOSTILE}"
    return f"It is about {_thing(key[1])} and {_thing(key[2])}, of which {key[3:8]} is the larger part. " * (
        12 if key[9] in "01234" else 1
    )


def _list(said: str, key: str) -> str:
    found = re.search(r"(?:Name|Write) (\d+) ", said)
    assert found is not None
    items = [f"{_thing(key[n])} {key[n * 3 : n * 3 + 4]}" for n in range(int(found.group(1)))]
    if said.startswith("Write"):
        items = [f"How does {item} differ from {_thing(item[-1])} and {item[::-1]}?" for item in items]
    return "\n".join(f"{n + 1}. {item}" for n, item in enumerate(items))


def _thing(letter: str) -> str:
    return THINGS[ord(letter) % len(THINGS)]


def make_data_run(folder: Path) -> Path:
    """Recipe, steps, ledger and done.json as the pipeline leaves them; step dialogues is left open."""
    run, inputs = folder / "village", folder / "files"
    _write_inputs(inputs)
    recipe = {"name": "village", "budget": BUDGET, "models": MODELS, "steps": STEPS}
    write_text(run / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    write_json(run / "models.json", [{"name": "teacher", "source": "api://large-1", "digest": TEACHER}])
    with pytest.MonkeyPatch.context() as patch:
        speak(patch, {"teacher": voice})
        for name, config in STEPS.items():
            _run_step(run, inputs, name, config)
    asyncio.run(_spend(run / "ledger.sqlite"))
    return run


def _run_step(run: Path, files: Path, name: str, settings: dict[str, Any]) -> None:
    kind, work = STAGES[settings["stage"]]
    config = kind.model_validate_json(json.dumps(settings))
    step = StepFolder(run / name)
    identity = Identity(stage=config.stage, version=config.version, config=settings, inputs={})
    attempt = step.begin(identity)
    named = {file: files / file for file in references(config) if isinstance(file, FileRef)}
    inputs = Inputs({other: run / other for other in STEPS}, {"teacher": source(run, "teacher")}, named)
    work(config, inputs, step.path, Context(run, Progress(io.StringIO()), step=name))
    step.finish(identity, attempt, 61.0, [LEFT_OPEN] if name == "dialogues" else [])


async def _spend(path: Path) -> None:
    """What a provider would have asked, beside what the scripted teacher gave for nothing."""
    with Ledger(path, "openings") as ledger:
        await ledger.put(question(1), completion(), seconds=2.0, cost=DOLLAR // 2)
    with Ledger(path, "dialogues") as ledger:
        await ledger.put(question(2), completion(), seconds=90.0, cost=2 * DOLLAR)
        await ledger.fail(question(3), f"{SERVER} answered 502 (bad gateway)", tokens=9, cost=DOLLAR // 4)
        await ledger.fail(question(4), f"{HOSTILE} was answered")
        await ledger.reserve(question(5), DOLLAR // 8)
    with Ledger(path, "dialogues") as ledger:
        ledger.reclaim()
        await ledger.reserve(question(6), DOLLAR // 16)


def question(number: int) -> Request:
    return Request(model=TEACHER, messages=(Message(role="user", content=f"What is {number}?"),))


def completion() -> Completion:
    return Completion(text="That.", finish="stop", prompt_tokens=1000, completion_tokens=500)


def _write_inputs(folder: Path) -> None:
    web = [talk(f"How does {thing} number {n} come about?") for n in range(9) for thing in THINGS]
    web += [talk("what do you think of rain?", "As an AI, I have no opinions."), talk(HOSTILE, f"i see. {HOSTILE}")]
    web += [talk(f"Name the {n} largest of all lakes.", "Thank you! You are welcome, goodbye.") for n in range(3)]
    web += [talk("Which two rivers meet below the old mill, and what do the people there call the place?")]
    own = [talk(f"What does our shop say about {thing}?", "it is sold there, i think.") for thing in THINGS]
    quiz = [{"id": "q7", "prompt": web[-1][0].content}]
    _write_rows(folder / "web.jsonl", [_row(messages) for messages in web])
    _write_rows(folder / "own.jsonl", [_row(messages) for messages in own], '{"messages": [{"role": "us')
    _write_rows(folder / "exam.jsonl", [_row(talk(f"Exam question {n} on {n + 1}?")) for n in range(5)])
    _write_rows(folder / "quiz.jsonl", quiz)
    _write_rows(folder / "other.jsonl", [{"id": "o1", "prompt": "A question of nobody, which is in no row at all."}])
    seeds = [{"id": f"s{n}", "prompt": f"What is {thing} good for in house {n}?"} for n, thing in enumerate(THINGS * 2)]
    _write_rows(folder / "seeds.jsonl", seeds)
    write_text(folder / "topics.txt", "\n".join(TOPICS) + "\n")


def talk(prompt: str, answer: str = "That depends on the weather and on little else.") -> Messages:
    return (Message(role="user", content=prompt), Message(role="assistant", content=answer))


def _row(messages: Messages) -> dict[str, Any]:
    return {"messages": [message.model_dump() for message in messages]}


def _write_rows(path: Path, rows: list[dict[str, Any]], rest: str = "") -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows) + rest)
