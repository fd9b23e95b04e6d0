"""What a recipe is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from favonius.corpus.config import DataConfig
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.evals.benchmarks.config import BenchmarkConfig
from favonius.evals.config import EvaluateConfig
from favonius.feedback.config import AnswersConfig, BestConfig, ConstitutionConfig, PairsConfig, RatingsConfig
from favonius.models.config import ModelConfig
from favonius.recipe.problems import TAGS
from favonius.run import Budget, Reference, references
from favonius.train.config import TrainConfig
from favonius.types import Noun

AnyStage = (
    DataConfig
    | OpeningsConfig
    | DialoguesConfig
    | AnswersConfig
    | RatingsConfig
    | PairsConfig
    | BestConfig
    | ConstitutionConfig
    | TrainConfig
    | EvaluateConfig
    | BenchmarkConfig
)
FolderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Recipe(Noun):
    """Which models, and which steps in which order. A step names models and earlier steps as its inputs."""

    name: FolderName
    """The run folder is `runs/<name>` unless --out says otherwise."""
    parameters: dict[str, str | int | float | bool] = Field(default={})
    """Values that steps name as `$name`; `--set name=value` replaces one."""
    models: dict[str, ModelConfig]
    """Models to begin from, by the name that steps call them."""
    budget: Budget | None = None
    """What may be spent on models that have a price; without it there is no cap."""
    steps: dict[FolderName, Annotated[AnyStage, Field(discriminator="stage")]] = Field(min_length=1)
    """Name → what to do; the name is the step's folder in the run folder."""
    aliases: dict[FolderName, FolderName] = Field(default={})
    """Further names of steps. Rounds give some: `online` for what the last of them trained."""

    def ablations(self) -> frozenset[str]:
        """Names of the steps that only --with-ablations runs."""
        return frozenset(name for name, config in self.steps.items() if config.ablation)

    def without_ablations(self) -> Recipe:
        """Without those steps and without the entries of mappings and lists that name them.

        Raises pydantic's ValidationError where what remains is no recipe.
        """
        return validated(self.as_written(leaving_out=self.ablations()))

    def as_written(self, leaving_out: Set[str] = frozenset()) -> dict[str, Any]:
        """Plain values as its author would write them, defaults left out: what `recipe.yaml` of a run holds."""
        steps = {name: config for name, config in self.steps.items() if name not in leaving_out}
        optional = {"parameters": self.parameters, "budget": self.budget}
        aliases = {alias: name for alias, name in self.aliases.items() if name in steps}
        return {
            "name": self.name,
            **{key: _as_written(value, frozenset()) for key, value in optional.items() if value},
            "models": _as_written(self.models, frozenset()),
            "steps": {name: _as_written(config, leaving_out) for name, config in steps.items()},
            **({"aliases": aliases} if aliases else {}),
        }


def validated(value: Any) -> Recipe:
    """Strictly: no text for numbers, no numbers for text. Through JSON, where a list may stand for a tuple."""
    return Recipe.model_validate_json(json.dumps(value), strict=True)


def _as_written(value: Any, leaving_out: Set[str]) -> Any:
    if isinstance(value, BaseModel):
        written = [name for name in type(value).model_fields if name in value.model_fields_set or name in TAGS]
        return {name: _as_written(getattr(value, name), leaving_out) for name in written}
    if isinstance(value, Mapping):
        return {key: _as_written(item, leaving_out) for key, item in value.items() if not _names(item, leaving_out)}
    if isinstance(value, (list, tuple)):
        return [_as_written(item, leaving_out) for item in value if not _names(item, leaving_out)]
    return str(value) if isinstance(value, (Reference, PurePath)) else value


def _names(value: Any, steps: Set[str]) -> bool:
    return any(reference in steps for reference in references(value))
