"""What is counted before a batch runs and what is measured while it does: the numbers of a line of metrics.jsonl.

Every sum is additive over packs and ranks, and every denominator is known from the batch's rows, so that no number
depends on how the batch was cut up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from favonius.train.objectives import KTO, SFT, Objective, Reward
from favonius.train.rows import Row

FEWEST_PAIRS = 3
"""A correlation of fewer is ±1 or nothing."""
SMALLEST_SPREAD = 1e-6
"""Nats. Margins that differ by less differ by rounding; every one is 0 before the first step."""


@dataclass(frozen=True)
class Totals:
    """Counts of a whole batch, over all its packs and all ranks, known before the first forward."""

    rows: int
    chosen: int
    """Answers to learn: chosen, desirable, or dialogues."""
    rejected: int
    chosen_tokens: int
    """Scored tokens of the chosen answers."""
    rejected_tokens: int
    squared_gaps: int
    """Sum over pairs of (chosen - rejected scored tokens)²."""
    ranked: int = 0
    """Pairs of rated answers whose scores differ."""
    ranked_longer: float = 0.0
    """In how many of them the longer answer is the better one; two of a length count half."""
    baseline: Tensor | None = None
    """KTO's KL estimate in nats, ≥ 0, a 0-dim tensor; see `with_baseline`."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Totals:
        tokens = Counter[bool]()
        answers = Counter[bool]()
        for row in rows:
            for sequence, desirable in zip(row.tree.sequences, row.desirable, strict=True):
                answers[desirable] += 1
                tokens[desirable] += sequence.scored_tokens
        return cls(
            rows=len(rows),
            chosen=answers[True],
            rejected=answers[False],
            chosen_tokens=tokens[True],
            rejected_tokens=tokens[False],
            squared_gaps=sum(row.length_gap**2 for row in rows),
            ranked=sum(len(row.ranked) for row in rows),
            ranked_longer=sum((pair.gap > 0) + 0.5 * (pair.gap == 0) for row in rows for pair in row.ranked),
        )

    @property
    def answers(self) -> int:
        return self.chosen + self.rejected

    @property
    def scored_tokens(self) -> int:
        return self.chosen_tokens + self.rejected_tokens

    @property
    def mean_gap(self) -> float:
        """Mean of chosen minus rejected scored tokens per pair."""
        return (self.chosen_tokens - self.rejected_tokens) / self.rows

    def with_baseline(self, log_ratio_sum: Tensor) -> Totals:
        """`log_ratio_sum`: Σ ρ over the mismatched trees of the whole batch, over all ranks."""
        return replace(self, baseline=(log_ratio_sum / self.answers).clamp(min=0).detach())


def sft_sums(loss: Tensor) -> dict[str, Tensor]:
    return _wide({"loss": loss})


def pair_sums(
    losses_P: Tensor, rewards_S: Tensor, logps_S: Tensor, log_ratios_S: Tensor | None, lengths_S: Tensor, totals: Totals
) -> dict[str, Tensor]:
    """Sums over a pack's pairs."""
    rewards_S = rewards_S.detach().double()
    chosen_P, rejected_P = rewards_S[0::2], rewards_S[1::2]
    margins_P = chosen_P - rejected_P
    gaps_P = lengths_S[0::2] - lengths_S[1::2]
    sums = {
        "loss": losses_P,
        # A tie counts half: at the first step every margin is 0, and no policy has a preference yet.
        "accuracy": (margins_P > 0) + 0.5 * (margins_P == 0),
        "squared_margin": margins_P**2,
        # Lengths are centred by their batch's mean beforehand, so the covariance is not a difference of large sums.
        "margin_by_gap": margins_P * (gaps_P - totals.mean_gap),
        "chosen_rewards": chosen_P,
        "rejected_rewards": rejected_P,
        "chosen_logps": logps_S[0::2],
        "rejected_logps": logps_S[1::2],
        "chosen_nll": -logps_S[0::2] / lengths_S[0::2],
    }
    if log_ratios_S is not None:
        sums["log_ratio"] = log_ratios_S
    return _wide(sums)


def answer_sums(
    losses_S: Tensor, rewards_S: Tensor, logps_S: Tensor, log_ratios_S: Tensor, desirable_S: Tensor
) -> dict[str, Tensor]:
    """Sums over a pack's labelled answers."""
    return _wide(
        {
            "loss": losses_S,
            "chosen_rewards": rewards_S * desirable_S,
            "rejected_rewards": rewards_S * ~desirable_S,
            "chosen_logps": logps_S * desirable_S,
            "rejected_logps": logps_S * ~desirable_S,
            "log_ratio": log_ratios_S,
        }
    )


