"""Exact causal attention by plain matrix products, 256 queries at a time: the CPU's way (docs/decisions/0003).

A block of queries meets only the keys that it may see, so that neither the masked half of a causal segment nor
what lies outside of a sliding window is computed. A whole row of trees is one autograd function: its backward writes
into one gradient per tensor, where slicing would make a zero-filled copy of the row for every segment.

Legend: H query heads, G key/value heads, R = H/G, T tokens of the row, Q queries and K keys of a segment (the queries
are the last Q of the keys), n queries and m keys of a block, D head dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from favonius.trees.pack import TreeSpan

BLOCK = 256
KEEP_KEYS = 256
"""Segments of at most so many keys keep their attention weights for the backward pass. Of longer ones they would soon
take more memory than all else in a layer; they are computed again."""


def tree_attention(
    q_HTD: Tensor, k_GTD: Tensor, v_GTD: Tensor, spans: Sequence[TreeSpan], scale: float, window: int | None,
    softcap: float | None,
) -> Tensor:  # fmt: skip
    """[T, H, D]: each prefix and branch attends to its prefix and to itself."""
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (q_HTD, k_GTD, v_GTD))
    return _TreeAttention.apply(q_HTD, k_GTD, v_GTD, spans, scale, window, softcap, keep)  # type: ignore[no-any-return]


def causal_attention(
    q_HQD: Tensor, k_GKD: Tensor, v_GKD: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """[Q, H, D] for one segment; plain autograd."""
    heads, queries, size = q_HQD.shape
    out_QHD = q_HQD.new_empty(queries, heads, size)
    _attend(q_HQD * scale, k_GKD, v_GKD, window, softcap, out_QHD)
    return out_QHD


class Segment(NamedTuple):
    """Rows `own` attend to rows `prefix`, which lie before them somewhere, and causally to themselves."""

    prefix: slice
    own: slice

    @property
    def keys(self) -> int:
        return int(self.prefix.stop - self.prefix.start + self.own.stop - self.own.start)

    def of(self, tensor_GTD: Tensor) -> Tensor:
        """Its keys or values, [G, K, D]."""
        own = tensor_GTD[:, self.own]
        return own if self.prefix.start == self.prefix.stop else torch.cat([tensor_GTD[:, self.prefix], own], 1)

    def add(self, total_GTD: Tensor, part_GKD: Tensor) -> None:
        """The reverse of `of`: add a gradient of its keys or values to the row's."""
        prefix = self.prefix.stop - self.prefix.start
        total_GTD[:, self.prefix] += part_GKD[:, :prefix]
        total_GTD[:, self.own] += part_GKD[:, prefix:]


def segments(spans: Sequence[TreeSpan]) -> Iterator[Segment]:
    """A tree's prefix and first branch are one segment, every further branch is one."""
    for span in spans:
        prefix = slice(span.start, span.start + span.prefix)
        end = prefix.stop + span.branches[0]
        yield Segment(slice(span.start, span.start), slice(span.start, end))
        for length in span.branches[1:]:
            if length:
                yield Segment(prefix, slice(end, end + length))
            end += length


class _TreeAttention(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(
        ctx: Any, q_HTD: Tensor, k_GTD: Tensor, v_GTD: Tensor, spans: Sequence[TreeSpan], scale: float,
        window: int | None, softcap: float | None, keep: bool,
    ) -> Tensor:  # fmt: skip
        heads, tokens, size = q_HTD.shape
        scaled_HTD = q_HTD * scale
        out_THD = q_HTD.new_empty(tokens, heads, size)
        kept: list[Tensor] = []
        for segment in segments(spans):
            queries_HQD, keys_GKD, values_GKD = scaled_HTD[:, segment.own], segment.of(k_GTD), segment.of(v_GTD)
            weights = _attend(queries_HQD, keys_GKD, values_GKD, window, softcap, out_THD[segment.own])
            if keep and _keeps(segment, softcap):
                kept += weights
        if keep:
            ctx.save_for_backward(scaled_HTD, k_GTD, v_GTD, *kept)
            ctx.spans, ctx.scale, ctx.window, ctx.softcap = spans, scale, window, softcap
        return out_THD

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_THD: Tensor) -> tuple[Tensor | None, ...]:
        scaled_HTD, k_GTD, v_GTD, *kept = ctx.saved_tensors
        wide = torch.promote_types(k_GTD.dtype, torch.float32)
        q_gradient_HTD = torch.empty_like(scaled_HTD)
        k_gradient_GTD = torch.zeros_like(k_GTD, dtype=wide)
        v_gradient_GTD = torch.zeros_like(v_GTD, dtype=wide)
        remaining = iter(kept)
        for segment in segments(ctx.spans):
            k_part_GKD, v_part_GKD = _attend_backward(
                gradient_THD[segment.own].transpose(0, 1), scaled_HTD[:, segment.own], segment.of(k_GTD),
                segment.of(v_GTD), ctx.window, ctx.softcap, remaining if _keeps(segment, ctx.softcap) else None,
                q_gradient_HTD[:, segment.own],
            )  # fmt: skip
            segment.add(k_gradient_GTD, k_part_GKD)
            segment.add(v_gradient_GTD, v_part_GKD)
        q_gradient_HTD *= ctx.scale
        return q_gradient_HTD, k_gradient_GTD.to(k_GTD.dtype), v_gradient_GTD.to(v_GTD.dtype), *(None,) * 5


def _keeps(segment: Segment, softcap: float | None) -> bool:
    return segment.keys <= KEEP_KEYS and softcap is None


