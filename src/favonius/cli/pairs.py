"""`favonius pairs`: any file of feedback becomes pairs by one rule, or shows how rules differ on it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import chain, islice

from favonius.cli.pair_files import PairFiles, pair_files
from favonius.cli.pair_options import aspects_of, binarisation, refuse_misfits
from favonius.cli.pair_tables import page
from favonius.data.benchmarks_known import read_benchmark
from favonius.data.decontaminate import EvaluationIndex
from favonius.data.intake import Intake, read_any
from favonius.data.shapes import LOOKED_AT
from favonius.data.splits import opening, split_of
from favonius.doctor.paint import Paint
from favonius.errors import UserError
from favonius.feedback.binarise import as_pairs
from favonius.feedback.compare_rules import Compared, Variant, variants
from favonius.feedback.config import Binarisation
from favonius.feedback.pairs import Account, in_words, prepared, stats
from favonius.feedback.reference import Reference
from favonius.files import json_text
from favonius.progress import LIVE_SECONDS, Progress
from favonius.types import Feedback

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes."""


def run(options: argparse.Namespace) -> None:
    """Write the pairs of FILE, or compare rules on it, or both, and print what came of it.

    UserError for options that do not fit, a file that is not there or holds no feedback, and one that gives no pair.
    """
    refuse_misfits(options)
    intake, account = Intake(), Account()
    first, rows = feedback_of(options.file, options.salvage, intake)
    how = binarisation(options, aspects_of(first))
    own = Variant(how.rule.name, how.rule, how.score)
    reference = Reference.of(feedback_of(options.reference, False, Intake())[1]) if options.reference else None
    compared = Compared(variants(how, first) if options.compare else [own], how, reference)
    clear = _clear(_told(rows, options.file), options.benchmarks, account)
    with pair_files(options.out, options.form) if options.out is not None else nullcontext() as files:
        for row in prepared(_split(clear, options.test_share), how, account):
            _add(row, compared, how, files)
        if not compared.own.sums.pairs:
            raise UserError(f"{options.file}: no prompt gives a pair ({in_words(account, compared.own)})")
        if files is not None and not files.rows:
            raise UserError(f"--as {options.form}: no pair fits this form ({', '.join(files.unfit.counts)})")
    for sentence in intake.losses.sentences():
        Progress().say(sentence)
    found = record(options, how, intake, account, compared, files)
    paint = Paint(colours=not options.no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty())
    print(json_text(found) if options.json else page(found, paint))


def feedback_of(spec: str, salvage: bool, intake: Intake) -> tuple[list[Feedback], Iterator[Feedback]]:
    """The first rows, to see what they have, and all of them. UserError where they are something else."""
    shape, rows = read_any(spec, salvage=salvage, intake=intake)
    if shape != "ultrafeedback":
        raise UserError(
            f"{spec}: pairs are made of rated answers (an instruction and completions with scores), and these rows "
            f"have the shape {shape}"
        )
    checked = (row for row in rows if isinstance(row, Feedback))
    first = list(islice(checked, LOOKED_AT))
    return first, chain(first, checked)


def record(
    options: argparse.Namespace, how: Binarisation, intake: Intake, account: Account, compared: Compared,
    files: PairFiles | None,
) -> dict[str, object]:  # fmt: skip
    """What --json prints, and what the page is made of."""
    return {
        "schema": SCHEMA,
        "file": options.file,
        "how": how.model_dump(),
        "benchmarks": options.benchmarks,
        "read": intake.record(),
        "pairs": stats(account, compared.own),
        "written": {str(path): rows for path, rows in files.rows.items()} if files is not None else {},
        "unfit": dict(files.unfit.counts) if files is not None else {},
        **({"comparison": compared.record()} if options.compare else {}),
    }


def _add(row: Feedback, compared: Compared, how: Binarisation, files: PairFiles | None) -> None:
    made = compared.add(row)[0]
    if files is not None:
        for pair in as_pairs(row, made, how.rule, how.score, how.seed):
            files.add(pair)


def _clear(rows: Iterable[Feedback], benchmarks: list[str], account: Account) -> Iterator[Feedback]:
    """The rows whose prompts hold nothing of the benchmarks."""
    index = EvaluationIndex([text for spec in benchmarks for text in read_benchmark(spec)]) if benchmarks else None
    for row in rows:
        hits = index.hits(row.prompt) if index is not None else []
        if not hits:
            yield row
            continue
        account.prompts += 1
        account.dropped.add(f"prompt in {hits[0].benchmark}", f"{row.id} holds of {hits[0].item}: {hits[0].matched}")


def _split(rows: Iterable[Feedback], test_share: float | None) -> Iterable[Feedback]:
    """By the prompts' text where a share is asked for; else as the rows say."""
    if test_share is None:
        return rows
    return (row.model_copy(update={"split": split_of(opening(row.prompt), test_share)}) for row in rows)


def _told(rows: Iterable[Feedback], spec: str) -> Iterator[Feedback]:
    """On a terminal, a line that says how far the reading is; it is gone in the end."""
    progress, shown = Progress(), time.monotonic()
    for number, row in enumerate(rows, start=1):
        yield row
        if time.monotonic() - shown > LIVE_SECONDS:
            shown = time.monotonic()
            progress.now(f"{spec}: {number:,} prompts")
    progress.now("")
