"""The plan of `favonius check --measure` and `--hardware`, as plain text and as JSON."""

from __future__ import annotations

from typing import Any

from favonius.cli.tables import table
from favonius.pipeline.planning.hardware import GIB
from favonius.pipeline.planning.stages import Plan, StagePlan

HEAD = ("step", "stage", "tokens", "optimizer steps", "time", "peak memory", "disk, kept", "and while it runs")


def planned(plan: Plan) -> str:
    """Tables and sentences."""
    rows = [_row(stage) for stage in plan.stages]
    parts = [table(HEAD, rows), _whole(plan), *_advice(plan), *dict.fromkeys(_unknown(plan))]
    return "\n\n".join(part for part in parts if part)


def _row(stage: StagePlan) -> list[str]:
    disk = stage.disk
    tokens = stage.written + stage.read
    exact = "" if stage.counted else "≤ "
    return [
        stage.name,
        stage.stage + (", done" if stage.done else ""),
        f"{exact}{tokens:,}" if tokens else "",
        f"{exact}{stage.steps:,}" if stage.steps else "",
        "" if stage.seconds is None else exact + duration(stage.seconds),
        "" if stage.memory is None else size(stage.memory.peak),
        "" if disk is None or not disk.kept else size(disk.kept),
        "" if disk is None or not disk.working else size(disk.working),
    ]


def _whole(plan: Plan) -> str:
    how = "time and activations by dry steps of few layers" if plan.measured else "nothing measured"
    most = f"At the highest {size(plan.peak)} of memory and {size(plan.disk)} of disk in the run folder"
    most += f"; {duration(plan.seconds)} for the steps whose time is known." if plan.measured else "."
    held = ", ".join(f"{name} {size(held)}" for name, held in plan.models.items() if held)
    sentences = [
        f"For {plan.hardware.words}; reckoned from the models' configs, {how}.",
        most if plan.peak else "",
        f"Models in the user's caches: {held}." if held else "",
        "≤: rows are not there yet, so each is taken to be as long as it may be.",
    ]
    return "\n".join(filter(None, sentences))


def _advice(plan: Plan) -> list[str]:
    """A table for every step that does not fit."""
    parts = []
    for stage in plan.stages:
        if stage.memory is None or stage.memory.peak <= plan.hardware.memory:
            continue
        need = f"{stage.name} does not fit: it takes {size(stage.memory.peak)} of {size(plan.hardware.memory)}."
        rows = [[one.change, size(one.peak), "fits" if one.fits else "not enough"] for one in stage.advice]
        parts.append(f"{need}\n\n{table(('instead', 'peak memory', ''), rows)}" if rows else need)
    return parts


def _unknown(plan: Plan) -> list[str]:
    return [f"{stage.why[0].upper()}{stage.why[1:]}." for stage in plan.stages if stage.why]


def as_json(plan: Plan) -> dict[str, Any]:
    """Bytes and seconds; null where a number is not known."""
    return {
        "hardware": {"kind": plan.hardware.kind, "bytes": plan.hardware.memory, "here": plan.hardware.is_here},
        "measured": plan.measured,
        "peak_memory_bytes": plan.peak,
        "disk_bytes": plan.disk,
        "models_disk_bytes": dict(plan.models),
        "seconds": plan.seconds if plan.measured else None,
        "steps": [_step(stage) for stage in plan.stages],
    }


def _step(stage: StagePlan) -> dict[str, Any]:
    memory, disk = stage.memory, stage.disk
    return {
        "name": stage.name,
        "stage": stage.stage,
        "done": stage.done,
        "requests": stage.requests,
        "tokens_written": stage.written,
        "tokens_read": stage.read,
        "optimizer_steps": stage.steps,
        "counted": stage.counted,
        "seconds": stage.seconds,
        "peak_memory_bytes": None if memory is None else memory.peak,
        "memory": None if memory is None else dict(memory.parts),
        "activation_checkpointing": None if memory is None else memory.checkpointed,
        "disk_kept_bytes": None if disk is None else disk.kept,
        "disk_working_bytes": None if disk is None else disk.working,
        "advice": [{"change": one.change, "peak_memory_bytes": one.peak, "fits": one.fits} for one in stage.advice],
        "unknown": stage.why,
    }


def size(count: int) -> str:
    """Bytes in GiB, below a tenth of one in MiB."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / (1 << 20):.1f} MiB"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
