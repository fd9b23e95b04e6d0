"""Stage `train`: rows in, a model folder out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.data.rows import read_rows
from favonius.errors import UserError
from favonius.files import write_json
from favonius.models.load import load, save
from favonius.run import Context, Inputs
from favonius.train.config import TrainConfig
from favonius.train.loop import Trainer
from favonius.train.losses import needs_reference
from favonius.train.objectives import DPO, SFT
from favonius.train.rows import Row, dialogue_rows, pair_rows
from favonius.trees.store import stored_sums
from favonius.types import Dialogue, Pair


def run(config: TrainConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Train `config.model` on `config.rows`; writes model/, metrics.jsonl and stats.json."""
    source = inputs.model(config.model)
    form = ChatFormat.load(source)
    drops = Drops()
    rows = read_training_rows(config, inputs.folder(config.rows), form, drops)
    model = load(source, config.precision)
    reference, computed = reference_logps(config, model, source.digest, rows, context)
    trainer = Trainer(model, rows, reference, config, out)
    trainer.run(context.progress)
    save(model, form.tokenizer, out / "model")
    write_json(
        out / "stats.json",
        {
            "kept": len(rows),
            **drops.record(),
            "tokens": config.epochs * sum(row.tree.logical_tokens for row in trainer.train_rows),
            "rows per epoch": len(trainer.train_rows),
            "optimizer_steps": trainer.steps,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "trained_parameters": trainer.weights.count(),
            "precision": str(model.dtype).removeprefix("torch."),
            "reference_forwards": computed,
        },
    )


def reference_logps(
    config: TrainConfig, model: PreTrainedModel, weights: str, rows: Sequence[Row], context: Context
) -> tuple[dict[str, Tensor], int]:
    """Summed log-probs of every row's sequences before training, [S] by row id; and how many rows were not known."""
    if not needs_reference(config.objective):
        return {}, 0
    with context.progress.bar("  reference log-probs", len(rows), "rows") as bar:
        sums = stored_sums(model, weights, [row.tree for row in rows], config.pack_tokens, bar.advance)
    return {row.id: torch.tensor(values) for row, values in zip(rows, sums.by_tree, strict=True)}, sums.computed


def read_training_rows(config: TrainConfig, folder: Path, form: ChatFormat, drops: Drops) -> list[Row]:
    """Rows of the kind that the objective learns from. UserError where the step made another kind, or none is left."""
    match config.objective:
        case SFT():
            rows = dialogue_rows(
                form, read_rows(_file(config, folder, "dialogues.jsonl"), Dialogue), config.max_length, drops
            )
        case DPO():
            pairs = read_rows(_file(config, folder, "pairs.jsonl"), Pair)
            rows = pair_rows(form, pairs, config.max_length, drops)
    if not any(row.split == "train" for row in rows):
        causes = ", ".join(f"{count} {cause}" for cause, count in drops.counts.items()) or "the file is empty"
        raise UserError(f"rows: {config.rows}: no training row is left ({causes})")
    return rows


def _file(config: TrainConfig, folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise UserError(
            f"rows: step {config.rows} makes no {name}, which objective {config.objective.kind} learns from"
        )
    return folder / name
