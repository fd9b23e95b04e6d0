"""How long `favonius pairs` takes on a file of UltraFeedback's size, and how much memory.

    python -m benchmarks.pairs --prompts 64000 [--compare] [--rounds 3] [--json OUT.json]

The rows are made up, the same for the same seed: four completions of seventeen models, each with four aspects
(rationales, one rating in ten N/A), a critique and an overall score; lengths of texts are drawn around UltraFeedback's
means (prompt 185 tokens, answer 305, critique 143; four characters a token), rationales around 60. Making them is
not timed. The command runs as a process of its own; its memory is its resident set at its highest, children included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks.near_duplicates import SYLLABLES, unit

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
SOURCES = ("evol_instruct", "false_qa", "flan", "sharegpt", "truthful_qa", "ultrachat")
SHARES = (10_000, 2_339, 20_939, 19_949, 811, 9_929)
MODELS = tuple(f"model-{number}" for number in range(17))
TOKEN_CHARACTERS = 4
TEXT_CHARACTERS = 1 << 22


class Texts:
    """Stretches of one long made-up text."""

    def __init__(self, draw: random.Random) -> None:
        words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(20_000)]
        self._draw = draw
        self._text = " ".join(draw.choices(words, k=TEXT_CHARACTERS // 6))

    def of(self, mean_tokens: float) -> str:
        length = round(self._draw.gammavariate(2.0, mean_tokens / 2.0) * TOKEN_CHARACTERS) + 8
        start = self._draw.randrange(len(self._text) - length)
        return self._text[start : start + length]


def rows(prompts: int, seed: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(seed)
    texts = Texts(draw)
    for _ in range(prompts):
        models = draw.sample(MODELS, 4)
        yield {
            "source": draw.choices(SOURCES, SHARES)[0],
            "instruction": texts.of(185),
            "models": models,
            "completions": [completion(model, draw, texts) for model in models],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        }


def completion(model: str, draw: random.Random, texts: Texts) -> dict[str, Any]:
    quality = draw.gauss(3.5, 1.0)
    ratings = {name: min(5, max(1, round(quality + draw.gauss(0, 0.7)))) for name in ASPECTS}
    return {
        "model": model,
        "principle": "helpfulness",
        "custom_system_prompt": texts.of(40),
        "response": texts.of(305),
        "annotations": {
            name: {"Rating": "N/A" if draw.random() < 0.1 else str(rating), "Rationale": texts.of(60)}
            for name, rating in ratings.items()
        },
        "critique": texts.of(143),
        "overall_score": min(10.0, max(1.0, round(2 * quality + draw.gauss(0, 1)))),
        "fine-grained_score": sum(ratings.values()) / len(ratings),
    }


def measure(file: Path, compare: bool, rounds: int) -> dict[str, Any]:
    """Seconds of each round and the peak of all; what the command said."""
    command = [sys.executable, "-m", "favonius", "pairs", str(file), "--json", *(["--compare"] if compare else [])]
    seconds, cpu = [], []
    for number in range(rounds):
        out = file.with_name(f"pairs-{number}.jsonl")
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        said = subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        out.unlink()
    return {
        "compare": compare,
        "seconds": round(median(seconds), 1),
        "range": [round(min(seconds), 1), round(max(seconds), 1)],
        "cpu_seconds": round(median(cpu), 1),
        "peak_memory_GiB": round(after.ru_maxrss * unit() / 2**30, 2),
        "pairs": json.loads(said.stdout)["pairs"]["kept"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64_000)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "feedback.jsonl"
        with open(file, "wb") as made:
            made.writelines(orjson.dumps(row) + b"\n" for row in rows(arguments.prompts, arguments.seed))
        load = round(os.getloadavg()[0], 2)
        found = {"prompts": arguments.prompts, "MB": round(file.stat().st_size / 1e6), "load_before": load}
        found |= measure(file, arguments.compare, arguments.rounds)
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
