"""Log-probs as data: computed once per tree and kept beyond the run.

This is the reference of dDPO (no second model in memory), the likelihood judge's memory and the evaluation's. A tree's
key is made of the weights, the device and precision they compute in, its token ids and its mask. Learning rate, β,
objective, batch size and output folder are not in it, so changing them costs no forward; a changed length
limit or row changes ids or mask, and costs exactly the changed rows. A few rows that were known are computed again
and compared each time, so that a stale or damaged store is noticed before anything is learned from it.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.errors import FavoniusError
from favonius.files import cache_folder
from favonius.trees.fused import forward_only
from favonius.trees.logps_file import LogpsFile, Row
from favonius.trees.pack import pack, plan
from favonius.trees.score import score
from favonius.trees.tree import Tree

VERSION = 2
"""Of the scoring code. Raise it by hand when a change to packing, attention or head moves a log-prob by more than
`token_tolerance`: what was stored before is then no longer found. Smaller changes need no new number."""
VERIFIED_ROWS = 2
FILE = "logps.sqlite"


class TreeLogps(NamedTuple):
    """Log-probs of one tree, per sequence: their sum and, where asked for, every scored token's [n] in its order."""

    sums: list[float]
    tokens: list[Tensor] | None = None


class Stored(NamedTuple):
    """`by_tree` in the order of the trees; how many of them had to be computed, and how many were known and checked."""

    by_tree: list[TreeLogps]
    computed: int
    verified: int

    @property
    def sums(self) -> list[list[float]]:
        return [logps.sums for logps in self.by_tree]


def stored_logps(
    model: PreTrainedModel,
    weights: str,
    trees: Sequence[Tree],
    pack_tokens: int,
    tokens: bool = False,
    verify: int = VERIFIED_ROWS,
    done: Callable[[int, int], None] = lambda trees, tokens: None,
) -> Stored:
    """Log-probs under `model`. Each pack is stored as soon as it is scored, so a kill loses one pack at most.

    `weights` is the digest of what computes: of weights and config, and of the base alone for an adapter model whose
    adapter is off. With `tokens`, rows that were stored without them are computed again. `verify` rows of those that
    were known are computed again and compared. `done` is told of finished trees and the tokens run (0 where known).
    FavoniusError where a compared row differs beyond rounding, and where the store's file cannot be written.
    """
    setting = f"{VERSION} {weights} {model.device.type} {model.dtype}"
    keys = [tree_key(setting, tree) for tree in trees]
    dtype = torch.promote_types(model.dtype, torch.float32)
    with closing(LogpsFile(cache_folder() / FILE)) as file:
        rows = file.read(keys, tokens, [_row_size(tree, dtype) for tree in trees])
        known = {index: _from_row(row, trees[index], dtype) for index, row in rows.items()}
        computed = len(trees) - len(known)
        done(len(known), 0)
        drawn = _draw(keys, known, verify)
        _verify(model, trees, {index: known[index] for index in drawn}, pack_tokens, file.path, done)
        # Packs are planned over all trees and stored whole, so that a pass that was killed and one that was not run
        # the same packs and round alike.
        for members in plan(trees, pack_tokens) if computed else []:
            missing = [index for index in members if index not in known]
            if missing:
                scored, run_tokens = _score(model, [trees[index] for index in missing], tokens)
                known |= zip(missing, scored, strict=True)
                file.write({keys[index]: _to_row(known[index]) for index in missing})
                done(len(missing), run_tokens)
    return Stored([known[index] for index in range(len(trees))], computed, len(drawn))


def tree_key(setting: str, tree: Tree) -> str:
    """sha256 over what a tree's log-probs depend on. Every sequence says its length, so none runs into the next."""
    key = hashlib.sha256(setting.encode() + b"\0")
    for sequence in tree.sequences:
        key.update(array("q", [len(sequence.ids), *sequence.ids]).tobytes() + bytes(sequence.scored))
    return key.hexdigest()


def token_tolerance(dtype: torch.dtype) -> float:
    """How far, in nats, one token's log-prob may move when its tree is packed or computed otherwise.

    SmolLM2-135M on a CPU, 3,750 tokens of real answers: packed otherwise, no bit moves. By another attention kernel,
    as another tiling on a GPU would, a token moves by 0.04 (rms) and at most 0.38 in bf16, by 2e-6 and 2e-5 in fp32.
    """
    return 5e-4 if dtype in (torch.float32, torch.float64) else 1.0


