"""Tree attention in one launch, by torch's FlexAttention: the GPU's way for long packs (docs/decisions/0010).

A token sees two runs of rows: its tree's prefix, or what a sliding window leaves of it, and its own branch up to
itself. Of a prefix token the first is empty, and its own branch is the prefix. So three row numbers per token say it
all, and from them follow, on the CPU and without a mask of [T, T], the tables of blocks that the kernel walks. A window
changes numbers, not code: one kernel serves all of a model's layers.

Legend: B batch (1), H query heads, G key/value heads, T tokens of the row, D head dimension; P pieces (prefixes and
branches), R runs (the rows of one piece in one block), Q blocks of queries, K blocks of keys.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch._dynamo import config as dynamo
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from favonius.trees.blocks import tree_attention
from favonius.trees.pack import TreeSpan, send

BLOCK = 128
"""Rows, and keys, of a block of the tables; flex's own default."""
KERNELS = 256
"""Compiled at most: by length of the pack, shape of the heads, dtype, and with or without gradients."""
TOLERANCE = 0.02
"""Relative error of a result or gradient. bf16's rounding is a fifth of it; one wrong block would be several times."""

Flex = Callable[..., Tensor]
"""torch's `flex_attention`, compiled or not."""


def flex_attend(
    q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, mask: BlockMask, scale: float, softcap: float | None, flex: Flex
) -> Tensor:
    """[B, T, H, D]: each token attends to what `mask` (`tree_mask`) lets it see."""
    score_mod = None if softcap is None else _capped(softcap)
    grouped = q_BHTD.shape[1] != k_BGTD.shape[1]
    out_BHTD = flex(q_BHTD, k_BGTD, v_BGTD, score_mod=score_mod, block_mask=mask, scale=scale, enable_gqa=grouped)
    return out_BHTD.transpose(1, 2)


def _capped(softcap: float) -> Callable[..., Tensor]:
    def score_mod(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return score_mod


@cache
def compiled_flex() -> Flex:
    """Compiled anew for every shape: of a length that it does not know, the kernel would check each block's end."""
    dynamo.recompile_limit = max(dynamo.recompile_limit, KERNELS)
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)  # type: ignore[no-any-return]


class _Pieces(NamedTuple):
    """Prefixes and branches in the order of the row. A prefix has none before it: its `first` and `end` are equal."""

    start_P: Tensor
    length_P: Tensor
    first_P: Tensor
    """First row of the tree's prefix."""
    end_P: Tensor
    """The row after it."""


class _Sight(NamedTuple):
    """Each token sees rows first … end - 1, of its prefix, and rows own … itself. None of the three goes backwards
    within a piece."""

    first_T: Tensor
    end_T: Tensor
    own_T: Tensor


def tree_mask(spans: Sequence[TreeSpan], window: int | None, device: torch.device) -> BlockMask:
    """Who sees whom in a row of trees, on `device`: as `blocks.tree_attention`, which counts `window` likewise.

    The tables are made on the CPU; a GPU is not waited for.
    """
    pieces = _pieces(spans)
    sight = _sight(pieces, window)
    some_QK, all_QK = _block_tables(pieces, sight)
    first_T, end_T, own_T = (send(rows_T.int(), device) for rows_T in sight)

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        in_prefix = (key >= first_T[query]) & (key < end_T[query])
        return in_prefix | ((key >= own_T[query]) & (key <= query))

    tables = (*_listed(some_QK & ~all_QK), *_listed(all_QK))
    return BlockMask.from_kv_blocks(
        *(send(table, device) for table in tables),
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(len(first_T), len(first_T)),
    )


def _pieces(spans: Sequence[TreeSpan]) -> _Pieces:
    rows = []
    for span in spans:
        start, end = span.start, span.start + span.prefix
        rows.append((start, span.prefix, start, start))
        start = end
        for length in span.branches:
            if length:
                rows.append((start, length, span.start, end))
            start += length
    return _Pieces(*torch.tensor(rows).T)


def _sight(pieces: _Pieces, window: int | None) -> _Sight:
    start_T, first_T, end_T = (
        each_P.repeat_interleave(pieces.length_P) for each_P in (pieces.start_P, pieces.first_P, pieces.end_P)
    )
    if window is None:
        return _Sight(first_T, end_T, start_T)
    row_T = torch.arange(len(start_T))
    position_T = row_T - start_T + end_T - first_T
    hidden_T = (position_T - window + 1).clamp(min=0)  # so many of its sequence's first tokens
    return _Sight(first_T + hidden_T, end_T, torch.maximum(start_T, row_T - window + 1))


