"""One task's rows for one model as numbers, and the two files that hold them.

<label>/<task>/items.jsonl    a row per item: what was asked, what was said, what it scored
<label>/<task>/result.json    metrics over units with their intervals, by category, and how they came about
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from favonius.data.checks import Drops, flaws
from favonius.data.rows import read_rows, write_rows
from favonius.engines.config import EngineConfig
from favonius.errors import UserError, brief
from favonius.evals.benchmarks.asking import Heard
from favonius.evals.benchmarks.config import AnyTask
from favonius.evals.benchmarks.task import ItemRow, Metric, Said, Scored, Task
from favonius.files import json_text, read_json, write_text
from favonius.judges.figures import by_prompt
from favonius.run import ModelSource, ServedModel, versions
from favonius.statistics import ratio, share, standard_error
from favonius.types import Noun

SCHEMA = 1
NEEDED = frozenset({"kind", "title", "model", "judge", "questions", "config", "metrics"})
"""Fields of result.json without which a result cannot be held against another."""


class Figure(Noun):
    """A mean over units with its 95 % interval; without value where no row has a number."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    """None with fewer than two units."""
    n: int = 0
    """Units."""
    scored: int = 0
    """Rows with a number."""
    unreadable: int = 0
    """Rows in whose place there is none; they are in no mean."""


@dataclass(frozen=True)
class Result:
    """What result.json and items.jsonl say of one task and one model."""

    told: Mapping[str, Any]
    """Of result.json."""
    rows: Sequence[ItemRow]

    @property
    def metrics(self) -> list[Metric]:
        found = self.told["metrics"].items()
        return [
            Metric(key=key, **{name: one[name] for name in ("title", "unit", "better", "span")}) for key, one in found
        ]


@dataclass(frozen=True)
class Measured:
    """A task that was put to a model, and what came of it."""

    name: str
    """The task's folder."""
    config: AnyTask
    task: Task
    label: str
    model: ModelSource | ServedModel
    scored: Scored
    heard: Heard | None = None
    """None where the task reads and does not ask."""
    contamination: Mapping[str, Any] | None = None
    engine: EngineConfig | None = None
    """By which the model answered."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Digests of the models and files that the task's config names, by their place in it."""


def result(measured: Measured) -> Result:
    """What is to be written. ValueError where the task's rows are not what its metrics say: a fault of the task."""
    task, scored, heard = measured.task, measured.scored, measured.heard
    rows, metrics = scored.rows, task.metrics
    _check(rows, metrics)
    left_out = Drops()
    for own in (scored.left_out, *([] if heard is None else [heard.left_out])):
        left_out.absorb(own)
    told = {
        "schema": SCHEMA,
        "task": measured.name,
        "kind": measured.config.task,
        "title": task.title,
        "model": {"label": measured.label, "name": measured.model.name, "digest": measured.model.digest},
        "judge": None if scored.judge is None else scored.judge.model_dump(),
        "questions": task.questions,
        "config": measured.config.model_dump(mode="json"),
        "named": dict(measured.named),
        "engine": None if heard is None or measured.engine is None else _engine(measured.engine),
        "items": len(rows),
        "metrics": {one.key: one.model_dump(exclude={"key"}) | figure(rows, one).model_dump() for one in metrics},
        "by_category": by_category(rows, metrics),
        "answers": answers([] if heard is None else heard.said),
        "contamination": measured.contamination,
        "protocol": dict(scored.protocol),
        "left_out": dict(left_out.counts),
        "left_out_samples": left_out.samples,
        "notes": [*scored.notes, *_notes(heard)],
        "asked": {"requests": heard.requests if heard else 0, "tokens": heard.tokens if heard else 0},
        "versions": versions(),
    }
    return Result(told, rows)


def _engine(engine: EngineConfig) -> dict[str, Any]:
    """What of it shapes answers."""
    return engine.model_dump(mode="json", exclude=set(type(engine).not_identity))


def _notes(heard: Heard | None) -> list[str]:
    if heard is None or not heard.left_out.counts:
        return []
    missing = heard.left_out.counts.total()
    return [f"{missing} of {missing + len(heard.said)} items got no answer and are in no number."]


