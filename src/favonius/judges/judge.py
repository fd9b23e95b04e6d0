"""The seam of all judges: cases in, judgements out; what cannot be judged is a recorded failure, never a number.

A case is a `Feedback` row: one prompt, its answers, and what is known of the right one. Scores that it has already are
somebody else's; a judge neither sees nor changes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from favonius.types import Comparison, Feedback, JudgeCall, JudgedBy


@dataclass(frozen=True)
class Score:
    """Higher is better, in the judge's own unit."""

    value: float
    aspects: Mapping[str, float | None] = field(default_factory=dict)
    critique: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why an answer has no score. `raw` is what the judge said instead, where it spoke."""

    cause: str
    raw: str | None = None
    asked: bool = True
    """False where there was no money left to ask: the judge did not fail, and another run goes on."""


Verdict = Score | Failure


@dataclass(frozen=True)
class Judgement:
    """What a judge made of one case: a verdict per answer, in order; what it compared; and what it was asked."""

    verdicts: tuple[Verdict, ...]
    comparisons: tuple[Comparison, ...] = ()
    calls: tuple[JudgeCall, ...] = ()
    unread: tuple[Failure, ...] = ()
    """Questions that brought nothing readable, also where the replies to others left no answer without a score."""
    reasked: int = 0
    """Questions that were asked again, as the first reply could not be read."""
    members: Mapping[str, Judgement] = field(default_factory=dict)
    """Of an ensemble: what each judge in it made of the case."""


@dataclass(frozen=True)
class Showing:
    """One way of asking the same again, to see what a judge's word hangs on: in the reverse order, or once more."""

    reversed: bool = False
    sample: int = 0


FIRST = Showing()
"""The plain way of asking."""


class Judge(Protocol):
    """`mark` names it in everything it judged; `tokens` counts what it has written or read."""

    mark: JudgedBy

    @property
    def tokens(self) -> int: ...

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "  judging") -> list[Judgement]:
        """A judgement per case, in order. Showings that a judge is blind to (order, where it sees one answer at a
        time; samples, where it draws none) give what the first showing gave."""
        ...
