"""What a training step will run: the trees of its rows where the rows are there, else trees as long as may be."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from favonius.pipeline.estimate import Estimate
from favonius.train.batches import batch
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT, Reward, needs_reference
from favonius.train.rows import Row
from favonius.trees.pack import plan
from favonius.trees.reward import rewarded
from favonius.trees.tree import TokenSequence, Tree

WORDS = 200
"""Token ids of made-up rows are below it; every vocabulary is larger."""


@dataclass(frozen=True)
class Portion:
    """So many rows like `row`."""

    row: Row
    count: float


@dataclass(frozen=True)
class Workload:
    """Rows of one epoch. `counted`: they are on this machine. `at most`: their number is known, and each is taken to
    be as long as it may be."""

    train: tuple[Portion, ...]
    test: tuple[Portion, ...]
    steps: int
    """Optimizer steps of all epochs."""
    known: Literal["counted", "at most"]

    def tokens(self, epochs: int) -> int:
        """Run tokens, what a tree's sequences share counted once."""
        return round(epochs * sum(portion.count * portion.row.tree.run_tokens for portion in self.train))

    def cost(self, of: Callable[[Tree], float]) -> float:
        """Of the train rows, once."""
        return sum(portion.count * of(portion.row.tree) for portion in self.train)

    def test_cost(self, of: Callable[[Tree], float]) -> float:
        return sum(portion.count * of(portion.row.tree) for portion in self.test)


def of_rows(rows: Sequence[Row], config: TrainConfig) -> Workload:
    """Of rows as training itself reads them."""
    train = [row for row in rows if row.split == "train"]
    return Workload(
        tuple(Portion(row, 1) for row in train),
        tuple(Portion(row, 1) for row in rows if row.split == "test"),
        math.ceil(len(train) / config.batch_size) * config.epochs,
        "counted",
    )


def at_most(rows: Estimate, config: TrainConfig) -> Workload:
    """Of rows that nobody has made or fetched yet, by the estimate of the step that makes them."""
    row = longest_row(rows, config)
    return Workload(
        (Portion(row, rows.train),),
        (Portion(row, rows.test),) if rows.test else (),
        math.ceil(rows.train / config.batch_size) * config.epochs,
        "at most",
    )


def longest_row(rows: Estimate, config: TrainConfig) -> Row:
    """A made-up row whose every sequence is `max_length` tokens long, after a prompt as long as the longest."""
    answers = 1 if isinstance(config.objective, SFT) else 2
    if isinstance(config.objective, Reward):
        answers = max(2, min(rows.answers, config.objective.per_prompt))
    prompt = min(max(1, rows.prompt_tokens), config.max_length - 2)
    if isinstance(config.objective, SFT):
        prompt = 1  # a dialogue has other scored turns than its last
    return made_up(config, prompt, [config.max_length] * answers)


def made_up(config: TrainConfig, prompt: int, lengths: Sequence[int]) -> Row:
    """Sequences of random tokens, `lengths` long, that share a prompt, all of the answers scored."""
    draw = random.Random(0)
    shared = [draw.randrange(WORDS) for _ in range(prompt)]
    sequences = []
    for number, length in enumerate(lengths):
        ids = [*shared, number, *(draw.randrange(WORDS) for _ in range(length - prompt - 1))][:length]
        scored = [index >= prompt for index in range(length)]
        is_reward = isinstance(config.objective, Reward)
        sequences.append(rewarded(ids, scored) if is_reward else TokenSequence.of(ids, scored))
    return marked(config, Row("made up", "train", Tree.of(*sequences), ()))


def marked(config: TrainConfig, row: Row) -> Row:
    """`row` with the marks that the objective asks for."""
    sequences = len(row.tree.sequences)
    if isinstance(config.objective, Reward):
        scores = tuple(float(number) for number in range(sequences))
        return Row(row.id, row.split, row.tree, (True,) * sequences, scores=scores)
    return Row(row.id, row.split, row.tree, tuple(number % 2 == 0 for number in range(sequences)))


def fullest_pack(work: Workload, config: TrainConfig) -> list[Row]:
    """Rows of the pack that takes most memory: the longest row, and what of a batch still fits beside it."""
    most = config.batch_size
    rows = [portion.row for portion in work.train for _ in range(min(most, math.ceil(portion.count)))]
    rows.sort(key=lambda row: -row.tree.run_tokens)
    chosen, free = rows[:1], config.pack_tokens - rows[0].tree.run_tokens
    for row in rows[1:]:
        if len(chosen) < most and row.tree.run_tokens <= free:
            chosen.append(row)
            free -= row.tree.run_tokens
    return chosen


def packs_per_step(work: Workload, config: TrainConfig) -> float:
    """Packs of an optimizer step, over all processes: the mean over an epoch's batches."""
    size, tokens = config.batch_size, config.pack_tokens
    if len(work.train) == 1:
        portion = work.train[0]
        alike = [portion.row.tree] * min(size, max(1, math.ceil(portion.count)))
        return float(len(plan(alike, tokens)))
    rows = [portion.row for portion in work.train]
    batches = [batch(rows, step, size, config.seed) for step in range(1, math.ceil(len(rows) / size) + 1)]
    return sum(len(plan([row.tree for row in rows], tokens)) for rows in batches) / len(batches)


def held_out_passes(work: Workload, config: TrainConfig) -> int:
    """Passes over the held-out rows: before the first step, when they are due, and after the last."""
    if not work.test:
        return 0
    if config.evaluate_every == "epoch":
        return 1 + config.epochs
    every = config.evaluate_every or work.steps
    return 1 + math.ceil(work.steps / every)


def reference_cost(work: Workload, config: TrainConfig, of: Callable[[Tree], float]) -> float:
    """Of the forward passes that make reference log-probs, where none is known yet."""
    return work.cost(of) + work.test_cost(of) if needs_reference(config.objective) else 0.0
