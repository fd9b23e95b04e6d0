"""Rows of a training step that are already on this machine: those that an earlier step of the run has made."""

from __future__ import annotations

from pathlib import Path

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.errors import FavoniusError
from favonius.models.config import template_text
from favonius.pipeline.plan import plan
from favonius.pipeline.planning.outlines import root_of, tokenizer_folder
from favonius.pipeline.planning.workload import Workload, of_rows
from favonius.pipeline.saved import known_digests
from favonius.recipe import Recipe
from favonius.run import ModelSource
from favonius.train.config import TrainConfig
from favonius.train.rows import read_training_rows


def finished_steps(recipe: Recipe, run: Path, folder: Path) -> frozenset[str]:
    """Steps of the run folder `run` that are done, and would not be made again. `folder` is the recipe's."""
    if not (run / "models.json").is_file():
        return frozenset()
    steps = plan(recipe, run, folder, known_digests(run, recipe))
    return frozenset(step.name for step in steps if step.state == "done")


def counted(recipe: Recipe, config: TrainConfig, run: Path, folder: Path) -> Workload | None:
    """The workload of rows that are there, as training will read them; None where their tokenizer is not here.

    UserError where the rows are not such as the objective learns from.
    """
    root = root_of(recipe, config.model)
    tokenizer = tokenizer_folder(root, recipe.models[root], folder)
    if tokenizer is None:
        return None
    source = ModelSource(root, tokenizer, "", template=template_text(recipe.models[root].template, folder))
    try:
        form = ChatFormat.load(source)
    except FavoniusError:
        return None
    return of_rows(read_training_rows(config, run / config.rows, form, Drops()), config)
