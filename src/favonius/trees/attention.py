"""Attention over prompt trees, plugged into transformers' attention interface.

A model loaded with `attn_implementation="favonius"` hands every layer's queries, keys and values to the `plan` that
its forward was called with. `TreePlan` (here) lets each branch see its prefix and itself; the decoder's plan
(engines.decoder) keeps keys and values for generation. No mask over the whole row is ever built.

Legend: B batch (1), H query heads, G key/value heads, T tokens of the row, Q queries and K keys of a segment,
D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from favonius.trees.pack import TreeSpan

NAME = "favonius"
EXPLICIT_LIMIT = 192
"""Longest segment for which, on a CPU, plain matrix products beat the fused kernel (docs/decisions/0003)."""


class AttentionPlan(Protocol):
    """Who may attend to whom, for one forward."""

    def attend(
        self,
        layer: int,
        q_BHTD: Tensor,
        k_BGTD: Tensor,
        v_BGTD: Tensor,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Return [B, T, H, D]. `window` counts the token itself, as in transformers; q and k are already rotated."""
        ...  # fmt: skip


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every attention layer."""
    plan: AttentionPlan | None = kwargs.get("plan")
    if plan is None:
        raise ValueError("a model with favonius attention was called without a plan; call it through trees.score")
    if attention_mask is not None or dropout or kwargs.get("s_aux") is not None:
        raise ValueError("masks, attention dropout and attention sinks are not part of tree attention")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return plan.attend(layer, query, key, value, scale, sliding_window, softcap), None


AttentionInterface.register(NAME, attention)


class TreePlan:
    """Each prefix and branch attends to the prefix and to itself, never to a sibling or another tree."""

    def __init__(self, spans: Sequence[TreeSpan]) -> None:
        self.spans = spans

    def attend(
        self, layer: int, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, scale: float, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        q, k, v = q_BHTD[0], k_BGTD[0], v_BGTD[0]
        pieces = []
        for span in self.spans:
            end = span.start + span.prefix + span.branches[0]
            trunk = slice(span.start, end)
            pieces.append(segment_attention(q[:, trunk], k[:, trunk], v[:, trunk], scale, window, softcap))
            prefix = slice(span.start, span.start + span.prefix)
            for length in span.branches[1:]:
                own = slice(end, end + length)
                if length:
                    keys = torch.cat([k[:, prefix], k[:, own]], 1)
                    values = torch.cat([v[:, prefix], v[:, own]], 1)
                    pieces.append(segment_attention(q[:, own], keys, values, scale, window, softcap))
                end += length
        return torch.cat(pieces, 1).transpose(0, 1)[None]


def segment_attention(
    q_HQD: Tensor, k_GKD: Tensor, v_GKD: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """Causal attention of the last Q of K tokens. Returns [H, Q, D]."""
    heads, queries, _ = q_HQD.shape
    groups, keys, _ = k_GKD.shape
    window = window if window is not None and window < keys else None
    if softcap is None and not (q_HQD.device.type == "cpu" and keys <= EXPLICIT_LIMIT):
        plain = queries == keys and window is None
        mask = None if plain else visible(queries, keys, window, q_HQD.device)
        return F.scaled_dot_product_attention(
            q_HQD[None], k_GKD[None], v_GKD[None], mask, is_causal=plain, scale=scale, enable_gqa=heads != groups
        )[0]
    # Query heads of one group become rows of one product, so that keys and values are not repeated.
    rows = q_HQD.reshape(groups, -1, q_HQD.shape[-1])
    scores = torch.matmul(rows, k_GKD.transpose(1, 2)).view(groups, heads // groups, queries, keys) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~visible(queries, keys, window, q_HQD.device), float("-inf"))
    statistics = torch.float32 if scores.dtype in (torch.bfloat16, torch.float16) else scores.dtype
    weights = torch.softmax(scores, -1, dtype=statistics).to(v_GKD.dtype)
    return torch.matmul(weights.view(groups, -1, keys), v_GKD).view(heads, queries, -1)


@lru_cache(maxsize=256)
def visible(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """[Q, K] truth of "query may see key": the queries are the last of the keys, and `window` includes the query."""
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)[None]
    seen = key <= query
    return seen if window is None else seen & (key > query - window)
