"""The packed tree step equals plain transformers: log-probs of tokens, losses and the gradient of every parameter."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from favonius.train.objectives import DPO, SFT
from favonius.trees.tree import Tree
from tests.reference import (
    InDouble,
    error,
    flat,
    gradients,
    grow,
    in_small_pieces,
    packed_logps,
    plain_logps,
    talk,
    twins,
    unequal,
)
from tests.tiny import FAMILIES
from tests.training import batch_loss

MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("llama", {}),
    "llama, one key head for all": ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama, a key head each, biases": ("llama", {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True}),
    "llama, narrow heads": ("llama", {"head_dim": 4}),
    "mistral, window 8": ("mistral", {}),
    "mistral, window 3, wide heads": ("mistral", {"sliding_window": 3, "head_dim": 16}),
    "mistral, no window, tied": ("mistral", {"sliding_window": None, "tie_word_embeddings": True}),
    "qwen3, three query heads per key head": ("qwen3", {"num_attention_heads": 6, "num_key_value_heads": 2}),
    "qwen3, one key head, tied": ("qwen3", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "gemma3, tied": ("gemma3", {}),
    "gemma3, untied, capped": ("gemma3", {"tie_word_embeddings": False, "final_logit_softcapping": 2.0}),
    "gemma3, window 2, a key head each": ("gemma3", {"sliding_window": 2, "num_key_value_heads": 4}),
    "gemma2, capped twice": ("gemma2", {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    with InDouble() if request.param is torch.float64 else nullcontext():
        yield request.param


def forest() -> list[Tree]:
    """What one pack may hold: dialogues, pairs, trees of four; shared openings; long prefixes; single tokens."""
    rng = random.Random(1)
    return [
        grow(rng, 11, [14, 9]),
        talk(rng, 5, 20),
        grow(rng, 7, [6, 1, 3, 5], shared=3),
        grow(rng, 1, [2, 1]),
        talk(rng, 4, 3, 6, 7),
        grow(rng, 24, [1, 12, 1]),
        grow(rng, 6, [1, 1], shared=13),
        talk(rng, 1, 1),
    ]


def plain(model: PreTrainedModel, trees: list[Tree]) -> list[Tensor]:
    return [plain_logps(model, sequence) for tree in trees for sequence in tree.sequences]


def compare(model: PreTrainedModel, reference: PreTrainedModel, trees: list[Tree], tolerance: float) -> None:
    ours, theirs = torch.cat(flat(packed_logps(model, trees))), torch.cat(plain(reference, trees))
    assert error(ours, theirs) <= tolerance
    # Weights of both signs, none alike: a gradient that reaches the wrong token is seen.
    slopes = torch.linspace(-1, 2, len(ours), dtype=ours.dtype)
    assert not unequal(gradients(model, ours @ slopes), gradients(reference, theirs @ slopes), tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_log_probs_and_gradients_are_those_of_plain_transformers(name: str, dtype: torch.dtype) -> None:
    family, changes = MODELS[name]
    model, reference = twins(family, dtype, **changes)
    compare(model, reference, forest(), TOLERANCE[dtype])
    with in_small_pieces():
        compare(model, reference, forest(), TOLERANCE[dtype])


def test_so_they_are_of_long_segments(dtype: torch.dtype) -> None:
    rng = random.Random(2)
    trees = [grow(rng, 210, [230, 205]), grow(rng, 20, [300, 3])]
    compare(*twins("gemma3", dtype, sliding_window=150), trees, TOLERANCE[dtype])


@pytest.mark.parametrize("frozen", ["lm_head", "embed_tokens", "mlp", "norm", "self_attn", "layers"])
def test_so_they_are_where_a_part_is_not_trained(frozen: str, dtype: torch.dtype) -> None:
    model, reference = twins("qwen3", dtype)
    for each in (model, reference):
        for name, parameter in each.named_parameters():
            parameter.requires_grad_(frozen not in name)
    compare(model, reference, forest(), TOLERANCE[dtype])


@pytest.mark.parametrize("family", FAMILIES)
def test_sft_is_the_mean_over_scored_tokens(family: str, dtype: torch.dtype) -> None:
    model, reference = twins(family, dtype)
    trees = [tree for tree in forest() if len(tree.sequences) == 1]
    ours = batch_loss(model, SFT(), trees)
    theirs = -torch.cat(plain(reference, trees)).mean()
    assert error(ours, theirs) <= TOLERANCE[dtype]
    assert not unequal(gradients(model, ours), gradients(reference, theirs), TOLERANCE[dtype])


@pytest.mark.parametrize("family", FAMILIES)
def test_dpo_is_the_mean_over_pairs(family: str, dtype: torch.dtype) -> None:
    """The tokens that chosen and rejected open with alike are scored in both, and fall out of the loss in both."""
    model, reference = twins(family, dtype)
    trees = [tree for tree in forest() if len(tree.sequences) == 2]
    theirs_S = torch.stack([logps.sum() for logps in plain(reference, trees)])
    untrained_S = (theirs_S + torch.linspace(-3, 3, len(theirs_S), dtype=dtype)).detach()
    ours = batch_loss(model, DPO(beta=0.3), trees, untrained_S)
    ratios_S = theirs_S - untrained_S
    theirs = -F.logsigmoid(0.3 * (ratios_S[0::2] - ratios_S[1::2])).mean()
    assert error(ours, theirs) <= TOLERANCE[dtype]
    assert not unequal(gradients(model, ours), gradients(reference, theirs), TOLERANCE[dtype])
