"""What `favonius eval run` prints: every number with its interval, and what a reader must know of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from favonius.cli.tables import table
from favonius.phrases import printable
from favonius.statistics import Z

NONE = "–"
Record = Mapping[str, Any]


def page(found: Record, tasks: Sequence[str], labels: Sequence[str], out: Path) -> str:
    """A table of those tasks and models of a results.json, the notes of the tasks, and where everything lies."""
    asked = [task for task in found["tasks"] if task["name"] in tasks]
    several = len(labels) > 1
    rows = [row for task in asked for row in _rows(task, labels, found["baseline"], several)]
    against = [f"− {found['baseline']}"] if several else []
    model = ["model"] if several else []
    head = ("task", "metric", *model, "value", "95 %", *against, "n", "unreadable", "tokens", "judge")
    parts = [table(head, rows), *_remarks(asked, several), f"results: {out / 'results.json'}"]
    return printable("\n\n".join(parts))


def value(number: float | None, unit: str) -> str:
    """`63.2 %`, `6.51`; a dash where there is none."""
    if number is None:
        return NONE
    return f"{bare(number, unit)} %" if unit == "%" else bare(number, unit)


def interval(figure: Record | None, unit: str) -> str:
    if figure is None or figure["low"] is None:
        return NONE
    return f"{bare(figure['low'], unit)} to {bare(figure['high'], unit)}"


def bare(number: float, unit: str, sign: str = "") -> str:
    """Without the unit, where another number beside it has it; with its sign where `sign` is `+`."""
    return f"{100 * number:{sign}.1f}" if unit == "%" else f"{number:{sign}.2f}"


def _rows(task: Record, labels: Sequence[str], baseline: str | None, several: bool) -> Iterator[list[str | int]]:
    """A row per metric and model; the task's name and judge stand in the first alone."""
    judge = task["judge"]["name"] if task["judge"] else ""
    first = True
    for metric in task["metrics"]:
        for number, label in enumerate(label for label in labels if label in task["values"]):
            figure = task["values"][label][metric["key"]]
            compared = task["compared"].get(label, {}).get(metric["key"])
            yield [
                task["name"] if first else "",
                metric["title"] if number == 0 else "",
                *([label] if several else []),
                value(figure["value"], metric["unit"]),
                interval(figure, metric["unit"]),
                *([_difference(compared, metric["unit"], label == baseline)] if several else []),
                figure["n"],
                figure["unreadable"],
                _tokens(task["answers"][label]) if metric is task["metrics"][0] else "",
                judge if first else "",
            ]
            first = False
    yield from _controlled(task, labels, several)


def _controlled(task: Record, labels: Sequence[str], several: bool) -> Iterator[list[str | int]]:
    """AlpacaEval 2's own number, which is no mean of items and so no metric; its interval is by its standard error."""
    title = "  length-controlled"
    for label in labels:
        protocol = task["protocol"].get(label, {})
        rate, error = (protocol.get(f"length_controlled_{name}") for name in ("winrate", "standard_error"))
        if rate is None:
            continue
        low, high = (min(max(rate + side * Z * error, 0.0), 100.0) for side in (-1, 1))
        against = [""] if several else []
        own = [label] if several else []
        yield ["", title, *own, f"{rate:.1f} %", f"{low:.1f} to {high:.1f}", *against, protocol["n"], "", "", ""]
        title = ""


def _difference(compared: Record | None, unit: str, is_baseline: bool) -> str:
    """From the baseline, with a star where the interval leaves out no difference."""
    if compared is None:
        return "" if is_baseline else NONE
    difference = compared["difference"]
    star = " *" if compared["told_apart"] else ""
    return f"{bare(difference['value'], unit, '+')} ({interval(difference, unit)}){star}"


def _tokens(answers: Record) -> str:
    """Mean length of an answer."""
    return f"{answers['tokens']:.0f}" if answers["tokens"] is not None else ""


def _remarks(tasks: Sequence[Record], several: bool) -> list[str]:
    lines = [f"{task['name']}: {note}" for task in tasks for note in task["notes"]]
    for task in tasks:
        for label, causes in task["left_out"].items():
            lines += [f"{task['name']}, {label}: left out: {cause} × {count:,}" for cause, count in causes.items()]
    if several:
        lines.append("* told apart from the baseline by the paired interval; `favonius eval compare` says more")
    return ["\n".join(lines)] if lines else []
