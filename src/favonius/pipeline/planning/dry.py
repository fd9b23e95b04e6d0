"""`python -m favonius.pipeline.planning.dry job.json`: the process that `measure` starts. Prints its Measured as JSON.

It takes a few real optimizer steps of a model with the real shapes, random weights and few layers. A process of its
own, since the most memory that one ever took cannot be told twice.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from favonius.errors import UserError
from favonius.models.adapters import inject
from favonius.models.load import device, resolve_dtype
from favonius.pipeline.planning.outlines import built
from favonius.pipeline.planning.workload import marked
from favonius.train.compiled import compile_model
from favonius.train.config import TrainConfig
from favonius.train.distributed import World
from favonius.train.loop import Trainer
from favonius.train.memory import kept_memory
from favonius.train.metrics import peak_memory
from favonius.train.objectives import Reward, needs_baseline, needs_reference
from favonius.train.reward import attach
from favonius.train.rows import Row
from favonius.train.step import Reference
from favonius.trees.fused import forward_only
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Noun

STEPS = 3
"""Measured of each kind, after one that is not: it compiles what the head does, and maps memory."""


class Job(Noun):
    """What to try. `rows` are those of one pack: of each its sequences as ids and marks."""

    shape: dict[str, Any]
    """Transformers' config."""
    config: dict[str, Any]
    """TrainConfig."""
    rows: tuple[tuple[tuple[tuple[int, ...], tuple[bool, ...]], ...], ...]
    compiles: bool
    more_packs: bool


class Measured(Noun):
    """Seconds and bytes."""

    one_pack: float
    """An optimizer step of one pack."""
    two_packs: float
    """Of two like it; 0 where steps are of one."""
    forward: float
    """One pack without a backward pass."""
    compiling: float
    peak: int
    """Bytes that a training would tell of itself in metrics.jsonl."""


def measure(job: Job) -> Measured:
    """Take the steps. UserError where the config does not fit the model."""
    world = World.alone()
    config = TrainConfig.model_validate(job.config)
    rows = _rows(job, config)
    model = built(AutoConfig.for_model(**job.shape), resolve_dtype(config.precision, device()), world.device)
    compiling = _compiled(model, config) if job.compiles else 0.0
    if config.adapter is not None:
        inject(model, config.adapter, config.seed)
    if isinstance(config.objective, Reward):
        attach(model, config.objective)
    trees = [tree for row in rows for tree in (row.tree, row.mismatched) if tree is not None]
    references = {tree: _reference(tree) for tree in trees if needs_reference(config.objective)}
    with tempfile.TemporaryDirectory() as folder:
        trainer = _Dry(model, rows, references, config, Path(folder), world)
        one = trainer.seconds(1)
        two = trainer.seconds(2) if job.more_packs else 0.0
        forward = trainer.forward_seconds()
        trainer.checkpoints.wait()
    peak = peak_memory(world.device) or 0
    return Measured(one_pack=one, two_packs=two, forward=forward, compiling=compiling, peak=peak)


class _Dry(Trainer):
    """Its batches are one pack, or that pack several times."""

    packs = 1

    def batch(self, step: int) -> list[Row]:
        return self.train_rows * self.packs

    def seconds(self, packs: int) -> float:
        """Of an optimizer step of so many packs, in the middle of several, checkpoints written beside them."""
        self.packs = packs
        taken = []
        for step in range(1, STEPS + 2):
            began = time.perf_counter()
            self.step(1).numbers.read()
            taken.append(time.perf_counter() - began)
            if self.checkpoints.due():
                self.checkpoints.save(step)
        return median(taken[1:])

    def forward_seconds(self) -> float:
        taken = []
        with forward_only(self.model):
            for _ in range(STEPS):
                began = time.perf_counter()
                self.passes.run(self.train_rows, backward=False).values.sum().item()
                taken.append(time.perf_counter() - began)
        return median(taken)


def _rows(job: Job, config: TrainConfig) -> list[Row]:
    trees = [Tree.of(*(TokenSequence(ids, scored) for ids, scored in sequences)) for sequences in job.rows]
    rows = [marked(config, Row(str(number), "train", tree, ())) for number, tree in enumerate(trees)]
    # What KTO runs beside a row is about as long as the row.
    return [replace(row, mismatched=row.tree) for row in rows] if needs_baseline(config.objective) else rows


def _reference(tree: Tree) -> Reference:
    sequences = tree.sequences
    return Reference(torch.zeros(len(sequences)), torch.zeros(sum(sequence.scored_tokens for sequence in sequences)))


def _compiled(model: PreTrainedModel, config: TrainConfig) -> float:
    began = time.perf_counter()
    compile_model(model, config)
    return time.perf_counter() - began


def main(path: str) -> int:
    try:
        with kept_memory():
            print(measure(Job.model_validate(json.loads(Path(path).read_text("utf-8")))).model_dump_json())
    except UserError as error:
        print(error)
        return UserError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
