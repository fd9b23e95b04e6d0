"""Reads a run folder into values. A partial run is an ordinary one: what is not there is None or empty."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from favonius.errors import UserError
from favonius.files import read_json
from favonius.report.books import Books, read_books
from favonius.run import Identity, Manifest, StepFolder
from favonius.types import JudgedBy

State = Literal["done", "unfinished", "not started", "left out"]
Row = dict[str, Any]


class Reading(BaseModel):
    """A frozen value read from a run; fields that a newer stage adds are no reason to refuse the page."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Estimate(Reading):
    """A number with its 95 % interval, where one was computed, from `n` observations."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Metric(Reading):
    """A line of a table. Values of unit `%` are fractions; intervals are 95 %."""

    key: str
    title: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    note: str | None = None
    values: dict[str, Estimate | None]


class ShownAnswer(Reading):
    text: str
    finished: bool = True
    flaws: tuple[str, ...] = ()
    score: float | None = None


class Example(Reading):
    prompt: str
    answers: dict[str, ShownAnswer]


class Results(Reading):
    """What an evaluate step writes to results.json."""

    baseline: str
    judge: str
    judged_by: JudgedBy | None = None
    judge_is_teacher: bool = False
    """Or it is one of the judges."""
    prompts: int
    samples: int
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...] = ()
    win_matrix: dict[str, dict[str, Estimate | None]] = {}
    verdict: str = ""
    examples: tuple[Example, ...] = ()


class ModelRecord(Reading):
    """An entry of models.json: weights that the run began with."""

    name: str
    source: str
    digest: str
    terms: str | None = None
    template: str | None = None


class Alarm(Reading):
    """What training noticed about itself (train.health)."""

    step: int
    kind: str
    sentence: str


@dataclass(frozen=True)
class Step:
    """One step of the recipe and whatever of it is on disk."""

    name: str
    stage: str
    config: Mapping[str, Any]
    state: State
    attempts: int
    identity: Identity | None
    manifest: Manifest | None
    stats: Mapping[str, Any]
    metrics: tuple[Row, ...]
    alarms: tuple[Alarm, ...]
    unreadable: int
    """Lines of metrics.jsonl that are no JSON (a kill tears at most one per attempt)."""
    results: Results | None

    @property
    def seconds(self) -> float | None:
        """Wall-clock time: what done.json says, else what the stage counted."""
        found = self.manifest.seconds if self.manifest else self.stats.get("seconds")
        return None if found is None else float(found)

    @property
    def tokens(self) -> int | None:
        found = self.stats.get("tokens")
        return None if found is None else int(found)

    @property
    def left_open(self) -> tuple[str, ...]:
        """Why a step that is done has more to do; empty where it is finished."""
        return self.manifest.left_open if self.manifest else ()


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    path: Path
    recipe: Mapping[str, Any]
    models: tuple[ModelRecord, ...]
    steps: tuple[Step, ...]
    books: Books

    def step(self, name: str) -> Step | None:
        return next((step for step in self.steps if step.name == name), None)

    def model(self, name: str) -> ModelRecord | None:
        return next((model for model in self.models if model.name == name), None)

    def of_stage(self, stage: str) -> list[Step]:
        return [step for step in self.steps if step.stage == stage]


def read_run(path: Path) -> Run:
    """Read all that a report shows. Raises UserError where `path` is no run folder."""
    file = path / "recipe.yaml"
    if not file.is_file():
        raise UserError(f"{path}: there is no recipe.yaml here; give the folder of a run, such as runs/quickstart")
    recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(recipe, dict) or not isinstance(recipe.get("steps"), dict):
        raise UserError(f"{file}: this is no recipe of a run (it has no `steps:`); start the run again to rewrite it")
    models = path / "models.json"
    return Run(
        path=path,
        recipe=recipe,
        models=tuple(ModelRecord.model_validate(entry) for entry in read_json(models)) if models.is_file() else (),
        steps=tuple(_read_step(path / name, config or {}) for name, config in recipe["steps"].items()),
        books=read_books(path),
    )


def _read_step(folder: Path, config: Mapping[str, Any]) -> Step:
    step = StepFolder(folder)
    identity, manifest = step.identity(), step.manifest()
    metrics, alarms, unreadable = _read_metrics(folder / "metrics.jsonl")
    results = folder / "results.json"
    stage = str(config.get("stage") or (identity.stage if identity else folder.name))
    evaluated = stage == "evaluate" and results.is_file()  # benchmarks have a file of this name too
    return Step(
        name=folder.name,
        stage=stage,
        config=identity.config if identity else config,
        state=_state(folder, config, manifest),
        attempts=int(read_json(folder / "config.json")["attempts"]) if identity else 0,
        identity=identity,
        manifest=manifest,
        stats=step.stats(),
        metrics=metrics,
        alarms=alarms,
        unreadable=unreadable,
        results=Results.model_validate(read_json(results)) if evaluated else None,
    )


def _state(folder: Path, config: Mapping[str, Any], manifest: Manifest | None) -> State:
    if manifest is not None:
        return "done"
    if (folder / "config.json").is_file():
        return "unfinished"
    return "left out" if config.get("ablation") else "not started"


def _read_metrics(file: Path) -> tuple[tuple[Row, ...], tuple[Alarm, ...], int]:
    """Rows and alarms in order, the last of each (split, step) or (kind, step) because a resumed training may repeat
    one, and unreadable lines."""
    rows: dict[tuple[str, int], Row] = {}
    alarms: dict[tuple[str, int], Alarm] = {}
    unreadable = 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        try:
            row = json.loads(line)
            if row["split"] == "alarm":
                alarms[row["kind"], row["step"]] = Alarm.model_validate(row)
            else:
                rows[row["split"], row["step"]] = row
        except (json.JSONDecodeError, ValidationError, KeyError, TypeError):
            unreadable += 1
    return (
        tuple(sorted(rows.values(), key=lambda row: row["step"])),
        tuple(sorted(alarms.values(), key=lambda alarm: alarm.step)),
        unreadable,
    )


def rows_of(file: Path) -> Iterator[Row]:
    """The rows of a file that a finished step has written, one at a time; none where there is no file."""
    if file.is_file():
        with open(file, encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def seeds(steps: tuple[Step, ...]) -> list[tuple[str, Any]]:
    """Every `seed` in the steps' configs as (dotted place, value), in recipe order."""
    return [found for step in steps for found in _seeds(step.name, step.config)]


def _seeds(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if key == "seed":
            yield f"{place}.seed", item
        else:
            yield from _seeds(f"{place}.{key}", item)
