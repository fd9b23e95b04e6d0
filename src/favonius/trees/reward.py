"""Rewards: one number for each sequence of a tree, from the mean state of its answer's tokens.

A tree marks the tokens whose log-probs are wanted, and packing finds the states that predict them. A reward wants the
states of the answer's own tokens, its end token among them. So a sequence that is to be rewarded marks, for each of
those, the token after it, and a token that never runs follows its last:

    prompt p q, answer a b        ids p q a b b, marked . . . x x: the states of a and b count

Legend: N states that count, M the same counted per sequence, S sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.models.reward_head import RewardHead
from favonius.trees.pack import Pack, send
from favonius.trees.score import predicting_states
from favonius.trees.tree import TokenSequence


def rewarded(ids: Sequence[int], answer: Sequence[bool]) -> TokenSequence:
    """A sequence of `ids` as `rewards` takes it; `answer` marks the tokens of its answer, as scoring would.

    What follows the answer is dropped. ValueError where nothing is marked.
    """
    end = len(answer) - list(reversed(answer)).index(True)
    return TokenSequence((*ids[:end], ids[end - 1]), (False, *answer[:end]))


def rewards(model: PreTrainedModel, head: RewardHead, batch: Pack) -> Tensor:
    """The reward of each sequence of a pack of `rewarded` ones, [S], in fp32 or wider, differentiable.

    The head is linear, so the mean of what it makes of each state is what it makes of their mean.
    """
    device = model.device
    values_N = head(predicting_states(model, batch))
    values_M, sequence_M = values_N[send(batch.prediction_M, device)], send(batch.sequence_M, device)
    zeros_S = values_M.new_zeros(batch.sequences)
    sums_S = zeros_S.index_add(0, sequence_M, values_M)
    return sums_S / zeros_S.index_add(0, sequence_M, torch.ones_like(values_M))
