"""What a test of a benchmark that asks needs around the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from favonius.engines.config import Transformers
from favonius.engines.interview import interview
from favonius.evals.benchmarks.asking import ask
from favonius.evals.benchmarks.task import AskedTask, Desk, Item, Said, Scored, Turn
from favonius.run import Context, Inputs
from favonius.types import Request, RequestError
from tests.voices import Voice, context, source, speak

NOTHING = Inputs({}, {}, {})


class FlakyError(RequestError):
    lasting = False


def desk(world: Path, inputs: Inputs = NOTHING) -> Desk:
    return Desk(context(world), inputs, "student", world, Transformers())


def said(task: AskedTask, answer: Callable[[Item], str]) -> list[Said]:
    """Every item of one turn with its answer, without an engine."""
    return [
        Said(item, (Turn(text=answer(item), finished=True, tokens=7, request=f"key of {item.id}"),))
        for item in task.items()
    ]


def inputs(world: Path, *models: str) -> Inputs:
    """Every file of `world` by its name, the judge and `models`."""
    paths = {path.name: path for path in world.iterdir()}
    return Inputs({}, {name: source(world, name) for name in ("judge", *models)}, paths)


class Table:
    """Models and judges by name; `scored` runs the task of one model to the end.

    `task` opens the task in a world, for these models, with such fields of its config changed.
    """

    def __init__(
        self,
        task: Callable[..., AskedTask],
        world: Path,
        monkeypatch: pytest.MonkeyPatch,
        voices: Mapping[str, Voice],
    ) -> None:
        self.task, self.world, self.engines = task, world, speak(monkeypatch, voices)
        self.context: Context = context(world)

    def scored(self, model: str = "mine", **changes: Any) -> Scored:
        known = self.task(self.world, *self.engines, **changes)
        self.context = context(self.world)
        folder = self.world / "out" / model
        folder.mkdir(parents=True, exist_ok=True)
        given = inputs(self.world, *self.engines)
        with interview(Transformers(), given.speaker(model), self.context) as speaker:
            said = ask(known.items(), speaker, model).said
        return known.scored(said, Desk(self.context, given, model, folder, Transformers()))

    def asked(self, name: str = "judge") -> list[Request]:
        return self.engines[name].asked