def _block_tables(pieces: _Pieces, sight: _Sight) -> tuple[Tensor, Tensor]:
    """[Q, K] truth of "a query of the block sees a key of the block", and of "every query sees every key".

    Within a run, what is seen only moves forward. So what its tokens see together reaches from the first one's
    beginning to the last one's end, and what each of them sees, from the last one's beginning to the first one's end.
    Exact, since prefix and branch are two runs of rows that never overlap.
    """
    first_T, end_T, own_T = sight
    tokens = len(first_T)
    edge_K = torch.arange(0, tokens, BLOCK)
    top_R = torch.cat([pieces.start_P, edge_K]).unique()
    last_R = torch.cat([top_R[1:], torch.tensor([tokens])]) - 1

    def common(low_R: Tensor, high_R: Tensor) -> Tensor:
        """[R, K]: keys of the block among rows low … high - 1."""
        low_RK, high_RK = torch.maximum(low_R[:, None], edge_K), torch.minimum(high_R[:, None], edge_K + BLOCK)
        return (high_RK - low_RK).clamp(min=0)

    some_RK = common(first_T[top_R], end_T[top_R]) + common(own_T[top_R], last_R + 1)
    all_RK = common(first_T[last_R], end_T[last_R]) + common(own_T[last_R], top_R + 1)
    block_R = top_R // BLOCK
    zero_QK = torch.zeros(len(edge_K), len(edge_K), dtype=torch.int64)
    some_QK = zero_QK.index_add(0, block_R, (some_RK > 0).long()) > 0
    all_QK = zero_QK.index_add(0, block_R, (all_RK < BLOCK).long()) == 0
    if tokens % BLOCK:
        all_QK[-1] = False  # flex counts the rows that are missing from the last block as blind
    return some_QK, all_QK


def _listed(table_QK: Tensor) -> tuple[Tensor, Tensor]:
    """As BlockMask wants a table: how many blocks each row has, [1, 1, Q], and their numbers first, [1, 1, Q, K]."""
    numbers_QK = table_QK.int().argsort(dim=1, descending=True, stable=True)
    return table_QK.sum(1).int()[None, None], numbers_QK.int()[None, None]


class Kernel(NamedTuple):
    """All that decides which compiled kernel a call takes."""

    device: torch.device
    dtype: torch.dtype
    layouts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """Shape and strides of queries, keys and values."""
    scale: float
    softcap: float | None
    trained: tuple[bool, ...]
    """Whether gradients of queries, keys and values are wanted."""

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor, scale: float, softcap: float | None) -> Kernel:
        layouts = tuple((tuple(each.shape), each.stride()) for each in (q, k, v))
        trained = tuple(torch.is_grad_enabled() and each.requires_grad for each in (q, k, v))
        return cls(q.device, q.dtype, layouts, scale, softcap, trained)

    def inputs(self) -> list[Tensor]:
        """Random ones, always the same. The device's own generator is left alone."""
        generator = torch.Generator(self.device).manual_seed(0)
        return [
            torch.empty_strided(*layout, dtype=self.dtype, device=self.device)
            .normal_(generator=generator)
            .requires_grad_(trained)
            for layout, trained in zip(self.layouts, self.trained, strict=True)
        ]


@cache
def trusted(kernel: Kernel) -> bool:
    """Whether `kernel` compiles on this machine and is right; found out, with a warning if not, before its first use.

    It depends on nothing but the machine, so that a training that is continued goes the same way.
    """
    return agrees(kernel, compiled_flex())


def agrees(kernel: Kernel, flex: Flex) -> bool:
    """Whether `flex` gives what plain products give, forward and backward; a warning where it does not, or fails."""
    try:
        error = _error(kernel, flex)
        if error <= TOLERANCE:
            return True
        problem = f"it is off by {error:.1%}"
    except Exception as failure:  # the compiler's errors have no common class below this one
        problem = type(failure).__name__
    warnings.warn(
        f"FlexAttention cannot be used here ({problem}), so attention goes tree by tree, which is slower",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def _error(kernel: Kernel, flex: Flex) -> float:
    """The largest relative error, in L2, of `flex`'s attention over made-up trees and of its gradients."""
    q, k, v = inputs = kernel.inputs()
    spans = _made_up(q.shape[2])
    learned = [each for each in inputs if each.requires_grad]
    # Inside a layer whose activations are checkpointed, what is saved here must not be counted as the layer's.
    with torch.set_grad_enabled(bool(learned)), saved_tensors_hooks(lambda saved: saved, lambda saved: saved):
        mask = tree_mask(spans, None, kernel.device)
        found = [flex_attend(q, k, v, mask, kernel.scale, kernel.softcap, flex)]
        expected = [tree_attention(q[0], k[0], v[0], spans, kernel.scale, None, kernel.softcap)[None]]
        if learned:
            slope = expected[0].detach()
            found += torch.autograd.grad(found[0], learned, slope)
            expected += torch.autograd.grad(expected[0], learned, slope)
    pairs = [(ours.detach().double(), plain.detach().double()) for ours, plain in zip(found, expected, strict=True)]
    return float(torch.stack([(ours - plain).norm() / plain.norm() for ours, plain in pairs]).max())


def _made_up(tokens: int) -> list[TreeSpan]:
    """Trees of a prefix and two branches, which fill some blocks and cross the edges of others, and a rest."""
    prefix, *branches = 500, 300, 170
    size = prefix + sum(branches)
    spans = [TreeSpan(start, prefix, tuple(branches)) for start in range(0, tokens - size + 1, size)]
    rest = tokens - size * len(spans)
    return [*spans, TreeSpan(tokens - rest, rest, (0,))] if rest else spans
