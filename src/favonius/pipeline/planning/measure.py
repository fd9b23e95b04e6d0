"""A dry run of a training step with few layers, twice, and what the whole step follows to take.

A step's time and memory are a part that does not depend on the number of layers (embedding, head, process) and a part
for each layer. Two depths tell both: one layer, and one more period of kinds of layers (two where all are alike).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from favonius.engines.config import Transformers
from favonius.errors import FavoniusError, UserError
from favonius.files import write_json
from favonius.models.load import device
from favonius.pipeline.planning.dry import Job, Measured
from favonius.pipeline.planning.dry_decode import Answering, Written
from favonius.pipeline.planning.hardware import GIB, Hardware
from favonius.pipeline.planning.outlines import period, truncated
from favonius.pipeline.planning.training import sizes_of, standing
from favonius.train.config import TrainConfig
from favonius.train.memory import free_memory
from favonius.train.rows import Row
from favonius.types import Noun

ALIKE = 2
"""Layers to add where all are of one kind: a difference of one would be lost in the noise."""
PATIENCE_SECONDS = 900


@dataclass(frozen=True)
class StepCost:
    """Seconds and bytes of the whole model's training step."""

    update: float
    """Seconds of an optimizer step beside its packs."""
    pack: float
    """Seconds of a pack, forward and backward."""
    forward: float
    compiling: float
    working: int
    """Bytes beyond `training.standing` and gradients: activations, head, process."""


class _Depth(NamedTuple):
    layers: int
    measured: Measured
    working: int


def step_cost(
    config: TrainConfig, shape: Any, hardware: Hardware, pack: Sequence[Row], steps: int, compiles: bool, more: bool
) -> StepCost:
    """Of training the model of config `shape` on this machine, `hardware`; takes some minutes on a CPU.

    `pack`: rows of one pack. `compiles`: whether layers are compiled. `more`: whether a step is of several packs.
    UserError and FavoniusError where it cannot be measured here.
    """
    alone = config.model_copy(update={"processes": 1, "nodes": 1})
    whole, depths = _depths(shape)
    tried = [_try(alone, truncated(shape, depth), depth, hardware, pack, steps, compiles, more) for depth in depths]
    return _extrapolated(tried, whole, more)


def _try(
    config: TrainConfig, shape: Any, depth: int, hardware: Hardware, pack: Sequence[Row], steps: int,
    compiles: bool, more: bool,
) -> _Depth:  # fmt: skip
    sizes, _ = sizes_of(config, shape, hardware)
    known = sum(standing(config, sizes, hardware, steps).values()) + sizes.gradients * more
    if known > (free := free_memory(device())):
        raise FavoniusError(
            f"a dry step of {depth} layers takes {known / GIB:.1f} GiB and {free / GIB:.1f} GiB are free, so it is not "
            "measured; --hardware reckons without"
        )
    measured = Measured.model_validate_json(_apart("dry", job_of(config, shape, pack, compiles, more)))
    return _Depth(depth, measured, measured.peak - known)


def job_of(config: TrainConfig, shape: Any, pack: Sequence[Row], compiles: bool, more: bool) -> Job:
    rows = tuple(tuple((sequence.ids, sequence.scored) for sequence in row.tree.sequences) for row in pack)
    return Job(
        shape=shape.to_dict(), config=config.model_dump(mode="json"), rows=rows, compiles=compiles, more_packs=more
    )


@dataclass(frozen=True)
class WriteCost:
    """Seconds: to read a token of a prompt, and to write a token in every slot."""

    token: float
    step: float


def write_cost(shape: Any, engine: Transformers) -> WriteCost:
    """Of the engine `transformers` with a model of config `shape` on this machine. FavoniusError where it fails."""
    whole, depths = _depths(shape)
    jobs = (
        Answering(shape=truncated(shape, depth).to_dict(), slots=engine.slots, context_tokens=engine.context_tokens)
        for depth in depths
    )
    tried = [Written.model_validate_json(_apart("dry_decode", job)) for job in jobs]
    token = on_line(depths, [one.token for one in tried], whole)
    return WriteCost(token, on_line(depths, [one.step for one in tried], whole))


def _depths(shape: Any) -> tuple[int, list[int]]:
    """All layers of a model, and the two numbers of them to try."""
    whole = shape.get_text_config().num_hidden_layers
    every = period(shape)
    return whole, sorted({1, min(whole, 1 + (every if every > 1 else ALIKE))})


def _apart(module: str, job: Noun) -> str:
    """What a module of this package prints of `job`, in a process of its own. UserError where it says so, FavoniusError
    where it dies."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        write_json(path, job.model_dump(mode="json"))
        try:
            result = subprocess.run(
                [sys.executable, "-m", f"{__package__}.{module}", str(path)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                timeout=PATIENCE_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise FavoniusError(
                f"a dry step took more than {PATIENCE_SECONDS // 60} minutes and was given up; use --hardware"
            ) from error
    if result.returncode == UserError.exit_code:
        raise UserError(result.stdout.strip())
    if result.returncode < 0:
        raise FavoniusError(
            f"a dry step was killed by signal {-result.returncode}; there is not enough memory to measure it here"
        )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        raise FavoniusError(f"a dry step failed ({lines[-1] if lines else 'no reason given'})")
    return result.stdout.strip().splitlines()[-1]


def _extrapolated(tried: Sequence[_Depth], whole: int, more: bool) -> StepCost:
    def at(values: Sequence[float]) -> float:
        return on_line([depth.layers for depth in tried], values, whole)

    one = at([depth.measured.one_pack for depth in tried])
    pack = at([depth.measured.two_packs - depth.measured.one_pack for depth in tried]) if more else one
    return StepCost(
        update=max(0.0, one - pack),
        pack=pack,
        forward=at([depth.measured.forward for depth in tried]),
        compiling=max(depth.measured.compiling for depth in tried),
        working=round(at([depth.working for depth in tried])),
    )


def on_line(depths: Sequence[int], values: Sequence[float], whole: int) -> float:
    """The value at `whole` layers, on the line through one or two that were measured; never less than the last."""
    if len(depths) == 1:
        return values[0]
    slope = max(0.0, values[1] - values[0]) / (depths[1] - depths[0])
    return max(values[1], values[1] + slope * (whole - depths[1]))
