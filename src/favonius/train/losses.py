"""Losses as pure functions of log-probs. Summed over the rows at hand and divided by the count of the whole batch.

Legend: M scored tokens, P pairs, S = 2P sequences in the order chosen, rejected, chosen, rejected, …
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from favonius.train.objectives import DPO, SFT, Objective
from favonius.trees.score import Logps
from favonius.trees.tree import Tree


@dataclass(frozen=True)
class Loss:
    """`value`, to be differentiated, and named sums that, over a whole batch, are that batch's means."""

    value: Tensor
    means: dict[str, Tensor]


def units(objective: Objective, tree: Tree) -> int:
    """What a row counts for in the mean: scored tokens for SFT, 1 for a pair."""
    match objective:
        case SFT():
            return sum(sequence.scored_tokens for sequence in tree.sequences)
        case DPO():
            return 1


def needs_reference(objective: Objective) -> bool:
    return isinstance(objective, DPO)


def loss(objective: Objective, logps: Logps, reference_S: Tensor | None, total_units: int) -> Loss:
    """The share of some rows in the batch's mean loss; `total_units` counts the whole batch, all ranks and packs."""
    match objective:
        case SFT():
            value = -logps.values_M.sum() / total_units
            return Loss(value, {"loss": value.detach()})
        case DPO(beta=beta):
            if reference_S is None:
                raise ValueError("DPO needs reference log-probs")
            return _dpo(logps.sums(), reference_S, beta, total_units)


def dpo(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    beta: float,
) -> Tensor:
    """-log σ(β·[(log π(y_w) - log π_ref(y_w)) - (log π(y_l) - log π_ref(y_l))]) per pair, [P].

    Rafailov et al. 2023, arXiv 2305.18290, Eq. 7; Zephyr's Eq. 1. All arguments [P], summed over the answer's tokens.
    """  # fmt: skip
    chosen = chosen_logps - reference_chosen_logps
    rejected = rejected_logps - reference_rejected_logps
    return -F.logsigmoid(beta * (chosen - rejected))


def _dpo(sums_S: Tensor, reference_S: Tensor, beta: float, total_pairs: int) -> Loss:
    chosen_P, rejected_P = sums_S[0::2], sums_S[1::2]
    reference_chosen_P, reference_rejected_P = reference_S[0::2], reference_S[1::2]
    value = dpo(chosen_P, rejected_P, reference_chosen_P, reference_rejected_P, beta).sum() / total_pairs
    with torch.no_grad():
        chosen_rewards_P = beta * (chosen_P - reference_chosen_P)
        rejected_rewards_P = beta * (rejected_P - reference_rejected_P)
        margin_P = chosen_rewards_P - rejected_rewards_P
        # A tie counts half: at the first step every margin is 0, and no policy has a preference yet.
        accuracy_P = (margin_P > 0).float() + 0.5 * (margin_P == 0).float()
        named = {
            "accuracy": accuracy_P,
            "margin": margin_P,
            "chosen_rewards": chosen_rewards_P,
            "rejected_rewards": rejected_rewards_P,
            "chosen_logps": chosen_P,
            "rejected_logps": rejected_P,
        }
        means = {name: values_P.sum() / total_pairs for name, values_P in named.items()}
    return Loss(value, {"loss": value.detach(), **means})
