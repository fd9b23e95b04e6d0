"""What a shipped recipe is run on where there is no hub, no GPU and no time: tiny random models, a few rows in the
shape of each data set, scripted voices; and the `--set` that puts them into a recipe without touching anything else."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from favonius.engines.config import EngineConfig
from favonius.engines.scripted import ScriptedEngine
from favonius.recipe.document import read_document
from favonius.run import ModelSource
from favonius.types import Request
from tests import test_constitution, test_openings
from tests.tiny import save_tiny

CHATML = ("<|im_start|>", "<|im_end|>")
HUB = "hf://"
ROWS = 24
WORDS = test_openings.THINGS
SMALL = {
    "dialogues": 16, "pairs": 12, "processes": 1, "max_length": 512, "rated": 8, "world": 6, "writing": 4,
    "material": 4,
}  # fmt: skip
"""Parameters of recipes that say how much there is of something."""
PROMPTS = "prompts.jsonl"
ARC = {"question": "Which is a fox?", "choices": {"text": ["a fox", "a pine"], "label": ["A", "B"]}, "answerKey": "A"}


def make(folder: Path) -> None:
    """Models, and a folder of files for each data set that a recipe names, below `folder`."""
    for seed, name in enumerate(("student", "teacher")):
        save_tiny(folder / name, "gemma3", seed=seed)
    talks = [{"prompt": _question(n), "prompt_id": str(n), "messages": _talk(n)} for n in range(ROWS)]
    pairs = [
        {"prompt": _question(n), "prompt_id": str(n), "messages": _talk(n), "score_chosen": 8.0, "score_rejected": 4.0}
        | {"chosen": _talk(n)[:2], "rejected": _talk(n + ROWS, of=n)[:2]}
        for n in range(ROWS)
    ]
    mixed = [{name: row[name] for name in ("chosen", "rejected")} | {"dataset": "capybara"} for row in pairs]
    rated = [
        {"source": "sharegpt", "chosen-rating": 4.5, "chosen-model": "a", "rejected-rating": 2.0, "rejected-model": "b"}
        | {name: row[name] for name in ("prompt", "chosen", "rejected")}
        for row in pairs
    ]
    hub = folder / "hub"
    _write(hub / "HuggingFaceH4" / "ultrachat_200k", talks, "train_sft", "test_sft")
    _write(hub / "HuggingFaceH4" / "deita-10k-v0-sft", talks, "train_sft", "test_sft")
    _write(hub / "HuggingFaceTB" / "smol-smoltalk", [{"messages": _talk(n)} for n in range(ROWS)], "train", "test")
    _write(hub / "HuggingFaceH4" / "ultrafeedback_binarized", pairs, "train_prefs", "test_prefs")
    _write(hub / "argilla" / "dpo-mix-7k", mixed, "train", "test")
    _write(hub / "argilla" / "ultrafeedback-binarized-preferences-cleaned", rated, "train")
    asked = [{"id": f"s{n}", "prompt": _question(n)} for n in range(2 * ROWS)]
    (folder / PROMPTS).write_text("".join(json.dumps(row) + "\n" for row in asked))
    _write(folder / "arc", [ARC] * 2, "test")
    _write(folder / "sums", [{"question": "What is 1 and 1?", "answer": "It is 2.\n#### 2"}], "test")


def _write(folder: Path, rows: list[dict[str, Any]], *splits: str) -> None:
    """Three quarters of the rows into the first split, the others into the second where there is one."""
    folder.mkdir(parents=True)
    cut = len(rows) * 3 // 4 if len(splits) > 1 else len(rows)
    for split, part in zip(splits, (rows[:cut], rows[cut:]), strict=False):
        (folder / f"{split}-00000-of-00001.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def _question(n: int) -> str:
    return f"What about {WORDS[n % len(WORDS)]} and {n}?"


def _talk(n: int, of: int | None = None) -> list[dict[str, str]]:
    said = [_question(n if of is None else of), _sentence(n), "And then?", _sentence(n + 100)]
    return [{"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(said)]


def _sentence(seed: int | str) -> str:
    rng = random.Random(seed)
    return f"{rng.choice(WORDS).capitalize()} {' '.join(rng.choices(WORDS, k=rng.randint(3, 9)))} {rng.randrange(999)}."


def settings(recipe: Path, folder: Path) -> list[str]:
    """The values of `--set` that bring `recipe` onto what `make` has left in `folder`."""
    value = read_document(recipe).value
    known = value.get("parameters", {})
    sets: dict[str, Any] = {f"parameters.{name}": size for name, size in SMALL.items() if name in known}
    if "prompts" in known:
        sets["parameters.prompts"] = str(folder / PROMPTS)
    for name, model in value["models"].items():
        stand_in = "teacher" if name == "teacher" else "student"
        template = model.get("template", "zephyr") if isinstance(model, Mapping) else "zephyr"
        sets[f"models.{name}"] = {"source": str(folder / stand_in), "template": template}
    for path, inner in _mappings(value["steps"], ("steps",)):
        small = {key: _small(inner, key, folder) for key in inner}
        sets |= {".".join((*path, key)): given for key, given in small.items() if given is not None}
        if inner.get("stage") in TALKING:
            sets[".".join((*path, "engine"))] = {"kind": "transformers"}
    return [f"{path}={_flow(given)}" for path, given in sets.items()]


def _flow(value: Any) -> str:
    """As YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1 << 20).removesuffix("...\n").strip()


