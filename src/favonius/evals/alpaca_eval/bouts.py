"""A model's answer against the reference's, and what a judge says of the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from favonius.evals.alpaca_eval.instructions import Instruction
from favonius.evals.benchmarks.task import Said
from favonius.types import JudgedBy

DRAW = 1.5
SAME = "both answers are the same: a draw, of which nothing was asked"


@dataclass(frozen=True)
class Bout:
    instruction: Instruction
    said: Said
    reference: str

    @property
    def answer(self) -> str:
        return self.said.turns[0].text

    @property
    def same(self) -> bool:
        return self.answer == self.reference


@dataclass(frozen=True)
class Word:
    """A judge's word on a bout: 1 (the reference's answer is wholly better) to 2 (the model's is).

    `why` says why there is no preference, or what is to be known of it. `silent`: the judge did not answer, so that the
    bout is left out and comes again in the next run; without a preference and not silent, its answer was unreadable.
    """

    preference: float | None
    why: str | None = None
    silent: bool = False
    judged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdicts:
    """A word for each bout, whose they are, and what a protocol says of them."""

    words: Sequence[Word]
    judge: JudgedBy
    protocol: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
