"""What a recipe writes to disk: at its end, and while a step runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from favonius.models.config import ModelConfig
from favonius.models.spec import APISpec, FolderSpec, GGUFSpec, PyPISpec, parse
from favonius.pipeline.estimate import Estimate
from favonius.pipeline.planning.outlines import config_of, gguf_of, numbers, outline
from favonius.pipeline.planning.training import Sizes
from favonius.train.config import TrainConfig

BYTES_PER_TOKEN = 6
"""Of a request or an answer in the ledger and again in the step's rows, some 3 to 4 bytes of text each time."""
BYTES_PER_REQUEST = 1500
"""What the ledger and the step's rows keep of one beside its text."""


@dataclass(frozen=True)
class Disk:
    """Bytes."""

    kept: int = 0
    """That stay when the step is done."""
    working: int = 0
    """More, while it runs."""


def of_model(name: str, model: ModelConfig, folder: Path, is_needed: bool) -> int:
    """Bytes that an entry of `models` takes in this user's caches, in the precision that its config names: a hub's
    weights; what a GGUF file is converted to, unless only llama.cpp asks it (not `is_needed`), and the file itself
    where a package brings it.

    UnknownShapeError where its shape is not known here.
    """
    spec = parse(model.source, folder)
    if isinstance(spec, FolderSpec | APISpec):
        return 0
    file = gguf_of(name, model, folder).stat().st_size if isinstance(spec, PyPISpec) else 0
    if isinstance(spec, GGUFSpec | PyPISpec) and not is_needed:
        return file
    shape = config_of(name, model, folder)
    width = (getattr(shape, "dtype", None) or torch.bfloat16).itemsize
    return numbers(outline(shape, torch.bfloat16)) * int(width) + file


def of_training(config: TrainConfig, sizes: Sizes) -> Disk:
    """The model in the precision that it computed in, an adapter in fp32; checkpoints while it trains, of which the
    newest is whole before the oldest goes."""
    adapter = 4 * sizes.trained if config.adapter is not None else 0
    return Disk(sizes.parameters * sizes.compute.itemsize + adapter, (config.keep_checkpoints + 1) * sizes.state)


def of_asking(step: Estimate) -> Disk:
    """Requests and answers, in the ledger and in the step's own files, at most."""
    tokens = sum(ask.prompt_tokens + ask.completion_tokens for ask in step.asks)
    return Disk(tokens * BYTES_PER_TOKEN + step.requests * BYTES_PER_REQUEST)