def reward_sums(loss: Tensor, rewards_S: Tensor, margins_P: Tensor, gaps_P: Tensor) -> dict[str, Tensor]:
    """Sums over a pack's rated answers and their pairs. gaps_P: tokens by which the better answer is longer."""
    margins_P = margins_P.detach()
    favoured_P = margins_P * gaps_P
    return _wide(
        {
            "loss": loss,
            "accuracy": (margins_P > 0) + 0.5 * (margins_P == 0),
            "longer_preferred": (favoured_P > 0) + 0.5 * (favoured_P == 0),
            "margin": margins_P,
            "rewards": rewards_S,
            "squared_rewards": rewards_S.detach().double() ** 2,
        }
    )


def _wide(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Added up in fp64, detached: one dtype for all, and the same sum in any order to the last digit that is shown."""
    return {name: tensor.detach().double().sum() for name, tensor in values.items()}


def summarise(objective: Objective, sums: Mapping[str, float], totals: Totals) -> dict[str, float]:
    """The numbers of one batch from its sums over all packs and ranks.

    SFT: loss (nats per scored token), scored_tokens, scored_tokens_per_row.
    Pairs, means per pair: loss; accuracy (share of margins above 0, a tie counts half); chosen_ and rejected_ rewards,
    logps and tokens; margin (of the rewards); chosen_nll (nats per token); margin_length_correlation, Pearson's r of
    the margin with chosen minus rejected length, where both vary; kl_k1_on_answers, where there is a reference.
    Reward: loss per prompt; over pairs of a prompt's answers whose scores differ: accuracy, margin (the better one's
    reward minus the worse one's), longer_better and longer_preferred (shares of pairs in which the longer answer has
    the higher score, and the higher reward); reward_mean and reward_spread (standard deviation) over answers.
    KTO, means per answer: loss, kl_k1_on_answers; per answer of a kind, where the batch has it: rewards, logps and
    tokens as above; margin, where it has both; kl_baseline.

    kl_k1_on_answers is the mean of ρ = log π/π_ref per answer, in nats: the k1 estimator of KL(π‖π_ref) put to the
    batch's own answers instead of the policy's samples. Only on the latter would it estimate that KL: here it is 0
    before training and falls below 0 where the policy moves away from both answers of its pairs.
    """
    if isinstance(objective, SFT):
        return {
            "loss": sums["loss"] / totals.scored_tokens,
            "scored_tokens": totals.scored_tokens,
            "scored_tokens_per_row": totals.scored_tokens / totals.rows,
        }
    if isinstance(objective, Reward):
        return _of_rewards(sums, totals)
    numbers = {"loss": sums["loss"] / (totals.answers if isinstance(objective, KTO) else totals.rows)}
    numbers |= _side("chosen", sums, totals.chosen, totals.chosen_tokens)
    numbers |= _side("rejected", sums, totals.rejected, totals.rejected_tokens)
    if totals.chosen and totals.rejected:
        numbers["margin"] = numbers["chosen_rewards"] - numbers["rejected_rewards"]
    if not isinstance(objective, KTO):
        numbers |= {name: sums[name] / totals.rows for name in ("accuracy", "chosen_nll")}
        numbers |= _correlation(sums, totals)
    if "log_ratio" in sums:
        numbers["kl_k1_on_answers"] = sums["log_ratio"] / totals.answers
    if totals.baseline is not None:
        numbers["kl_baseline"] = float(totals.baseline)
    return numbers


def _of_rewards(sums: Mapping[str, float], totals: Totals) -> dict[str, float]:
    mean = sums["rewards"] / totals.answers
    return {
        "loss": sums["loss"] / totals.rows,
        **{name: sums[name] / totals.ranked for name in ("accuracy", "margin", "longer_preferred")},
        "longer_better": totals.ranked_longer / totals.ranked,
        "reward_mean": mean,
        "reward_spread": math.sqrt(max(0.0, sums["squared_rewards"] / totals.answers - mean**2)),
    }


def _side(side: str, sums: Mapping[str, float], answers: int, tokens: int) -> dict[str, float]:
    """Means of the chosen or of the rejected answers; nothing where there are none."""
    if not answers:
        return {}
    means = {f"{side}_{name}": sums[f"{side}_{name}"] / answers for name in ("rewards", "logps")}
    return {**means, f"{side}_tokens": tokens / answers}


def _correlation(sums: Mapping[str, float], totals: Totals) -> dict[str, float]:
    """Pearson's r of margin and length gap over the batch's pairs; nothing where it is not defined."""
    count = totals.rows
    mean_margin = (sums["chosen_rewards"] - sums["rejected_rewards"]) / count
    margin_variance = sums["squared_margin"] / count - mean_margin**2
    gap_variance = totals.squared_gaps / count - totals.mean_gap**2
    if count < FEWEST_PAIRS or margin_variance <= SMALLEST_SPREAD**2 or gap_variance <= 0:
        return {}
    found = sums["margin_by_gap"] / count / math.sqrt(margin_variance * gap_variance)
    return {"margin_length_correlation": max(-1.0, min(1.0, found))}
