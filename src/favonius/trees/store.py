"""Log-probs as data: computed once per tree and kept beyond the run.

This is the reference of dDPO (no second model in memory), the likelihood judge's memory and the evaluation's. A tree's
key is made of the weights, the device and precision they compute in, its token ids and its mask. Learning rate, β,
objective, batch size and output folder are not in it, so changing them costs no forward; a changed template, length
limit or row changes ids or mask, and costs exactly the changed rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedModel

from favonius.files import cache_folder
from favonius.trees.pack import pack, plan
from favonius.trees.score import score_pack
from favonius.trees.tree import Tree
from favonius.types import digest


class Sums(NamedTuple):
    """Per tree, the summed log-prob of each of its sequences; and how many trees had to be computed."""

    by_tree: list[list[float]]
    computed: int


def stored_sums(
    model: PreTrainedModel,
    weights: str,
    trees: Sequence[Tree],
    pack_tokens: int,
    done: Callable[[int, int], None] = lambda trees, tokens: None,
) -> Sums:
    """Summed log-probs under `model`, whose digest is `weights`. Each pack is stored as soon as it is scored.

    `done` is told of finished trees and the tokens run for them (0 where they were known).
    """
    setting = f"{weights} {model.device.type} {model.dtype}"
    keys = [tree_key(setting, tree) for tree in trees]
    path = cache_folder() / "logps.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_open(path)) as store:
        known = {index: sums for index, key in enumerate(keys) if (sums := _read(store, key)) is not None}
        computed = len(trees) - len(known)
        done(len(known), 0)
        # Packs are planned over all trees and stored whole, so that a pass that was killed and one that was not run
        # the same packs and round alike.
        for members in plan(trees, pack_tokens) if computed else []:
            missing = [index for index in members if index not in known]
            if missing:
                batch = pack([trees[index] for index in missing])
                scored = score_pack(model, batch, [trees[index] for index in missing])
                with store:
                    for index, values in zip(missing, scored, strict=True):
                        known[index] = values
                        _write(store, keys[index], values)
                done(len(missing), batch.tokens)
    return Sums([known[index] for index in range(len(trees))], computed)


def tree_key(setting: str, tree: Tree) -> str:
    return digest([setting, *([list(sequence.ids), list(sequence.scored)] for sequence in tree.sequences)])


def _open(path: Path) -> sqlite3.Connection:
    store = sqlite3.connect(path, timeout=60)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("CREATE TABLE IF NOT EXISTS logps (key TEXT PRIMARY KEY, sums TEXT NOT NULL) WITHOUT ROWID")
    return store


def _read(store: sqlite3.Connection, key: str) -> list[float] | None:
    found = store.execute("SELECT sums FROM logps WHERE key = ?", (key,)).fetchone()
    return None if found is None else [float.fromhex(text) for text in found[0].split()]


def _write(store: sqlite3.Connection, key: str, sums: Sequence[float]) -> None:
    text = " ".join(value.hex() for value in sums)
    store.execute("INSERT OR REPLACE INTO logps VALUES (?, ?)", (key, text))
