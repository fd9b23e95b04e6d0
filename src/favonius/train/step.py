"""How an objective meets the log-probs of a pack: its share of the batch's mean loss, and what is measured.

Legend: M scored tokens, S sequences in the order of the trees, P = S/2 pairs, whose sequences are chosen, rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from favonius.train import losses
from favonius.train.measures import Totals, answer_sums, pair_sums, sft_sums
from favonius.train.objectives import DPO, IPO, KTO, ORPO, SFT, APOZero, Hinge, OfLogps, Pairwise, SimPO
from favonius.train.rows import Row
from favonius.trees.score import Logps
from favonius.trees.store import TreeLogps


@dataclass(frozen=True)
class Reference:
    """Log-probs under the model before training, of one tree or, joined, of a pack's trees."""

    sums_S: Tensor
    """log p(scored tokens) of each sequence."""
    values_M: Tensor | None = None
    """Of each scored token, in the order of `Logps.values_M`; only where `needs_token_reference(objective)`."""

    @classmethod
    def of(cls, logps: TreeLogps) -> Reference:
        return cls(torch.tensor(logps.sums), None if logps.tokens is None else torch.cat(logps.tokens))

    @classmethod
    def join(cls, parts: Sequence[Reference]) -> Reference:
        """In the order of the parts; token by token where every part is."""
        values = [part.values_M for part in parts if part.values_M is not None]
        whole = torch.cat(values) if len(values) == len(parts) else None
        return cls(torch.cat([part.sums_S for part in parts]), whole)

    def to(self, device: torch.device) -> Reference:
        return Reference(self.sums_S.to(device), None if self.values_M is None else self.values_M.to(device))


@dataclass(frozen=True)
class Loss:
    """`value`, to be differentiated, adds up over packs and ranks to the batch's mean loss; so do the detached `sums`
    to what `measures.summarise` makes numbers of."""

    value: Tensor
    sums: dict[str, Tensor]


def loss(objective: OfLogps, rows: Sequence[Row], logps: Logps, reference: Reference | None, totals: Totals) -> Loss:
    """The share of `rows`, whose trees `logps` and `reference` are of, in the mean loss of the batch of `totals`.

    reference: None where the objective needs none. ValueError where it is missing, or KTO's baseline is.
    """
    match objective:
        case SFT():
            total = -logps.values_M.sum()
            return Loss(total / totals.scored_tokens, sft_sums(total))
        case KTO():
            desirable_S = _labels(rows).to(logps.values_M.device)
            return _answers(objective, desirable_S, logps, _needed(objective, reference), totals)
        case _:
            return _pairs(objective, logps, reference, totals)


def log_ratio_sum(logps: Logps, reference: Reference | None) -> Tensor:
    """Σ log π/π_ref over all sequences: what `Totals.with_baseline` is made of."""
    if reference is None:
        raise ValueError("the baseline needs reference log-probs")
    return (logps.sums() - reference.sums_S).sum()


def rewards(objective: Pairwise | KTO, logps: Logps, reference: Reference | None) -> Tensor:
    """What the objective implies each sequence is worth, in nats, [S]: β times what it compares of an answer.

    That is ρ = log π/π_ref of DPO and its kin; ρ per token where they average; log π per token of SimPO; and the log
    odds of ORPO, which has no β. What only moves the margin's target is no part of it: SimPO's γ, R-DPO's α(|w| - |l|)
    and DPO-positive's penalty.
    """
    match objective:
        case ORPO():
            return losses.log_odds(logps.sums() / logps.lengths())
        case SimPO():
            return objective.beta * logps.sums() / logps.lengths()
        case DPO(length_normalised=True) | IPO():
            return objective.beta * _log_ratios(logps, _needed(objective, reference)) / logps.lengths()
        case DPO(tail_weight=tail_weight) if tail_weight < 1:
            return objective.beta * _desensitised(logps, _needed(objective, reference), tail_weight)
        case _:
            return objective.beta * _log_ratios(logps, _needed(objective, reference))


