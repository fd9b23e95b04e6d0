"""The paper's own tables as reference rows, and this run's models beside them where the protocol is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from pydantic import Field

from favonius.report.benchmarks.reading import Benchmark, Part, Task
from favonius.report.gather import Reading
from favonius.report.wording import NONE

SHOTS = {"arc": 25, "hellaswag": 10, "mmlu": 5, "truthfulqa": 0}
"""Worked examples before each question, as the paper's Table 2 has them."""


class Reference(Reading):
    """A published row; a value is a number and, where the paper gives it, its standard error."""

    model: str
    size: str = ""
    alignment: str = ""
    values: dict[str, tuple[float] | tuple[float, float]] = Field(default={})
    bold: bool = False


class Source(Reading):
    """A table of the paper. `columns` are kinds of task."""

    title: str
    note: str
    judge: str = ""
    columns: dict[str, str]
    rows: tuple[Reference, ...]


@dataclass(frozen=True)
class OwnRow:
    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """A table of the paper, this run's rows first; `judges` says who graded them."""

    source: Source
    own: tuple[OwnRow, ...]
    judges: str

    def cells(self, row: Reference) -> list[str]:
        return [_written(row.values.get(column)) for column in self.source.columns]


def sources() -> tuple[Source, ...]:
    """Tables 1, 2 and 3 of the paper."""
    text = (files("favonius.report.benchmarks") / "published.yaml").read_text(encoding="utf-8")
    return tuple(Source.model_validate(table) for table in yaml.safe_load(text))


def published(benchmarks: Sequence[Benchmark]) -> tuple[Published, ...]:
    """Every table, beside it what the benchmarks say by the same protocol."""
    return tuple(_beside(source, benchmarks) for source in sources())


def _beside(source: Source, benchmarks: Sequence[Benchmark]) -> Published:
    rows: dict[str, dict[str, str]] = {}
    judges: dict[str, None] = {}
    for kind, task, label in _of_one_protocol(source, benchmarks):
        cell = _own(task, label)
        if cell == NONE:
            continue
        rows.setdefault(label, {}).setdefault(kind, cell)
        if task.judge is not None:
            judges[f"{task.title or task.name} by {task.judge.name}"] = None
    own = (OwnRow(label, tuple(cells.get(column, NONE) for column in source.columns)) for label, cells in rows.items())
    return Published(source, tuple(own), "; ".join(judges))


def _of_one_protocol(source: Source, benchmarks: Sequence[Benchmark]) -> Iterator[tuple[str, Task, str]]:
    """Column, task and model."""
    for benchmark in benchmarks:
        for task in benchmark.record.tasks:
            for label in benchmark.record.labels:
                if task.kind in source.columns and same_protocol(benchmark.parts.get((label, task.name))):
                    yield task.kind, task, label


def same_protocol(part: Part | None) -> bool:
    """Whether a part was made by the paper's protocol; fewer questions are the same protocol with a wider interval."""
    if part is None:
        return False
    config: Mapping[str, Any] = part.config
    if part.kind == "mt-bench":
        return bool(config.get("mode") == "single")
    if part.kind == "alpacaeval":
        return config.get("evaluation_version") == 1 and config.get("baseline") is None
    return part.kind in SHOTS and config.get("shots") in {None, SHOTS[part.kind]}


def _own(task: Task, label: str) -> str:
    metric = task.headline
    figure = task.figure(label, metric.key) if metric is not None else None
    if metric is None or figure is None or figure.value is None:
        return NONE
    factor = 100.0 if metric.unit == "%" else 1.0
    error = figure.standard_error
    return _written((factor * figure.value,) if error is None else (factor * figure.value, factor * error))


def _written(value: tuple[float] | tuple[float, float] | None) -> str:
    """`90.60 (1.03)`, as the paper writes it."""
    if value is None:
        return NONE
    return " ".join([f"{value[0]:.2f}", *(f"({error:.2f})" for error in value[1:])])