class _Block(NamedTuple):
    rows: slice
    """Of the segment's Q queries."""
    keys: slice
    """Of its K keys: from the first that the block's first query may see to its last query's own."""


def _blocks(queries: int, keys: int, window: int | None) -> Iterator[_Block]:
    before = keys - queries
    for first in range(0, queries, BLOCK):
        last = min(first + BLOCK, queries)
        start = 0 if window is None else max(0, before + first - window + 1)
        yield _Block(slice(first, last), slice(start, before + last))


def _attend(
    scaled_HQD: Tensor, k_GKD: Tensor, v_GKD: Tensor, window: int | None, softcap: float | None, out_QHD: Tensor
) -> list[Tensor]:
    """Fill `out_QHD`; returns the weights of each block."""
    heads, queries, size = scaled_HQD.shape
    groups, keys, _ = k_GKD.shape
    scaled_GRQD = scaled_HQD.view(groups, heads // groups, queries, size)
    weights = []
    for block in _blocks(queries, keys, window):
        weights_GRnm, _ = _weights(scaled_GRQD[:, :, block.rows], k_GKD[:, block.keys], window, softcap)
        out_GRnD = _product(weights_GRnm, v_GKD[:, block.keys])
        out_QHD[block.rows].view(-1, *out_GRnD.shape[:2], size).copy_(out_GRnD.permute(2, 0, 1, 3))
        weights.append(weights_GRnm)
    return weights


def _attend_backward(
    gradient_HQD: Tensor, scaled_HQD: Tensor, k_GKD: Tensor, v_GKD: Tensor, window: int | None, softcap: float | None,
    kept: Iterator[Tensor] | None, q_gradient_HQD: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Fill `q_gradient_HQD` (of the scaled queries); returns the gradients of keys and values, in fp32 for bf16."""
    heads, queries, size = scaled_HQD.shape
    groups, keys, _ = k_GKD.shape
    shape = (groups, heads // groups, queries, size)
    gradient_GRQD, scaled_GRQD = gradient_HQD.reshape(shape), scaled_HQD.view(shape)
    q_gradient_GRQD = q_gradient_HQD.view(shape)
    wide = torch.promote_types(k_GKD.dtype, torch.float32)
    k_gradient_GKD, v_gradient_GKD = torch.zeros_like(k_GKD, dtype=wide), torch.zeros_like(v_GKD, dtype=wide)
    for block in _blocks(queries, keys, window):
        k_GmD, v_GmD = k_GKD[:, block.keys], v_GKD[:, block.keys]
        rows_GRnD = scaled_GRQD[:, :, block.rows]
        weights_GRnm, tanh_GRnm = (next(kept), None) if kept else _weights(rows_GRnD, k_GmD, window, softcap)
        out_gradient_GRnD = gradient_GRQD[:, :, block.rows]
        v_gradient_GKD[:, block.keys] += _product(weights_GRnm, out_gradient_GRnD, over_rows=True)
        scores_gradient_GRnm = torch.ops.aten._softmax_backward_data(
            _product(out_gradient_GRnD, v_GmD.transpose(1, 2)), weights_GRnm, -1, weights_GRnm.dtype
        )
        if tanh_GRnm is not None:
            scores_gradient_GRnm *= 1 - tanh_GRnm**2
        q_gradient_GRQD[:, :, block.rows] = _product(scores_gradient_GRnm, k_GmD)
        k_gradient_GKD[:, block.keys] += _product(scores_gradient_GRnm, rows_GRnD, over_rows=True)
    return k_gradient_GKD, v_gradient_GKD


def _weights(
    rows_GRnD: Tensor, k_GmD: Tensor, window: int | None, softcap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Attention weights of a block, [G, R, n, m], and under a soft cap tanh(score / cap)."""
    scores_GRnm, tanh_GRnm = _product(rows_GRnD, k_GmD.transpose(1, 2)), None
    if softcap is not None:
        tanh_GRnm = torch.tanh(scores_GRnm / softcap)
        scores_GRnm = tanh_GRnm * softcap
    _mask(scores_GRnm, window)
    return torch.softmax(scores_GRnm, -1), tanh_GRnm  # sums in fp32 for bf16 too


def _product(left_GRna: Tensor, right: Tensor, over_rows: bool = False) -> Tensor:
    """Of a block with its group's keys or values [G, a, b]: [G, R, n, b]. Query heads of one group are rows of one
    product, so that keys and values are not repeated. `over_rows`: of two blocks, summed over all rows, [G, a, b]."""
    groups, repeats, rows, _ = left_GRna.shape
    left_Gra = left_GRna.reshape(groups, repeats * rows, -1)
    if over_rows:
        return torch.bmm(left_Gra.transpose(1, 2), right.reshape(groups, repeats * rows, -1))
    return torch.bmm(left_Gra, right).view(groups, repeats, rows, -1)


def _mask(scores_GRnm: Tensor, window: int | None) -> None:
    """Hide in place what a query may not see; of a block without a window only its own tokens can be hidden."""
    n, m = scores_GRnm.shape[-2:]
    if window is not None and window < m:
        scores_GRnm.masked_fill_(~visible(n, m, window, scores_GRnm.device), float("-inf"))
    elif n > 1:
        scores_GRnm[..., m - n :].masked_fill_(~visible(n, n, None, scores_GRnm.device), float("-inf"))


@lru_cache(maxsize=256)
def visible(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """[Q, K] truth of "query may see key": the queries are the last of the keys, and `window` includes the query."""
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)[None]
    seen = key <= query
    return seen if window is None else seen & (key > query - window)