def pair_losses(objective: Pairwise, rewards_S: Tensor, logps: Logps) -> Tensor:
    """The loss of each pair, [P]."""
    chosen_P, rejected_P = rewards_S[0::2], rewards_S[1::2]
    margin_P = chosen_P - rejected_P
    match objective:
        case DPO():
            return _dpo(objective, chosen_P, margin_P, logps)
        case IPO(beta=beta):
            return losses.ipo(margin_P / beta, beta)
        case Hinge():
            return losses.hinge(margin_P)
        case APOZero():
            return losses.apo_zero(chosen_P, rejected_P)
        case SimPO(gamma=gamma):
            return losses.sigmoid(margin_P - gamma)
        case ORPO(odds_weight=odds_weight):
            return _chosen_nll(logps) + odds_weight * losses.sigmoid(margin_P)


def _dpo(objective: DPO, chosen_P: Tensor, margin_P: Tensor, logps: Logps) -> Tensor:
    """DPO with its options. An option that is off adds no operation, so plain DPO is Eq. 7 to the bit."""
    if objective.length_penalty:
        lengths_S = logps.lengths()
        margin_P = margin_P + objective.length_penalty * (lengths_S[0::2] - lengths_S[1::2]).to(margin_P.dtype)
    if objective.drop_penalty:
        margin_P = margin_P - objective.drop_penalty * losses.fall(chosen_P)
    of_labels = losses.robust if objective.robust else losses.sigmoid
    losses_P = of_labels(margin_P, objective.label_smoothing)
    return losses_P + objective.nll_weight * _chosen_nll(logps) if objective.nll_weight else losses_P


def _pairs(objective: Pairwise, logps: Logps, reference: Reference | None, totals: Totals) -> Loss:
    rewards_S = rewards(objective, logps, reference)
    losses_P = pair_losses(objective, rewards_S, logps)
    log_ratios_S = None if reference is None else _log_ratios(logps, reference)
    sums = pair_sums(losses_P, rewards_S, logps.sums(), log_ratios_S, logps.lengths(), totals)
    return Loss(losses_P.sum() / totals.rows, sums)


def _answers(objective: KTO, desirable_S: Tensor, logps: Logps, reference: Reference, totals: Totals) -> Loss:
    if totals.baseline is None:
        raise ValueError("KTO needs its baseline; see Totals.with_baseline")
    rewards_S = rewards(objective, logps, reference)
    plain_S = losses.kto(rewards_S, desirable_S, objective.beta * totals.baseline)
    losses_S = torch.where(desirable_S, objective.desirable_weight * plain_S, objective.undesirable_weight * plain_S)
    sums = answer_sums(losses_S, rewards_S, logps.sums(), _log_ratios(logps, reference), desirable_S)
    return Loss(losses_S.sum() / totals.answers, sums)


def _labels(rows: Sequence[Row]) -> Tensor:
    """Whether each sequence is desirable, [S]."""
    return torch.tensor([desirable for row in rows for desirable in row.desirable], dtype=torch.bool)


def _needed(objective: OfLogps, reference: Reference | None) -> Reference:
    if reference is None:
        raise ValueError(f"{objective.kind} needs reference log-probs")
    return reference


def _log_ratios(logps: Logps, reference: Reference) -> Tensor:
    """ρ = log π/π_ref of each sequence, [S]."""
    return logps.sums() - reference.sums_S


def _desensitised(logps: Logps, reference: Reference, tail_weight: float) -> Tensor:
    """ρ with the tokens beyond the length of the pair's shorter answer weighted by `tail_weight`, [S]."""
    if reference.values_M is None:
        raise ValueError("tail_weight below 1 needs reference log-probs of every token")
    lengths_S = logps.lengths()
    shorter_S = torch.minimum(lengths_S[0::2], lengths_S[1::2]).repeat_interleave(2)
    starts_S = lengths_S.cumsum(0) - lengths_S
    owner_M = logps.sequence_M
    index_M = torch.arange(len(owner_M), device=owner_M.device) - starts_S[owner_M]
    ratios_M = logps.values_M - reference.values_M
    weighted_M = torch.where(index_M < shorter_S[owner_M], ratios_M, tail_weight * ratios_M)
    return replace(logps, values_M=weighted_M).sums()


def _chosen_nll(logps: Logps) -> Tensor:
    """Mean negative log-prob per token of each chosen answer, [P]."""
    return -logps.sums()[0::2] / logps.lengths()[0::2]
