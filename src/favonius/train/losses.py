"""Losses as pure functions of tensors: one value per pair or answer, nothing averaged.

Legend: P pairs, S sequences (answers), M scored tokens. Log-probs and log-ratios are in nats. A reward is what an
objective implies of one answer, in nats, and a margin is the chosen answer's reward minus the rejected one's; which
reward an objective implies is said in `train.step`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid(margin_P: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """-(1-ε)·log σ(m) - ε·log σ(-m): DPO (Rafailov et al. 2023, arXiv 2305.18290, Eq. 7) and, with ε, cDPO."""
    return -(1 - label_smoothing) * F.logsigmoid(margin_P) - label_smoothing * F.logsigmoid(-margin_P)


def robust(margin_P: Tensor, label_smoothing: float) -> Tensor:
    """[-(1-ε)·log σ(m) + ε·log σ(-m)] / (1-2ε): unbiased under a share ε of flipped labels.

    Chowdhury et al. 2024, arXiv 2403.00409. May be negative.
    """
    kept, flipped = -F.logsigmoid(margin_P), -F.logsigmoid(-margin_P)
    return ((1 - label_smoothing) * kept - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def hinge(margin_P: Tensor) -> Tensor:
    """max(0, 1 - m): Liu et al. 2023, arXiv 2309.06657; Zhao et al. 2023, arXiv 2305.10425."""
    return torch.relu(1 - margin_P)


def ipo(gap_P: Tensor, beta: float) -> Tensor:
    """(h - 1/2β)²: Azar et al. 2023, arXiv 2310.12036, Eq. 17.

    gap_P: h, the chosen answer's log-ratio per token minus the rejected one's.
    """
    return (gap_P - 1 / (2 * beta)) ** 2


def apo_zero(chosen_rewards_P: Tensor, rejected_rewards_P: Tensor) -> Tensor:
    """1 - σ(r_w) + σ(r_l): D'Oosterlinck et al. 2024, arXiv 2408.06266, Eq. 7, and 1."""
    return 1 - torch.sigmoid(chosen_rewards_P) + torch.sigmoid(rejected_rewards_P)


def kto(rewards_S: Tensor, desirable_S: Tensor, baseline: Tensor | float) -> Tensor:
    """1 - σ(r - z) where desirable, 1 - σ(z - r) elsewhere, without weights.

    Ethayarajh et al. 2024, arXiv 2402.01306, Eq. 7. baseline: z, in nats of reward.
    """
    signed_S = torch.where(desirable_S, rewards_S - baseline, baseline - rewards_S)
    return 1 - torch.sigmoid(signed_S)


def log_odds(mean_logps_S: Tensor) -> Tensor:
    """log(p / (1-p)) of p = exp(mean log-prob per token): Hong et al. 2024, arXiv 2403.07691, Eqs. 3 and 4.

    Exact at both ends: 1 - p is made from whichever of expm1 and log1p keeps its digits (Mächler 2012, "Accurately
    computing log(1 - exp(-|a|))"), and a p that a float cannot tell from 1 counts as the last one that it can.
    """
    x_S = mean_logps_S.clamp(max=-torch.finfo(mean_logps_S.dtype).eps)
    near_one_S = x_S > -math.log(2)
    # where() passes on NaN from the branch that it does not take, and exp(x) may round to 1 there.
    small_S = torch.log1p(-torch.exp(torch.where(near_one_S, -1.0, x_S)))
    return x_S - torch.where(near_one_S, torch.log(-torch.expm1(x_S)), small_S)


def fall(chosen_log_ratios_P: Tensor) -> Tensor:
    """max(0, -ρ_w), by how much the chosen answers are less likely than they were.

    Pal et al. 2024, arXiv 2402.13228, Eq. 3.
    """
    return torch.relu(-chosen_log_ratios_P)


def squared_error(rewards_S: Tensor, scores_S: Tensor) -> Tensor:
    """(r - s)²."""
    return (rewards_S - scores_S) ** 2
