"""`favonius eval compare`: what two models' benchmarks allow one to say of their difference."""

from __future__ import annotations

import argparse

from favonius.cli.eval_output import deliver
from favonius.cli.eval_page import NONE, bare, interval, value
from favonius.cli.tables import table
from favonius.errors import UserError
from favonius.evals.benchmarks.task import ItemRow
from favonius.evals.compare_record import differences, record
from favonius.evals.compare_runs import Comparison, Held, TaskHeld, compared
from favonius.evals.finished import Results, open_results
from favonius.evals.paired import FEWEST
from favonius.phrases import counted, printable
from favonius.progress import Progress

FIRST, SECOND = "A", "B"
VERDICTS = {
    "first": f"{FIRST} is better",
    "second": f"{SECOND} is better",
    "higher": f"{FIRST} is higher",
    "lower": f"{FIRST} is lower",
    None: "not told apart",
}


def run(options: argparse.Namespace) -> int:
    """Print or write the comparison; what makes the results unlike goes to stderr.

    UserError for folders without results, and for two that have no task in common.
    """
    if options.texts < 0:
        raise UserError(f"--texts {options.texts}: must be 0 or more")
    found = compared(open_results(options.first), open_results(options.second))
    if not found.tasks:
        raise UserError(
            f"{options.first} has {', '.join(found.only_first)} and {options.second} has "
            f"{', '.join(found.only_second)}: no task is in both"
        )
    for sentence in differences(found):
        Progress().say(f"note: {sentence}")
    deliver(record(found, options.texts), page(found, options.texts), options.json)
    return 0


def page(found: Comparison, texts: int = 0) -> str:
    """A table per task, categories below the headline, and the words that its columns need."""
    parts = [f"{FIRST}: {_place(found.first)}\n{SECOND}: {_place(found.second)}"]
    for task in found.tasks:
        parts += [f"{task.name}: {task.title}, {counted(len(task.shared.rows), 'item')} in both", _table(found, task)]
    parts.append(_legend(found))
    parts += [_text(task, *both) for task in found.tasks for both in task.regressions(texts)]
    return printable("\n\n".join(parts))


def _place(side: Results) -> str:
    return side.place if side.place.endswith(side.label) else f"{side.place} ({side.label})"


def _table(found: Comparison, task: TaskHeld) -> str:
    head = ("", FIRST, SECOND, f"{FIRST} − {SECOND}", "95 %", f"{FIRST} > {SECOND}", f"{FIRST} < {SECOND}", "=", "p",
            "Holm", "")  # fmt: skip
    rows = []
    for key, held in task.metrics.items():
        adjusted = found.adjusted.get(task.name) if key == task.headline else None
        rows.append(_row(held.metric.title, held, adjusted))
        if key == task.headline:
            rows += [_row(f"  {name}", own[key], None) for name, own in task.by_category.items() if key in own]
    return table(head, rows)


def _row(title: str, held: Held, adjusted: float | None) -> list[str | int]:
    unit, paired = held.metric.unit, held.paired
    values = [value(figure.value, unit) for figure in (held.first, held.second)]
    if paired is None:
        return [title, *values, NONE, NONE, "", "", "", "", "", "no item has both"]
    return [
        title,
        *values,
        bare(paired.difference.value, unit, "+"),
        interval(paired.difference._asdict(), unit),
        f"{paired.wins:,}",
        f"{paired.losses:,}",
        f"{paired.ties:,}",
        _chance(paired.p),
        "" if adjusted is None else _chance(adjusted),
        VERDICTS[held.verdict],
    ]


def _chance(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _legend(found: Comparison) -> str:
    lines = [
        f"{FIRST} − {SECOND} (of shares in points) is on the items that both have a number for, its interval from the "
        f"paired bootstrap; they are told apart where it leaves out 0 and {FEWEST} or more units differ.",
        f"{FIRST} > {SECOND} counts what is independent (questions, prompts); p is of the sign test on these counts.",
    ]
    if len(found.adjusted) > 1:
        lines.append(
            f"Holm: p of the {len(found.adjusted)} headlines, adjusted for their number; other rows are not adjusted."
        )
    return "\n".join(lines)


def _text(task: TaskHeld, mine: ItemRow, theirs: ItemRow) -> str:
    """One regression, with what was asked and both answers."""
    held = task.metrics[task.headline]
    lines = [f"── {task.name}, {mine.id}{f' ({mine.category})' if mine.category else ''}", mine.prompt]
    for name, row in ((FIRST, mine), (SECOND, theirs)):
        lines.append(
            f"{name}: {value(row.scores[task.headline], held.metric.unit)}{f', {row.note}' if row.note else ''}"
        )
        lines += [_indented(answer) for answer in row.answers]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"  │ {line}" for line in text.splitlines()) or "  │"
