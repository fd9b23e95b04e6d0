"""Openings and conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from favonius.data.splits import split_of
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.dialogues.openings.plan import most_asks
from favonius.dialogues.openings.sources import sizes
from favonius.dialogues.seeds import rounds_of
from favonius.dialogues.simulator import turn_tokens
from favonius.pipeline.estimate.amounts import INSTRUCTION_TOKENS, UNWRITTEN_TOKENS, Asks, Estimate, tokens_of
from favonius.types import Manner, SeedPrompt


def of_openings(config: OpeningsConfig, folder: Path) -> Estimate:
    sectors = config.sectors.values()
    requests = sum(most_asks(sector, sizes(sector, lambda file: folder / file)) for sector in sectors)
    written = requests * config.sampling.max_tokens
    asked = Asks(config.teacher, requests, requests * INSTRUCTION_TOKENS, written)
    wanted = sum(sector.count for sector in sectors)
    return Estimate(wanted, written=written, prompt_tokens=UNWRITTEN_TOKENS, asks=(asked,))


def of_dialogues(config: DialoguesConfig, seeds: list[SeedPrompt]) -> Estimate:
    held_out = sum(split_of(seed.prompt, config.test_share) == "test" for seed in seeds)
    talks = [(seed.manner, rounds_of(config, seed), tokens_of(seed.prompt)) for seed in seeds]
    return _talks(config, talks, held_out)


def of_dialogues_from(config: DialoguesConfig, openings: OpeningsConfig) -> Estimate:
    """Of openings that nobody has written yet: as many as are wanted, each with the most rounds."""
    manners = [sector.manner for sector in openings.sectors.values() for _ in range(sector.count)][: config.limit]
    talks = [(manner, max(config.rounds_of(manner)), UNWRITTEN_TOKENS) for manner in manners]
    return _talks(config, talks, round(len(manners) * config.test_share))


def of_dialogues_from_rows(config: DialoguesConfig, openings: Estimate) -> Estimate:
    """Of the user's own openings, each as long as the longest and with the most rounds."""
    count = openings.train if config.limit is None else min(openings.train, config.limit)
    talks = [(None, max(config.rounds_of(None)), openings.prompt_tokens)] * count
    return _talks(config, talks, round(count * config.test_share)) if talks else Estimate()


def _talks(config: DialoguesConfig, talks: Sequence[tuple[Manner | None, int, int]], held_out: int) -> Estimate:
    """Of conversations by manner, rounds and tokens of their opening; every turn reads all turns before it."""
    answer, system = config.sampling.max_tokens, tokens_of(config.system)
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
    return Estimate(
        len(talks) - held_out, held_out, written=written, prompt_tokens=longest, answer_tokens=answer, asks=asks
    )
