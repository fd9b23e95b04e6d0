"""Config of stage `dialogues`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from favonius.engines.config import EngineConfig, LlamaCpp
from favonius.run import FileRef, ModelRef, StageConfig
from favonius.types import Sampling


class DialoguesConfig(StageConfig):
    """Self-prompting (zephyr-spec §1.2, §3.1): the teacher answers, asks on in the user's place, and answers again."""

    stage: Literal["dialogues"] = "dialogues"
    seeds: FileRef
    """JSONL rows `{"id", "prompt"}` and optional `topic`, `kind`."""
    teacher: ModelRef
    engine: EngineConfig = LlamaCpp()
    limit: int | None = Field(default=None, ge=2)
    """Only the first so many seeds."""
    test_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of seeds held out, chosen by a hash of their id: adding seeds moves none to the other side."""
    second_turn_share: float = Field(default=0.3, ge=0.0, le=1.0)
    system: str | None = None
    """System message for the teacher only; rows do not keep it."""
    sampling: Sampling = Sampling()
