"""Attention over prompt trees, plugged into transformers' attention interface.

A model loaded with `attn_implementation="favonius"` hands every layer's queries, keys and values to the `plan` that
its forward was called with. `TreePlan` (here) lets each branch see its prefix and itself; the decoder's plan
(engines.decoder) keeps keys and values for generation. No [T, T] mask is ever built.

Legend: B batch (1), H query heads, G key/value heads, T tokens of the row, Q queries and K keys of a segment,
D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface

from favonius.trees.blocks import causal_attention, segments, tree_attention, visible
from favonius.trees.flex import Kernel, compiled_flex, flex_attend, tree_mask, trusted
from favonius.trees.pack import TreeSpan

NAME = "favonius"
WORTH_FLEX = 1024
"""Tokens of a row. Below, others saw FlexAttention lose to fused kernels; not measured here (docs/decisions/0010)."""


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


@torch.compiler.disable  # type: ignore[untyped-decorator]
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
    """The function that transformers calls in every attention layer. A compiled layer steps out of its graph here: who
    attends to whom is another matter in every pack."""
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
        self._masks: dict[int | None, BlockMask] = {}

    def attend(
        self, layer: int, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, scale: float, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        q, k, v = q_BHTD[0], k_BGTD[0], v_BGTD[0]
        match way(q.device, q.shape[1]):
            case "blocks":
                return tree_attention(q, k, v, self.spans, scale, window, softcap)[None]
            case "flex" if trusted(Kernel.of(q_BHTD, k_BGTD, v_BGTD, scale, softcap)):
                mask = self._mask(window, q.device)
                return flex_attend(q_BHTD, k_BGTD, v_BGTD, mask, scale, softcap, compiled_flex())
        pieces = [
            segment_attention(q[:, segment.own], segment.of(k), segment.of(v), scale, window, softcap)
            for segment in segments(self.spans)
        ]
        return torch.cat(pieces)[None]

    def _mask(self, window: int | None, device: torch.device) -> BlockMask:
        """Made once per pack, for all layers of that window."""
        if window not in self._masks:
            self._masks[window] = tree_mask(self.spans, window, device)
        return self._masks[window]


def way(device: torch.device, tokens: int) -> Literal["blocks", "segments", "flex"]:
    """How a row of trees is attended to: on the CPU by `blocks`; on CUDA by `flex` where it is long enough; else, and
    where flex cannot be trusted, segment by segment."""
    if device.type == "cpu":
        return "blocks"
    return "flex" if device.type == "cuda" and tokens >= WORTH_FLEX else "segments"


def segment_attention(
    q_HQD: Tensor, k_GKD: Tensor, v_GKD: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """Causal attention of the last Q of K tokens. Returns [Q, H, D]."""
    if softcap is not None or q_HQD.device.type == "cpu":
        return causal_attention(q_HQD, k_GKD, v_GKD, scale, window, softcap)
    return fused_segment(q_HQD, k_GKD, v_GKD, scale, window)


def fused_segment(q_HQD: Tensor, k_GKD: Tensor, v_GKD: Tensor, scale: float, window: int | None) -> Tensor:
    """The same by torch's own kernels."""
    (heads, queries, _), (groups, keys, _) = q_HQD.shape, k_GKD.shape
    window = window if window is not None and window < keys else None
    plain = queries == keys and window is None
    mask = None if plain else visible(queries, keys, window, q_HQD.device)
    return F.scaled_dot_product_attention(
        q_HQD[None], k_GKD[None], v_GKD[None], mask, is_causal=plain, scale=scale, enable_gqa=heads != groups
    )[0].transpose(0, 1)
