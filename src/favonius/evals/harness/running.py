"""lm-eval's own tasks over our rows, and what they make of a model, item by item.

Imported only where lm-eval is installed (extra `harness`). Nothing here reaches for the network: rows are handed over.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.model import CachingLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks._yaml_loader import load_yaml

from favonius.evals.harness.adapter import FavoniusLM
from favonius.evals.harness.boards import EXAMPLES_SEED, Board
from favonius.evals.harness.parts import Part


@dataclass(frozen=True)
class Outcome:
    """What lm-eval says of one question of a part."""

    scores: Mapping[tuple[str, str], float]
    """(metric, filter) → number."""
    texts: tuple[str, ...]
    """The continuations that were read, or what was written."""
    logprobs: tuple[float, ...]
    """Of the continuations; empty where the model wrote."""


def outcomes(board: Board, parts: Sequence[Part], shots: int, lm: FavoniusLM, cache: Path) -> dict[str, list[Outcome]]:
    """Part → outcomes in the order of its questions. No chat template is applied.

    What the model said is kept in `cache` until all is done, so that a run that was killed goes on where it was.
    """
    with _quietly():
        tasks = {part.name: _task(board, part, shots) for part in parts}
        cached = CachingLM(lm, str(cache))
        with closing(cached.dbdict):
            told = evaluate(cached, {"tasks": tasks, "groups": {}}, bootstrap_iters=0)
    cache.unlink()
    return {part.name: _of_part(part, told["samples"][part.name]) for part in parts}


def _task(board: Board, part: Part, shots: int) -> Any:
    rows = {board.questions: [row for _, row in part.questions]}
    if shots and board.examples:
        rows[board.examples] = list(part.examples)
    splits = {name: datasets.Dataset.from_list([row.model_dump() for row in own]) for name, own in rows.items()}
    config = load_yaml(part.file)
    for key in ("tag", "task_alias", "dataset_path", "dataset_name"):
        config.pop(key, None)
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        config[key] = config.get(key) if config.get(key) in splits else None
    task = ConfigurableTask(config={**config, "num_fewshot": shots, "custom_dataset": lambda **_: splits})
    task.set_fewshot_seed(EXAMPLES_SEED)
    return task


def _of_part(part: Part, samples: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """A question has as many samples as the task has filters."""
    scores: dict[int, dict[tuple[str, str], float]] = {}
    texts: dict[int, tuple[str, ...]] = {}
    logprobs: dict[int, tuple[float, ...]] = {}
    for sample in samples:
        number = sample["doc_id"]
        own = scores.setdefault(number, {})
        own.update({(name, sample["filter"]): float(sample[name]) for name in sample["metrics"]})
        answers = [one[0] for one in sample["resps"]]
        if isinstance(answers[0], str):
            texts[number], logprobs[number] = tuple(answers), ()
        else:
            texts[number] = tuple(continuation for _, continuation in sample["arguments"])
            logprobs[number] = tuple(logprob for logprob, _ in answers)
    return [Outcome(scores[number], texts[number], logprobs[number]) for number in range(len(part.questions))]


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep lm-eval's bars and remarks off the terminal, which is `Progress`'s; what matters is raised."""
    logger = logging.getLogger("lm_eval")
    level, bars = logger.level, datasets.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
