"""Config of stage `train`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from favonius.run import ModelRef, StageConfig, StepRef
from favonius.train.objectives import Objective


class TrainConfig(StageConfig):
    """Full-parameter training of `model` on `rows` towards `objective`. Defaults are Zephyr's (zephyr-spec §1.6)."""

    stage: Literal["train"] = "train"
    model: ModelRef
    rows: StepRef
    """A dialogues step for SFT, a pairs step for DPO."""
    objective: Objective
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=32, ge=1)
    """Rows (dialogues or pairs) per optimizer step."""
    learning_rate: float = Field(default=5e-7, gt=0.0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the true number of optimizer steps, rounded up."""
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    weight_decay: float = Field(default=0.0, ge=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    max_length: int = Field(default=1024, ge=8)
    """Tokens of one branch with its prompt; longer rows are refused, counted and listed."""
    pack_tokens: int = Field(default=2048, ge=64)
    """Tokens run at once. Changes memory and speed, not the result beyond rounding."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the compute copy; master weights are always fp32. auto: bf16 where the processor multiplies it natively."""
    freeze: tuple[str, ...] = ()
    """Parameters whose name contains one of these are not trained."""
    evaluate_every: int = Field(default=0, ge=0)
    """Optimizer steps between passes over the test rows; 0: only before the first step and after the last."""
    checkpoint_every: int = Field(default=1, ge=1)
    """Optimizer steps between checkpoints."""
    seed: int = 0
