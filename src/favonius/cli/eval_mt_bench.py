"""`favonius eval mt-bench score`: means of a judge's grades, by turn and by category."""

from __future__ import annotations

import argparse

from favonius.cli.eval_output import deliver
from favonius.cli.tables import table
from favonius.evals.mt_bench.questions import TURNS, published_categories, read_questions
from favonius.evals.mt_bench.record import amiss, record
from favonius.evals.mt_bench.rows import read_judgments
from favonius.evals.mt_bench.scores import Scores, scores
from favonius.progress import Progress
from favonius.statistics import Estimate

NONE = "–"


def run(options: argparse.Namespace) -> int:
    """Print or write the means, and say on stderr what of the file does not add up."""
    categories = published_categories()
    if options.questions is not None:
        categories = {number: one.category for number, one in read_questions(options.questions).items()}
    found = scores(read_judgments(options.judgments), categories, options.models, options.judge)
    progress = Progress()
    for sentence in amiss(found):
        progress.say(f"note: {sentence}")
    deliver(record(found), page(found), options.json)
    return 0


def page(found: Scores) -> str:
    """Best mean first."""
    graded = [(model, found.grades(model)) for model in found.models if model]
    graded.sort(key=lambda one: -(mean.value if (mean := one[1].mean()) else 0.0))
    head = ("model", "mean", "95 %", *(f"turn {turn}" for turn in TURNS), "n", "unparsed")
    rows: list[list[str | int]] = []
    for model, own in graded:
        mean = own.mean()
        interval = NONE if mean is None else f"{mean.low:.2f}–{mean.high:.2f}"
        turns = [_shown(own.mean(turn)) for turn in TURNS]
        rows.append([model, _shown(mean), interval, *turns, len(own.scored()), own.unparsed])
    names = list(dict.fromkeys(found.categories.values()))
    by_category = [[name, *(_shown(own.mean(category=name)) for _, own in graded)] for name in names]
    return (
        f"{table(head, rows)}\n\n{table(('category', *(model for model, _ in graded)), by_category)}\n\n"
        f"Judge: {found.judge}. Grades from 1 to 10; intervals are over questions."
    )


def _shown(estimate: Estimate | None) -> str:
    return NONE if estimate is None else f"{estimate.value:.2f}"
