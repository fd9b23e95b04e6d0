"""Reference log-probs are data: computed once per row, kept beyond the run, never a second model in memory.

A row's key is made of the reference weights, the precision they compute in, the token ids and the mask. Learning
rate, β, objective, batch size and output folder are not in it, so changing them costs no forward; a changed template,
length limit or row changes ids or mask, and costs exactly the changed rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.files import cache_folder
from favonius.progress import Progress
from favonius.train.rows import Row
from favonius.trees.pack import plan
from favonius.trees.score import sequence_sums
from favonius.trees.tree import Tree
from favonius.types import digest


def reference_logps(
    model: PreTrainedModel, weights: str, rows: Sequence[Row], pack_tokens: int, progress: Progress
) -> tuple[dict[str, Tensor], int]:
    """Summed log-probs of every row's sequences, fp32 [S] by row id, and how many rows had to be computed.

    `model` holds the reference weights, whose digest is `weights`. Each pack is stored as soon as it is scored.
    """
    setting = f"{weights} {model.device.type} {model.dtype}"
    keys = {row.id: tree_key(setting, row.tree) for row in rows}
    path = cache_folder() / "reference.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_open(path)) as store:
        known = {row.id: sums for row in rows if (sums := _read(store, keys[row.id])) is not None}
        fresh = len(rows) - len(known)
        if fresh:
            # Packs are planned over all rows and scored whole, so that a pass that was killed and one that was not
            # run the same packs and round alike.
            packs = plan([row.tree for row in rows], pack_tokens)
            with progress.bar("  reference log-probs", len(rows), "rows", done=len(known)) as bar:
                for members in packs:
                    missing = [rows[index] for index in members if rows[index].id not in known]
                    if not missing:
                        continue
                    scored = sequence_sums(model, [row.tree for row in missing], pack_tokens)
                    with store:
                        for row, (sums, _) in zip(missing, scored, strict=True):
                            known[row.id] = sums
                            _write(store, keys[row.id], sums)
                    bar.advance(len(missing), sum(row.tree.run_tokens for row in missing))
    return {name: torch.tensor(sums, dtype=torch.float32) for name, sums in known.items()}, fresh


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