def _small(holder: Mapping[str, Any], key: str, folder: Path) -> Any:
    """What stands at `key` in its place; None: it stays."""
    value = holder[key]
    match key:
        case "engine" | "reviser_engine":
            return {"kind": "transformers"}
        case "seeds" if not value.startswith("$"):
            return str(folder / PROMPTS)
        case "test_share" if 0 < value < 0.1:
            return 0.25
        case "quantize":
            return "none"
        case "tasks":
            return {name: _small_task(task, folder) for name, task in value.items() if task["task"] in KEPT}
        case _ if isinstance(value, Mapping) and str(value.get("hub", "")).startswith(HUB):
            place = folder / "hub" / value["hub"].removeprefix(HUB)
            fraction = {"fraction": 1.0} if "fraction" in value else {}
            return (
                {name: item for name, item in value.items() if name not in ("hub", "rows")}
                | {"path": str(place)}
                | fraction
            )
    return None


TALKING = ("openings", "dialogues")
"""Stages whose teacher is taken to llama.cpp where nothing is said."""
KEPT = ("preference", "ifeval", "safety", "gsm8k", "arc", "health", "perplexity")
"""Tasks that run without a hub; of lm-eval's one will do."""


def _small_task(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    local: dict[str, dict[str, Any]] = {
        "arc": {"data": str(folder / "arc"), "shots": 0},
        "gsm8k": {"problems": str(folder / "sums" / "test-00000-of-00001.jsonl")},
    }
    return {**task, "limit": 2, **local.get(str(task["task"]), {})}


def _mappings(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield path, value
        for key, inner in value.items():
            yield from _mappings(inner, (*path, key))


def say(asked: Request) -> str:
    """In the place of every model that is asked: lists where openings are wanted, revisions, or a sentence."""
    last = asked.messages[-1].content
    kind = test_constitution.asks_for(asked)
    if kind == "critique":
        return "It is rude to whoever asked."
    if "numbered list" in last or re.search(r"request: ", last):
        return test_openings.teacher(asked)
    if "follow-up question" in last or "quoted" in last:
        return f"What about {_sentence(asked.key())[:-1]} instead?"
    return _sentence(f"{kind} {asked.key()}")


@contextmanager
def opened(config: EngineConfig, source: ModelSource, *_: object) -> Iterator[ScriptedEngine]:
    """Stands for `engines.interview.open_engine`."""
    yield ScriptedEngine(say, model=source.digest)
