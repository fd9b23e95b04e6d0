"""A model's results as they lie on disk, found by the folder that a person names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from favonius.errors import UserError
from favonius.evals.benchmarks import record

RESULT, SUMMARY = "result.json", "results.json"


@dataclass(frozen=True)
class Results:
    """All tasks of one model. `place` is the folder as it was asked for."""

    place: str
    label: str
    tasks: Mapping[str, record.Result]

    @property
    def digest(self) -> str | None:
        """Of the model."""
        return next((task.told["model"]["digest"] for task in self.tasks.values()), None)


def open_results(path: Path) -> Results:
    """The results in `path`: a model's own folder, or one that holds the folders of several, of which one is meant.

    Of two models of which one is the baseline the other is meant. UserError where there are no results, where more
    than one model may be meant, and where a file cannot be read.
    """
    if path.is_file():
        raise UserError(f"{path}: this is a file; give the model's folder, which holds one for each task")
    if not path.is_dir():
        raise UserError(f"{path}: there is no such folder")
    if (path / RESULT).is_file():
        raise UserError(f"{path}: this is one task of a model; give the model's folder, {path.parent}")
    folder = path if _tasks_of(path) else _one_model(path)
    tasks = {name: record.read(folder / name) for name in _tasks_of(folder)}
    return Results(str(path), folder.resolve().name, tasks)


def _tasks_of(folder: Path) -> list[str]:
    return sorted(file.parent.name for file in folder.glob(f"*/{RESULT}"))


def _one_model(folder: Path) -> Path:
    labels = sorted(below.name for below in folder.iterdir() if below.is_dir() and _tasks_of(below))
    if not labels:
        raise UserError(f"{folder}: there are no results of benchmarks here{_elsewhere(folder)}")
    others = [label for label in labels if label != _baseline(folder)] or labels
    if len(others) > 1:
        raise UserError(f"{folder}: this holds results of {', '.join(labels)}; name one, such as {folder / others[0]}")
    return folder / others[0]


def _elsewhere(folder: Path) -> str:
    """Where in a run folder there are results."""
    steps = sorted({str(file.parents[2]) for file in folder.glob(f"*/*/*/{RESULT}")})
    return f"; there are some in {', '.join(steps)}" if steps else ""


def _baseline(folder: Path) -> str | None:
    file = folder / SUMMARY
    told = record.whole_json(file) if file.is_file() else None
    return told.get("baseline") if isinstance(told, dict) else None
