"""Memory, time, disk and advice of one training step, from its workload and, where it was measured, its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from favonius.pipeline.planning.advice import Advice, advice
from favonius.pipeline.planning.disk import Disk, of_training
from favonius.pipeline.planning.hardware import Hardware
from favonius.pipeline.planning.measure import StepCost
from favonius.pipeline.planning.training import Memory, Run, Sizes, reckoned, sizes_of, standing
from favonius.pipeline.planning.workload import Workload, fullest_pack, held_out_passes, packs_per_step, reference_cost
from favonius.train.compiled import WORTH_COMPILING
from favonius.train.config import TrainConfig
from favonius.train.flops import Cost, predictions
from favonius.train.objectives import Reward
from favonius.train.rows import Row


@dataclass(frozen=True)
class Training:
    """A training step with a model of a known shape. `model` is its outline."""

    config: TrainConfig
    shape: Any
    hardware: Hardware
    work: Workload
    sizes: Sizes
    model: PreTrainedModel

    @classmethod
    def of(cls, config: TrainConfig, shape: Any, hardware: Hardware, work: Workload) -> Training:
        """UserError where `config` names layers or parameters that the model lacks."""
        return cls(config, shape, hardware, work, *sizes_of(config, shape, hardware))

    @property
    def disk(self) -> Disk:
        return of_training(self.config, self.sizes)

    @property
    def pack(self) -> list[Row]:
        return fullest_pack(self.work, self.config)

    @property
    def run(self) -> Run:
        trees = [row.tree for row in self.pack]
        packs = packs_per_step(self.work, self.config) / (self.config.processes * self.config.nodes)
        return Run(
            sum(tree.run_tokens for tree in trees), sum(predictions(tree) for tree in trees), packs, self.work.steps
        )

    @property
    def compiles(self) -> bool:
        config = self.config
        if config.compile == "auto":
            alone = config.processes * config.nodes == 1 and config.adapter is None
            return alone and self.work.tokens(config.epochs) >= WORTH_COMPILING
        return config.compile == "on"

    def memory(self, cost: StepCost | None = None) -> Memory:
        """Reckoned, or with what `cost` measured in the place of what can only be estimated."""
        run = self.run
        guess = reckoned(self.config, self.sizes, self.model, self.hardware, run)
        if cost is None:
            return guess
        known = standing(self.config, self.sizes, self.hardware, run.steps)
        gradients = guess.parts["gradients"] if run.packs > 1 else 0
        rest = guess.parts["head"] + guess.parts["process"]
        parts = {**guess.parts, **known, "gradients": gradients, "activations": max(0, cost.working - rest)}
        return replace(guess, parts=parts)

    def advice(self, memory: Memory) -> list[Advice]:
        """Where `memory` is more than there is."""
        if memory.peak <= self.hardware.memory:
            return []
        guess = reckoned(self.config, self.sizes, self.model, self.hardware, self.run)
        scale = memory.parts["activations"] / max(1, guess.parts["activations"])
        longest = max(portion.row.tree.run_tokens for portion in self.work.train)
        return advice(self.config, self.shape, self.hardware, self.run, longest, scale)

    def seconds(self, cost: StepCost) -> float:
        """Of the whole step: reference log-probs, optimizer steps, passes over the held-out rows. Loading and saving
        the model are not in it, nor what several processes say to each other."""
        config, work = self.config, self.work
        of = Cost.of(self.model, predicts=not isinstance(config.objective, Reward)).forward
        pack = sum(of(row.tree) for row in self.pack)
        ranks = config.processes * config.nodes
        trained = config.epochs * work.cost(of) / pack * cost.pack / ranks
        only_run = reference_cost(work, config, of) + held_out_passes(work, config) * work.test_cost(of)
        return cost.compiling + trained + work.steps * cost.update + only_run / pack * cost.forward / ranks


def alike(training: Training) -> tuple[object, ...]:
    """Equal for trainings whose steps cost the same."""
    config = training.config
    costless = {"model", "rows", "epochs", "batch_size", "learning_rate", "schedule", "warmup_share", "seed",
                "evaluate_every", "checkpoint_every", "keep_checkpoints", "ablation", "max_dropped_share"}  # fmt: skip
    lengths: Sequence[object] = [
        (row.tree.prefix, *(len(sequence.ids) for sequence in row.tree.sequences)) for row in training.pack
    ]
    return config.model_dump_json(exclude=costless), training.shape.to_json_string(), tuple(lengths), training.compiles
