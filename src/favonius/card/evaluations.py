"""A run's tables of results as the card has them: every evaluation, and every task of every benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from favonius.card.nouns import (
    Against,
    CardMetric,
    Contamination,
    Evaluation,
    MeasuredModel,
    PublishedRow,
    PublishedTable,
)
from favonius.card.private import Private
from favonius.files import read_json
from favonius.report.benchmarks.published import published
from favonius.report.benchmarks.reading import Benchmark, Task, read_benchmark
from favonius.report.benchmarks.safety import safety
from favonius.report.gather import Estimate, Metric, Reading
from favonius.run import Identity, StepFolder

SAFETY = "safety"


class Evaluated(Reading):
    """What of an evaluate step's results.json a card tells."""

    labels: tuple[str, ...]
    metrics: tuple[Metric, ...] = ()
    baseline: str | None = None
    judge: str = ""
    judge_is_teacher: bool = False
    verdict: str = ""


@dataclass(frozen=True)
class Measured:
    """All that was measured: tables, the paper's beside them, and a sentence for each thing found of safety."""

    evaluations: tuple[Evaluation, ...]
    published: tuple[PublishedTable, ...]
    safety: tuple[str, ...]


def measured(run: Path, names: Sequence[str], private: Private) -> Measured:
    """What lies in the steps of `run` that are finished, in the order of `names`, the recipe's steps; others follow."""
    evaluations: list[Evaluation] = []
    benchmarks: list[Benchmark] = []
    sentences: list[str] = []
    places = {name: place for place, name in enumerate(names)}
    files = sorted(run.glob("*/results.json"), key=lambda file: file.parent.name)
    for file in sorted(files, key=lambda file: places.get(file.parent.name, len(places))):
        step = StepFolder(file.parent)
        identity = step.identity()
        if identity is None:
            continue
        models = _Models(identity)
        if identity.stage != "benchmark":
            evaluations.append(_evaluated(file, models, private))
        elif (found := read_benchmark(file.parent, identity.config, private.public)) is not None:
            benchmarks.append(found)
            evaluations += _benchmarked(file.parent.name, found, models, private)
            sentences += _safety(found)
    return Measured(tuple(evaluations), tuple(_published(benchmarks)), tuple(sentences))


class _Models:
    """Which models a step measured, under which labels."""

    def __init__(self, identity: Identity) -> None:
        self._names = {str(label): str(model) for label, model in (identity.config.get("models") or {}).items()}
        self._digests = identity.inputs

    def under(self, labels: Iterable[str]) -> dict[str, MeasuredModel]:
        names = {label: self._names.get(label, label) for label in labels}
        return {label: MeasuredModel(name=name, digest=self._digests.get(name)) for label, name in names.items()}


def _evaluated(file: Path, models: _Models, private: Private) -> Evaluation:
    found = Evaluated.model_validate(private.public(read_json(file)))
    return Evaluation(
        step=file.parent.name,
        task="",
        kind="evaluate",
        title="",
        judge=found.judge,
        judge_is_teacher=found.judge_is_teacher,
        baseline=found.baseline,
        models=models.under(found.labels),
        metrics=tuple(CardMetric(**dict(metric)) for metric in found.metrics),
        notes=(private.told(found.verdict),) if found.verdict else (),
    )


def _benchmarked(step: str, found: Benchmark, models: _Models, private: Private) -> Iterator[Evaluation]:
    record = found.record
    for task in record.tasks:
        yield Evaluation(
            step=step,
            task=task.name,
            kind=task.kind,
            title=task.title,
            judge=task.judge.name if task.judge is not None else "",
            judge_is_teacher=False,
            baseline=record.baseline,
            models=models.under(record.labels),
            metrics=tuple(_metrics(task)),
            against=tuple(_against(task)),
            left_out={
                label: {private.told(cause): count for cause, count in causes.items()}
                for label, causes in task.left_out.items()
                if causes
            },
            contamination=_contamination(task),
            notes=tuple(private.told(note) for note in task.notes),
        )


def _metrics(task: Task) -> Iterator[CardMetric]:
    for metric in task.metrics:
        values: dict[str, Estimate | None] = {label: task.figure(label, metric.key).estimate for label in task.values}
        yield CardMetric(
            key=metric.key, title=metric.title or metric.key, unit=metric.unit, better=metric.better, values=values
        )


def _against(task: Task) -> Iterator[Against]:
    for label, by_metric in task.compared.items():
        for metric, found in by_metric.items():
            if found is not None:
                yield Against(label=label, metric=metric, difference=found.difference, told_apart=found.told_apart)


def _contamination(task: Task) -> Contamination | None:
    found = task.contamination
    if found is None:
        return None
    return Contamination(checked=found.checked, questions=found.questions, overlapping=found.overlapping)


def _safety(found: Benchmark) -> Iterator[str]:
    record = found.record
    for task in record.tasks:
        if task.kind == SAFETY:
            rows = {label: found.items(label, task.name) for label in record.labels}
            for one in safety(task, record.baseline, rows):
                yield " ".join([f"{one.label}:", *one.sentences, *([f"Verdict: {one.flag}."] if one.flag else [])])


def _published(benchmarks: list[Benchmark]) -> Iterator[PublishedTable]:
    """Tables of the paper beside which this run has numbers by the same protocol."""
    for table in published(benchmarks):
        if table.own:
            source = table.source
            rows = tuple(
                PublishedRow(
                    model=" ".join(filter(None, (row.model, row.size, row.alignment))), values=dict(row.values)
                )
                for row in source.rows
            )
            yield PublishedTable(title=source.title, note=source.note, columns=source.columns, rows=rows)
