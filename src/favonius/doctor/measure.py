"""What a row is to training: how long, and whether it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from favonius.doctor.diagnosis import Part, Unit
from favonius.doctor.views import Placed


@dataclass(frozen=True, slots=True)
class Length:
    """Of a sequence, before anything is cut off; `trained` is how much of it is learned."""

    whole: int
    trained: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A row's sequences, a pair's chosen one first, and what is the matter with it.

    `kind` is one of `kinds.KINDS`, or empty; `cause` is the wording that training counts it under, `detail` what people
    are to be shown of it. A row that is `kept` has so many `tokens` to be run, of which so many are learned.
    """

    lengths: tuple[Length, ...]
    kind: str = ""
    cause: str = ""
    detail: str = ""
    kept: bool = True
    tokens: int = 0
    trained_tokens: int = 0


class Measure(Protocol):
    @property
    def unit(self) -> Unit: ...

    def measured(self, rows: Sequence[Placed]) -> Iterator[Measured]:
        """Of each row in turn. The more are given at a time, the faster."""
        ...

    def parts(self, placed: Placed) -> tuple[Part, ...]:
        """A row that is kept, as the model sees it."""
        ...
