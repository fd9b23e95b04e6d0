"""`favonius pairs --from-votes`: what people preferred in `favonius demo` becomes rows of dDPO."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from favonius.cli.pair_files import PairFiles, pair_files
from favonius.cli.pair_options import refuse_bad_output
from favonius.data.benchmarks_known import read_benchmark
from favonius.data.decontaminate import EvaluationIndex
from favonius.data.splits import split_of
from favonius.doctor.paint import Paint
from favonius.errors import UserError
from favonius.files import json_text
from favonius.phrases import counted, printable
from favonius.serve.demo.preferences import VoteAccount, pairs_of_votes
from favonius.serve.demo.votes import Reading, Vote, read

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes."""
OF_RATINGS: dict[str, object] = {
    "file": None,
    "compare": False,
    "rule": "best-vs-random",
    "score": "both",
    "margin": None,
    "within": None,
    "most": None,
    "repair": False,
    "keep_source": [],
    "reference": None,
    "salvage": False,
    "seed": 0,
}
"""Options that only ratings have a use for, and what they are where they are not given."""


def run(options: argparse.Namespace) -> None:
    """Write the pairs of the votes and print what came of them.

    UserError for options that do not fit, a file that is not there or holds no votes, and one that gives no pair.
    """
    _refuse_misfits(options)
    reading, account = Reading(), VoteAccount()
    votes = _clear(read(options.from_votes, reading), options.benchmarks, account)
    pairs = pairs_of_votes(votes, partial(split_of, test_share=options.test_share or 0.0), account)
    if not pairs:
        raise UserError(f"{options.from_votes}: no vote gives a pair ({_causes(account, reading) or 'there are none'})")
    with pair_files(options.out, options.form) as files:
        for pair in pairs:
            files.add(pair)
        if not files.rows:
            raise UserError(f"--as {options.form}: no pair fits this form ({', '.join(files.unfit.counts)})")
    found = record(options, reading, account, files)
    paint = Paint(colours=not options.no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty())
    print(json_text(found) if options.json else page(found, paint))


def _refuse_misfits(options: argparse.Namespace) -> None:
    for name, unused in OF_RATINGS.items():
        if getattr(options, name) != unused:
            shown = "FILE" if name == "file" else f"--{name.replace('_', '-')}"
            raise UserError(f"{shown} is for rated answers, and --from-votes reads none; leave one of them out")
    if options.out is None:
        raise UserError("nothing to do: name the file for the pairs with --out")
    refuse_bad_output(options)


def _clear(votes: Iterable[Vote], benchmarks: list[str], account: VoteAccount) -> Iterator[Vote]:
    """The votes whose prompts hold nothing of the benchmarks."""
    index = EvaluationIndex([text for spec in benchmarks for text in read_benchmark(spec)]) if benchmarks else None
    for vote in votes:
        hits = index.hits(vote.prompt) if index is not None else []
        if not hits:
            yield vote
            continue
        account.votes += 1
        account.dropped.add(f"prompt in {hits[0].benchmark}", f"{vote.id} holds of {hits[0].item}: {hits[0].matched}")


def record(options: argparse.Namespace, reading: Reading, account: VoteAccount, files: PairFiles) -> dict[str, Any]:
    """What --json prints, and what the page is made of."""
    return {
        "schema": SCHEMA,
        "file": str(options.from_votes),
        "benchmarks": options.benchmarks,
        "votes": account.votes,
        "torn_lines": reading.torn,
        "repeated_lines": reading.repeated,
        "pairs": account.pairs,
        "held_out": account.held_out,
        "contradictions": account.contradictions,
        **account.dropped.record(),
        "chosen": dict(account.chosen.most_common()),
        "written": {str(path): rows for path, rows in files.rows.items()},
        "unfit": dict(files.unfit.counts),
    }


def page(found: dict[str, Any], paint: Paint) -> str:
    held_out = f", {found['held_out']:,} of them held out" if found["held_out"] else ""
    chosen = ", ".join(f"{printable(model)} {count:,} times" for model, count in found["chosen"].items())
    lines = [
        paint.head(f"{counted(found['pairs'], 'pair')}{held_out}, of {counted(found['votes'], 'vote')}"),
        *(f"  {counted(rows, 'row')}: {path}" for path, rows in found["written"].items()),
        *(f"  {counted(count, 'vote')} gave none: {cause}" for cause, count in found["dropped"].items()),
        *(f"  {counted(count, 'pair')} left out, as the form cannot hold it: {cause}"
          for cause, count in found["unfit"].items()),
        *([f"  {counted(found['torn_lines'], 'torn line')} skipped"] if found["torn_lines"] else []),
        *([f"  {counted(found['repeated_lines'], 'line')} of a vote that stands there already skipped"]
          if found["repeated_lines"] else []),
        f"  preferred: {chosen}",
    ]  # fmt: skip
    return "\n".join(lines)


def _causes(account: VoteAccount, reading: Reading) -> str:
    torn = [f"{counted(reading.torn, 'line')} that cannot be read"] if reading.torn else []
    return ", ".join([*torn, *(f"{count:,} {cause}" for cause, count in account.dropped.counts.most_common())])
