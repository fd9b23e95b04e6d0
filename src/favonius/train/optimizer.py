"""fp32 master weights, the optimizer over them, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from favonius.errors import UserError
from favonius.train.config import TrainConfig


class MasterWeights:
    """fp32 copies of the trained parameters. The model's own parameters are the compute copy.

    Gradients are moved to the masters as each is made, added up in fp32 and freed, so the compute copy's gradients
    never exist all at once. Where the model computes in fp32 the masters are its parameters.
    """

    def __init__(self, model: nn.Module, freeze: Sequence[str]) -> None:
        named = dict(model.named_parameters())
        for pattern in freeze:
            if not any(pattern in name for name in named):
                raise UserError(
                    f"freeze: no parameter's name contains {pattern!r}; names look like {next(iter(named))}"
                )
        for name, parameter in named.items():
            # What an adapter has frozen stays frozen.
            parameter.requires_grad_(parameter.requires_grad and not any(pattern in name for pattern in freeze))
        self.computes = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        if not self.computes:
            raise UserError("freeze: every parameter is frozen, so there is nothing to train")
        self.masters = {
            name: parameter if parameter.dtype == torch.float32 else parameter.detach().float()
            for name, parameter in self.computes.items()
        }
        for name, parameter in self.computes.items():
            if self.masters[name] is not parameter:
                parameter.register_post_accumulate_grad_hook(partial(_move_gradient, self.masters[name]))

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.masters.values())

    def count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def publish(self) -> None:
        """Bring the compute copy up to date with the masters."""
        for name, parameter in self.computes.items():
            if self.masters[name] is not parameter:
                parameter.copy_(self.masters[name])


def _move_gradient(master: Tensor, parameter: Tensor) -> None:
    """A hook of `parameter`. It must hold nothing that holds `parameter`: Python does not see a circle through torch's
    hooks, and the weights of every training would stay in memory."""
    assert parameter.grad is not None
    if master.grad is None:
        master.grad = parameter.grad.float()
    else:
        master.grad += parameter.grad
    parameter.grad = None


def make_optimizer(config: TrainConfig, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """AdamW with Zephyr's betas and eps, or RMSprop, which Zephyr's DPO really used (zephyr-spec §1.6)."""
    groups = _groups(parameters, config.weight_decay)
    match config.optimizer:
        case "adamw8bit":
            return _eight_bit_adamw(config, groups)
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=config.learning_rate)


def _groups(parameters: Sequence[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices are decayed, norms and biases are not, as in transformers. Parameters stay in their order, by which
    checkpoints name the optimizer's state."""
    if not weight_decay:
        return [{"params": list(parameters), "weight_decay": 0.0}]
    runs = groupby(parameters, key=lambda parameter: parameter.ndim > 1)
    return [{"params": list(run), "weight_decay": weight_decay if matrices else 0.0} for matrices, run in runs]


def _eight_bit_adamw(config: TrainConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW with block-wise 8-bit moments, Dettmers et al. 2022 (arXiv 2110.02861); small tensors in fp32."""
    device = groups[0]["params"][0].device
    if device.type != "cuda":
        raise UserError(
            f"optimizer: adamw8bit needs a CUDA GPU, and this machine trains on its {device.type}; "
            "write optimizer: adamw"
        )
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            "optimizer: adamw8bit needs the package bitsandbytes; install it with: pip install 'favonius[eightbit]'"
        ) from error
    made: torch.optim.Optimizer = AdamW8bit(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8)
    return made


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Rate of optimizer step `step` (1 … steps), as transformers' schedules: warm-up from 0, then down to 0.

    Warm-up lasts ⌈warmup_share · steps⌉ steps; the first of them has rate 0.
    """
    warmup = math.ceil(config.warmup_share * steps)
    index = step - 1
    if index < warmup:
        return config.learning_rate * index / max(1, warmup)
    along = (index - warmup) / max(1, steps - warmup)
    match config.schedule:
        case "constant":
            return config.learning_rate
        case "linear":
            return config.learning_rate * (1 - along)
        case "cosine":
            return config.learning_rate * 0.5 * (1 + math.cos(math.pi * along))
