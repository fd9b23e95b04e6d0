"""The loss of a reward head over a pack of prompts with rated answers.

Legend: S answers (sequences) of the pack; P pairs of answers to one prompt whose scores differ, the better one first.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from favonius.train import losses
from favonius.train.measures import Totals, reward_sums
from favonius.train.objectives import Reward
from favonius.train.rows import Row
from favonius.train.step import Loss


def reward_loss(objective: Reward, rows: Sequence[Row], rewards_S: Tensor, totals: Totals) -> Loss:
    """The share of `rows`, whose sequences `rewards_S` are of, in the batch's mean loss.

    Of a prompt the mean over its pairs or its answers, then the mean over prompts.
    """
    better, worse, gaps, weights = [], [], [], []
    start = 0
    for row in rows:
        for pair in row.ranked:
            better.append(start + pair.better)
            worse.append(start + pair.worse)
            gaps.append(pair.gap)
            weights.append(1 / len(row.ranked))
        start += len(row.scores)
    margins_P = rewards_S[better] - rewards_S[worse]
    if objective.loss == "regression":
        scores_S = rewards_S.new_tensor([score for row in rows for score in row.scores])
        each = losses.squared_error(rewards_S, scores_S)
        weights = [1 / len(row.scores) for row in rows for _ in row.scores]
    else:
        each = losses.sigmoid(margins_P)
    value = each @ rewards_S.new_tensor(weights)
    return Loss(value / totals.rows, reward_sums(value, rewards_S, margins_P, margins_P.new_tensor(gaps)))
