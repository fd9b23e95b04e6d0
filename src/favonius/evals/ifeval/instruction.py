"""What an instruction of IFEval is, and what several of them share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from favonius.types import Noun

Relation = Literal["less than", "at least"]
Wanted = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


class Instruction(Noun):
    """One checkable demand on an answer: its `id` as the data set names it, and its parameters as fields."""

    def followed_by(self, answer: str) -> bool:
        """Whether `answer`, which is not blank, does as told."""
        raise NotImplementedError


def holds(found: int, relation: Relation, wanted: int) -> bool:
    """Whether a count is as asked for: below `wanted`, or not below it."""
    return found < wanted if relation == "less than" else found >= wanted
