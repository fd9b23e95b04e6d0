"""A pass over rows, forward and if asked backward, pack by pack and each rank its share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from favonius.train.batches import packs
from favonius.train.config import TrainConfig
from favonius.train.distributed import World, sharded_rewards, sharded_score
from favonius.train.flops import Cost
from favonius.train.measures import Totals
from favonius.train.objectives import Reward, needs_baseline
from favonius.train.rated import reward_loss
from favonius.train.rows import Row
from favonius.train.step import Loss, Reference, log_ratio_sum, loss
from favonius.trees.fused import forward_only
from favonius.trees.pack import pack
from favonius.trees.reward import rewards
from favonius.trees.score import score
from favonius.trees.tree import Tree

References = Mapping[Tree, Reference]


@dataclass(frozen=True)
class Sums:
    """What a pass measured, added up over packs and ranks and still on the device: one fp64 value for each name."""

    names: tuple[str, ...]
    values: Tensor
    totals: Totals


class Passes:
    """Runs rows through `model` towards the objective of `config`. All ranks call `run` together."""

    def __init__(self, model: PreTrainedModel, references: References, config: TrainConfig, world: World) -> None:
        self.model, self.references, self.config, self.world = model, references, config, world
        self.cost = Cost.of(model, predicts=not isinstance(config.objective, Reward))
        self._score = score if world.size == 1 else sharded_score
        self._rewards = rewards if world.size == 1 else sharded_rewards

    def run(self, rows: Sequence[Row], backward: bool) -> Sums:
        """Gradients are those of the mean loss of all `rows`, whose counts are known before the first pack."""
        objective = self.config.objective
        totals = Totals.of(rows)
        if needs_baseline(objective):
            totals = totals.with_baseline(self._log_ratio_sum([row.mismatched for row in rows if row.mismatched]))
        sums: dict[str, Tensor] = {}
        plan = self._packs([row.tree for row in rows])
        for number, members in enumerate(plan):
            self._synchronise(last=number == len(plan) - 1)
            # A rank with nothing left runs along for nothing: gathering and scattering shards takes all ranks.
            chosen, weight = ([rows[index] for index in members], 1) if members else ([_shortest(rows)], 0)
            part = self._loss(chosen, totals)
            if backward:
                (part.value if weight else part.value * 0).backward()  # type: ignore[no-untyped-call]
            for name, value in part.sums.items():
                sums[name] = sums.get(name, 0) + value * weight
        values = self.world.add_up(torch.stack(list(sums.values())))
        return Sums(tuple(sums), values, totals)

    def operations(self, rows: Sequence[Row], recomputes: bool) -> float:
        """Of the devices of all ranks, for forward and backward of `rows`: one product forward is two backward."""
        trees = [row.tree for row in rows]
        again = sum(self.cost.layers(tree) for tree in trees) if recomputes else 0.0
        return 3 * sum(self.cost.forward(tree) for tree in trees) + again

    def _loss(self, rows: Sequence[Row], totals: Totals) -> Loss:
        objective, trees = self.config.objective, [row.tree for row in rows]
        if isinstance(objective, Reward):
            return reward_loss(objective, rows, self._rewards(self.model, self.model.reward_head, pack(trees)), totals)
        return loss(objective, rows, self._score(self.model, pack(trees)), self._reference(trees), totals)

    def _packs(self, trees: Sequence[Tree]) -> list[list[int]]:
        world = self.world
        return packs(trees, self.cost.forward, self.config.pack_tokens, world.rank, world.size)

    def _synchronise(self, last: bool) -> None:
        """Shards add their gradients up over ranks once per batch, in its last backward pass."""
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(last)

    def _log_ratio_sum(self, trees: Sequence[Tree]) -> Tensor:
        """Σ log π/π_ref, over all ranks, of trees that are not learned from; without gradients."""
        total = torch.zeros((), device=self.world.device)
        with forward_only(self.model):
            for members in self._packs(trees):
                chosen = [trees[index] for index in members] or [min(trees, key=lambda tree: tree.run_tokens)]
                part = log_ratio_sum(self._score(self.model, pack(chosen)), self._reference(chosen))
                total += part.detach() if members else 0
        return self.world.add_up(total)

    def _reference(self, trees: Sequence[Tree]) -> Reference | None:
        if not self.references:
            return None
        return Reference.join([self.references[tree] for tree in trees]).to(self.world.device)


def _shortest(rows: Sequence[Row]) -> Row:
    return min(rows, key=lambda row: row.tree.run_tokens)
