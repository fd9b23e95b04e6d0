"""Reads what stage `benchmark` writes: results.json or, before there is one, result.json of each finished part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from favonius.files import read_json
from favonius.report.gather import Estimate, Reading
from favonius.report.public import Public
from favonius.types import JudgedBy


class Figure(Reading):
    """A metric of one model on one task; `n` are units, `scored` and `unreadable` rows with and without a number."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    n: int | None = None
    scored: int | None = None
    unreadable: int = 0

    @property
    def estimate(self) -> Estimate | None:
        if self.value is None:
            return None
        return Estimate(value=self.value, low=self.low, high=self.high, n=self.n)


class Metric(Reading):
    """How a task's number reads (`evals.benchmarks.task.Metric`)."""

    key: str
    title: str = ""
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    span: float = 1.0

    @property
    def shown_as(self) -> str:
        """The unit by which `wording.measure` writes it."""
        return "grade" if not self.unit and self.span > 1 else self.unit

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


class Compared(Reading):
    """A model less the baseline on one metric, paired by unit (`evals.paired`)."""

    difference: Estimate
    wins: int = 0
    losses: int = 0
    ties: int = 0
    p: float | None = None
    told_apart: bool = False


class Answers(Reading):
    """What a model's answers were like; means over items."""

    characters: float | None = None
    tokens: float | None = None
    finished: float | None = None
    flaws: dict[str, int] = Field(default={})


class Overlap(Reading):
    """A question that a training row holds."""

    step: str = ""
    row: str | int | None = None
    question: str = ""
    share: float | None = None


class Contamination(Reading):
    checked: tuple[str, ...] = ()
    questions: int = 0
    overlapping: int = 0
    rows: tuple[Overlap, ...] = ()


Figures = dict[str, Figure | None]
"""By metric."""


class Task(Reading):
    """A task of results.json, with every model's numbers by label."""

    name: str
    kind: str = ""
    title: str = ""
    judge: JudgedBy | None = None
    questions: str = ""
    metrics: tuple[Metric, ...] = ()
    values: dict[str, Figures] = Field(default={})
    by_category: dict[str, dict[str, Figures]] = Field(default={})
    answers: dict[str, Answers | None] = Field(default={})
    compared: dict[str, dict[str, Compared | None]] = Field(default={})
    contamination: Contamination | None = None
    notes: tuple[str, ...] = ()
    protocol: dict[str, Any] = Field(default={})
    """By label."""
    left_out: dict[str, dict[str, int]] = Field(default={})
    """By label and cause."""

    @property
    def headline(self) -> Metric | None:
        return self.metrics[0] if self.metrics else None

    @property
    def is_judged(self) -> bool:
        """Whether the headline is a judge's word; safety's is by rules, and the judge stands beside them."""
        return self.judge is not None and self.kind != "safety"

    @property
    def categories(self) -> list[str]:
        """Of all models, in the order of the first that names them."""
        return list(dict.fromkeys(name for found in self.by_category.values() for name in found))

    def figure(self, label: str, key: str, category: str | None = None) -> Figure:
        """Empty where there is none."""
        found = self.values.get(label) if category is None else self.by_category.get(label, {}).get(category)
        return (found or {}).get(key) or Figure()


class Record(Reading):
    """results.json."""

    labels: tuple[str, ...] = ()
    baseline: str | None = None
    tasks: tuple[Task, ...] = ()


class Part(Reading):
    """result.json: one model on one task."""

    task: str
    kind: str = ""
    title: str = ""
    model: dict[str, Any] = Field(default={})
    judge: JudgedBy | None = None
    questions: str = ""
    config: dict[str, Any] = Field(default={})
    metrics: dict[str, dict[str, Any] | None] = Field(default={})
    by_category: dict[str, Figures] = Field(default={})
    answers: Answers | None = None
    contamination: Contamination | None = None
    protocol: dict[str, Any] = Field(default={})
    left_out: dict[str, int] = Field(default={})
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return str(self.model.get("label") or "")


