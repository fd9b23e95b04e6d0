"""Rules of binarisation: which of a prompt's rated answers become pairs. A rule is a frozen config and a pure function.

The configs; `feedback.binarise` applies them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from favonius.types import Noun


class ScoredBy(Noun):
    """Which number of a rated answer counts."""

    by: Literal["overall", "aspects", "both"] = "both"
    """overall: the judge's one score. aspects: the mean of its aspects (Notus' correction), those without a number left
    out. both: overall, and the aspects' mean where there is none."""
    weights: dict[str, float] = {}
    """Weights of the aspects in their mean; only those named count. One aspect alone: {honesty: 1}."""


class BestVsRandomLower(Noun):
    """Zephyr's paper: the best answer against a random one with a lower score."""

    kind: Literal["best_vs_random"] = "best_vs_random"


class BestVsRandomOther(Noun):
    """Zephyr's data as released: against a random one of the others; a draw of an equal score is a dropped tie."""

    kind: Literal["best_vs_other"] = "best_vs_other"


class BestVsWorst(Noun):
    """The best answer against the worst."""

    kind: Literal["best_vs_worst"] = "best_vs_worst"


class Margin(Noun):
    """The best answer against a random one whose score is lower by `least` or more."""

    kind: Literal["margin"] = "margin"
    least: float = Field(default=1.0, gt=0.0)


class AllPairs(Noun):
    """Every two answers whose scores differ by more than `least`; at most `most` of a prompt, drawn at random."""

    kind: Literal["all_pairs"] = "all_pairs"
    least: float = Field(default=0.0, ge=0.0)
    most: int | None = Field(default=None, ge=1)


class LengthMatched(Noun):
    """The best answer against a random lower one of about its length (characters, within `within` of the longer)."""

    kind: Literal["length_matched"] = "length_matched"
    within: float = Field(default=0.1, gt=0.0, lt=1.0)


Rule = Annotated[
    BestVsRandomLower | BestVsRandomOther | BestVsWorst | Margin | AllPairs | LengthMatched, Field(discriminator="kind")
]
