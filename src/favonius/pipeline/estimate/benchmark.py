"""What benchmarks ask of models and judges, and what they read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from favonius.evals.benchmarks.config import (
    AlpacaEval,
    AnyTask,
    BenchmarkConfig,
    Gsm8k,
    Harness,
    Health,
    MtBench,
    Perplexity,
    Preference,
    RankingJudge,
    RowsTask,
    Safety,
)
from favonius.evals.benchmarks.task import AskedTask, Item
from favonius.pipeline.estimate.amounts import INSTRUCTION_TOKENS, Asks, Estimate, tokens_of
from favonius.pipeline.estimate.judging import TEMPLATE_TOKENS, Cases, Judging, judging
from favonius.run import FileRef, Inputs, ModelRef, references

QUESTIONS, CATEGORIES, INSTRUCTIONS, PROBLEMS = 80, 8, 805, 1319
"""Of MT-Bench, AlpacaEval and GSM8K as they are published: what is on the hub is not fetched to be counted."""
GRADE_TOKENS = 2048
"""Of MT-Bench's judge."""
VERDICT_TOKENS = 64
"""Of a judge that ranks, or says whether an answer refuses."""


@dataclass(frozen=True)
class Talks:
    """What each model is asked by a task."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    longest: int
    """Tokens of the longest conversation before its last answer, about."""

    def of(self, model: str) -> Asks:
        return Asks(model, self.requests, self.prompt_tokens, self.completion_tokens)


def of_benchmark(config: BenchmarkConfig, found: Mapping[str, Estimate], folder: Path) -> Estimate:
    parts = [_of_task(name, task, config, found, folder) for name, task in config.tasks.items()]
    asks = tuple(ask for part in parts for ask in part.asks)
    return Estimate(
        written=sum(ask.completion_tokens for ask in asks),
        read=sum(part.read for part in parts),
        asks=asks,
        reasks=any(part.reasks for part in parts),
        uncounted=tuple(name for name, task in config.tasks.items() if isinstance(task, Harness)),
    )


def _of_task(name: str, task: AnyTask, config: BenchmarkConfig, found: Mapping[str, Estimate], folder: Path) -> Judging:
    """Of all models."""
    if isinstance(task, Harness):
        return Judging()
    if isinstance(task, (Preference, Perplexity)):
        return Judging(read=len(config.models) * _read(task, found, folder))
    talks = _talks(name, task, found, folder)
    asks = [talks.of(model) for model in config.models.values()]
    if isinstance(task, (MtBench, AlpacaEval)) and task.baseline is not None:
        asks.append(talks.of(task.baseline))
    judged = sum((_judged(task, talks, folder) for _ in config.models), Judging())
    return Judging(tuple(asks)) + judged


def _read(task: Preference | Perplexity, found: Mapping[str, Estimate], folder: Path) -> int:
    """Tokens that each model reads, every row as long as it may be."""
    rows = _rows(task, found, folder)
    if isinstance(task, Perplexity):
        return rows * task.max_length
    return rows * 2 * task.max_length * (1 if task.reference is None else 2)


def _rows(task: RowsTask, found: Mapping[str, Estimate], folder: Path) -> int:
    from favonius.data.intake import read_any  # readers of every format

    if task.step is not None:
        count = found[task.step].test
    else:
        count = sum(1 for _ in read_any(str(folder / str(task.file)))[1])
    return count if task.limit is None else min(count, task.limit)


def _talks(name: str, task: AnyTask, found: Mapping[str, Estimate], folder: Path) -> Talks:
    """Exactly, where the items are on this machine."""
    most = math.inf if task.limit is None else task.limit
    match task:
        case MtBench(questions=None):
            return _alike(int(min(QUESTIONS, CATEGORIES * most)), INSTRUCTION_TOKENS, task.tokens, turns=2)
        case AlpacaEval(instructions=None):
            return _alike(int(min(INSTRUCTIONS, most)), INSTRUCTION_TOKENS, task.sampling.max_tokens)
        case Gsm8k(problems=None):
            prompt = INSTRUCTION_TOKENS * (1 + task.shots)
            return _alike(int(min(PROBLEMS, most)), prompt, task.sampling.max_tokens)
        case Health() if task.step is not None:
            of_step = found[task.step]
            return _alike(int(min(of_step.test, most)), of_step.prompt_tokens, task.sampling.max_tokens)
    from favonius.evals.benchmarks.open import open_task

    files = {str(one): folder / one for one in references(task) if isinstance(one, FileRef)}
    return _sum(cast(AskedTask, open_task(name, task, Inputs({}, {}, files))).items())


def _alike(count: int, prompt: int, answer: int, turns: int = 1) -> Talks:
    """`count` conversations, each turn of which has a prompt of so many tokens."""
    read = sum((number + 1) * prompt + number * answer for number in range(turns))
    last = turns * prompt + (turns - 1) * answer
    return Talks(count * turns, count * read, count * turns * answer, last)


def _sum(items: Sequence[Item]) -> Talks:
    found = [one for item in items for one in _turns(item)]
    return Talks(
        len(found),
        sum(prompt for prompt, _ in found),
        sum(answer for _, answer in found),
        max((prompt for prompt, _ in found), default=0),
    )


def _turns(item: Item) -> Iterator[tuple[int, int]]:
    """Tokens read and written in each turn."""
    read, answer = sum(tokens_of(message.content) for message in item.messages), item.sampling.max_tokens
    yield read, answer
    for follow_up in item.follow_ups:
        read += answer + tokens_of(follow_up)
        yield read, answer


def _judged(task: AnyTask, talks: Talks, folder: Path) -> Judging:
    """What a judge is asked of one model's answers."""
    answer = talks.completion_tokens // max(1, talks.requests)
    shown = TEMPLATE_TOKENS + talks.longest + answer
    match task:
        case MtBench(mode="single"):
            return _asked(task.judge, talks.requests, shown, GRADE_TOKENS)
        case MtBench():
            return _asked(task.judge, 2 * talks.requests, shown + talks.longest + answer, GRADE_TOKENS)
        case AlpacaEval(judge=RankingJudge() as judge):
            return _asked(judge.model, talks.requests, shown + answer, VERDICT_TOKENS)
        case AlpacaEval(judge=judge) if not isinstance(judge, RankingJudge):
            return judging(judge, Cases(talks.requests, 2, talks.longest, answer), folder)
        case Safety() if task.judge is not None:
            return _asked(task.judge, talks.requests, shown, VERDICT_TOKENS)
        case _:
            return Judging()


def _asked(judge: ModelRef, requests: int, prompt: int, answer: int) -> Judging:
    return Judging((Asks(judge, requests, requests * prompt, requests * answer),))
