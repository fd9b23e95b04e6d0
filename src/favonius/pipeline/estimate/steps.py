"""Every step of a recipe, each from those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from favonius.corpus.config import DataConfig
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.dialogues.seeds import read_seeds
from favonius.evals.benchmarks.config import BenchmarkConfig
from favonius.evals.config import EvaluateConfig
from favonius.feedback.config import AnswersConfig, BestConfig, ConstitutionConfig, PairsConfig, RatingsConfig
from favonius.pipeline.estimate import feedback, talks
from favonius.pipeline.estimate.amounts import BYTES_PER_TOKEN, Asks, Estimate
from favonius.pipeline.estimate.benchmark import of_benchmark
from favonius.pipeline.estimate.judging import Cases, judging
from favonius.recipe import AnyStage, Recipe
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT, Reward


def estimate(recipe: Recipe, folder: Path) -> dict[str, Estimate]:
    """An estimate of every step, in order. Nothing is dropped in it, and every answer is as long as it may be.

    `folder` is the recipe's, where the seeds are read from; raises UserError where they are no seeds.
    """
    found: dict[str, Estimate] = {}
    for name, config in recipe.steps.items():
        if isinstance(config, DialoguesConfig) and config.openings is not None:
            openings = recipe.steps[config.openings]
            if isinstance(openings, OpeningsConfig):
                found[name] = talks.of_dialogues_from(config, openings)
            else:
                found[name] = talks.of_dialogues_from_rows(config, found[config.openings])
        else:
            found[name] = _estimate(config, found, folder)
    return found


def _estimate(config: AnyStage, found: Mapping[str, Estimate], folder: Path) -> Estimate:
    match config:
        case DataConfig():
            return _data(config, found, folder)
        case OpeningsConfig():
            return talks.of_openings(config, folder)
        case DialoguesConfig():
            return talks.of_dialogues(config, read_seeds(config, folder / str(config.seeds)))
        case AnswersConfig():
            return feedback.of_answers(config, found[config.prompts])
        case RatingsConfig():
            return feedback.of_ratings(config, found[config.answers], folder)
        case PairsConfig():
            return feedback.of_pairs(config, found[config.ratings])
        case BestConfig():
            return feedback.of_best(config, found[config.ratings])
        case ConstitutionConfig():
            return feedback.of_constitution(config, found[config.prompts])
        case TrainConfig():
            return _train(config, found[config.rows])
        case EvaluateConfig():
            return _evaluate(config, found[config.prompts], folder)
        case BenchmarkConfig():
            return of_benchmark(config, found, folder)
        case _:
            assert_never(config)


def _data(config: DataConfig, found: Mapping[str, Estimate], folder: Path) -> Estimate:
    from favonius.corpus.counting import Most, most_rows  # readers of every format

    steps = {
        name: Most(
            made.train,
            made.test,
            prompt_bytes=math.ceil(made.prompt_tokens * BYTES_PER_TOKEN),
            answers=made.answers,
            answer_bytes=math.ceil(made.answer_tokens * BYTES_PER_TOKEN),
            uncounted=made.uncounted,
        )
        for name, made in found.items()
    }
    most = most_rows(config, folder, steps)
    return Estimate(
        most.train,
        most.test,
        answers=most.answers,
        prompt_tokens=math.ceil(most.prompt_bytes / BYTES_PER_TOKEN),
        answer_tokens=math.ceil(most.answer_bytes / BYTES_PER_TOKEN),
        uncounted=most.uncounted,
    )


def _train(config: TrainConfig, rows: Estimate) -> Estimate:
    branches = 2
    if isinstance(config.objective, SFT):
        branches = 1
    elif isinstance(config.objective, Reward):
        branches = min(rows.answers, config.objective.per_prompt)
    return Estimate(
        read=rows.train * config.epochs * config.max_length * branches,
        optimizer_steps=math.ceil(rows.train / config.batch_size) * config.epochs,
    )


def _evaluate(config: EvaluateConfig, prompts: Estimate, folder: Path) -> Estimate:
    count = prompts.test * config.samples
    written = count * config.sampling.max_tokens
    asks = tuple(Asks(model, count, count * prompts.prompt_tokens, written) for model in config.models.values())
    cases = Cases(count, len(config.models), prompts.prompt_tokens, config.sampling.max_tokens)
    work = judging(config.judge, cases, folder)
    every = (*asks, *work.asks)
    return Estimate(written=sum(ask.completion_tokens for ask in every), read=work.read, asks=every, reasks=work.reasks)
