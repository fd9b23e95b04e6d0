"""A comparison of two models' results as JSON, and as sentences what keeps them from being fully comparable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from favonius.evals.benchmarks.task import ItemRow
from favonius.evals.compare_runs import Comparison, Held, TaskHeld
from favonius.phrases import counted

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes."""


def differences(found: Comparison) -> Iterator[str]:
    """What keeps the two results from being fully comparable, and what was left out of the comparison, in sentences."""
    first, second = found.first.place, found.second.place
    if found.same_model:
        yield f"{first} and {second} are results of one and the same model"
    for place, names in ((first, found.only_first), (second, found.only_second)):
        if names:
            yield f"only {place} has {', '.join(names)}"
    for task in found.tasks:
        if task.differences:
            yield f"{task.name}: {'; '.join(task.differences)} (in {first} and {second})"
        yield from (f"{task.name}: {sentence}" for sentence in _left_out(found, task))


def _left_out(found: Comparison, task: TaskHeld) -> Iterator[str]:
    shared = task.shared
    for place, count in ((found.first.place, shared.only_first), (found.second.place, shared.only_second)):
        if count:
            yield f"{counted(count, 'item')} only in {place}; {len(shared.rows):,} are compared"
    if shared.asked_otherwise:
        yield (
            f"{counted(shared.asked_otherwise, 'item')} of one id have other prompts, pairs or references, and are "
            "left out"
        )
    for held in task.metrics.values():
        for place, count in zip((found.first.place, found.second.place), held.unreadable, strict=True):
            if count:
                yield f"{held.metric.title}: {counted(count, 'item')} without a number in {place}"
        if held.weighs_otherwise:
            yield (
                f"{held.metric.title}: {counted(held.weighs_otherwise, 'item')} weigh otherwise for the two, as tokens "
                "of two tokenizers do, and are left out"
            )


def record(found: Comparison, texts: int = 0) -> dict[str, Any]:
    """The comparison as JSON; differences are A − B, and `wins` are the units on which A is higher."""
    return {
        "schema": SCHEMA,
        "first": {"folder": found.first.place, "label": found.first.label, "digest": found.first.digest},
        "second": {"folder": found.second.place, "label": found.second.label, "digest": found.second.digest},
        "same_model": found.same_model,
        "differences": list(differences(found)),
        "only_first": found.only_first,
        "only_second": found.only_second,
        "adjusted": "p of the sign test of each task's headline, adjusted for their number by Holm's procedure",
        "tasks": [_task_record(found, task, texts) for task in found.tasks],
    }


def _task_record(found: Comparison, task: TaskHeld, texts: int) -> dict[str, Any]:
    return {
        "name": task.name,
        "title": task.title,
        "headline": task.headline,
        "items": len(task.shared.rows),
        "only_first": task.shared.only_first,
        "only_second": task.shared.only_second,
        "asked_otherwise": task.shared.asked_otherwise,
        "differences": list(task.differences),
        "adjusted_p": found.adjusted.get(task.name),
        "metrics": {key: _held_record(held) for key, held in task.metrics.items()},
        "by_category": {
            category: {key: _held_record(held) for key, held in own.items()}
            for category, own in task.by_category.items()
        },
        "regressions": [_regression(task, *both) for both in task.regressions(texts)],
    }


def _held_record(held: Held) -> dict[str, Any]:
    metric, paired = held.metric, held.paired
    names = ("standard_error", "wins", "losses", "ties", "p", "told_apart")
    tested = {"difference": None} | dict.fromkeys(names)
    if paired is not None:
        tested = {"difference": paired.difference._asdict(), **{name: getattr(paired, name) for name in names}}
    return {
        **metric.model_dump(include={"title", "unit", "better", "span"}),
        "first": held.first.model_dump(),
        "second": held.second.model_dump(),
        **tested,
        "verdict": held.verdict,
        "unreadable_first": held.unreadable[0],
        "unreadable_second": held.unreadable[1],
        "weighs_otherwise": held.weighs_otherwise,
    }


def _regression(task: TaskHeld, mine: ItemRow, theirs: ItemRow) -> dict[str, Any]:
    return {
        "id": mine.id,
        "category": mine.category,
        "prompt": mine.prompt,
        "first": {"score": mine.scores[task.headline], "answers": list(mine.answers), "note": mine.note},
        "second": {"score": theirs.scores[task.headline], "answers": list(theirs.answers), "note": theirs.note},
    }
