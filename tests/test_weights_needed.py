"""Which models a run makes transformers' weights of: not those that llama.cpp alone is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from favonius.models.config import ModelConfig
from favonius.pipeline import work
from favonius.pipeline.planning.disk import of_model
from favonius.pipeline.planning.outlines import UnknownShapeError
from favonius.progress import Progress
from favonius.recipe import load_recipe
from favonius.recipe.weights import weights_needed
from favonius.run import ModelSource
from tests.toy_run import PARTS, RECIPE, outputs, run_toy, toy_model, write_recipe

LLAMA = {"kind": "llamacpp"}
RECIPES = Path(__file__).parents[1] / "recipes"


def needed(folder: Path, **steps: dict[str, Any]) -> frozenset[str]:
    """Of the toy recipe, with `steps` changed or added."""
    told = yaml.safe_load(RECIPE)
    for name, change in steps.items():
        told["steps"][name] = told["steps"].get(name, {}) | change
    path = write_recipe(folder, yaml.safe_dump(told, sort_keys=False))
    return weights_needed(load_recipe(path).steps.values())


SPOKEN = {"kind": "critique", "model": "teacher", "engine": LLAMA}
BOTH = {"t": "teacher", "again": "teacher"}
ASKED: dict[str, dict[str, Any]] = {"ratings": {"judge": SPOKEN}, "evaluate": {"judge": SPOKEN, "teacher": "teacher"}}


@pytest.mark.parametrize(
    ("steps", "teacher"),
    [
        ({}, True),  # a likelihood judge reads
        (ASKED, False),
        (ASKED | {"ratings": {"judge": SPOKEN | {"engine": {"kind": "transformers"}}}}, True),
        (ASKED | {"dialogues": {"engine": {"kind": "transformers"}}}, True),
        (ASKED | {"dialogues": {"user": {"model": "teacher", "engine": LLAMA}}}, False),
        (ASKED | {"answers": {"pool": {"base": {"model": "base"}, "t": {"model": "teacher", "engine": LLAMA}}}}, False),
        (ASKED | {"answers": {"pool": {"base": {"model": "base"}, "t": {"model": "teacher"}}}}, True),
        (ASKED | {"evaluate": {"judge": SPOKEN, "engine": LLAMA, "models": BOTH, "baseline": "t"}}, True),
        (ASKED | {"dsft": {"model": "teacher"}}, True),
    ],
)
def test_who_is_only_asked_by_llama_cpp_needs_no_weights(
    steps: dict[str, dict[str, Any]], teacher: bool, tmp_path: Path
) -> None:
    found = needed(tmp_path, **steps)
    assert ("teacher" in found) is teacher
    assert steps.get("dsft") or "base" in found


@pytest.mark.parametrize(
    ("tasks", "engine", "teacher"),
    [
        ({"ifeval": {"task": "ifeval"}}, LLAMA, False),
        ({"ifeval": {"task": "ifeval"}}, {"kind": "transformers"}, True),
        ({"ifeval": {"task": "ifeval"}, "arc": {"task": "arc"}}, LLAMA, True),
        ({"mt": {"task": "mt-bench", "judge": "teacher", "engine": LLAMA}}, LLAMA, False),
        ({"mt": {"task": "mt-bench", "judge": "teacher"}}, LLAMA, True),
        ({"alpaca": {"task": "alpacaeval", "baseline": "teacher", "judge": SPOKEN}}, LLAMA, False),
        ({"own": {"task": "preference", "step": "pairs", "reference": "teacher"}}, LLAMA, True),
    ],
)
def test_benchmarks_ask_or_read(tasks: dict[str, Any], engine: dict[str, str], teacher: bool, tmp_path: Path) -> None:
    bench = {"stage": "benchmark", "models": {"t": "teacher"}, "tasks": tasks, "engine": engine}
    assert ("teacher" in needed(tmp_path, **ASKED, bench=bench)) is teacher


def test_a_teacher_is_not_dequantised_to_be_talked_to() -> None:
    """Of our own recipe for a dataset about a topic, up to the dataset."""
    recipe = load_recipe(RECIPES / "own-topic.yaml")
    steps = list(recipe.steps.values())
    first = list(recipe.steps).index("dialogues") + 1
    assert weights_needed(steps[:first]) == frozenset()
    assert recipe.models.keys() >= {"base", "teacher"} and "base" in weights_needed(steps)


def test_what_is_not_converted_takes_no_room(tmp_path: Path) -> None:
    (tmp_path / "teacher.gguf").touch()
    model = ModelConfig(source="teacher.gguf")
    assert of_model("teacher", model, tmp_path, is_needed=False) == 0
    with pytest.raises(UnknownShapeError):
        of_model("teacher", model, tmp_path, is_needed=True)


def test_a_run_fetches_what_it_needs_and_makes_the_same(tmp_path: Path) -> None:
    """Where later steps need the weights after all, nothing that is done is done again."""
    fetched: dict[str, bool] = {}

    def fetch(name: str, config: ModelConfig, folder: Path, progress: Progress, for_llama: bool) -> ModelSource:
        fetched[name] = for_llama
        return toy_model(name, config, folder, progress, for_llama)

    parts = work.Parts(stage_of=PARTS.stage_of, fetch=fetch, report=PARTS.report)
    recipe, run = write_recipe(tmp_path), tmp_path / "run"
    assert run_toy(recipe, run, until="dialogues", parts=parts) == ["dialogues"]
    assert fetched == {"teacher": True}
    made = outputs(run)
    assert "dialogues" not in run_toy(recipe, run, parts=parts)
    assert fetched == {"base": False, "teacher": False}
    assert made.items() <= outputs(run).items()
