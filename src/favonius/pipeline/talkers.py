"""The models of a run that can be talked to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from favonius.errors import UserError
from favonius.pipeline.saved import fetched_models, saved_recipe, trained_models
from favonius.recipe import Recipe
from favonius.run import ModelSource
from favonius.train.config import TrainConfig
from favonius.train.objectives import Reward


def talkers(run: Path) -> dict[str, ModelSource]:
    """Name → weights: those that training began with, then what train steps have made of them, in the recipe's order.

    Reward models do not talk. UserError where no train step has finished.
    """
    recipe = saved_recipe(run)
    trained = trained_models(run)
    steps = {name: config for name, config in _trainings(recipe) if name in trained}
    if not steps:
        raise UserError(f"{run}: no train step has finished here; `favonius status {run}` tells where the run stands")
    bases = fetched_models(run, recipe)
    begun = dict.fromkeys(str(config.model) for config in steps.values() if str(config.model) in bases)
    return {**{name: bases[name] for name in begun}, **{name: trained[name] for name in steps}}


def last_trained(run: Path) -> str | None:
    """The last in the recipe's order, which need not be the last in time; ablations are nobody's first choice."""
    recipe, trained = saved_recipe(run), trained_models(run)
    names = [name for name, config in _trainings(recipe) if name in trained and not config.ablation]
    return names[-1] if names else None


def _trainings(recipe: Recipe) -> Iterator[tuple[str, TrainConfig]]:
    for name, config in recipe.steps.items():
        if isinstance(config, TrainConfig) and not isinstance(config.objective, Reward):
            yield name, config
