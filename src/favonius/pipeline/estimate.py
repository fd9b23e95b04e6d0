"""How much work a recipe asks for, before any of it is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.prompts import FOLLOW_UP_TOKENS
from favonius.dialogues.seeds import goes_on, read_seeds, split_of
from favonius.evals.config import EvaluateConfig
from favonius.feedback.config import AnswersConfig, PairsConfig, RatingsConfig
from favonius.recipe import AnyStage, Recipe
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT
from favonius.types import SeedPrompt


@dataclass(frozen=True)
class Estimate:
    """Upper bounds for one step; `train` and `test` are the prompts whose rows it makes."""

    train: int = 0
    test: int = 0
    written: int = 0
    """Tokens that models write."""
    read: int = 0
    """Tokens of rows that are trained on or judged, each as long as it may be."""
    optimizer_steps: int = 0
    answers: int = 0
    """Answers per prompt."""


def estimate(recipe: Recipe, folder: Path) -> dict[str, Estimate]:
    """An estimate of every step, in order. Nothing is dropped in it, and every answer is as long as it may be.

    `folder` is the recipe's, where the seeds are read from; raises UserError where they are no seeds.
    """
    found: dict[str, Estimate] = {}
    for name, config in recipe.steps.items():
        found[name] = _estimate(config, found, folder)
    return found


def _estimate(config: AnyStage, found: Mapping[str, Estimate], folder: Path) -> Estimate:
    match config:
        case DialoguesConfig():
            return _dialogues(config, read_seeds(config, folder / config.seeds))
        case AnswersConfig():
            prompts = found[config.prompts]
            train = prompts.train if config.limit is None else min(prompts.train, config.limit)
            tokens = sum(member.sampling.max_tokens for member in config.pool.values())
            written = (train + prompts.test) * tokens
            return Estimate(train, prompts.test, written=written, answers=len(config.pool))
        case RatingsConfig():
            rated = found[config.answers]
            read = (rated.train + rated.test) * rated.answers * config.judge.max_length
            return replace(rated, written=0, read=read)
        case PairsConfig():
            return replace(found[config.ratings], read=0)
        case TrainConfig():
            return _train(config, found[config.rows].train)
        case EvaluateConfig():
            answers = found[config.prompts].test * config.samples * len(config.models)
            written = answers * config.sampling.max_tokens
            return Estimate(written=written, read=answers * config.judge.max_length)
        case _:
            assert_never(config)


def _dialogues(config: DialoguesConfig, seeds: list[SeedPrompt]) -> Estimate:
    """A second turn is a question and an answer."""
    held_out = sum(split_of(seed.id, config.test_share) == "test" for seed in seeds)
    second = sum(goes_on(config, seed.id) for seed in seeds)
    written = len(seeds) * config.sampling.max_tokens + second * (FOLLOW_UP_TOKENS + config.sampling.max_tokens)
    return Estimate(len(seeds) - held_out, held_out, written=written)


def _train(config: TrainConfig, rows: int) -> Estimate:
    branches = 1 if isinstance(config.objective, SFT) else 2
    return Estimate(
        read=rows * config.epochs * config.max_length * branches,
        optimizer_steps=math.ceil(rows / config.batch_size) * config.epochs,
    )
