"""Log-probs of chosen tokens from hidden states, without ever holding a [tokens, vocabulary] tensor.

The vocabulary is walked in tiles of columns with a running log-sum-exp. The gradient is made tile by tile too. Where
the head is not trained it is made in the forward pass, since each position's gradient is a multiple of the same
vector whatever the loss turns out to be: two products instead of three, and nothing is kept. Where it is trained,
the forward's logits are kept in the compute dtype up to KEEP_BYTES and those beyond are made again, so that a large
vocabulary costs time but no memory.

Legend: N scored positions, D hidden size, V vocabulary; n and v are a tile's share of N and V.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from favonius.trees.fused import logit_gradient, statistics

CPU_TILE = 8_388_608
"""Elements of a tile of logits: 16 MB of bf16, which stays in a desktop processor's last-level cache."""
CPU_COLUMNS = 4096
"""At most. What is compiled for tiles of this width serves all narrower ones."""
GPU_TILE = 134_217_728
KEEP_BYTES = 134_217_728
"""What 2048 positions of a vocabulary of 32k take in bf16."""


def token_logps(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None = None) -> Tensor:
    """log p(target | hidden) per position, [N]: in fp32, or in fp64 where hidden is fp64.

    softcap: logits become softcap·tanh(logits / softcap), as Gemma 2's.
    """
    gradients = torch.is_grad_enabled()
    if gradients and hidden_ND.requires_grad and not weight_VD.requires_grad:
        return _FrozenHead.apply(hidden_ND, weight_VD, targets_N, softcap)  # type: ignore[no-any-return]
    keep = gradients and weight_VD.requires_grad
    return _TrainedHead.apply(hidden_ND, weight_VD, targets_N, softcap, keep)  # type: ignore[no-any-return]


def likeliest(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    """log p(target | hidden) as `token_logps` has it, and whether the target is what greedy drawing takes: the token of
    the highest logit, of equal ones the first. [N] each; no gradients."""
    with torch.no_grad():
        running = _Running.start(hidden_ND)
        best_N, chosen_N = torch.full_like(running.highest_n, float("-inf")), torch.zeros_like(targets_N)
        for columns in _column_tiles(hidden_ND, weight_VD.shape[0]):
            raw_Nv = hidden_ND @ weight_VD[columns].T
            running = running.with_tile(raw_Nv, targets_N, columns, softcap)
            place_N = raw_Nv.argmax(1)
            top_N = raw_Nv.gather(1, place_N[:, None])[:, 0].to(best_N.dtype)
            chosen_N = torch.where(top_N > best_N, place_N + columns.start, chosen_N)
            best_N = torch.maximum(best_N, top_N)
        return running.logps(), chosen_N == targets_N


def head_bytes(positions: int, shape: tuple[int, int], dtype: torch.dtype, device: str, trained: bool) -> int:
    """What `token_logps` of so many positions takes at most, by a head of `shape` [V, D] on a `device` type.

    Logits that are kept, two tiles in fp32, and the head's own gradient where it is trained.
    """
    vocabulary, hidden = shape
    kept = min(positions * vocabulary * dtype.itemsize, KEEP_BYTES)
    tile = min(CPU_TILE if device == "cpu" else GPU_TILE, positions * vocabulary)
    return int(kept + 2 * 4 * tile + (vocabulary * hidden * dtype.itemsize if trained else 0))


class _FrozenHead(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None) -> Tensor:
        vocabulary = weight_VD.shape[0]
        slope_ND = torch.empty_like(hidden_ND)
        logps = []
        for rows in _row_tiles(hidden_ND, vocabulary):
            running = _Running.start(hidden_ND[rows])
            tiles = list(_column_tiles(hidden_ND[rows], vocabulary))
            kept = [hidden_ND[rows] @ weight_VD[columns].T for columns in tiles]
            for raw_nv, columns in zip(kept, tiles, strict=True):
                running = running.with_tile(raw_nv, targets_N[rows], columns, softcap)
            logps.append(running.logps())
            ones_n = torch.ones_like(running.total_n)
            total_nD = torch.zeros_like(hidden_ND[rows], dtype=running.total_n.dtype)
            for raw_nv, columns in zip(kept, tiles, strict=True):
                targets_n = targets_N[rows] - columns.start
                total_nD += logit_gradient(raw_nv, targets_n, running.logsumexp(), ones_n, softcap) @ weight_VD[columns]
            slope_ND[rows] = total_nD.to(slope_ND.dtype)
        ctx.save_for_backward(slope_ND)
        return torch.cat(logps)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor, None, None, None]:
        (slope_ND,) = ctx.saved_tensors
        return (gradient_N[:, None] * slope_ND).to(slope_ND.dtype), None, None, None


