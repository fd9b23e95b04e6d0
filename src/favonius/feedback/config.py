"""Configs of stages `answers`, `ratings` and `pairs`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from favonius.engines.config import EngineConfig, Transformers
from favonius.judges.config import JudgeConfig
from favonius.run import ModelRef, StageConfig, StepRef
from favonius.types import Noun, Sampling


class PoolMember(Noun):
    """One of the models that answer."""

    model: ModelRef
    engine: EngineConfig = Transformers()
    sampling: Sampling = Sampling()
    system: str | None = None


class AnswersConfig(StageConfig):
    """Every pool member answers the first user turn of every dialogue (zephyr-spec §1.3)."""

    stage: Literal["answers"] = "answers"
    prompts: StepRef
    pool: dict[str, PoolMember] = Field(min_length=2)
    """Name → member; the name is the answers' `source`."""
    limit: int | None = Field(default=None, ge=1)
    """Only so many train prompts (all test prompts are answered)."""


class RatingsConfig(StageConfig):
    """A judge rates every answer."""

    stage: Literal["ratings"] = "ratings"
    answers: StepRef
    judge: JudgeConfig


class PairsConfig(StageConfig):
    """Binarisation (zephyr-spec §1.3): the best answer against a seeded random lower one; ties dropped and counted."""

    stage: Literal["pairs"] = "pairs"
    ratings: StepRef
    never_chosen: tuple[str, ...] = ("empty", "loop", "leak", "unfinished")
    """Flaws (data.checks) that keep an answer from being chosen, whatever its score. It may be rejected."""
    seed: int = 0
