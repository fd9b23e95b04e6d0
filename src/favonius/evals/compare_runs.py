"""Two models' results on the same benchmarks: each metric on the items that both have, and what else differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from favonius.evals.benchmarks.record import Figure, Result, figure
from favonius.evals.benchmarks.rows import OVER_PARTS, counting_alike
from favonius.evals.benchmarks.summary import paired
from favonius.evals.benchmarks.task import ItemRow, Metric
from favonius.evals.finished import Results
from favonius.evals.paired import Paired
from favonius.evals.unlike import unlike
from favonius.statistics import holm

Both = tuple[ItemRow, ItemRow]
"""What the first and the second model scored on one item."""


@dataclass(frozen=True)
class Held:
    """One metric on the items of a task, or of a category of it, for which both models have a number."""

    metric: Metric
    first: Figure
    second: Figure
    paired: Paired | None
    """None where there is no such item."""
    unreadable: tuple[int, int]
    """Items that both models have for which the first, and the second, has no number."""
    weighs_otherwise: int
    """Items left out because they weigh otherwise for the two models, as tokens of two tokenizers do."""

    @property
    def verdict(self) -> str | None:
        """`first` or `second` where the interval tells them apart, and where neither is better `higher` or `lower`,
        of the first."""
        if self.paired is None or not self.paired.told_apart:
            return None
        higher = self.paired.difference.value > 0
        if self.metric.better is None:
            return "higher" if higher else "lower"
        return "first" if higher == (self.metric.better == "higher") else "second"


@dataclass(frozen=True)
class Shared:
    """The items of one task that both models have."""

    rows: Sequence[Both]
    asked_otherwise: int
    """Items of one id whose prompts differ, or what their scores rest on: other items, which are left out."""
    only_first: int
    only_second: int

    @property
    def all(self) -> bool:
        """Whether both models were asked the same."""
        return not (self.asked_otherwise or self.only_first or self.only_second)


@dataclass(frozen=True)
class TaskHeld:
    """One task of both models."""

    name: str
    title: str
    shared: Shared
    headline: str
    """Key of the first model's first metric."""
    metrics: Mapping[str, Held]
    """By key, those that both models have."""
    by_category: Mapping[str, Mapping[str, Held]]
    differences: Sequence[str]
    """Phrases for what makes the two results less than fully comparable."""

    @property
    def first_metric(self) -> Held | None:
        return self.metrics.get(self.headline)

    def regressions(self, most: int) -> list[Both]:
        """At most so many items on which the first model is worse than the second by the headline, the worst first;
        none where neither end of the metric is better."""
        held = self.first_metric
        if held is None or held.metric.better is None:
            return []
        sign = 1.0 if held.metric.better == "higher" else -1.0
        scored = [(both, [row.scores.get(self.headline) for row in both]) for both in self.shared.rows]
        gains = [
            (sign * (mine - theirs), both) for both, (mine, theirs) in scored if mine is not None and theirs is not None
        ]
        return [both for gain, both in sorted(gains, key=lambda one: one[0])[:most] if gain < 0]


@dataclass(frozen=True)
class Comparison:
    """The first model against the second on all tasks that both have."""

    first: Results
    second: Results
    tasks: Sequence[TaskHeld]

    @property
    def same_model(self) -> bool:
        return self.first.digest == self.second.digest

    @property
    def only_first(self) -> list[str]:
        """Tasks."""
        return [name for name in self.first.tasks if name not in self.second.tasks]

    @property
    def only_second(self) -> list[str]:
        return [name for name in self.second.tasks if name not in self.first.tasks]

    @cached_property
    def adjusted(self) -> Mapping[str, float]:
        """p of the sign test of each task's headline, by task, adjusted for the number of them (Holm)."""
        tests = {task.name: held.paired.p for task in self.tasks if (held := task.first_metric) and held.paired}
        return dict(zip(tests, holm(list(tests.values())), strict=True))


def compared(first: Results, second: Results) -> Comparison:
    """Hold two models' results against each other, task by task."""
    tasks = [_task(name, first.tasks[name], second.tasks[name]) for name in first.tasks if name in second.tasks]
    return Comparison(first, second, tasks)


def _task(name: str, first: Result, second: Result) -> TaskHeld:
    shared = _shared(first, second)
    theirs = {metric.key for metric in second.metrics}
    metrics = [metric for metric in first.metrics if metric.key in theirs]
    categories: dict[str, list[Both]] = {}
    for both in shared.rows:
        if (category := both[0].category) is not None:
            categories.setdefault(category, []).append(both)
    return TaskHeld(
        name=name,
        title=first.told["title"],
        shared=shared,
        headline=first.metrics[0].key,
        metrics=_all_held(metrics, shared.rows),
        by_category={category: _all_held(metrics, rows) for category, rows in categories.items()},
        differences=unlike(first.told, second.told, same_items=shared.all),
    )


def _shared(first: Result, second: Result) -> Shared:
    theirs = {row.id: row for row in second.rows}
    of_one_id = [(row, theirs[row.id]) for row in first.rows if row.id in theirs]
    rows = [both for both in of_one_id if _is_one_item(*both)]
    return Shared(
        _evened(rows)
        if all(one.told.get("protocol", {}).get("mean") == OVER_PARTS for one in (first, second))
        else rows,
        asked_otherwise=len(of_one_id) - len(rows),
        only_first=len(first.rows) - len(of_one_id),
        only_second=len(second.rows) - len(of_one_id),
    )


def _is_one_item(mine: ItemRow, other: ItemRow) -> bool:
    return mine.prompt == other.prompt and (None in (mine.rests_on, other.rests_on) or mine.rests_on == other.rests_on)


def _evened(rows: Sequence[Both]) -> list[Both]:
    """With weights by which the parts of a task count alike among these rows, however many each model was asked."""
    first, second = (counting_alike([both[side] for both in rows]) for side in (0, 1))
    return list(zip(first, second, strict=True))


def _all_held(metrics: Sequence[Metric], rows: Sequence[Both]) -> dict[str, Held]:
    """Of the metrics that these rows have."""
    return {
        metric.key: _held(metric, rows)
        for metric in metrics
        if any(metric.key in row.scores for both in rows for row in both)
    }


def _held(metric: Metric, rows: Sequence[Both]) -> Held:
    key = metric.key
    asked = [both for both in rows if all(key in row.scores for row in both)]
    scored = [both for both in asked if all(row.scores[key] is not None for row in both)]
    alike = [both for both in scored if len({row.weights.get(key, 1.0) for row in both}) == 1]
    first, second = [mine for mine, _ in alike], [theirs for _, theirs in alike]
    return Held(
        metric=metric,
        first=figure(first, metric),
        second=figure(second, metric),
        paired=paired(first, second, metric),
        unreadable=(
            sum(mine.scores[key] is None for mine, _ in asked),
            sum(row.scores[key] is None for _, row in asked),
        ),
        weighs_otherwise=len(scored) - len(alike),
    )
