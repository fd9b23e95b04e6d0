"""What a pool of models answered: who was drawn, at which temperatures and principles, and how the answers look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from pydantic import Field

from favonius.report.bars import Bars, bars_of
from favonius.report.gather import Reading, Row, Run, Step, rows_of
from favonius.report.public import Public
from favonius.report.wording import NONE, count, decimal, words
from favonius.types import Message

PROMPTS_SHOWN = 2
PROBED = 40
"""Prompts among which those shown are looked for: the ones with the most answers."""


class MemberStats(Reading):
    drawn: int = 0
    answered: int = 0
    without_flaw: int | None = Field(default=None, alias="without flaw")
    flaws: dict[str, int] = Field(default={})
    mean_tokens: float | None = Field(default=None, alias="mean tokens")
    temperatures: dict[str, int] = Field(default={})
    principles: dict[str, int] = Field(default={})

    @property
    def sound(self) -> float | None:
        """The share of its answers that have no flaw."""
        return None if self.without_flaw is None or not self.answered else self.without_flaw / self.answered


class AnswersStats(Reading):
    """`feedback.answers.describe`."""

    kept: int = 0
    prompts: dict[str, int] = Field(default={})
    lone: int | None = Field(default=None, alias="prompts with fewer than two answers")
    prompt_sources: dict[str, int] = Field(default={}, alias="prompt sources")
    members: dict[str, MemberStats] = Field(default={})
    principles: dict[str, int] = Field(default={})


class Said(Reading):
    """One answer, as its row has it."""

    source: str
    text: str
    finished: bool = True
    flaws: tuple[str, ...] = ()
    tokens: int | None = None
    principle: dict[str, Any] | None = None
    origin: dict[str, Any] | None = None

    @property
    def about(self) -> str:
        """Principle and temperature."""
        told = "" if self.principle is None else words(str(self.principle.get("kind")))
        hidden = ", not told" if self.principle is not None and not self.principle.get("shown", True) else ""
        sampling = (self.origin or {}).get("sampling") or {}
        drawn = f"temperature {decimal(sampling['temperature'])}" if "temperature" in sampling else ""
        return " · ".join(filter(None, (told + hidden, drawn, f"{count(self.tokens)} tokens" if self.tokens else "")))


@dataclass(frozen=True)
class Asked:
    """A prompt and its answers."""

    prompt: tuple[Message, ...]
    answers: tuple[Said, ...]


@dataclass(frozen=True)
class AnswersMade:
    step: Step
    facts: tuple[tuple[str, str], ...]
    members: tuple[tuple[str, MemberStats], ...]
    bars: tuple[Bars, ...]
    shown: tuple[Asked, ...]


def answers_made(run: Run, step: Step, public: Public) -> AnswersMade:
    """What an answers step made."""
    stats = AnswersStats.model_validate(public(step.stats))
    bars = (
        bars_of("By principle", {words(name): times for name, times in stats.principles.items()}),
        bars_of("By source of the prompt", stats.prompt_sources if len(stats.prompt_sources) > 1 else {}),
    )
    return AnswersMade(
        step=step,
        facts=_facts(stats) if step.stats else (),
        members=tuple(stats.members.items()),
        bars=tuple(found for found in bars if found is not None),
        shown=tuple(_shown(run, step, public)),
    )


def _facts(stats: AnswersStats) -> tuple[tuple[str, str], ...]:
    facts = {
        "answers": count(stats.kept),
        "prompts to learn from": count(stats.prompts.get("train")),
        "prompts held out": count(stats.prompts.get("test")),
        "prompts with fewer than two answers": count(stats.lone),
    }
    return tuple((name, value) for name, value in facts.items() if value != NONE)


def _shown(run: Run, step: Step, public: Public) -> Iterator[Asked]:
    """A few prompts, those with the most answers among the first; rows come prompt by prompt."""
    by_prompt = groupby(rows_of(run.path / step.name / "answers.jsonl"), lambda row: row["prompt_id"])
    groups: list[list[Row]] = [list(rows) for _, rows in islice(by_prompt, PROBED)]
    for rows in sorted(groups, key=len, reverse=True)[:PROMPTS_SHOWN]:
        prompt = tuple(Message.model_validate(turn) for turn in public(rows[0]["prompt"]))
        yield Asked(prompt, tuple(Said.model_validate(public(row)) for row in rows))
