"""How much work a recipe asks for, before any of it is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from favonius.corpus.config import DataConfig
from favonius.data.splits import split_of
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.dialogues.openings.plan import most_asks
from favonius.dialogues.openings.sources import sizes
from favonius.dialogues.seeds import read_seeds, rounds_of
from favonius.dialogues.simulator import turn_tokens
from favonius.evals.config import EvaluateConfig
from favonius.feedback.config import AnswersConfig, PairsConfig, RatingsConfig
from favonius.recipe import AnyStage, Recipe
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT
from favonius.types import Manner, SeedPrompt

BYTES_PER_TOKEN = 3.0
"""Of English prose 4 to 5; of code, and of other languages, less."""
INSTRUCTION_TOKENS = 400
"""What Favonius' own prompts take at most, with the examples or passages that they quote."""
UNWRITTEN_TOKENS = 120
"""An opening that nobody has written yet."""


@dataclass(frozen=True)
class Asks:
    """Requests to one model, and their tokens."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


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
    prompt_tokens: int = 0
    """Of the longest prompt, about."""
    asks: tuple[Asks, ...] = ()
    """What models are asked."""
    uncounted: tuple[str, ...] = ()
    """Sources whose rows are not in these numbers, which are no bounds then."""


def estimate(recipe: Recipe, folder: Path) -> dict[str, Estimate]:
    """An estimate of every step, in order. Nothing is dropped in it, and every answer is as long as it may be.

    `folder` is the recipe's, where the seeds are read from; raises UserError where they are no seeds.
    """
    found: dict[str, Estimate] = {}
    for name, config in recipe.steps.items():
        if isinstance(config, DialoguesConfig) and config.openings is not None:
            openings = recipe.steps[config.openings]
            if isinstance(openings, OpeningsConfig):
                found[name] = _dialogues_from(config, openings)
            else:
                found[name] = _dialogues_from_rows(config, found[config.openings])
        else:
            found[name] = _estimate(config, found, folder)
    return found


def _estimate(config: AnyStage, found: Mapping[str, Estimate], folder: Path) -> Estimate:
    match config:
        case DataConfig():
            return _data(config, folder)
        case OpeningsConfig():
            sectors = config.sectors.values()
            requests = sum(most_asks(sector, sizes(sector, lambda file: folder / file)) for sector in sectors)
            written = requests * config.sampling.max_tokens
            asked = Asks(config.teacher, requests, requests * INSTRUCTION_TOKENS, written)
            return Estimate(sum(sector.count for sector in sectors), written=written, asks=(asked,))
        case DialoguesConfig():
            return _dialogues(config, read_seeds(config, folder / str(config.seeds)))
        case AnswersConfig():
            prompts = found[config.prompts]
            train = prompts.train if config.limit is None else min(prompts.train, config.limit)
            count, read = train + prompts.test, prompts.prompt_tokens
            asks = tuple(
                Asks(member.model, count, count * (read + _tokens(member.system)), count * member.sampling.max_tokens)
                for member in config.pool.values()
            )
            written = sum(ask.completion_tokens for ask in asks)
            return Estimate(train, prompts.test, written=written, answers=len(config.pool), asks=asks)
        case RatingsConfig():
            rated = found[config.answers]
            read = (rated.train + rated.test) * rated.answers * config.judge.max_length
            return replace(rated, written=0, read=read)
        case PairsConfig():
            return replace(found[config.ratings], read=0)
        case TrainConfig():
            return _train(config, found[config.rows].train)
        case EvaluateConfig():
            prompts = found[config.prompts]
            count = prompts.test * config.samples
            written = count * config.sampling.max_tokens
            asks = tuple(Asks(model, count, count * prompts.prompt_tokens, written) for model in config.models.values())
            answers = count * len(config.models)
            return Estimate(written=written * len(asks), read=answers * config.judge.max_length, asks=asks)
        case _:
            assert_never(config)


def _dialogues(config: DialoguesConfig, seeds: list[SeedPrompt]) -> Estimate:
    held_out = sum(split_of(seed.prompt, config.test_share) == "test" for seed in seeds)
    talks = [(seed.manner, rounds_of(config, seed), _tokens(seed.prompt)) for seed in seeds]
    return _talks(config, talks, held_out)


def _dialogues_from(config: DialoguesConfig, openings: OpeningsConfig) -> Estimate:
    """Of openings that nobody has written yet: as many as are wanted, each with the most rounds."""
    manners = [sector.manner for sector in openings.sectors.values() for _ in range(sector.count)][: config.limit]
    talks = [(manner, max(config.rounds_of(manner)), UNWRITTEN_TOKENS) for manner in manners]
    return _talks(config, talks, round(len(manners) * config.test_share))


def _dialogues_from_rows(config: DialoguesConfig, openings: Estimate) -> Estimate:
    """Of the user's own openings, each as long as the longest and with the most rounds."""
    count = openings.train if config.limit is None else min(openings.train, config.limit)
    talks = [(None, max(config.rounds_of(None)), openings.prompt_tokens)] * count
    return _talks(config, talks, round(count * config.test_share)) if talks else Estimate()


def _data(config: DataConfig, folder: Path) -> Estimate:
    from favonius.corpus.counting import most_rows  # readers of every format

    most = most_rows(config, folder)
    prompt_tokens = math.ceil(most.prompt_bytes / BYTES_PER_TOKEN)
    return Estimate(most.train, most.test, prompt_tokens=prompt_tokens, uncounted=most.uncounted)


def _talks(config: DialoguesConfig, talks: Sequence[tuple[Manner | None, int, int]], held_out: int) -> Estimate:
    """Of conversations by manner, rounds and tokens of their opening; every turn reads all turns before it."""
    answer, system = config.sampling.max_tokens, _tokens(config.system)
    rounds = read = turns = turns_read = turns_written = 0
    for manner, length, opening in talks:
        turn = turn_tokens(manner)
        history = [opening + number * (answer + turn) for number in range(length)]
        rounds, read = rounds + length, read + sum(history) + length * system
        turns, turns_written = turns + length - 1, turns_written + (length - 1) * turn
        turns_read += sum(history[1:]) + (length - 1) * INSTRUCTION_TOKENS
    user = config.user.model or config.teacher
    asks = (Asks(config.teacher, rounds, read, rounds * answer), Asks(user, turns, turns_read, turns_written))
    written = sum(ask.completion_tokens for ask in asks)
    longest = max(opening for _, _, opening in talks)
    return Estimate(len(talks) - held_out, held_out, written=written, prompt_tokens=longest, asks=asks)


def _tokens(text: str | None) -> int:
    return 0 if text is None else math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


def dollars(recipe: Recipe, step: Estimate) -> float:
    """What a step can cost at its models' prices."""
    bills = ((recipe.models[ask.model].price, ask) for ask in step.asks if ask.model in recipe.models)
    return sum(
        (price.prompt * ask.prompt_tokens + price.completion * ask.completion_tokens) / 1e6
        for price, ask in bills
        if price is not None
    )


def _train(config: TrainConfig, rows: int) -> Estimate:
    branches = 1 if isinstance(config.objective, SFT) else 2
    return Estimate(
        read=rows * config.epochs * config.max_length * branches,
        optimizer_steps=math.ceil(rows / config.batch_size) * config.epochs,
    )
