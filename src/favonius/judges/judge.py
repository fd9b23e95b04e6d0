"""The seam of all judges: answers in, verdicts out; what cannot be judged is a recorded failure, never a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from favonius.types import Answer


@dataclass(frozen=True)
class Score:
    """Higher is better, in the judge's own unit; `raw` is what it said, where it speaks."""

    value: float
    raw: str | None = None


@dataclass(frozen=True)
class Failure:
    cause: str
    raw: str | None = None


Verdict = Score | Failure


class Judge(Protocol):
    name: str

    def rate(self, answers: Sequence[Answer], done: Callable[[int, int], None]) -> list[Verdict]: ...
