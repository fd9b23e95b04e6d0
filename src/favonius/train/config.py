"""Config of stage `train`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from favonius.models.lora import LoRA
from favonius.run import ModelRef, StageConfig, StepRef
from favonius.train.objectives import Objective


class TrainConfig(StageConfig):
    """Training of `model` on `rows` towards `objective`. Defaults are Zephyr's (zephyr-spec §1.6)."""

    not_identity: ClassVar[frozenset[str]] = StageConfig.not_identity | {
        "checkpoint_every", "keep_checkpoints", "activation_checkpointing", "processes", "nodes",
    }  # fmt: skip

    stage: Literal["train"] = "train"
    model: ModelRef
    rows: StepRef
    """Of dialogues for SFT, of feedback (a ratings step, or data) for a reward, of pairs for the other objectives."""
    objective: Objective
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=32, ge=1)
    """Rows (dialogues, pairs, or prompts with their rated answers) per optimizer step."""
    learning_rate: float = Field(default=5e-7, gt=0.0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the true number of optimizer steps, rounded up."""
    optimizer: Literal["adamw", "adamw8bit", "rmsprop"] = "adamw"
    """adamw8bit: AdamW that keeps its two moments in 8 bits each, by bitsandbytes (extra `eightbit`); one process."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    max_length: int = Field(default=1024, ge=8)
    """Tokens of one branch with its prompt."""
    truncation: Literal["drop", "keep_start"] = "drop"
    """Of longer rows. drop: left out, counted and listed. keep_start: cut off after `max_length` tokens, so that the
    answer is not taught to end there; a row whose prompt alone is that long is left out all the same."""
    max_dropped_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """The step refuses to train where more than this share of its rows cannot be learned from."""
    pack_tokens: int = Field(default=2048, ge=64)
    """Tokens run at once. Changes memory and speed, not the result beyond rounding."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the compute copy; master weights are always fp32. auto: bf16 where the processor multiplies it natively."""
    freeze: tuple[str, ...] = ()
    """Parameters whose name contains one of these are not trained."""
    adapter: LoRA | None = None
    """Train a low-rank adapter and not the model's own parameters; the step writes it, and the model with it merged."""
    evaluate_every: Literal["epoch"] | Annotated[int, Field(ge=0)] = 0
    """Optimizer steps between passes over the test rows; epoch: a pass after each epoch; 0: only before the first step
    and after the last, which has one in any case."""
    checkpoint_every: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Optimizer steps between checkpoints. auto: after every step, unless copying the state then held the training up
    for more than a twentieth of the time; a kill loses a step of a small model, or some minutes of a large one's."""
    keep_checkpoints: int = Field(default=1, ge=1)
    """How many of the newest are kept while the step runs; a finished step keeps none."""
    activation_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Compute each layer's activations again in the backward pass: less memory, a third more work, the same numbers.
    auto: where an estimate says that `pack_tokens` would not fit into the memory that is free."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile what a decoder layer does around its attention: faster steps and less memory, after half a minute. auto:
    in one process without an adapter that is to run at least 100,000 tokens. Changes rounding only."""
    processes: int = Field(default=1, ge=1)
    """Per node. More than one: torchrun starts them, FSDP2 cuts weights, gradients and optimizer into a shard for each,
    and each computes its share of every batch. On GPUs, one process for each."""
    nodes: int = Field(default=1, ge=1)
    """Machines that see the run folder and the models under the same paths. The run names the command that each further
    one is to be given. Tested with two launchers on one machine, not yet on two."""
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.compile == "on" and self.processes * self.nodes > 1:
            raise ValueError("compile works in one process only; leave it out for several")
        if self.optimizer == "adamw8bit" and self.processes * self.nodes > 1:
            raise ValueError("adamw8bit works in one process only; write optimizer: adamw for several")
        if self.adapter is not None:
            self._check_adapter(self.adapter)
        return self

    def _check_adapter(self, adapter: LoRA) -> None:
        if self.freeze:
            raise ValueError("an adapter freezes all of the model's own parameters; leave out freeze")
        if "learning_rate" not in self.model_fields_set:
            raise ValueError(
                "an adapter needs its own learning_rate, far above that of full training; Zephyr's QLoRA took 2e-4 for "
                "SFT and 5e-6 for DPO with many thousands of pairs, a few hundred pairs take 1e-4 to 5e-4"
            )
        if self.compile == "on":
            raise ValueError("compile does not work with an adapter; leave it out")
        if adapter.quantize != "none" and self.processes * self.nodes > 1:
            raise ValueError("quantize: nf4 works in one process only; use quantize: none for several")
