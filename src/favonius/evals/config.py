"""Config of stage `evaluate`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from favonius.engines.config import EngineConfig, Transformers
from favonius.judges.config import JudgeConfig
from favonius.run import ModelRef, StageConfig, StepRef
from favonius.types import Sampling


class EvaluateConfig(StageConfig):
    """Every model answers the held-out prompts; the judge compares them; log-probs are taken on held-out rows."""

    version: ClassVar[int] = 3

    stage: Literal["evaluate"] = "evaluate"
    models: dict[str, ModelRef] = Field(min_length=2)
    """Label → model, in the order of the table's columns."""
    baseline: str
    """Label of the model that the others are compared with; also the reference of implied rewards."""
    prompts: StepRef
    """A dialogues step; its test rows are used."""
    pairs: StepRef
    """A pairs step; its test rows are used."""
    judge: JudgeConfig
    teacher: ModelRef | None = None
    """Whose answers were learned from; where it is the judge too, the results say so."""
    engine: EngineConfig = Transformers()
    sampling: Sampling = Sampling()
    samples: int = Field(default=2, ge=1)
    """Answers drawn per prompt and model."""
    max_length: int = 1024
