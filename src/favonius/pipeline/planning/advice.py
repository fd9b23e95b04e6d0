"""What to change in a training step that does not fit, each change with the memory that it would take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from favonius.models.lora import LoRA
from favonius.pipeline.planning.hardware import Hardware
from favonius.pipeline.planning.training import Memory, Run, reckoned, sizes_of, with_setting
from favonius.train.config import TrainConfig
from favonius.train.objectives import Reward

LORA_RATE = 2e-4
"""An adapter must be given a rate of its own; it changes no memory."""
MOST_PROCESSES = 64


@dataclass(frozen=True)
class Advice:
    """`change` is written as the recipe would have it; `peak` in bytes."""

    change: str
    peak: int
    fits: bool


def advice(config: TrainConfig, shape: Any, hardware: Hardware, run: Run, longest: int, scale: float) -> list[Advice]:
    """Each change alone, then all that go together where none of them suffices alone.

    `longest`: run tokens of the longest row, below which packs cannot be made. `scale`: see `training.reckoned`.
    """
    found = [_weighed(change, shape, hardware, run, scale) for change in _changes(config, hardware, run, longest)]
    if not any(one.fits for one in found):
        found += [_weighed(change, shape, hardware, run, scale) for change in _together(config, hardware, run, longest)]
    return found


@dataclass(frozen=True)
class _Change:
    text: str
    config: TrainConfig
    tokens: int


def _changes(config: TrainConfig, hardware: Hardware, run: Run, longest: int) -> Iterator[_Change]:
    least = max(64, longest)
    if least < config.pack_tokens:
        yield _Change(f"pack_tokens: {least}", with_setting(config, pack_tokens=least), least)
    if config.activation_checkpointing == "off":
        text = "activation_checkpointing: on"
        yield _Change(text, with_setting(config, activation_checkpointing="on"), run.tokens)
    yield from _optimizers(config, hardware, run)
    yield from _adapters(config, hardware, run)
    yield from _processes(config, hardware, run)


def _optimizers(config: TrainConfig, hardware: Hardware, run: Run) -> Iterator[_Change]:
    ranks = config.processes * config.nodes
    if config.optimizer == "adamw":
        yield _Change("optimizer: rmsprop", with_setting(config, optimizer="rmsprop"), run.tokens)
    if config.optimizer != "adamw8bit" and hardware.kind == "cuda" and ranks == 1:
        yield _Change("optimizer: adamw8bit", with_setting(config, optimizer="adamw8bit"), run.tokens)


def _adapters(config: TrainConfig, hardware: Hardware, run: Run) -> Iterator[_Change]:
    if isinstance(config.objective, Reward):
        return
    own = config.adapter
    if own is None:
        yield _Change("adapter: {rank: 16}", _adapted(config, LoRA()), run.tokens)
    if (own is None or own.quantize == "none") and hardware.kind == "cuda" and config.processes * config.nodes == 1:
        rank = 16 if own is None else own.rank
        lora = (own or LoRA()).model_copy(update={"quantize": "nf4"})
        yield _Change(f"adapter: {{rank: {rank}, quantize: nf4}}", _adapted(config, lora), run.tokens)


def _adapted(config: TrainConfig, lora: LoRA) -> TrainConfig:
    compiled = {"compile": "off"} if config.compile == "on" else {}
    return with_setting(config, adapter=lora, freeze=(), learning_rate=LORA_RATE, **compiled)


def _processes(config: TrainConfig, hardware: Hardware, run: Run) -> Iterator[_Change]:
    """Twice as many, up to what suffices; on a CPU they would share one memory."""
    quantised = config.adapter is not None and config.adapter.quantize == "nf4"
    if hardware.kind != "cuda" or config.optimizer == "adamw8bit" or config.compile == "on" or quantised:
        return
    processes = config.processes * 2
    while processes <= MOST_PROCESSES:
        yield _Change(f"processes: {processes}", with_setting(config, processes=processes), run.tokens)
        processes *= 2


def _together(config: TrainConfig, hardware: Hardware, run: Run, longest: int) -> Iterator[_Change]:
    """The smallest packs and checkpointed layers, beside each of the others."""
    least = min(max(64, longest), config.pack_tokens)
    small = with_setting(config, pack_tokens=least, activation_checkpointing="on")
    tokens = min(run.tokens, least) if least >= longest else run.tokens
    text = f"pack_tokens: {least}, activation_checkpointing: on"
    yield _Change(text, small, tokens)
    for change in (*_optimizers(small, hardware, run), *_adapters(small, hardware, run)):
        yield _Change(f"{text}, {change.text}", change.config, tokens)


def _weighed(change: _Change, shape: Any, hardware: Hardware, run: Run, scale: float) -> Advice:
    sizes, model = sizes_of(change.config, shape, hardware)
    share = change.tokens / run.tokens
    part = Run(change.tokens, round(run.predictions * share), max(run.packs, run.packs / share), run.steps)
    memory: Memory = reckoned(change.config, sizes, model, hardware, part, scale)
    return Advice(change.text, memory.peak, memory.peak <= hardware.memory)
