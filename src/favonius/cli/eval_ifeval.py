"""`favonius eval ifeval score`: stored answers are checked against the instructions of their prompts."""

from __future__ import annotations

import argparse
from typing import Any

from favonius.cli.eval_output import deliver
from favonius.cli.tables import table
from favonius.data.checks import Drops
from favonius.data.raw import Losses
from favonius.data.sources import open_rows
from favonius.errors import UserError
from favonius.evals.ifeval.rows import answered
from favonius.evals.ifeval.score import result, score
from favonius.phrases import counted
from favonius.progress import Progress

SCHEMA = 1
"""Raised when a field of the JSON changes its meaning or goes."""


def run(options: argparse.Namespace) -> int:
    """Score, and print or write the result. UserError where not one prompt has an answer that can be scored."""
    left_out, losses = Drops(), Losses()
    prompts, responses = (
        open_rows(str(path), salvage=True, losses=losses) for path in (options.prompts, options.responses)
    )
    ready = answered(prompts, responses, left_out)
    for sentence in losses.sentences():
        Progress().say(sentence)
    if not ready:
        causes = ", ".join(f"{cause} × {count:,}" for cause, count in left_out.counts.items())
        raise UserError(f"{options.responses}: no prompt of {options.prompts} can be scored ({causes or 'no rows'})")
    found = {
        "schema": SCHEMA,
        **result(list(map(score, ready))),
        "left_out": dict(left_out.counts),
        "left_out_samples": left_out.samples,
        "lost": losses.record(),
    }
    for cause, count in left_out.counts.items():
        Progress().say(f"not scored: {cause} × {count:,}, such as {left_out.samples[cause][0]}")
    deliver(found, page(found), options.json)
    return 0


def page(found: dict[str, Any]) -> str:
    """The four numbers with their intervals, and each kind of instruction."""
    head = ("", "strict %", "95 %", "loose %", "95 %")
    rows = [[f"{level}s followed", *_cells(found, level)] for level in ("prompt", "instruction")]
    kinds = [
        [name, kind["n"], f"{kind['strict']:.1f}", f"{kind['loose']:.1f}"]
        for name, kind in found["by_instruction"].items()
    ]
    n = found["n"]
    return "\n\n".join(
        (
            f"IFEval: {counted(n['prompts'], 'prompt')} with {counted(n['instructions'], 'instruction')}",
            table(head, rows),
            table(("instruction", "n", "strict %", "loose %"), kinds),
        )
    )


def _cells(found: dict[str, Any], level: str) -> list[str]:
    cells = []
    for manner in ("strict", "loose"):
        low, high = found["intervals"][manner][level]
        cells += [f"{found[manner][level]:.2f}", f"{low:.1f}–{high:.1f}"]
    return cells
