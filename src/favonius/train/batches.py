"""Which rows an optimizer step learns from, and which of them a rank runs in which pack."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from favonius.train.rows import Row
from favonius.trees.pack import plan
from favonius.trees.tree import Tree


def batch(rows: Sequence[Row], step: int, batch_size: int, seed: int) -> list[Row]:
    """Rows of optimizer step `step` (1 …): every epoch is its own shuffle, a function of seed and epoch alone."""
    epoch, index = divmod(step - 1, -(-len(rows) // batch_size))
    order = list(range(len(rows)))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return [rows[row] for row in order[index * batch_size : (index + 1) * batch_size]]


def shares(trees: Sequence[Tree], cost: Callable[[Tree], float], ranks: int) -> list[list[int]]:
    """Indices of the trees of each rank, in ascending order: the dearest first, each to the rank with least to do.

    Graham 1969, "Bounds on multiprocessing timing anomalies": the slowest rank has at most 4/3 of the least possible.
    """
    loads = [0.0] * ranks
    members: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(trees)), key=lambda i: (-cost(trees[i]), i)):
        rank = loads.index(min(loads))
        loads[rank] += cost(trees[index])
        members[rank].append(index)
    return [sorted(own) for own in members]


def packs(trees: Sequence[Tree], cost: Callable[[Tree], float], budget: int, rank: int, ranks: int) -> list[list[int]]:
    """Indices of the trees of each pack that `rank` runs; all ranks have as many packs, and the last may be empty.

    Trees are dealt out before they are packed, so that ranks differ by a tree at most and not by a pack.
    """
    plans = []
    for own in shares(trees, cost, ranks):
        plans.append([[own[member] for member in members] for members in plan([trees[index] for index in own], budget)])
    most = max(len(packs) for packs in plans)
    return plans[rank] + [[]] * (most - len(plans[rank]))
