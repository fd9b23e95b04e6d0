"""`python -m favonius.pipeline.planning.dry_decode job.json`: like `dry`, of answering. Prints its Written as JSON."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from transformers import AutoConfig

from favonius.engines.decoder import Decoder, Job
from favonius.models.load import device, resolve_dtype
from favonius.pipeline.planning.outlines import built
from favonius.types import Noun, Sampling

PROMPT_TOKENS = 128
STEPS = 4
"""Measured, after one that is not."""


class Answering(Noun):
    """What to try: a model's shape, and how many answers are written at once in how much room."""

    shape: dict[str, Any]
    slots: int
    context_tokens: int


class Written(Noun):
    """Seconds."""

    token: float
    """To read a token of a prompt."""
    step: float
    """To write a token in every slot."""


def measure(job: Answering) -> Written:
    place = device()
    model = built(AutoConfig.for_model(**job.shape), resolve_dtype("auto", place), place)
    decoder = Decoder(model, frozenset(), job.slots, job.context_tokens)
    length = max(1, min(PROMPT_TOKENS, job.context_tokens - STEPS - 3))
    prompts = [_admitted(decoder, length, slot) for slot in range(job.slots)]
    steps = [_seconds(decoder.step) for _ in range(STEPS + 1)]
    return Written(token=median(prompts[1:] or prompts) / length, step=median(steps[1:]))


def _admitted(decoder: Decoder, length: int, seed: int) -> float:
    draw = random.Random(seed)
    job = Job([draw.randrange(100) for _ in range(length)], Sampling(max_tokens=STEPS + 3), draw)
    return _seconds(lambda: decoder.admit(job))


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(path: str) -> int:
    print(measure(Answering.model_validate(json.loads(Path(path).read_text("utf-8")))).model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
