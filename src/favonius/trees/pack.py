"""Trees laid out in one row without padding, and which trees go into which row.

Layout of a tree: prefix, branch 0, branch 1, … each without its last token. Positions of every branch restart where
the prefix ends. Worked example, prefix [a b c], branches [d e] and [f g h] (all branch tokens scored):

    row        0 1 2 3 4 5
    ids        a b c d f g
    position   0 1 2 3 3 4
    predicts   . . d e g h      and row 2 (c) predicts f as well

Legend: T run tokens of a row, N distinct predictions, M predictions counted per sequence, S sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from favonius.trees.tree import Tree


@dataclass(frozen=True)
class TreeSpan:
    """Where a tree lies in its row: first row, prefix length, run length of each branch."""

    start: int
    prefix: int
    branches: tuple[int, ...]


@dataclass(frozen=True)
class Pack:
    """One row of trees, as tensors on the CPU."""

    ids_T: Tensor
    positions_T: Tensor
    spans: tuple[TreeSpan, ...]
    rows_N: Tensor
    """Which row of T predicts."""
    targets_N: Tensor
    """Which token it predicts."""
    prediction_M: Tensor
    """For each scored token of each sequence, its prediction in N; a shared one is named by every sequence."""
    sequence_M: Tensor
    """For each scored token, its sequence: 0 … S-1 in the order of the trees."""
    sequences: int

    @property
    def tokens(self) -> int:
        return int(self.ids_T.numel())

    def padded(self, tokens: int) -> Pack:
        """The same pack, `tokens` long: what is appended is a tree of its own, which no other sees and of which nothing
        is scored."""
        more = tokens - self.tokens
        if more == 0:
            return self
        return replace(
            self,
            ids_T=torch.cat([self.ids_T, self.ids_T.new_zeros(more)]),
            positions_T=torch.cat([self.positions_T, torch.arange(more)]),
            spans=(*self.spans, TreeSpan(self.tokens, more, (0,))),
        )


def pack(trees: Sequence[Tree]) -> Pack:
    """Lay trees out one after another."""
    ids: list[int] = []
    positions: list[int] = []
    spans: list[TreeSpan] = []
    rows: list[int] = []
    targets: list[int] = []
    prediction: list[int] = []
    owner: list[int] = []
    sequences = 0
    for tree in trees:
        start = len(ids)
        first = tree.sequences[0]
        ids += first.ids[: tree.prefix]
        positions += range(tree.prefix)
        shared = []
        for index in range(1, tree.prefix):
            if first.scored[index]:
                shared.append(len(rows))
                rows.append(start + index - 1)
                targets.append(first.ids[index])
        branches = []
        for sequence in tree.sequences:
            offset = len(ids)
            ids += sequence.ids[tree.prefix : -1]
            positions += range(tree.prefix, len(sequence.ids) - 1)
            branches.append(len(sequence.ids) - tree.prefix - 1)
            own = []
            for index in range(tree.prefix, len(sequence.ids)):
                if sequence.scored[index]:
                    own.append(len(rows))
                    # The last prefix token predicts the first token of every branch.
                    rows.append(start + index - 1 if index == tree.prefix else offset + index - tree.prefix - 1)
                    targets.append(sequence.ids[index])
            prediction += shared + own
            owner += [sequences] * (len(shared) + len(own))
            sequences += 1
        spans.append(TreeSpan(start, tree.prefix, tuple(branches)))
    return Pack(
        torch.tensor(ids),
        torch.tensor(positions),
        tuple(spans),
        torch.tensor(rows),
        torch.tensor(targets),
        torch.tensor(prediction),
        torch.tensor(owner),
        sequences,
    )


def bucket(tokens: int) -> int:
    """How long a pack of `tokens` is made on a GPU, where kernels are compiled for one length: up to 1024 the next
    multiple of 128, above of 512."""
    step = 128 if tokens <= 1024 else 512
    return -(-tokens // step) * step


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor`, which is on the CPU, on `device`. The copy to a GPU is queued behind its work, not waited for."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def plan(trees: Sequence[Tree], budget: int) -> list[list[int]]:
    """Best fit decreasing: indices of the trees of each pack, no pack above `budget` run tokens.

    A tree above the budget gets a pack of its own. Deterministic; within a pack and across packs, order of index.
    """
    packs: list[tuple[int, list[int]]] = []
    for index in sorted(range(len(trees)), key=lambda i: (-trees[i].run_tokens, i)):
        size = trees[index].run_tokens
        fitting = [n for n, (free, _) in enumerate(packs) if free >= size]
        if fitting:
            best = min(fitting, key=lambda n: packs[n][0])
            free, members = packs[best]
            packs[best] = (free - size, [*members, index])
        else:
            packs.append((budget - size, [index]))
    return sorted(sorted(members) for _, members in packs)
