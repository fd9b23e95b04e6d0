"""Scripted models in the place of every engine, and the little that a stage needs around it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from favonius.engines import interview
from favonius.engines.scripted import ScriptedEngine
from favonius.progress import Progress
from favonius.run import Context, ModelSource
from favonius.types import Completion, Request

Voice = Callable[[Request], str | Completion]


def speak(monkeypatch: pytest.MonkeyPatch, voices: Mapping[str, Voice]) -> dict[str, ScriptedEngine]:
    """Replace every engine by a scripted one, by model name."""
    engines = {name: ScriptedEngine(voice, model=f"digest of {name}") for name, voice in voices.items()}

    @contextmanager
    def opened(config: object, source: ModelSource, *_: object) -> Iterator[ScriptedEngine]:
        yield engines[source.name]

    monkeypatch.setattr(interview, "open_engine", opened)
    return engines


def source(world: Path, name: str) -> ModelSource:
    return ModelSource(name, world / name, f"digest of {name}")


def context(world: Path) -> Context:
    return Context(world, Progress(io.StringIO()))


def stats(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "stats.json").read_text()))
