"""What was done to the models that a run compares, and what its evaluations and benchmarks say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from favonius.report.benchmarks.published import same_protocol
from favonius.report.benchmarks.reading import Benchmark, read_benchmark
from favonius.report.gather import Estimate, Run, Step
from favonius.report.public import Public
from favonius.report.tables import COIN


@dataclass(frozen=True)
class Made:
    """How a model was made: its trainings in order, each `sft` or `preferences`, and the epochs of each."""

    trainings: tuple[str, ...]
    epochs: tuple[int, ...]


def made(run: Run, model: str) -> Made | None:
    """`model` is a step's name or that of a model that the run began with, which has no trainings. None where a step on
    the way trains no model that writes."""
    steps: list[Step] = []
    while (step := run.step(model)) is not None and step not in steps:
        steps.insert(0, step)
        model = str(step.config.get("model"))
    kinds = tuple(_kind(step) for step in steps)
    if None in kinds:
        return None
    return Made(tuple(str(kind) for kind in kinds), tuple(int(step.config.get("epochs", 1)) for step in steps))


def _kind(step: Step) -> str | None:
    objective = (step.config.get("objective") or {}).get("kind")
    if step.stage != "train" or objective in (None, "reward"):
        return None
    return "sft" if objective == "sft" else "preferences"


@dataclass(frozen=True)
class Measure:
    """A number of each compared model. Values of unit `%` are fractions. `task` is a benchmark's kind, else empty."""

    title: str
    unit: str
    values: Mapping[str, Estimate]
    """By label."""
    task: str = ""
    judge: str = ""
    is_papers: bool = False
    """Whether the paper's Table 3 has a number by the same protocol."""


@dataclass(frozen=True)
class Comparison:
    """Models side by side in one step, with what is known of them so far."""

    step: Step
    made: Mapping[str, Made]
    """By label, of the models that were made of the base by training alone."""
    measures: tuple[Measure, ...]


def comparisons(run: Run, public: Public) -> Iterator[Comparison]:
    """Of every step `evaluate` and `benchmark` that has numbers."""
    for step in run.steps:
        measures = tuple(_measures(run, step, public))
        if not measures:
            continue
        found = {label: made(run, str(model)) for label, model in (step.config.get("models") or {}).items()}
        yield Comparison(step, {label: one for label, one in found.items() if one is not None}, measures)


def _measures(run: Run, step: Step, public: Public) -> Iterator[Measure]:
    """Wins against the baseline, and the headline of every benchmark."""
    if step.results is not None:
        results = step.results
        for metric in (metric for metric in results.metrics if metric.key == "win_rate"):
            values = {label: value for label, value in metric.values.items() if value is not None}
            known = {results.baseline: COIN, **values} if values else {}
            yield Measure(metric.title, metric.unit, known, judge=public(results.judge))
    if step.stage == "benchmark":
        benchmark = read_benchmark(run.path / step.name, step.config, public)
        yield from _of_benchmark(benchmark) if benchmark is not None else ()


def _of_benchmark(benchmark: Benchmark) -> Iterator[Measure]:
    for task in benchmark.record.tasks:
        headline = task.headline
        if headline is None:
            continue
        figures = {label: task.figure(label, headline.key).estimate for label in benchmark.record.labels}
        values = {label: value for label, value in figures.items() if value is not None}
        title = f"{task.title}, {headline.title}" if headline.title else task.title
        is_papers = any(same_protocol(benchmark.parts.get((label, task.name))) for label in values)
        judge = task.judge.name if task.judge is not None else ""
        yield Measure(title, headline.unit, values, task.kind, judge, is_papers)
