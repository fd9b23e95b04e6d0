"""How much work a recipe asks for, before any of it is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from favonius.dialogues.config import DialoguesConfig
from favonius.evals.config import EvaluateConfig
from favonius.feedback.config import AnswersConfig, PairsConfig, RatingsConfig
from favonius.recipe import AnyStage, Recipe
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT


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


SplitSizes = Callable[[DialoguesConfig, Path], tuple[int, int]]


def seed_counts(config: DialoguesConfig, file: Path) -> tuple[int, int]:
    """Train and held-out seeds. Raises UserError where the file's rows are not seeds."""
    from favonius.dialogues.stage import read_seeds, split_of

    seeds = read_seeds(config, file)
    held_out = sum(split_of(seed.id, config.test_share) == "test" for seed in seeds)
    return len(seeds) - held_out, held_out


def estimate(recipe: Recipe, folder: Path, count: SplitSizes = seed_counts) -> dict[str, Estimate]:
    """An estimate of every step, in order. Nothing is dropped in it, and every answer is as long as it may be."""
    found: dict[str, Estimate] = {}
    for name, config in recipe.steps.items():
        found[name] = _estimate(config, found, folder, count)
    return found


def _estimate(config: AnyStage, found: Mapping[str, Estimate], folder: Path, count: SplitSizes) -> Estimate:
    match config:
        case DialoguesConfig():
            return _dialogues(config, *count(config, folder / config.seeds))
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


def _dialogues(config: DialoguesConfig, train: int, test: int) -> Estimate:
    """A second turn is a question and an answer; the seeds that get one are counted by their expected share."""
    seeds = train + test
    turns = seeds + 2 * math.ceil(seeds * config.second_turn_share)
    return Estimate(train, test, written=turns * config.sampling.max_tokens)


def _train(config: TrainConfig, rows: int) -> Estimate:
    branches = 1 if isinstance(config.objective, SFT) else 2
    return Estimate(
        read=rows * config.epochs * config.max_length * branches,
        optimizer_steps=math.ceil(rows / config.batch_size) * config.epochs,
    )
