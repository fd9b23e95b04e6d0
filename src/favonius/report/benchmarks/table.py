"""The leaderboard's rows and those of a task's own tables, worked out from a record; templates only set them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from favonius.report.benchmarks.reading import Compared, Contamination, Figure, Metric, Record, Task
from favonius.report.gather import Estimate
from favonius.report.tables import best
from favonius.report.wording import NONE, count, decimal, interval, measure, share, words

Mark = Literal["", "better", "worse", "apart"]
DIRECTIONS = {"higher": "↑ higher is better", "lower": "↓ lower is better", None: "neither way is better"}


@dataclass(frozen=True)
class Cell:
    """A number of one model; `mark` says how it stands to the baseline where that can be told, `said` with numbers."""

    value: str = NONE
    interval: str = ""
    best: bool = False
    mark: Mark = ""
    said: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    title: str
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]
    told: str = ""
    """What is known of a task's questions in the training rows, ..."""
    is_held: bool = False
    """... and whether these hold any."""


@dataclass(frozen=True)
class Grid:
    """Rows under one caption."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class ComparedRow:
    """A model against the baseline on one metric."""

    label: str
    metric: str
    difference: str
    interval: str
    mark: Mark
    games: str
    p: str
    n: str


def leaderboard(record: Record) -> tuple[Row, ...]:
    """A row for each task's headline metric."""
    return tuple(_leader(task, task.headline, record.labels) for task in record.tasks if task.headline is not None)


def _leader(task: Task, metric: Metric, labels: Sequence[str]) -> Row:
    row = metric_row(task, metric, labels)
    told = [metric.heading, *row.notes]
    if task.judge is not None and task.is_judged:
        told.append(f"judge: {task.judge.name}")
    cells = (
        Cell(cell.value, cell.interval, cell.best, cell.mark, cell.said, (*cell.notes, *_beside(task, label)))
        for label, cell in zip(labels, row.cells, strict=True)
    )
    held = task.contamination
    is_held = held is not None and held.overlapping > 0
    return Row(task.title or task.name, tuple(told), tuple(cells), contamination(held), is_held)


def metric_row(task: Task, metric: Metric, labels: Sequence[str], category: str | None = None) -> Row:
    """One metric of a task, or of one category in it."""
    figures = {label: task.figure(label, metric.key, category) for label in labels}
    winner = best({label: figure.estimate for label, figure in figures.items()}, metric.better)
    sizes = {figure.n for figure in figures.values() if figure.estimate is not None}
    common = next(iter(sizes)) if len(sizes) == 1 else None
    cells = []
    for label, figure in figures.items():
        compared = None if category is not None else (task.compared.get(label) or {}).get(metric.key)
        cells.append(_cell(figure, metric, label == winner, compared, common))
    notes = [DIRECTIONS[metric.better]] + ([f"n = {count(common)}"] if common else [])
    return Row(metric.heading if category is None else category, tuple(notes), tuple(cells))


def _cell(figure: Figure, metric: Metric, is_best: bool, compared: Compared | None, common: int | None) -> Cell:
    notes = [f"{count(figure.unreadable)} unreadable"] if figure.unreadable else []
    found = figure.estimate
    if found is None:
        return Cell(notes=tuple(notes))
    if common is None and figure.n is not None:
        notes.insert(0, f"n = {count(figure.n)}")
    mark = _mark(compared, metric)
    said = _said(compared, metric) if compared is not None and mark else ""
    return Cell(
        measure(found.value, metric.shown_as), interval(found, metric.shown_as), is_best, mark, said, tuple(notes)
    )


def _mark(compared: Compared | None, metric: Metric) -> Mark:
    """By the paired comparison alone, which sees differences where two intervals overlap."""
    if compared is None or not compared.told_apart:
        return ""
    if metric.better is None:
        return "apart"
    return "better" if (compared.difference.value > 0) == (metric.better == "higher") else "worse"


def _said(compared: Compared, metric: Metric) -> str:
    bounds = interval(compared.difference, metric.shown_as)
    return (
        f"{signed(compared.difference.value, metric.shown_as)}{f' ({bounds})' if bounds else ''} against the baseline"
    )


