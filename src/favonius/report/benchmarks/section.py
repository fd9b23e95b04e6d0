"""The section on benchmarks, step by step: a leaderboard, then every task with its tables, figures and worst items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from favonius.report.benchmarks import table
from favonius.report.benchmarks.games import Regressions, matrix, regressions
from favonius.report.benchmarks.published import Published, published
from favonius.report.benchmarks.reading import Benchmark, Items, Metric, Overlap, Record, Task, read_benchmark
from favonius.report.benchmarks.safety import Safety, safety
from favonius.report.benchmarks.scatter import Scatter, length_against_score
from favonius.report.benchmarks.table import ComparedRow, Grid, Row
from favonius.report.gather import Run, Step
from favonius.report.plots import Chart
from favonius.report.public import Public
from favonius.report.radar import FEWEST, PENS, Score, radar
from favonius.report.tables import Bout
from favonius.report.wording import NONE, count, fact, short, words
from favonius.statistics import Estimate


@dataclass(frozen=True)
class TaskShown:
    """A task's own part of the page; what it has no data for is empty or None."""

    task: Task
    facts: tuple[tuple[str, str], ...]
    metrics: Grid
    categories: tuple[Grid, ...]
    comparisons: tuple[ComparedRow, ...]
    protocol: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Numbers of the protocol beyond means of rows, by label."""
    left_out: tuple[tuple[str, int], ...]
    overlaps: tuple[Overlap, ...]
    radar: Chart | None
    scatter: Scatter | None
    matrix: list[tuple[str, list[Bout | None]]]
    regressions: tuple[Regressions, ...]
    unreadable: int
    """Lines of items.jsonl that are no items."""


@dataclass(frozen=True)
class Made:
    """A benchmark step; `record` is None where no part of it is finished."""

    step: Step
    record: Record | None
    is_whole: bool
    board: tuple[Row, ...]
    marked: bool
    """Whether anything was compared, so that marks have a meaning."""
    safety: tuple[Safety, ...]
    tasks: tuple[TaskShown, ...]


@dataclass(frozen=True)
class Benchmarks:
    steps: tuple[Made, ...]
    published: tuple[Published, ...]
    """Empty where the run evaluates nothing."""


def benchmarks(run: Run, public: Public) -> Benchmarks:
    """What the page shows of all benchmark steps, and the paper's tables where the run evaluates anything."""
    steps = [step for step in run.of_stage("benchmark") if step.state != "left out"]
    found = [(step, read_benchmark(run.path / step.name, step.config, public)) for step in steps]
    made = tuple(_made(step, one, f"b{number}", public) for number, (step, one) in enumerate(found))
    evaluates = bool(steps or run.of_stage("evaluate"))
    return Benchmarks(made, published([one for _, one in found if one is not None]) if evaluates else ())


def _made(step: Step, found: Benchmark | None, prefix: str, public: Public) -> Made:
    if found is None:
        return Made(step, None, False, (), False, (), ())
    record, baseline = found.record, found.record.baseline
    told: list[Safety] = []
    shown: list[TaskShown] = []
    for number, task in enumerate(record.tasks):
        rows = {label: found.items(label, task.name) for label in record.labels}
        shown.append(_shown(task, record, rows, f"{prefix}-{number}", public))
        if task.kind == "safety":
            told += safety(task, baseline, rows)
    return Made(
        step=step,
        record=record,
        is_whole=found.is_whole,
        board=table.leaderboard(record),
        marked=any(task.compared for task in record.tasks),
        safety=tuple(told),
        tasks=tuple(shown),
    )


def _shown(task: Task, record: Record, rows: Mapping[str, Items], prefix: str, public: Public) -> TaskShown:
    metric, labels, judged = task.headline, record.labels, task.is_judged
    scatter = length_against_score(rows, metric, f"{prefix}-length") if metric and judged else None
    lost = regressions(rows, record.baseline, metric, public) if metric and metric.better and record.baseline else ()
    return TaskShown(
        task=task,
        facts=_facts(task),
        metrics=table.all_metrics(task, labels),
        categories=table.categories(task, labels),
        comparisons=table.comparisons(task, labels),
        protocol=tuple(_protocol(task, labels)),
        left_out=_left_out(task),
        overlaps=task.contamination.rows if task.contamination is not None else (),
        radar=_radar(task, metric, labels, f"{prefix}-radar") if metric and task.kind == "mt-bench" else None,
        scatter=scatter,
        matrix=matrix(rows, metric) if metric and judged else [],
        regressions=lost,
        unreadable=sum(items.unreadable for items in rows.values()),
    )


def _facts(task: Task) -> tuple[tuple[str, str], ...]:
    judge = task.judge
    facts = {
        "questions": task.questions or NONE,
        "judge": judge.name if judge is not None else NONE,
        "asked for": words(judge.kind) if judge is not None else NONE,
        "prompt template": short(judge.template) if judge is not None else NONE,
    }
    return tuple((name, value) for name, value in facts.items() if value != NONE)


def _protocol(task: Task, labels: Sequence[str]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Only single numbers and words: tables are in the file."""
    shown = []
    for label in labels:
        found = task.protocol.get(label) or {}
        single = {name: value for name, value in found.items() if isinstance(value, (int, float, str))}
        if single:
            shown.append((label, tuple((words(name), fact(name, value)) for name, value in single.items())))
    return shown


def _left_out(task: Task) -> tuple[tuple[str, int], ...]:
    """`model: cause` and how many items, most first."""
    found = [(f"{label}: {cause}", number) for label, own in task.left_out.items() for cause, number in own.items()]
    return tuple(sorted(found, key=lambda one: -one[1]))


def _radar(task: Task, metric: Metric, labels: Sequence[str], prefix: str) -> Chart | None:
    """By category, of the first models that have any; None with too few categories."""
    drawn = [label for label in labels if task.by_category.get(label)][: len(PENS)]
    if not drawn or len(task.categories) < FEWEST or metric.unit == "%":
        return None
    models = {label: {name: _score(task, label, metric, name) for name in task.categories} for label in drawn}
    note = f", {count(len(drawn))} of {count(len(labels))} models" if len(drawn) < len(labels) else ""
    return radar(task.title, f"mean {metric.title} by category{note}", models, prefix)


def _score(task: Task, label: str, metric: Metric, category: str) -> Score:
    found = task.figure(label, metric.key, category)
    if found.value is None or found.low is None or found.high is None:
        return found.value
    return Estimate(found.value, found.low, found.high, found.n or 0)
