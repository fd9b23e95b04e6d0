"""Favonius' training step against TRL's, in one interleaved run.

    python -m benchmarks.train --task dpo --model FOLDER --rows FILE.jsonl.gz --rounds 3 --json OUT.json

Rows are {"prompt", "chosen", "rejected"} or {"messages"}; without --rows they are made up. Every side is a process
that has the machine to itself while it makes a step; the sides take turns, step by step. The first step of each is not
counted. Both get the same token arrays in the same order; before anything is timed their log-probs are compared.
docs/benchmarks.md says what is measured and what the columns mean.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for both sides, and before torch is loaded

from benchmarks import gate, machine, results
from benchmarks.rows import Task, logical_tokens, read
from benchmarks.running import Running
from benchmarks.sides import Side, Work
from favonius.chat.format import ChatFormat
from favonius.chat.template import ZEPHYR
from favonius.errors import UserError
from favonius.models.config import ModelConfig
from favonius.models.resolve import resolve
from favonius.progress import Progress

TECHNIQUES = ("sharing", "packing", "block attention", "compiled head", "compiled layers", "kept memory")


def measure(sides: Sequence[Side], work: Work, rounds: int, say: Progress) -> list[Running]:
    running = []
    for side in sides:
        running.append(Running.start(side, work))
        ready = running[-1].ready
        say.say(
            f"{side.name}: ready; reference pass {ready.reference_seconds:.1f} s, start {ready.warm_up_seconds:.1f} s"
        )
    for round_ in range(rounds + 1):
        for one in running:
            step = one.step()
            kind = f"round {round_}" if round_ else "warm-up"
            say.say(
                f"{kind}  {one.side.name}: {step.tokens / step.seconds:.0f} logical tokens/s ({step.seconds:.1f} s)"
            )
    for one in running:
        one.finish()
    return running


def trl_best(work: Work, batches: Sequence[int], compiles: bool, tokens: int, say: Progress) -> Side:
    """The fastest of TRL's settings by one step each, after one that is not counted, reference pass included."""
    weights = {"bf16 weights": False, "fp32 weights": True}
    cells = [
        Side(f"TRL, batch {batch}, {name}", batch, autocast=autocast)
        for batch in batches
        for name, autocast in weights.items()
    ]
    if compiles:
        cells += [replace(cell, name=f"{cell.name}, torch.compile", torch_compile=True) for cell in cells]
    speeds = {}
    for cell in cells:
        (one,) = measure([cell], work, 1, say)
        (speeds[cell],) = results.speeds(one, tokens)
        say.say(f"{cell.name}: {speeds[cell]:.0f} logical tokens/s with its reference pass")
    return max(cells, key=lambda cell: speeds[cell])


def main() -> None:
    arguments = parsed()
    say = Progress()
    source = resolve("model", ModelConfig(source=arguments.model), Path.cwd(), say)
    try:
        form = ChatFormat.load(source)
    except UserError:  # a base model, without a chat template
        form = ChatFormat.load(replace(source, template=ZEPHYR))
    count = (arguments.rounds + 1) * arguments.batch
    rows = read(arguments.task, arguments.rows, form, arguments.max_length, count)
    work = Work(
        arguments.task, source.folder, tuple(rows), arguments.batch, arguments.max_length, arguments.pack_tokens,
        not arguments.no_compile,
    )  # fmt: skip
    before = machine.state()
    difference = gate.max_abs_logp_diff(work)
    say.say(f"log-probs of both sides in fp32 differ by at most {difference:.1e}")
    best = trl_best(work, arguments.trl_batches, arguments.trl_compile, logical_tokens(rows), say)
    default = Side(f"TRL, its defaults, batch {min(8, arguments.batch)}", min(8, arguments.batch), True, autocast=True)
    sides = [Side("Favonius"), best, default]
    running = measure(sides, work, arguments.rounds, say)
    for technique in TECHNIQUES if arguments.ablate else ():  # one at a time: together they would not fit into memory
        running += measure([Side(f"Favonius without {technique}", without=technique)], work, arguments.rounds, say)
    found = results.summary(work, running, logical_tokens(rows), difference, before, machine.state())
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(results.page(found))
    say.say(results.page(found))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=Task.__args__, required=True)
    parser.add_argument("--model", required=True, help="a folder, or any other model source of a recipe")
    parser.add_argument("--rows", type=Path, help="JSONL, also gzipped; made up where it is left out")
    parser.add_argument("--rounds", type=int, default=3, help="optimizer steps that are counted (3)")
    parser.add_argument("--batch", type=int, default=2, help="rows per optimizer step (2)")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--pack-tokens", type=int, default=2048)
    parser.add_argument("--trl-batches", type=_numbers, default=(1,), help="per-device batches to try for TRL (1)")
    parser.add_argument("--trl-compile", action="store_true", help="try TRL with torch.compile too")
    parser.add_argument("--no-compile", action="store_true", help="do not compile Favonius' decoder layers")
    parser.add_argument("--ablate", action="store_true", help="also Favonius with each technique turned off")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