def signed(value: float, unit: str) -> str:
    """A difference with its sign, which what rounds to nothing has not; of shares in points."""
    size = measure(abs(value), unit)
    sign = "" if not size.strip("0.") else "+" if value > 0 else "−"
    return f"{sign}{size}"


def _beside(task: Task, label: str) -> Iterator[str]:
    """What belongs beside a judge's word, for judges prefer long answers."""
    answers, protocol = task.answers.get(label), task.protocol.get(label) or {}
    controlled, error = (protocol.get(f"length_controlled_{name}") for name in ("winrate", "standard_error"))
    if controlled is not None:
        spread = "" if error is None else f" ± {measure(error / 100, '%')}"
        yield f"{measure(controlled / 100, '%')}{spread} length-controlled"
    if task.is_judged and answers is not None and answers.characters is not None:
        yield f"{count(answers.characters)} characters"


def contamination(found: Contamination | None) -> str:
    """What is known of a task's questions in the training rows, as one sentence without its full stop."""
    if found is None or not found.checked:
        return "not checked against training rows"
    steps = ", ".join(found.checked)
    if not found.overlapping:
        return f"none of its {count(found.questions)} questions is in the training rows of {steps}"
    verb = "is" if found.overlapping == 1 else "are"
    part = f" ({share(found.overlapping / found.questions)})" if found.questions else ""
    return (
        f"{count(found.overlapping)} of its {count(found.questions)} questions{part} {verb} in the training rows of "
        f"{steps}"
    )


def all_metrics(task: Task, labels: Sequence[str]) -> Grid:
    """Every metric of a task, and what its answers were like."""
    rows = [metric_row(task, metric, labels) for metric in task.metrics]
    return Grid("", (*rows, *_answer_rows(task, labels)))


def _answer_rows(task: Task, labels: Sequence[str]) -> Iterator[Row]:
    found = [task.answers.get(label) for label in labels]
    shown = (
        ("mean answer, characters", [None if one is None else one.characters for one in found], count),
        ("mean answer, tokens", [None if one is None else one.tokens for one in found], count),
        ("answers that end by themselves", [None if one is None else one.finished for one in found], share),
    )
    for title, values, wording in shown:
        if any(value is not None for value in values):
            yield Row(title, (), tuple(Cell(wording(value)) for value in values))
    flaws = dict.fromkeys(name for one in found if one is not None for name in one.flaws)
    for flaw in flaws:
        times = [None if one is None else one.flaws.get(flaw, 0) for one in found]
        yield Row(f"answers with the flaw: {words(flaw)}", (), tuple(Cell(count(number)) for number in times))


def categories(task: Task, labels: Sequence[str]) -> tuple[Grid, ...]:
    """For each metric that has values in two categories or more, these; the headline's first."""
    grids = (Grid(metric.heading, tuple(_category_rows(task, metric, labels))) for metric in task.metrics)
    return tuple(grid for grid in grids if len(grid.rows) > 1)


def _category_rows(task: Task, metric: Metric, labels: Sequence[str]) -> Iterator[Row]:
    for category in task.categories:
        if any(task.figure(label, metric.key, category).value is not None for label in labels):
            row = metric_row(task, metric, labels, category)
            yield Row(row.title, row.notes[1:], row.cells)


def comparisons(task: Task, labels: Sequence[str]) -> tuple[ComparedRow, ...]:
    """Every model that was compared with the baseline, metric by metric."""
    rows = []
    for metric in task.metrics:
        for label in labels:
            compared = (task.compared.get(label) or {}).get(metric.key)
            if compared is not None:
                rows.append(_compared(label, metric, compared))
    return tuple(rows)


def _compared(label: str, metric: Metric, found: Compared) -> ComparedRow:
    apart = Estimate(value=found.difference.value, low=found.difference.low, high=found.difference.high)
    return ComparedRow(
        label=label,
        metric=metric.heading,
        difference=signed(apart.value, metric.shown_as),
        interval=interval(apart, metric.shown_as),
        mark=_mark(found, metric),
        games=f"{count(found.wins)} · {count(found.ties)} · {count(found.losses)}",
        p=decimal(found.p, 2),
        n=count(found.difference.n),
    )
