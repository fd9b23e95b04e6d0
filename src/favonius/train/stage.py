"""Stage `train`: rows in, a model folder out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.files import write_json
from favonius.models.adapters import check_machine, inject, merged, save_adapter
from favonius.models.load import load, save
from favonius.models.reward_head import save_reward_head
from favonius.run import Context, Inputs, ModelSource
from favonius.train.batches import shares
from favonius.train.compiled import compile_model, worth_compiling
from favonius.train.config import TrainConfig
from favonius.train.distributed import World, whole
from favonius.train.flops import Cost
from favonius.train.launch import Job, launch
from favonius.train.loop import Trainer
from favonius.train.memory import kept_memory
from favonius.train.metrics import forget_peak
from favonius.train.objectives import Reward, needs_reference, needs_token_reference
from favonius.train.reward import attach, detach
from favonius.train.rows import Row, read_training_rows
from favonius.train.step import Reference
from favonius.trees.store import stored_logps
from favonius.trees.tree import Tree


def run(config: TrainConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Train `config.model` on `config.rows`; writes model/ (with the head of a reward in it), adapter/ where it trains
    one, metrics.jsonl, stats.json."""
    if config.processes * config.nodes > 1:
        launch(Job(config, inputs, out, context.run), context.progress)
    else:
        with kept_memory():
            train(config, inputs, out, context, World.alone())


def train(config: TrainConfig, inputs: Inputs, out: Path, context: Context, world: World) -> None:
    """The same as one of the ranks of `world`, which all call this together."""
    forget_peak(world.device)
    source, lora = inputs.model(config.model), config.adapter
    if lora:
        check_machine(lora, world.device)
    form = ChatFormat.load(source)
    drops = Drops()
    rows = read_training_rows(config, inputs.folder(config.rows), form, drops)
    nf4 = lora is not None and lora.quantize == "nf4"
    model = load(source, config.precision, world.device, nf4=nf4)
    precision = model.dtype
    compiled = False
    if worth_compiling(config, rows):
        context.progress.say("  compiling the decoder layers")
        compiled = compile_model(model, config)
    weights = " ".join([source.digest, *["nf4"] * nf4, *["compiled"] * compiled])
    references, forwards = reference_logps(config, model, weights, rows, context, world)
    if lora:
        inject(model, lora, config.seed)
    rewarding = config.objective if isinstance(config.objective, Reward) else None
    if rewarding:
        attach(model, rewarding)
    trainer = Trainer(model, rows, references, config, out, world)
    trained_parameters = trainer.weights.count()
    trainer.run(context.progress)
    rewards = detach(trainer, rewarding) if rewarding else None
    model, merging = finished(trainer, source, precision)
    if not world.is_main:
        return
    save(model, form.tokenizer, out / "model")
    if rewards:
        save_reward_head(rewards.head, out / "model")
    write_json(
        out / "stats.json",
        {
            "kept": len(rows),
            **drops.record(),
            "tokens": config.epochs * sum(row.tree.logical_tokens for row in trainer.train_rows),
            "rows per epoch": len(trainer.train_rows),
            "optimizer_steps": trainer.steps,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "trained_parameters": trained_parameters,
            "precision": str(precision).removeprefix("torch."),
            "compiled": compiled,
            **forwards,
            **merging,
            **(rewards.stats() if rewards else {}),
        },
    )


def reference_logps(
    config: TrainConfig, model: PreTrainedModel, weights: str, rows: Sequence[Row], context: Context, world: World
) -> tuple[dict[Tree, Reference], dict[str, int]]:
    """Log-probs before training of every tree that the objective compares; and how many were computed because they were
    not known, and how many that were known to be compared with what is stored.

    Every rank, which has the whole model at this time, scores its share; all of them get everything.
    """
    if not needs_reference(config.objective):
        return {}, {"reference_forwards": 0, "reference_verified": 0}
    trees = [row.tree for row in rows] + [row.mismatched for row in rows if row.mismatched is not None]
    own = shares(trees, Cost.of(model).forward, world.size)[world.rank]
    tokens = needs_token_reference(config.objective)
    with context.progress.bar("  reference log-probs", len(own), "rows") as bar:
        stored = stored_logps(
            model, weights, [trees[index] for index in own], config.pack_tokens, tokens, done=bar.advance
        )
    found = world.gather((own, stored))
    references = {
        trees[index]: Reference.of(logps)
        for indices, part in found
        for index, logps in zip(indices, part.by_tree, strict=True)
    }
    return references, {
        "reference_forwards": sum(part.computed for _, part in found),
        "reference_verified": sum(part.verified for _, part in found),
    }


def finished(trainer: Trainer, source: ModelSource, precision: torch.dtype) -> tuple[PreTrainedModel, dict[str, float]]:
    """On rank 0 the model that the step leaves, and what its stats say of merging; writes adapter/ where it has one."""
    lora = trainer.config.adapter
    if lora is None:
        return (assembled(trainer, source, precision) if trainer.world.size > 1 else trainer.model), {}
    weights = {name: whole(master.detach()) for name, master in trainer.weights.masters.items()}
    if not trainer.world.is_main:
        return trainer.model, {}
    save_adapter(source, trainer.model, weights, trainer.out / "adapter")
    model, rounding = merged(source, lora, weights, precision, trainer.config.seed)
    return model, {"merge_rounding": rounding}


def assembled(trainer: Trainer, source: ModelSource, precision: torch.dtype) -> PreTrainedModel:
    """On rank 0 the whole trained model, on the CPU, in the precision that it computed in; all ranks give a part."""
    model = trainer.model
    if trainer.world.is_main:
        model = load(source, "bf16" if precision == torch.bfloat16 else "fp32", torch.device("cpu"))
    for name, master in trainer.weights.masters.items():
        parameter = whole(master.detach())
        if trainer.world.is_main:
            model.get_parameter(name).data.copy_(parameter)
    return model
