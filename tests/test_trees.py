"""How a tree is laid out in a row."""

from __future__ import annotations

from favonius.trees.pack import pack
from favonius.trees.tree import TokenSequence, Tree


def test_shared_opening_runs_once() -> None:
    prompt, opening = [5, 6, 7], [8, 9]
    chosen = TokenSequence.of([*prompt, *opening, 10, 11], [False] * 3 + [True] * 4)
    rejected = TokenSequence.of([*prompt, *opening, 12], [False] * 3 + [True] * 3)
    tree = Tree.of(chosen, rejected)
    assert tree.prefix == 5
    assert tree.run_tokens == 5 + 1 + 0
    assert tree.logical_tokens == 13
    assert pack([tree]).rows_N.tolist() == [2, 3, 4, 5, 4]
