"""What a test of a benchmark that asks needs around the task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from favonius.engines.config import Transformers
from favonius.evals.benchmarks.task import AskedTask, Desk, Item, Said, Turn
from favonius.run import Inputs
from tests.voices import context

NOTHING = Inputs({}, {}, {})


def desk(world: Path, inputs: Inputs = NOTHING) -> Desk:
    return Desk(context(world), inputs, "student", world, Transformers())


def said(task: AskedTask, answer: Callable[[Item], str]) -> list[Said]:
    """Every item of one turn with its answer, without an engine."""
    return [
        Said(item, (Turn(text=answer(item), finished=True, tokens=7, request=f"key of {item.id}"),))
        for item in task.items()
    ]
