"""Blocks of YAML in the documentation, read by what reads them in earnest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from favonius.cli.named_models import ModelFile
from favonius.engines.config import EngineConfig
from favonius.errors import UserError
from favonius.evals.benchmarks.config import AnyTask
from favonius.feedback.articles import read_constitution
from favonius.feedback.principles import read_wordings
from favonius.judges.config import JudgeConfig
from favonius.judges.spoken.templates import AspectsPrompts, CritiquePrompt, PairwisePrompt, template_at
from favonius.models.config import ModelConfig
from favonius.recipe.document import read_document
from favonius.recipe.model import AnyStage, Recipe
from favonius.recipe.rounds import Rounds
from favonius.run import Budget

Step = Annotated[AnyStage, Field(discriminator="stage")]
TEMPLATES: Mapping[str, Any] = {"pairwise": PairwisePrompt, "critique": CritiquePrompt, "aspects": AspectsPrompts}
PARTS: Mapping[str, Any] = {
    "name": str,
    "parameters": dict[str, str | int | float | bool],
    "models": dict[str, ModelConfig],
    "budget": Budget,
    "steps": dict[str, Step],
    "engine": EngineConfig,
    "judge": JudgeConfig,
    "tasks": dict[str, AnyTask],
    "model": ModelConfig,
}
"""Keys that a block may show by themselves, each with what it must be."""


def fault(text: str, folder: Path) -> str | None:
    """Why no recipe, or file beside one, could hold `text`; None where it could. `folder` is for a file of it."""
    path = folder / "block.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        reader = _reader(read_document(path).value)
        if reader is None:
            return "neither steps nor another part of a recipe, nor a file that is read beside one"
        reader(path)
    except UserError as error:
        return str(error)
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return None


def _reader(value: Any) -> Callable[[Path], object] | None:
    """What reads a file that holds `value`."""
    if not isinstance(value, dict):
        return None
    if "user" in value and value.get("kind") in TEMPLATES:
        return lambda path: template_at(path, TEMPLATES[value["kind"]])
    if set(value) == {"principles"} and isinstance(value["principles"], dict):
        return read_constitution
    if all(isinstance(item, list) and all(isinstance(text, str) for text in item) for item in value.values()):
        return read_wordings
    found = _types(value)
    return None if found is None else lambda path: [_checked(kind, item) for kind, item in found]


def _types(value: dict[str, Any]) -> list[tuple[Any, Any]] | None:
    """The pieces of `value`, each with what it must be."""
    if "stage" in value:
        return [(Step, value)]
    if {"name", "models", "steps"} <= set(value):
        return [(Recipe, value)]
    if set(value) == {"model", "engine"}:
        return [(ModelFile, value)]
    if set(value) <= set(PARTS):
        return [(PARTS[key], item) for key, item in value.items()]
    for tag, kind in (("stage", Step), ("task", AnyTask), ("rounds", Rounds)):
        if all(isinstance(item, dict) and tag in item for item in value.values()):
            return [(kind, item) for item in value.values()]
    return None


def _checked(kind: Any, value: Any) -> object:
    """As recipes are read: strictly, and through JSON."""
    return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
