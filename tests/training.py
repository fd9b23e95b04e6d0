"""Training as the tests of parity and of golden numbers drive it: the only place that knows how it is called."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.progress import Progress
from favonius.run import Context, Inputs, ModelSource
from favonius.train import stage
from favonius.train.batches import batch
from favonius.train.config import TrainConfig
from favonius.train.measures import Totals
from favonius.train.objectives import Objective
from favonius.train.rows import Row, read_training_rows
from favonius.train.step import Reference, loss
from favonius.trees.pack import pack
from favonius.trees.score import score
from favonius.trees.tree import Tree
from favonius.types import Dialogue, Message, Pair
from tests.tiny import tiny_tokenizer

WORDS = ("the", "quick", "brown", "fox", "answers", "a", "question", "about", "the weather,", "and then", "another")


class Trained(NamedTuple):
    """What a training leaves behind: the lines of its train steps, and its weights."""

    lines: list[dict[str, float]]
    weights: dict[str, Tensor]


def batch_loss(
    model: PreTrainedModel, objective: Objective, trees: Sequence[Tree], reference_S: Tensor | None = None
) -> Tensor:
    """The mean loss of a batch that is one pack; `reference_S`: log p of each sequence before training."""
    rows = [Row(str(n), "train", tree, (True, False)[: len(tree.sequences)]) for n, tree in enumerate(trees)]
    reference = None if reference_S is None else Reference(reference_S)
    return loss(objective, rows, score(model, pack(trees)), reference, Totals.of(rows)).value


def settings(objective: Objective, **changes: object) -> TrainConfig:
    """In fp32, in packs that each hold a part of a batch."""
    fixed = {"model": "base", "rows": "rows", "precision": "fp32", "pack_tokens": 256, "max_length": 256}
    return TrainConfig.model_validate({**fixed, "objective": objective, **changes})


def train(folder: Path, model: Path, rows: Path, config: TrainConfig) -> Trained:
    """Train the model of one folder on the rows of another, into `folder`, with a cache that no other training has;
    again into the same folder, it goes on from the newest checkpoint."""
    source = ModelSource("base", model, "digest of base")
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAVONIUS_CACHE", str(folder / "cache"))
        stage.run(config, Inputs({"rows": rows}, {"base": source}, {}), folder, Context(folder, Progress()))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = load_file(folder / "model" / "model.safetensors")
    return Trained([line for line in lines if line["split"] == "train"], weights)


def training_rows(rows: Path, config: TrainConfig) -> list[Row]:
    """The rows that `train` trains on, in the order that it reads them."""
    form = ChatFormat(tiny_tokenizer())
    return [row for row in read_training_rows(config, rows, form, Drops()) if row.split == "train"]


def in_order(rows: Sequence[Row], config: TrainConfig, steps: int) -> list[list[Row]]:
    """The batch of each optimizer step."""
    return [batch(rows, step, config.batch_size, config.seed) for step in range(1, steps + 1)]


def write_pairs(folder: Path, count: int) -> Path:
    """Pairs of unlike lengths, of which every third opens alike and every fourth ends in mid-sentence."""
    rng = random.Random(f"pairs {count}")
    rows = []
    for number in range(count):
        opening = _text(rng, 3) + " " if number % 3 == 0 else ""
        rows.append(
            Pair(
                id=f"p{number}", split="train", prompt=(Message(role="user", content=_text(rng, 9)),),
                chosen=opening + _text(rng, 12), rejected=opening + _text(rng, 6), rejected_finished=number % 4 > 0,
            )
        )  # fmt: skip
    return _write(folder, "pairs.jsonl", rows)


def write_dialogues(folder: Path, count: int) -> Path:
    """Dialogues of one to three exchanges."""
    rng = random.Random(f"dialogues {count}")
    rows = [
        Dialogue(
            id=f"d{number}", split="train",
            messages=tuple(
                Message(role=role, content=_text(rng, 9))
                for _ in range(number % 3 + 1)
                for role in ("user", "assistant")
            ),
        )
        for number in range(count)
    ]  # fmt: skip
    return _write(folder, "dialogues.jsonl", rows)


def _text(rng: random.Random, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


def _write(folder: Path, name: str, rows: Sequence[Dialogue | Pair]) -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return folder
