"""What a model was in a run: whose base, teacher or judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from favonius.report.gather import Run

Path = tuple[str, ...]
NO_NAMES = frozenset({"stage", "kind", "template", "baseline"})
"""Fields whose text is never a model's name."""


def roles(run: Run, model: str) -> list[str]:
    """`base of dsft`, `teacher of dialogues`, …, in the recipe's order, each once."""
    found = [
        f"{_role(step.stage, path)} {step.name}"
        for step in run.steps
        if step.state != "left out"
        for path in _places(step.config, model, ())
    ]
    return list(dict.fromkeys(found))


def _role(stage: str, path: Path) -> str:
    if any(key.startswith("judge") for key in path):
        return "judge of"
    if stage == "train" and path == ("model",):
        return "base of"
    if "pool" in path:
        return "one of the pool of"
    if path[0] == "models":
        return "measured by"
    named = [key for key in path if key != "model" and not key.isdigit()]
    return f"{named[-1].replace('_', ' ')} of" if named else "asked by"


def _places(value: Any, model: str, path: Path) -> Iterator[Path]:
    """Paths of the texts that are the model's name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            # An identity also says in which order the keys of a mapping stood.
            if key not in NO_NAMES and not str(key).startswith("order of "):
                yield from _places(item, model, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _places(item, model, (*path, str(number)))
    elif value == model and path:
        yield path