class _TrainedHead(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None, keep: bool
    ) -> Tensor:
        running = _Running.start(hidden_ND)
        kept: list[Tensor] = []
        free = KEEP_BYTES if keep else 0
        for columns in _column_tiles(hidden_ND, weight_VD.shape[0]):
            raw_Nv = hidden_ND @ weight_VD[columns].T
            running = running.with_tile(raw_Nv, targets_N, columns, softcap)
            free -= raw_Nv.numel() * raw_Nv.element_size()
            if free >= 0:
                kept.append(raw_Nv)
        if keep:
            ctx.save_for_backward(hidden_ND, weight_VD, targets_N, running.logsumexp(), *kept)
            ctx.softcap = softcap
        return running.logps()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, targets_N, logsumexp_N, *kept = ctx.saved_tensors
        hidden_gradient_ND = torch.zeros_like(hidden_ND, dtype=logsumexp_N.dtype)
        weight_gradient_VD = torch.empty_like(weight_VD)
        remaining = iter(kept)
        for columns in _column_tiles(hidden_ND, weight_VD.shape[0]):
            raw_Nv = next(remaining, None)
            if raw_Nv is None:
                raw_Nv = hidden_ND @ weight_VD[columns].T
            slope_Nv = logit_gradient(raw_Nv, targets_N - columns.start, logsumexp_N, gradient_N, ctx.softcap)
            if ctx.needs_input_grad[0]:
                hidden_gradient_ND += slope_Nv @ weight_VD[columns]
            # One product over all positions: summed in fp32 inside, rounded once.
            weight_gradient_VD[columns] = slope_Nv.T @ hidden_ND
        hidden = hidden_gradient_ND.to(hidden_ND.dtype) if ctx.needs_input_grad[0] else None
        return hidden, weight_gradient_VD, None, None, None


class _Running(NamedTuple):
    """Log-sum-exp over the columns seen so far, and the target's logit where it was among them."""

    highest_n: Tensor
    total_n: Tensor
    target_n: Tensor

    @classmethod
    def start(cls, hidden_nD: Tensor) -> _Running:
        wide = torch.promote_types(hidden_nD.dtype, torch.float32)
        zero_n = hidden_nD.new_zeros(hidden_nD.shape[0], dtype=wide)
        return cls(torch.full_like(zero_n, float("-inf")), zero_n, zero_n)

    def with_tile(self, raw_nv: Tensor, targets_n: Tensor, columns: slice, softcap: float | None) -> _Running:
        top_n, total_n, target_n = statistics(raw_nv, targets_n - columns.start, softcap)
        highest_n = torch.maximum(self.highest_n, top_n)
        total_n = self.total_n * torch.exp(self.highest_n - highest_n) + total_n * torch.exp(top_n - highest_n)
        return _Running(highest_n, total_n, self.target_n + target_n)

    def logsumexp(self) -> Tensor:
        return self.highest_n + self.total_n.log()

    def logps(self) -> Tensor:
        return self.target_n - self.logsumexp()


def _column_tiles(hidden_nD: Tensor, vocabulary: int) -> Iterator[slice]:
    """Tiles of equal width, in whole multiples of 64 where they are that wide."""
    on_cpu = hidden_nD.device.type == "cpu"
    most = max(1, (CPU_TILE if on_cpu else GPU_TILE) // max(1, hidden_nD.shape[0]))
    most = min(most, CPU_COLUMNS) if on_cpu else most
    width = math.ceil(vocabulary / math.ceil(vocabulary / most))
    width = math.ceil(width / 64) * 64 if width > 64 else width
    for column in range(0, vocabulary, width):
        yield slice(column, min(column + width, vocabulary))


def _row_tiles(hidden_ND: Tensor, vocabulary: int) -> Iterator[slice]:
    """Rows whose logits over the whole vocabulary, held for a moment, fit into KEEP_BYTES."""
    height = max(1, KEEP_BYTES // (vocabulary * hidden_ND.element_size()))
    for row in range(0, hidden_ND.shape[0], height):
        yield slice(row, min(row + height, hidden_ND.shape[0]))
