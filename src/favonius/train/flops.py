"""Floating-point operations of a forward over trees, and what the device could do at most.

Two per multiply-add, products of matrices only; for dense models (of a mixture, every expert is counted).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from favonius.trees.tree import Tree

PEAKS = {"H200": 989e12, "H100 80GB HBM3": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""bf16 products per second without sparsity, with sums in fp32; NVIDIA's data sheets, by part of the device's name."""


def peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations per second that `device` could do in `dtype`, where that is known."""
    if device.type != "cuda" or dtype != torch.bfloat16:
        return None
    name = torch.cuda.get_device_name(device)
    return next((rate for part, rate in PEAKS.items() if part in name), None)


@dataclass(frozen=True)
class Cost:
    """Operations of a model's forward, by what they are spent on."""

    token: float
    """Per run token, in the decoder layers."""
    prediction: float
    """Per distinct prediction, in the output head."""
    pair: float
    """Per query and key that it sees, in one layer."""
    windows: tuple[int | None, ...]
    """Of each layer: how many keys a query sees at most."""

    @classmethod
    def of(cls, model: PreTrainedModel, predicts: bool = True) -> Cost:
        """`predicts`: whether states meet the output head, as those that a reward is made of do not."""
        config = model.config.get_text_config()
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        outside = {id(weight): weight.numel() for weight in (embedding, head)}
        inside = sum(parameter.numel() for parameter in model.parameters()) - sum(outside.values())
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        window = getattr(config, "sliding_window", None)
        types = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
        windows = tuple(window if kind == "sliding_attention" else None for kind in types)
        prediction = 2.0 * head.numel() if predicts else 0.0
        return cls(2.0 * inside, prediction, 4.0 * config.num_attention_heads * width, windows)

    def layers(self, tree: Tree) -> float:
        """One forward of the tree through the decoder layers."""
        return self.token * tree.run_tokens + self.pair * sum(_seen(tree, window) for window in self.windows)

    def forward(self, tree: Tree) -> float:
        return self.layers(tree) + self.prediction * predictions(tree)


def predictions(tree: Tree) -> int:
    """Rows that meet the head: those of the prefix once, though every branch counts them."""
    shared = sum(tree.sequences[0].scored[: tree.prefix])
    return shared + sum(sequence.scored_tokens - shared for sequence in tree.sequences)


def _seen(tree: Tree, window: int | None) -> int:
    """Pairs of a query and a key that it sees in one layer: the prefix, then every branch after it."""
    lengths = [len(sequence.ids) - 1 for sequence in tree.sequences]
    prefix = _causal(tree.prefix, window)
    return prefix + sum(_causal(length, window) - prefix for length in lengths)


def _causal(length: int, window: int | None) -> int:
    full = length if window is None else min(length, window)
    return full * (full + 1) // 2 + (length - full) * full
