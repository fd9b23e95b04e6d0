"""What a training step holds in memory, byte by byte where it can be told, and what it leaves on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from favonius.models.adapters import inject, linear_names
from favonius.models.load import resolve_dtype
from favonius.pipeline.planning.hardware import Hardware
from favonius.pipeline.planning.outlines import outline
from favonius.train.config import TrainConfig
from favonius.train.distributed import decoder_layers
from favonius.train.memory import OPTIMIZER_TENSORS, activation_bytes, checkpoint_bytes
from favonius.train.objectives import Reward
from favonius.train.optimizer import MasterWeights
from favonius.train.reward import attach
from favonius.trees.head import head_bytes

PROCESS_BYTES = {"cpu": 550_000_000, "cuda": 600_000_000}
"""cpu: an interpreter that has imported torch and transformers. cuda: a context, which the GPU holds beside tensors."""
NF4_BYTES = 0.516
"""Per weight: 4 bits, and of every 64 a scale in 8 bits whose own are shared (arXiv 2305.14314, section 3)."""
GATHERED_LAYERS = 2
"""Whole at one time under FSDP: the one at work and the next."""


@dataclass(frozen=True)
class Sizes:
    """Of one training step's model. Parameters are counted once where they are tied."""

    parameters: int
    """Of the model itself, without an adapter."""
    trained: int
    tensors: int
    """Trained ones."""
    weights: int
    """Bytes of what computes: the model, and an adapter, in the compute dtype."""
    masters: int
    """Bytes of the fp32 masters that are not themselves what computes."""
    optimizer: int
    """Bytes of the optimizer's state."""
    layers: int
    largest_layer: int
    """Parameters."""
    outside_layers: int
    """Parameters of embedding, head and final norm."""
    compute: torch.dtype

    @property
    def gradients(self) -> int:
        return 4 * self.trained

    @property
    def state(self) -> int:
        """Bytes of a checkpoint: masters and the optimizer's state."""
        return 4 * self.trained + self.optimizer


def sizes_of(config: TrainConfig, shape: Any, hardware: Hardware) -> tuple[Sizes, PreTrainedModel]:
    """Sizes of training the model of config `shape`, and its outline with the adapter or reward head that it gets.

    UserError where `config` names layers or parameters that the model lacks.
    """
    compute = compute_dtype(config, hardware)
    model = outline(shape, compute)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    linear = sum(model.get_submodule(name).weight.numel() for name in linear_names(model))
    layers = [sum(one.numel() for one in layer.parameters()) for layer in decoder_layers(model)]
    if config.adapter is not None:
        inject(model, config.adapter, config.seed)
    if isinstance(config.objective, Reward):
        attach(model, config.objective)
    masters = MasterWeights(model, config.freeze)
    whole = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if config.adapter is not None and config.adapter.quantize == "nf4":
        whole -= math.ceil(linear * (compute.itemsize - NF4_BYTES))
    copies = sum(4 * masters.masters[name].numel() for name in masters.masters if _is_copy(masters, name))
    count, tensors = masters.count(), len(masters.parameters)
    return Sizes(
        parameters, count, tensors, whole, copies, optimizer_bytes(config, count, tensors),
        len(layers), max(layers), parameters - sum(layers), compute,
    ), model  # fmt: skip


def _is_copy(masters: MasterWeights, name: str) -> bool:
    return masters.masters[name] is not masters.computes[name]


def compute_dtype(config: TrainConfig, hardware: Hardware) -> torch.dtype:
    """`auto` on a GPU that is not here is bf16."""
    if hardware.kind == "cuda" and config.precision == "auto":
        return torch.bfloat16
    return resolve_dtype(config.precision, torch.device("cpu"))


def optimizer_bytes(config: TrainConfig, trained: int, tensors: int) -> int:
    """Moments in fp32, or in 8 bits; torch's own optimizers count steps in a number of 4 bytes for each tensor."""
    counters = 0 if config.optimizer == "adamw8bit" else 4 * tensors
    return math.ceil(4 * OPTIMIZER_TENSORS[config.optimizer] * trained) + counters


