"""A beginning that many trees share, run once: its keys and values are kept, and packs of trees go on after it.

A tree shares a prefix among its branches; this shares one among trees, and among packs of them: the worked examples
before every question of a subject. No gradients flow into what was kept.

Legend as in `trees.attention`; G key/value heads, T tokens, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.trees.attention import segment_attention
from favonius.trees.blocks import segments
from favonius.trees.pack import TreeSpan
from favonius.trees.score import hidden_states


class Beginning:
    """What all layers keep of a run of tokens. As an attention plan it is causal, and fills itself."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def run(cls, model: PreTrainedModel, ids: Sequence[int]) -> Beginning:
        beginning = cls()
        ids_BT = torch.tensor([list(ids)], device=model.device)
        hidden_states(model, ids_BT, torch.arange(len(ids), device=model.device)[None], beginning)
        return beginning

    def attend(
        self, layer: int, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, scale: float, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        self._layers[layer] = (k_BGTD[0].detach(), v_BGTD[0].detach())
        return segment_attention(q_BHTD[0], k_BGTD[0], v_BGTD[0], scale, window, softcap)[None]

    def kept(self, layer: int, window: int | None) -> tuple[Tensor, Tensor]:
        """Keys and values [G, T, D] of a layer; behind a window, the last that one can see."""
        keys_GTD, values_GTD = self._layers[layer]
        return (keys_GTD, values_GTD) if window is None else (keys_GTD[:, -window:], values_GTD[:, -window:])


@dataclass(frozen=True)
class After:
    """Attention plan: every prefix and branch attends to the beginning as well. Positions go on where that ends."""

    beginning: Beginning
    spans: Sequence[TreeSpan]

    def attend(
        self, layer: int, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, scale: float, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        q, k, v = q_BHTD[0], k_BGTD[0], v_BGTD[0]
        first_k, first_v = self.beginning.kept(layer, window)
        pieces = [
            segment_attention(
                q[:, segment.own],
                torch.cat([first_k, segment.of(k)], 1),
                torch.cat([first_v, segment.of(v)], 1),
                scale,
                window,
                softcap,
            )
            for segment in segments(self.spans)
        ]
        return torch.cat(pieces)[None]
