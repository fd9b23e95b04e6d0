"""Favonius' lm-eval adapter against lm-eval's own transformers backend, in one interleaved run.

    python -m benchmarks.harness --model FOLDER --precision fp32 --questions 2 --rounds 3 --keep

Questions are made up in the shapes of the leaderboard's tasks. In each round all sides read the same new questions, in
turns; the first round is not counted. All get the same weights, tokenizer and requests, and what they find is compared.
Without --model: SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all sides, and before torch is loaded
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer

from benchmarks import machine
from benchmarks.suite import HERE, MODELS, QUICKSTART
from favonius.evals.harness.adapter import FavoniusLM
from favonius.models.config import ModelConfig
from favonius.models.load import load
from favonius.models.resolve import resolve
from favonius.progress import Progress
from favonius.run import ModelSource

BATCHES = (1, 8)
"""Of lm-eval's backend: what the leaderboard used, and one that is faster where it is."""
WORDS = ["river", "quickly", "stone", "answer", "window", "because", "table", "winter", "follow", "market", "history"]


@dataclass(frozen=True)
class Shape:
    """Tokens, about: of what all questions share, of each context beside it, and of each of its choices."""

    name: str
    shared: int
    context: int
    choices: int
    choice: int


SHAPES = (
    Shape("HellaSwag, 10-shot", 0, 1000, 4, 25),
    Shape("ARC, 25-shot", 0, 2000, 4, 6),
    Shape("TruthfulQA", 200, 25, 7, 12),
    Shape("MMLU, 5-shot", 600, 90, 4, 1),
)


@dataclass(frozen=True)
class Side:
    name: str
    read: Callable[[list[Instance]], list[tuple[float, bool]]]