def sum_tolerance(dtype: torch.dtype, tokens: int) -> float:
    """The same for a sum over `tokens`. Roundings add up as a random walk does: there to at most 0.22·√n in bf16 and
    9e-6·√n in fp32."""
    return token_tolerance(dtype) * max(1.0, 0.5 * math.sqrt(tokens))


def _score(model: PreTrainedModel, trees: Sequence[Tree], tokens: bool) -> tuple[list[TreeLogps], int]:
    """Log-probs of one pack of trees, and the tokens run.

    Added up on the CPU, where the order of addition is fixed: the sum is that of the stored tokens to the bit.
    """
    batch = pack(trees)
    with forward_only(model):
        scored = score(model, batch)
    scored = replace(scored, values_M=scored.values_M.detach().cpu(), sequence_M=scored.sequence_M.cpu())
    sums = iter(scored.sums().tolist())
    values = iter(scored.values_M.split(scored.lengths().tolist()))
    found = []
    for tree in trees:
        own = [(next(sums), next(values)) for _ in tree.sequences]
        found.append(TreeLogps([total for total, _ in own], [value for _, value in own] if tokens else None))
    return found, batch.tokens


def _draw(keys: Sequence[str], known: Mapping[int, TreeLogps], count: int) -> list[int]:
    """`count` of the known rows, in order; other rows for other data, the same for the same."""
    seed = hashlib.sha256("".join(keys[index] for index in sorted(known)).encode()).hexdigest()
    return sorted(random.Random(seed).sample(sorted(known), min(count, len(known))))


def _verify(
    model: PreTrainedModel,
    trees: Sequence[Tree],
    known: Mapping[int, TreeLogps],
    pack_tokens: int,
    path: Path,
    done: Callable[[int, int], None],
) -> None:
    """Compute the known rows again. FavoniusError where one differs."""
    indices = list(known)
    for members in plan([trees[index] for index in indices], pack_tokens):
        chosen = [indices[member] for member in members]
        scored, run_tokens = _score(model, [trees[index] for index in chosen], tokens=True)
        done(0, run_tokens)
        for index, fresh in zip(chosen, scored, strict=True):
            if difference := _difference(model.dtype, trees[index], known[index], fresh):
                raise FavoniusError(
                    f"{path}: {difference.place} of row {index + 1} of {len(trees)} was stored as "
                    f"{difference.stored:.6g} and is {difference.fresh:.6g} when computed again, so what is stored "
                    "cannot be trusted; delete that file and run again"
                )


class _Difference(NamedTuple):
    place: str
    stored: float
    fresh: float


def _difference(dtype: torch.dtype, tree: Tree, stored: TreeLogps, fresh: TreeLogps) -> _Difference | None:
    """The first value that differs beyond rounding. Written so that NaN differs."""
    assert fresh.tokens is not None
    for number, sequence in enumerate(tree.sequences):
        before, now = stored.sums[number], fresh.sums[number]
        if not abs(before - now) <= sum_tolerance(dtype, sequence.scored_tokens):
            return _Difference(f"the log-prob of sequence {number + 1}", before, now)
        if stored.tokens is not None:
            pairs = enumerate(zip(stored.tokens[number].tolist(), fresh.tokens[number].tolist(), strict=True))
            for token, (before, now) in pairs:
                if not abs(before - now) <= token_tolerance(dtype):
                    return _Difference(f"the log-prob of token {token + 1} of sequence {number + 1}", before, now)
    return None


def _row_size(tree: Tree, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of a row's sums and of its tokens."""
    return 8 * len(tree.sequences), dtype.itemsize * sum(sequence.scored_tokens for sequence in tree.sequences)


def _to_row(logps: TreeLogps) -> Row:
    tokens = None if logps.tokens is None else torch.cat(logps.tokens).numpy().tobytes()
    return Row(array("d", logps.sums).tobytes(), tokens)


def _from_row(row: Row, tree: Tree, dtype: torch.dtype) -> TreeLogps:
    sums = array("d", row.sums).tolist()
    if row.tokens is None:
        return TreeLogps(sums)
    values = torch.frombuffer(bytearray(row.tokens), dtype=dtype)
    return TreeLogps(sums, list(values.split([sequence.scored_tokens for sequence in tree.sequences])))