@dataclass(frozen=True)
class Memory:
    """Bytes at the highest, by what holds them, of one process; `loading` is a peak of its own, before training."""

    parts: Mapping[str, int]
    loading: int = 0
    checkpointed: bool = False
    """Layers keep their input alone and run again in the backward pass."""
    processes: int = 1
    """That share one memory."""

    @property
    def peak(self) -> int:
        return self.processes * max(sum(self.parts.values()), self.loading)


def standing(config: TrainConfig, sizes: Sizes, hardware: Hardware, steps: int) -> dict[str, int]:
    """What lies in memory through every optimizer step but activations and gradients, of one process."""
    ranks = config.processes * config.nodes
    if ranks == 1:
        held = {"weights": sizes.weights, "masters": sizes.masters, "optimizer": sizes.optimizer}
        # Copied in main memory while it is written, which the next step does not wait for.
        copied = sizes.state if hardware.kind == "cpu" and steps > 1 else 0
        return held | {"checkpoint being written": copied}
    outside, compute = sizes.outside_layers, sizes.compute.itemsize
    gathered = compute * (outside + GATHERED_LAYERS * sizes.largest_layer)
    shard = {"weights": gathered, "masters": 4 * sizes.parameters // ranks, "optimizer": sizes.optimizer // ranks}
    return shard | {"checkpoint being written": sizes.state // ranks if hardware.kind == "cpu" and steps > 1 else 0}


@dataclass(frozen=True)
class Run:
    """What of a step's rows decides on memory."""

    tokens: int
    """Of the pack that takes most."""
    predictions: int
    """Of its tokens, those that meet the head."""
    packs: float
    """Per optimizer step and process."""
    steps: int


def reckoned(
    config: TrainConfig, sizes: Sizes, model: PreTrainedModel, hardware: Hardware, run: Run, scale: float = 1.0
) -> Memory:
    """The peak of a training step by arithmetic. `scale`: what activations were measured to take, in units of it.

    `activation_checkpointing: auto` is on where the step does not fit without, as in `train.memory`.
    """
    asked = config.activation_checkpointing
    plain = _reckoned(config, sizes, model, hardware, run, scale, asked == "on")
    if asked == "auto" and plain.peak > hardware.memory:
        return _reckoned(config, sizes, model, hardware, run, scale, True)
    return plain


def _reckoned(
    config: TrainConfig, sizes: Sizes, model: PreTrainedModel, hardware: Hardware, run: Run, scale: float, again: bool
) -> Memory:
    ranks = config.processes * config.nodes
    per_token = activation_bytes(model, sizes.compute)
    kept = checkpoint_bytes(model, sizes.compute) + per_token / sizes.layers if again else per_token
    trains_head = _trains_head(model)
    head = 0 if isinstance(config.objective, Reward) else head_bytes(
        run.predictions, model.get_output_embeddings().weight.shape, sizes.compute, hardware.kind, trains_head
    )  # fmt: skip
    work = {"activations": round(scale * run.tokens * kept), "head": head}
    gradients = sizes.gradients if ranks == 1 else 4 * sizes.largest_layer + sizes.gradients // ranks
    if run.packs <= 1:  # gradients come as activations go
        fits = max(0, gradients - sum(work.values()))
        gradients = fits
    parts = {
        **standing(config, sizes, hardware, run.steps), "gradients": gradients, **work,
        "process": PROCESS_BYTES[hardware.kind],
    }  # fmt: skip
    loading = PROCESS_BYTES[hardware.kind] + sizes.weights if ranks > 1 else 0
    return Memory(parts, loading, again, config.processes if hardware.kind == "cpu" else 1)


def _trains_head(model: PreTrainedModel) -> bool:
    head: nn.Module = model.get_output_embeddings()
    return bool(head.weight.requires_grad)


def with_setting(config: TrainConfig, **changes: Any) -> TrainConfig:
    """`config` with other settings, checked like one that was written so."""
    return TrainConfig.model_validate({**{name: getattr(config, name) for name in config.model_fields_set}, **changes})