def _check(rows: Sequence[ItemRow], metrics: Sequence[Metric]) -> None:
    ids, keys = [row.id for row in rows], {metric.key for metric in metrics}
    if len(set(ids)) < len(ids):
        raise ValueError("two rows of items have one id")
    if strange := {key for row in rows for key in row.scores} - keys:
        raise ValueError(f"rows have scores that are no metric: {', '.join(sorted(strange))}")


def figure(rows: Iterable[ItemRow], metric: Metric) -> Figure:
    """Σ score · weight / Σ weight over the rows that have the metric's key; ValueError where a score is not finite."""
    own = [row for row in rows if metric.key in row.scores]
    scored = [(row, score) for row in own if (score := row.scores[metric.key]) is not None]
    counts = {"scored": len(scored), "unreadable": len(own) - len(scored)}
    for row, score in scored:
        if not math.isfinite(score):
            raise ValueError(f"{metric.key} of {row.id} is not a finite number")
    sums, _ = by_prompt((row.unit, score * weight(row, metric)) for row, score in scored)
    weights, _ = by_prompt((row.unit, weight(row, metric)) for row, _ in scored)
    estimate = (share if metric.unit == "%" else ratio)(sums, weights)
    if estimate is None:
        return Figure(**counts)
    return Figure(**estimate._asdict(), standard_error=standard_error(sums, weights), **counts)


def weight(row: ItemRow, metric: Metric) -> float:
    return row.weights.get(metric.key, 1.0)


def figures(rows: Sequence[ItemRow], metrics: Sequence[Metric]) -> dict[str, dict[str, Any]]:
    return {metric.key: figure(rows, metric).model_dump() for metric in metrics}


def by_category(rows: Sequence[ItemRow], metrics: Sequence[Metric]) -> dict[str, dict[str, dict[str, Any]]]:
    """Category → metric's key → figure, of the metrics that rows of the category have."""
    found: dict[str, list[ItemRow]] = {}
    for row in rows:
        if row.category is not None:
            found.setdefault(row.category, []).append(row)
    return {
        category: figures(own, [metric for metric in metrics if any(metric.key in row.scores for row in own)])
        for category, own in found.items()
    }


def answers(said: Sequence[Said]) -> dict[str, Any]:
    """What a model's answers look like from outside: how long they are, whether they end, and their flaws."""
    turns = [turn for one in said for turn in one.turns]
    found = [flaw for turn in turns for flaw in flaws(turn.text, turn.finished)]
    count = len(turns)
    return {
        "n": count,
        "characters": sum(len(turn.text) for turn in turns) / count if count else None,
        "tokens": sum(turn.tokens for turn in turns) / count if count else None,
        "finished": sum(turn.finished for turn in turns) / count if count else None,
        "flaws": {flaw: found.count(flaw) for flaw in sorted(set(found))},
    }


def write(folder: Path, result: Result) -> None:
    """Both files; result.json last, so that where it is the other is too. ValueError on NaN."""
    text = json_text(result.told, finite=True)
    write_rows(folder / "items.jsonl", result.rows)
    write_text(folder / "result.json", text + "\n")


def read(folder: Path) -> Result:
    """What `write` wrote. UserError where there is none, of another schema, or with rows that count in no mean."""
    file = folder / "result.json"
    if not file.is_file():
        raise UserError(f"{folder}: there is no result.json here; give a folder that `favonius eval run` wrote")
    told = whole_json(file)
    if not isinstance(told, dict) or told.get("schema") != SCHEMA or not told.keys() >= NEEDED:
        raise UserError(f"{file}: it is no result of this version of favonius; run the benchmark again")
    rows = read_rows(folder / "items.jsonl", ItemRow)
    _refuse_unfit(folder / "items.jsonl", rows)
    return Result(told, rows)


def whole_json(file: Path) -> Any:
    """What a file of results holds. UserError where it is no JSON."""
    try:
        return read_json(file)
    except ValueError as error:
        raise UserError(f"{file}: this is not whole JSON ({brief(error)}); run the benchmark again") from None


def _refuse_unfit(file: Path, rows: Sequence[ItemRow]) -> None:
    """Such rows were not written here, and no mean can be made of them."""
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise UserError(f"{file}: two rows have the id {row.id}; leave one of them, or run the benchmark again")
        seen.add(row.id)
        for key, value in (*row.scores.items(), *row.weights.items()):
            if value is not None and not math.isfinite(value):
                raise UserError(f"{file}: {key} of {row.id} is {value}; run the benchmark again")
