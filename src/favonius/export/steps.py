"""A finished step of a run whose model is to leave it, and the steps that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from favonius.errors import UserError
from favonius.files import read_json
from favonius.models.reward_head import FILE as REWARD_HEAD
from favonius.run import ModelSource, StepFolder


@dataclass(frozen=True)
class Done:
    """A finished step and its records."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    digest: str


@dataclass(frozen=True)
class Origin:
    """A run, the step of it that is exported, and the model that this step made."""

    run: Path
    step: Done
    recipe: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    """What models.json says of each model that the run began with."""

    @property
    def name(self) -> str:
        return f"{self.recipe.get('name') or self.run.name}-{self.step.name}"

    @property
    def source(self) -> ModelSource:
        return ModelSource(self.step.name, self.step.folder / "model", self.step.digest)

    def lineage(self) -> list[Done]:
        """The steps that the exported one depends on, and itself, in the recipe's order."""
        wanted, open_names = {self.step.name}, [self.step]
        while open_names:
            for name in open_names.pop().inputs:
                if name not in wanted and (done := read_done(self.run / name)) is not None:
                    wanted.add(name)
                    open_names.append(done)
        ordered = [name for name in self.recipe.get("steps", {}) if name in wanted]
        found = [read_done(self.run / name) for name in (*ordered, *sorted(wanted - set(ordered)))]
        return [one for one in found if one is not None]

    def begins_with(self) -> list[Mapping[str, Any]]:
        """Records of the models that the lineage names: its base, teachers and judges."""
        named = {name for step in self.lineage() for name in step.inputs}
        return [record for name, record in self.models.items() if name in named]

    def trained_from(self) -> ModelSource:
        """The model that the step began with. UserError where its weights are no longer here."""
        name = str(self.step.config["model"])
        earlier = read_done(self.run / name)
        if earlier is not None:
            return ModelSource(name, earlier.folder / "model", earlier.digest)
        record = self.models.get(name)
        if record is None or not record.get("folder") or not Path(str(record["folder"])).is_dir():
            raise UserError(
                f"model {name}, which {self.step.name} began with, is not on this machine; run the recipe again"
            )
        return ModelSource(name, Path(str(record["folder"])), str(record["digest"]))


def read_origin(path: Path) -> Origin:
    """UserError where `path` is no RUN/STEP with a finished model that writes."""
    run, step = path.parent, read_done(path)
    if not (run / "recipe.yaml").is_file():
        inside = trained(path)
        hint = (
            f"name one of its steps: {', '.join(inside)}" if inside else "give RUN/STEP, such as runs/quickstart/ddpo"
        )
        raise UserError(f"{path}: this is no step of a run; {hint}")
    if step is None or not (path / "model").is_dir():
        known = ", ".join(trained(run)) or "none yet"
        raise UserError(f"{path}: no finished train step is here; those of {run} that are: {known}")
    if (path / "model" / REWARD_HEAD).is_file():
        raise UserError(f"{path}: its model rates answers and writes none; use its folder as the model of a judge")
    models = read_json(run / "models.json") if (run / "models.json").is_file() else []
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    return Origin(run, step, recipe, {str(record["name"]): record for record in models})


def trained(run: Path) -> list[str]:
    """Steps of a run that have a model."""
    folders = sorted(run.iterdir()) if run.is_dir() else []
    return [folder.name for folder in folders if (folder / "model").is_dir() and read_done(folder) is not None]


def read_done(folder: Path) -> Done | None:
    """None where no step has finished in `folder`."""
    step = StepFolder(folder)
    manifest = step.manifest()
    identity = step.identity() if manifest is not None else None
    if manifest is None or identity is None:
        return None
    return Done(
        name=folder.name,
        folder=folder,
        config=identity.config,
        inputs=identity.inputs,
        digest=manifest.output_digest(),
    )