class Item(Reading):
    """A line of items.jsonl (`evals.benchmarks.task.ItemRow`)."""

    id: str
    unit: str = ""
    category: str | None = None
    scores: dict[str, float | None] = Field(default={})
    prompt: str = ""
    answers: tuple[str, ...] = ()
    finished: bool = True
    note: str | None = None

    @property
    def characters(self) -> int:
        return sum(map(len, self.answers))


@dataclass(frozen=True)
class Items:
    """One model's rows on one task, by item, and how many lines could not be read."""

    rows: Mapping[str, Item]
    unreadable: int = 0

    def scored(self, key: str) -> dict[str, float]:
        return {name: value for name, row in self.rows.items() if (value := row.scores.get(key)) is not None}


@dataclass(frozen=True)
class Benchmark:
    """All that a step has written so far."""

    record: Record
    parts: Mapping[tuple[str, str], Part]
    """By label and task."""
    folders: Mapping[tuple[str, str], Path]
    is_whole: bool
    """Whether results.json is there, and with it the comparisons."""

    def items(self, label: str, task: str) -> Items:
        """As they lie on the disk, none where the part is not finished; read afresh each time, for they may be many."""
        folder = self.folders.get((label, task))
        return Items({}) if folder is None else _items(folder / "items.jsonl")


def read_benchmark(folder: Path, config: Mapping[str, Any], public: Public) -> Benchmark | None:
    """What lies in a benchmark step's folder, its records made public; None where no part of it is finished.

    `config` is the step's.
    """
    parts: dict[tuple[str, str], Part] = {}
    folders: dict[tuple[str, str], Path] = {}
    for file in sorted(folder.glob("*/*/result.json")):
        part = Part.model_validate(public(read_json(file)))
        parts[part.label, part.task] = part
        folders[part.label, part.task] = file.parent
    whole = folder / "results.json"
    if whole.is_file():
        return Benchmark(Record.model_validate(public(read_json(whole))), parts, folders, True)
    return Benchmark(_so_far(parts, public(config)), parts, folders, False) if parts else None


def _so_far(parts: Mapping[tuple[str, str], Part], config: Mapping[str, Any]) -> Record:
    """A record without comparisons, in the recipe's order of models and tasks."""
    labels = _ordered([label for label, _ in parts], config.get("models"))
    names = _ordered([name for _, name in parts], config.get("tasks"))
    tasks = (_task([part for (_, task), part in parts.items() if task == name]) for name in names)
    baseline = config.get("baseline") or next(iter(config.get("models") or labels), None)
    return Record(labels=labels, baseline=baseline, tasks=tuple(tasks))


def _task(parts: list[Part]) -> Task:
    """One task out of its parts, one or more."""
    first = parts[0]
    return Task(
        name=first.task,
        kind=first.kind,
        title=first.title,
        judge=first.judge,
        questions=first.questions,
        metrics=tuple(Metric(key=key, **_named(found)) for key, found in first.metrics.items()),
        values={part.label: {key: _figure(found) for key, found in part.metrics.items()} for part in parts},
        by_category={part.label: part.by_category for part in parts if part.by_category},
        answers={part.label: part.answers for part in parts},
        contamination=first.contamination,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        protocol={part.label: part.protocol for part in parts if part.protocol},
        left_out={part.label: part.left_out for part in parts if part.left_out},
    )


def _named(found: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: found[name] for name in ("title", "unit", "better", "span") if name in found} if found else {}


def _figure(found: Mapping[str, Any] | None) -> Figure | None:
    return None if found is None else Figure.model_validate(found)


def _ordered(found: list[str], named: Any) -> tuple[str, ...]:
    """Each once, those that `named` has in its order, then the others in theirs."""
    wanted = [str(name) for name in named or ()]
    return tuple(dict.fromkeys([*(name for name in wanted if name in found), *found]))


def _items(file: Path) -> Items:
    rows: dict[str, Item] = {}
    unreadable = 0
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else ():
        if not line:
            continue
        try:
            row = Item.model_validate(json.loads(line))
            rows[row.id] = row
        except ValueError:  # no JSON, or no item (pydantic's error is a ValueError)
            unreadable += 1
    return Items(rows, unreadable)
