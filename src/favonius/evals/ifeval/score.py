"""IFEval's four numbers: shares of prompts and of instructions that are followed, strictly and loosely read.

Strictly, an answer is checked as it is. Loosely it may be followed by any of eight readings, which forgive what chat
models put around an answer ("Sure, here it is:") and their emphasis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from favonius.evals.ifeval.instruction import Instruction
from favonius.evals.ifeval.rows import Answered, Task
from favonius.statistics import Estimate, share


@dataclass(frozen=True, slots=True)
class Scored:
    """What of a task's instructions an answer follows, in their order."""

    task: Task
    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


Reading = Callable[[Scored], tuple[bool, ...]]


def score(one: Answered) -> Scored:
    strict = tuple(follows(instruction, [one.answer]) for instruction in one.task.instructions)
    others = readings(one.answer)[1:]
    loose = (
        kept or follows(instruction, others) for kept, instruction in zip(strict, one.task.instructions, strict=True)
    )
    return Scored(one.task, strict, tuple(loose))


def follows(instruction: Instruction, texts: Sequence[str]) -> bool:
    """Whether one of the texts does as told; a blank one never does."""
    return any(instruction.followed_by(text) for text in texts if text.strip())


def readings(answer: str) -> tuple[str, ...]:
    """The answer; without its first line, its last, both; and these four without stars."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return (*cut, *(text.replace("*", "") for text in cut))


def result(scored: Sequence[Scored]) -> dict[str, Any]:
    """What the command prints: percentages, their 95 % intervals over prompts, every item, and each kind of
    instruction by itself. `scored` is not empty."""
    manners: dict[str, Reading] = {"strict": lambda one: one.strict, "loose": lambda one: one.loose}
    rates = {
        manner: {"prompt": prompt_rate(scored, reading), "instruction": instruction_rate(scored, reading)}
        for manner, reading in manners.items()
    }
    return {
        **{manner: {level: percent(rate.value) for level, rate in of.items()} for manner, of in rates.items()},
        "intervals": {
            manner: {level: [percent(rate.low), percent(rate.high)] for level, rate in of.items()}
            for manner, of in rates.items()
        },
        "n": {"prompts": len(scored), "instructions": sum(len(one.strict) for one in scored)},
        "by_instruction": by_instruction(scored),
        "items": list(map(item, scored)),
    }


def prompt_rate(scored: Sequence[Scored], reading: Reading) -> Estimate:
    """Share of prompts of which every instruction is followed."""
    return _sure(share([all(reading(one)) for one in scored], [1] * len(scored)))


def instruction_rate(scored: Sequence[Scored], reading: Reading) -> Estimate:
    """Share of instructions that are followed. Prompts are what is resampled: instructions of one are not apart."""
    return _sure(share([sum(reading(one)) for one in scored], [len(reading(one)) for one in scored]))


def by_instruction(scored: Sequence[Scored]) -> dict[str, dict[str, float | int]]:
    """Of each kind of instruction: how many there are, and the percentages followed."""
    kinds: defaultdict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for one in scored:
        for name, strict, loose in zip(one.task.names, one.strict, one.loose, strict=True):
            kinds[name].append((strict, loose))
    return {
        name: {
            "n": len(found),
            "strict": percent(sum(strict for strict, _ in found) / len(found)),
            "loose": percent(sum(loose for _, loose in found) / len(found)),
        }
        for name, found in sorted(kinds.items())
    }


def item(one: Scored) -> dict[str, Any]:
    return {
        "key": one.task.key,
        "prompt": one.task.prompt,
        "instructions": list(one.task.names),
        "strict": all(one.strict),
        "loose": all(one.loose),
        "per_instruction_strict": list(one.strict),
        "per_instruction_loose": list(one.loose),
    }


def percent(rate: float) -> float:
    return round(100 * rate, 4)


def _sure(estimate: Estimate | None) -> Estimate:
    if estimate is None:
        raise ValueError("there is nothing scored")
    return estimate
