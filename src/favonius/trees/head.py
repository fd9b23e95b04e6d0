"""Log-probs of chosen tokens from hidden states, without ever holding a [tokens, vocabulary] tensor of fp32.

The vocabulary is walked in tiles with a running log-sum-exp. The backward pass makes its gradient tile by tile too;
where the logits of the forward fit into KEEP_BYTES in the compute dtype they are kept, which saves a third of the
products, otherwise they are made again.

Legend: N scored positions, D hidden size, V vocabulary; n and v are a tile's share of N and V.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 512
COLUMNS = 8192
"""A tile: 512 × 8192 fp32 is 16 MB, which stays in a desktop processor's last-level cache."""
KEEP_BYTES = 600_000_000


def token_logps(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None = None) -> Tensor:
    """log p(target | hidden) per position, [N]: in fp32, or in fp64 where hidden is fp64.

    softcap: logits become softcap·tanh(logits / softcap), as Gemma 2's.
    """
    return _TokenLogps.apply(hidden_ND, weight_VD, targets_N, softcap)  # type: ignore[no-any-return]


class _TokenLogps(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None) -> Tensor:
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        total, vocabulary = hidden_ND.shape[0], weight_VD.shape[0]
        needs_gradient = any(ctx.needs_input_grad[:2])
        keep = needs_gradient and total * vocabulary * hidden_ND.element_size() <= KEEP_BYTES
        kept: list[Tensor] = []
        highest_N = hidden_ND.new_full((total,), float("-inf"), dtype=wide)
        sum_N = torch.zeros_like(highest_N)
        target_N = torch.zeros_like(highest_N)
        for rows, columns in _tiles(total, vocabulary):
            raw_nv = hidden_ND[rows] @ weight_VD[columns].T
            if keep:
                kept.append(raw_nv)
            logits_nv = _capped(raw_nv.to(wide), softcap)
            here = targets_N[rows] - columns.start
            inside = (here >= 0) & (here < logits_nv.shape[1])
            picked = logits_nv.gather(1, here.clamp(0, logits_nv.shape[1] - 1)[:, None])[:, 0]
            target_N[rows] += torch.where(inside, picked, 0)
            top_n = torch.maximum(highest_N[rows], logits_nv.amax(1))
            sum_N[rows] *= torch.exp(highest_N[rows] - top_n)
            sum_N[rows] += (logits_nv - top_n[:, None]).exp_().sum(1)
            highest_N[rows] = top_n
        logsumexp_N = highest_N + sum_N.log()
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N, logsumexp_N)
        ctx.softcap, ctx.kept = softcap, kept
        return target_N - logsumexp_N

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """d logp / d logits = one-hot(target) - softmax(logits), times the tile's products."""
        hidden_ND, weight_VD, targets_N, logsumexp_N = ctx.saved_tensors
        hidden_needed, weight_needed = ctx.needs_input_grad[:2]
        wide = logsumexp_N.dtype
        hidden_gradient_ND = torch.zeros_like(hidden_ND, dtype=wide) if hidden_needed else None
        weight_gradient_VD = torch.zeros_like(weight_VD, dtype=wide) if weight_needed else None
        kept = iter(ctx.kept)
        for rows, columns in _tiles(hidden_ND.shape[0], weight_VD.shape[0]):
            raw_nv = next(kept) if ctx.kept else hidden_ND[rows] @ weight_VD[columns].T
            slope_nv = _logit_gradient(
                raw_nv.to(wide),
                targets_N[rows] - columns.start,
                logsumexp_N[rows],
                gradient_N[rows].to(wide),
                ctx.softcap,
            ).to(hidden_ND.dtype)
            if hidden_gradient_ND is not None:
                hidden_gradient_ND[rows] += slope_nv @ weight_VD[columns]
            if weight_gradient_VD is not None:
                weight_gradient_VD[columns] += slope_nv.T @ hidden_ND[rows]
        ctx.kept = []
        return (
            None if hidden_gradient_ND is None else hidden_gradient_ND.to(hidden_ND.dtype),
            None if weight_gradient_VD is None else weight_gradient_VD.to(weight_VD.dtype),
            None,
            None,
        )


def _logit_gradient(
    raw_nv: Tensor, target_n: Tensor, logsumexp_n: Tensor, gradient_n: Tensor, softcap: float | None
) -> Tensor:
    """Gradient of Σ gradient·logp with respect to a tile of raw logits; `target_n` may lie outside the tile."""
    logits_nv = _capped(raw_nv, softcap)
    slope_nv = (logits_nv - logsumexp_n[:, None]).exp_().mul_(-gradient_n[:, None])
    inside = ((target_n >= 0) & (target_n < slope_nv.shape[1])).nonzero()[:, 0]
    slope_nv[inside, target_n[inside]] += gradient_n[inside]
    if softcap is not None:
        slope_nv *= 1 - (logits_nv / softcap) ** 2
    return slope_nv


def _capped(logits: Tensor, softcap: float | None) -> Tensor:
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


def _tiles(total: int, vocabulary: int) -> Iterator[tuple[slice, slice]]:
    for row in range(0, total, ROWS):
        for column in range(0, vocabulary, COLUMNS):
            yield slice(row, min(row + ROWS, total)), slice(column, min(column + COLUMNS, vocabulary))
