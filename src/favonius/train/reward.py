"""A reward head comes onto a model to be trained with it, and off it, standardised, to lie beside its weights."""

from __future__ import annotations

import random
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from favonius.errors import UserError
from favonius.models.reward_head import RewardHead
from favonius.train.distributed import whole
from favonius.train.loop import Trainer
from favonius.train.measures import summarise
from favonius.train.metrics import Copy
from favonius.train.objectives import Reward
from favonius.trees.fused import forward_only

NAME = "reward_head"
"""The head's name in the model, as `train.distributed` knows it too."""
STANDARDISED_ON = 64
"""Train rows. Some hundred answers say well enough where rewards lie, and cost little beside an epoch."""


def attach(model: PreTrainedModel, objective: Reward) -> None:
    """Put a new head onto `model`. An output head of its own is frozen: no reward goes through it."""
    head = RewardHead(model.config.get_text_config().hidden_size).to(model.device)
    # Both rewards of a pair hold the bias: pairs say nothing about it, and Adam would make steps of the rounding.
    head.bias.requires_grad_(objective.loss == "regression")
    model.add_module(NAME, head)
    output = model.get_output_embeddings()
    if output is not None and output.weight is not model.get_input_embeddings().weight:
        output.weight.requires_grad_(False)


class Trained(NamedTuple):
    """A head whose rewards of train answers have mean 0 and spread 1, and what both were before."""

    head: RewardHead
    mean: float
    spread: float

    def stats(self) -> dict[str, float]:
        return {"reward_mean": self.mean, "reward_spread": self.spread}


def detach(trainer: Trainer, objective: Reward) -> Trained:
    """Take the trained head off the model of `trainer`, and out of its master weights. All ranks call this together.

    Rewards are standardised on at most STANDARDISED_ON train rows. UserError where they are all the same.
    """
    rows = trainer.train_rows
    rows = random.Random(trainer.config.seed).sample(rows, min(STANDARDISED_ON, len(rows)))
    with forward_only(trainer.model):
        sums = trainer.passes.run(rows, backward=False)
    numbers = summarise(objective, dict(zip(sums.names, Copy(sums.values).read(), strict=True)), sums.totals)
    mean, spread = numbers["reward_mean"], numbers["reward_spread"]
    if not spread:
        raise UserError(
            f"{trainer.out.name}: every answer has the same reward, so the head has learned nothing; "
            "raise learning_rate or epochs"
        )
    head = RewardHead(trainer.model.config.get_text_config().hidden_size)
    masters = trainer.weights.masters
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            trained = masters.pop(f"{NAME}.{name}", None)
            if trained is not None:
                parameter.copy_(whole(trained.detach()).cpu())
        head.weight /= spread
        head.bias.sub_(mean).div_(spread)
    delattr(trainer.model, NAME)
    return Trained(head, mean, spread)
