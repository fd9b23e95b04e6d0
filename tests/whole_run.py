"""A whole run in little: the real stages, trainings and judge on tiny random models, with scripted voices.

`python -m tests.whole_run run recipe.yaml --out DIR` is the command `favonius` whose engines are scripted: a random
model of 320 words says nothing that a stage would keep.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from favonius.cli import main
from favonius.engines import interview
from favonius.engines.config import EngineConfig
from favonius.engines.scripted import ScriptedEngine
from favonius.run import ModelSource
from favonius.types import Completion, Request
from tests.tiny import save_tiny

RECIPE = """\
name: whole
models: {base: base, teacher: teacher}
steps:
  dialogues: {stage: dialogues, seeds: seeds.jsonl, teacher: teacher, engine: {kind: transformers}, test_share: 0.25}
  dsft:
    {stage: train, model: base, rows: dialogues, objective: {kind: sft}, epochs: 2, batch_size: 4, learning_rate: 1e-3}
  answers:
    stage: answers
    prompts: dialogues
    pool: {base: {model: base}, dsft: {model: dsft}, teacher: {model: teacher}}
  ratings: {stage: ratings, answers: answers, judge: {kind: likelihood, model: teacher}}
  pairs: {stage: pairs, ratings: ratings}
  ddpo:
    stage: train
    model: dsft
    rows: pairs
    objective: {kind: dpo, beta: 0.1}
    epochs: 2
    batch_size: 4
    learning_rate: 1e-3
  ddpo-without-dsft: {stage: train, ablation: true, model: base, rows: pairs, objective: {kind: dpo}}
  evaluate:
    stage: evaluate
    models: {base: base, dSFT: dsft, dDPO: ddpo, dDPO without dSFT: ddpo-without-dsft}
    baseline: dSFT
    prompts: dialogues
    pairs: pairs
    judge: {kind: likelihood, model: teacher}
    teacher: teacher
"""


def write_recipe(folder: Path) -> Path:
    """Recipe, seeds and tiny models in `folder`."""
    for seed, name in enumerate(("base", "teacher")):
        save_tiny(folder / name, "gemma3", seed=seed)
    seeds = (f'{{"id": "s{n}", "prompt": "What about {n}, then?"}}\n' for n in range(24))
    (folder / "seeds.jsonl").write_text("".join(seeds))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


class Voice(ScriptedEngine):
    """Says something seeded by the request, and takes a moment to say it."""

    async def complete(self, request: Request) -> Completion:
        time.sleep(0.005)
        return await super().complete(request)


def _say(request: Request) -> str:
    rng = random.Random(request.key())
    if "follow-up question" in request.messages[-1].content:
        return f"What about {rng.randrange(99)} instead?"
    words = ["the", "quick", "fox", "answers", "weather", "another", "question", "brown"]
    return " ".join(rng.sample(words, rng.randint(2, 7))) + "."


@contextmanager
def _open(config: EngineConfig, source: ModelSource, *_: object) -> Iterator[Voice]:
    yield Voice(_say, model=source.digest)


if __name__ == "__main__":
    interview.open_engine = _open  # type: ignore[assignment]
    sys.exit(main(sys.argv[1:]))
