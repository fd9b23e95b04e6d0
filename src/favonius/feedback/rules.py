"""Rules of binarisation: which of a prompt's rated answers become pairs. A rule is a frozen config and a pure function.

The configs; `feedback.binarise` applies them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from favonius.types import Noun

ScoreName = Literal["overall", "aspects"]


class ScoredBy(Noun):
    """Which number of a rated answer counts."""

    by: Literal["overall", "aspects", "both"] = "both"
    """overall: the judge's one score. aspects: the mean of its aspects (Notus' correction), those without a number left
    out. both: overall, or the aspects' mean for prompts of which more answers have that."""
    weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default={})
    """Weights of the aspects in their mean; only those named count. One aspect alone: {honesty: 1}."""

    def named(self, used: ScoreName) -> str:
        """What a score is called in the origin of a pair, where `used` is what counted for its prompt."""
        if len(self.weights) == 1:
            return next(iter(self.weights))
        return ", ".join(f"{name} × {weight:g}" for name, weight in self.weights.items()) or used

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.weights and self.by != "aspects":
            raise ValueError("weights are those of aspects; add `by: aspects`")
        if self.weights and not any(self.weights.values()):
            raise ValueError("every weight is 0; one aspect at least must count")
        return self


class NamedRule(Noun):
    """What all rules have: `name` says which it is and how it is set, for tables and for the origin of a pair."""

    kind: str

    @property
    def name(self) -> str:
        return self.kind


class BestVsRandomLower(NamedRule):
    """Zephyr's paper: the best answer against a random one with a lower score."""

    kind: Literal["best_vs_random"] = "best_vs_random"


class BestVsRandomOther(NamedRule):
    """Zephyr's data as released: against a random one of the others; a draw of an equal score is a dropped tie."""

    kind: Literal["best_vs_other"] = "best_vs_other"


class BestVsWorst(NamedRule):
    """The best answer against the worst."""

    kind: Literal["best_vs_worst"] = "best_vs_worst"


class Margin(NamedRule):
    """The best answer against a random one whose score is lower by `least` or more."""

    kind: Literal["margin"] = "margin"
    least: float = Field(default=1.0, gt=0.0)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.least:g}"


class AllPairs(NamedRule):
    """Every two answers whose scores differ by more than `least`; at most `most` of a prompt, drawn at random."""

    kind: Literal["all_pairs"] = "all_pairs"
    least: float = Field(default=0.0, ge=0.0)
    most: int | None = Field(default=None, ge=1)

    @property
    def name(self) -> str:
        least = f" {self.least:g}" if self.least else ""
        return f"{self.kind}{least}" + (f", {self.most} a prompt" if self.most else "")


class LengthMatched(NamedRule):
    """The best answer against a random lower one of about its length (characters, within `within` of the longer)."""

    kind: Literal["length_matched"] = "length_matched"
    within: float = Field(default=0.1, gt=0.0, lt=1.0)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.within:g}"


Rule = Annotated[
    BestVsRandomLower | BestVsRandomOther | BestVsWorst | Margin | AllPairs | LengthMatched, Field(discriminator="kind")
]