def main() -> None:
    arguments = parsed()
    say = Progress()
    before = machine.state()
    source = resolve(_name(arguments.model), ModelConfig(source=arguments.model), Path.cwd(), say)
    if not isinstance(source, ModelSource):
        raise SystemExit(f"{arguments.model}: weights are needed, not a served model")
    found = [
        {
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine.name(),
            "versions": {package: version(package) for package in ("lm_eval", "torch", "transformers")},
            "threads": torch.get_num_threads(),
            "model": source.name,
            "precision": arguments.precision,
            **one,
            "machine_before": before,
            "machine_after": machine.state(),
        }
        for one in measure(source, arguments, say)
    ]
    say.say(page(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.keep:
        say.say(str(keep(found)))


def measure(source: ModelSource, arguments: argparse.Namespace, say: Progress) -> Iterator[dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(source.folder)
    sides = opened(source, tokenizer, arguments.precision)
    for shape in SHAPES:
        if arguments.shape in (None, shape.name.split(",")[0].lower()):
            yield interleaved(shape, sides, tokenizer, arguments.questions, arguments.rounds, say)


def opened(source: ModelSource, tokenizer: Any, precision: Any) -> list[Side]:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    ours = FavoniusLM(load(source, precision), tokenizer, progress=Progress(io.StringIO()))
    sides = [Side("favonius", lambda requests: ours.loglikelihood(requests, disable_tqdm=True))]
    theirs = load(source, precision, attention="sdpa")
    for batch in BATCHES:
        backend = HFLM(theirs, tokenizer=tokenizer, batch_size=batch)
        sides.append(
            Side(f"lm-eval, batch {batch}", lambda requests, lm=backend: lm.loglikelihood(requests, disable_tqdm=True))
        )
    return sides


def interleaved(
    shape: Shape, sides: Sequence[Side], tokenizer: Any, questions: int, rounds: int, say: Progress
) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    difference, per_token, flags = 0.0, 0.0, 0
    for number in range(rounds + 1):
        requests = made_up(shape, tokenizer, questions, random.Random(f"{shape.name} {number}"))
        read = {}
        for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
            began = time.perf_counter()
            read[side.name] = side.read(requests)
            if number:
                seconds[side.name].append(time.perf_counter() - began)
        ours, theirs = read[sides[0].name], read[sides[1].name]
        apart = [abs(a - b) for (a, _), (b, _) in zip(ours, theirs, strict=True)]
        tokens = [len(tokenizer(one.args[1], add_special_tokens=False)["input_ids"]) for one in requests]
        difference = max(difference, *apart)
        per_token = max(per_token, *(value / count for value, count in zip(apart, tokens, strict=True)))
        flags += sum(a != b for (_, a), (_, b) in zip(ours, theirs, strict=True))
        say.say(f"{shape.name}, round {number} of {rounds}: " + _rates(seconds, questions))
    ratios = {
        side.name: [other / ours for other, ours in zip(seconds[side.name], seconds[sides[0].name], strict=True)]
        for side in sides[1:]
    }
    best = min(ratios, key=lambda name: median(ratios[name]))
    return {
        "shape": shape.name,
        "questions": questions,
        "rounds": rounds,
        "questions_per_s": {name: round(questions / median(own), 4) for name, own in seconds.items()},
        "best": best,
        "ratio_vs_best": round(median(ratios[best]), 3),
        "ratio_vs_best_range": [round(min(ratios[best]), 3), round(max(ratios[best]), 3)],
        "ratio_vs_batch_1": round(median(ratios[sides[1].name]), 3),
        "max_abs_difference": difference,
        "max_abs_difference_per_token": per_token,
        "other_greedy_flags": flags,
    }


def made_up(shape: Shape, tokenizer: Any, questions: int, rng: random.Random) -> list[Instance]:
    shared = _text(tokenizer, shape.shared, random.Random(0)) + "\n\n" if shape.shared else ""
    requests = []
    for _ in range(questions):
        context = f"{shared}Question: {_text(tokenizer, shape.context, rng)}\nAnswer:"
        several = [_text(tokenizer, shape.choice, rng) for _ in range(shape.choices)]
        choices = "ABCD" if shape.choice == 1 else several
        requests += [Instance("loglikelihood", {}, (context, f" {choice}"), 0) for choice in choices]
    return requests


def _text(tokenizer: Any, tokens: int, rng: random.Random) -> str:
    """Words of about so many tokens."""
    words = [rng.choice(WORDS) for _ in range(tokens)]
    each = len(tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]) / tokens
    return " ".join(words[: max(1, round(tokens / each))])


def _rates(seconds: dict[str, list[float]], questions: int) -> str:
    return ", ".join(f"{name} {questions / own[-1]:.3f} questions/s" for name, own in seconds.items() if own) or "warm"


def page(found: Sequence[dict[str, Any]]) -> str:
    one = found[0]
    packages = ", ".join(f"{name} {text}" for name, text in one["versions"].items())
    before, after = one["machine_before"]["load"], found[-1]["machine_after"]["load"]
    lines = [
        "# The lm-eval adapter",
        "",
        f"{one['machine']}, {one['threads']} threads, {one['date']}; {packages}; load {before} before and {after} "
        "after. Questions per second, the sides in turns; ratios are medians over rounds. The difference is the "
        "largest of a continuation's log-likelihood.",
        "",
        "| model | precision | shape | favonius | lm-eval, batch 1 | lm-eval, batch 8 | ratio to its best | range "
        "| to batch 1 | difference | per token | other greedy flags |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        rates = " | ".join(f"{rate:.3f}" for rate in one["questions_per_s"].values())
        low, high = one["ratio_vs_best_range"]
        lines.append(
            f"| {one['model']} | {one['precision']} | {one['shape']} | {rates} | **{one['ratio_vs_best']:.2f}** | "
            f"{low:.2f} to {high:.2f} | {one['ratio_vs_batch_1']:.2f} | {one['max_abs_difference']:.1e} | "
            f"{one['max_abs_difference_per_token']:.1e} | {one['other_greedy_flags']} |"
        )
    return "\n".join(lines) + "\n"


def keep(found: Sequence[dict[str, Any]]) -> Path:
    """Write today's files for this machine; what was measured earlier today of other models and shapes stays."""
    file = HERE / "results" / f"{machine.dated()}-harness.json"

    def key(one: dict[str, Any]) -> tuple[str, ...]:
        return one["model"], one["precision"], one["shape"]

    again = {key(one) for one in found}
    earlier = [one for one in json.loads(file.read_text()) if key(one) not in again] if file.exists() else []
    file.write_text(json.dumps([*earlier, *found], indent=1) + "\n")
    file.with_suffix(".md").write_text(page([*earlier, *found]))
    return file.with_suffix(".md")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=_quickstarts(), help="any model source of a recipe (SmolLM2-135M-Instruct)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--shape", choices=[shape.name.split(",")[0].lower() for shape in SHAPES], help="one of them")
    parser.add_argument("--questions", type=int, default=2, help="of a round (2)")
    parser.add_argument("--rounds", type=int, default=3, help="that are counted (3)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="write today's files in benchmarks/results/")
    return parser.parse_args()


def _name(spec: str) -> str:
    return Path(spec.split("#")[0]).name


def _quickstarts() -> str:
    """The source of the quickstart's smaller model."""
    entry = yaml.safe_load(QUICKSTART.read_text())["models"][MODELS["SmolLM2-135M-Instruct"]]
    return str(entry if isinstance(entry, str) else entry["source"])


if __name__ == "__main__":
    main()
