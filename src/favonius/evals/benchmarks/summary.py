"""All tasks of all models side by side, each model compared with the baseline: results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from favonius.evals.benchmarks.record import SCHEMA, Figure, Result, weight
from favonius.evals.benchmarks.task import ItemRow, Metric
from favonius.evals.paired import Paired, compare

Results = Mapping[str, Mapping[str, Result]]
"""Task's name → model's label → result, both in the order of the table."""


def summary(results: Results, labels: Sequence[str], baseline: str | None) -> dict[str, Any]:
    """For the report. `baseline` is the label that the others are compared with; None where there is one model."""
    tasks = [_task(name, own, baseline) for name, own in results.items()]
    return {"schema": SCHEMA, "labels": list(labels), "baseline": baseline, "tasks": tasks}


def compared(
    first: Sequence[ItemRow], second: Sequence[ItemRow], metrics: Sequence[Metric]
) -> dict[str, dict[str, Any] | None]:
    """Metric's key → the first model against the second, item by item; see `paired`."""
    return {metric.key: _recorded(paired(first, second, metric)) for metric in metrics}


def paired(first: Sequence[ItemRow], second: Sequence[ItemRow], metric: Metric) -> Paired | None:
    """The first model against the second on the items that have a score of both; None where there is none.

    Items that weigh otherwise for the two, as tokens of two tokenizers do, cannot be compared and are left out.
    """
    mine, theirs = _scores(first, metric), _scores(second, metric)
    rows, others = {row.id: row for row in first}, {row.id: row for row in second}
    alike = [item for item in mine if item in theirs and weight(rows[item], metric) == weight(others[item], metric)]
    # What has no bounds may be apart by more than the metric says.
    widest = max((abs(mine[item] - theirs[item]) for item in alike), default=0.0)
    return compare(
        {item: mine[item] for item in alike},
        {item: theirs[item] for item in alike},
        unit=lambda item: rows[item].unit,
        span=max(metric.span, widest),
        weight=lambda item: weight(rows[item], metric),
    )


def _scores(rows: Sequence[ItemRow], metric: Metric) -> dict[str, float]:
    return {row.id: score for row in rows if (score := row.scores.get(metric.key)) is not None}


def _recorded(paired: Paired | None) -> dict[str, Any] | None:
    if paired is None:
        return None
    names = ("standard_error", "wins", "losses", "ties", "p", "told_apart")
    return {"difference": paired.difference._asdict(), **{name: getattr(paired, name) for name in names}}


def _task(name: str, results: Mapping[str, Result], baseline: str | None) -> dict[str, Any]:
    any_label, any_result = next(iter(results.items()))
    any_told, metrics = any_result.told, any_result.metrics
    unlike = [label for label, one in results.items() if _told_apart(one.told, any_told)]
    against = results.get(baseline) if baseline is not None else None
    return {
        "name": name,
        **{key: any_told[key] for key in ("kind", "title", "questions", "contamination")},
        "judge": next((one.told["judge"] for one in results.values() if one.told["judge"] is not None), None),
        "metrics": [metric.model_dump() for metric in metrics],
        "values": {label: _values(one.told["metrics"]) for label, one in results.items()},
        "by_category": {label: one.told["by_category"] for label, one in results.items()},
        "answers": {label: one.told["answers"] for label, one in results.items()},
        "left_out": {label: one.told["left_out"] for label, one in results.items()},
        "compared": {
            label: compared(one.rows, against.rows, metrics)
            for label, one in results.items()
            if against is not None and label != baseline
        },
        "notes": [
            *dict.fromkeys(note for one in results.values() for note in one.told["notes"]),
            *_notes(unlike, any_label),
        ],
        "protocol": {label: one.told["protocol"] for label, one in results.items()},
    }


def _told_apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two models took a task with other settings, or by other weights or files of one name."""
    names, others = first.get("named", {}), second.get("named", {})
    return first["config"] != second["config"] or any(names[key] != others[key] for key in names.keys() & others.keys())


def _notes(unlike: Sequence[str], label: str) -> list[str]:
    if not unlike:
        return []
    return [f"{', '.join(unlike)} took this task with other settings than {label}: their numbers do not compare."]


def _values(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {key: {name: one[name] for name in Figure.model_fields} for key, one in metrics.items()}
