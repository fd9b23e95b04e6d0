"""Which judge rates, and how it is asked. No heavy imports: `favonius check` reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from favonius.engines.config import EngineConfig, Transformers
from favonius.run import FileRef, ModelRef
from favonius.types import Noun, Sampling

Aspect = Literal["instruction_following", "honesty", "truthfulness", "helpfulness"]
JOINED = ("ensemble", "consensus")
"""Kinds that are made of other judges."""
SUMMED = ("aspects", *JOINED)
"""Kinds of judges whose overall score is made of the scores beside it: these are no second word on an answer."""
ASPECTS: tuple[Aspect, ...] = ("instruction_following", "honesty", "truthfulness", "helpfulness")


class LikelihoodJudge(Noun):
    """Score = the judge's mean log-prob per token of the answer (and its end, if it ended) under its own template.

    For judges too small to follow a rubric. Blind to truth; fond of what is predictable, so answers with flaws
    (loops, leaked markers) must be kept from winning by the stage that uses the scores.
    """

    kind: Literal["likelihood"] = "likelihood"
    model: ModelRef
    max_length: int = 1024


class ContrastJudge(Noun):
    """Score = log-prob per token under an aligned model minus the same under the base that it was made from: what
    alignment made likelier, with what is merely predictable taken off."""

    kind: Literal["contrast"] = "contrast"
    model: ModelRef
    base: ModelRef
    max_length: int = 1024


class DistilledJudge(Noun):
    """Score = the reward that a train step with objective `reward` gives the answer: a judge that costs no request."""

    kind: Literal["distilled"] = "distilled"
    model: ModelRef
    max_length: int = 1024


class SpokenJudge(Noun):
    """What all judges that are asked in words have in common."""

    model: ModelRef
    engine: EngineConfig = Transformers()
    sampling: Sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=512)
    template: FileRef | None = None
    """A file with other prompts than the built-in ones."""
    expected: bool = False
    """Take the mean of all ratings weighted by their probability and not the one that was drawn, where the engine
    gives log-probs: graded scores even from small judges."""
    reasks: int = Field(default=2, ge=0)
    """How often a reply that cannot be read is asked for again, at a temperature of at least 0.5."""
    seed: int = 0
    """Of the orders in which answers are shown."""


class AspectsJudge(SpokenJudge):
    """UltraFeedback's fine-grained ratings: all answers to a prompt in one call per aspect, 1 to 5 with a rationale, in
    an order shuffled per call (zephyr-spec §4.5). The score is the mean of the aspects that got a number."""

    kind: Literal["aspects"] = "aspects"
    aspects: tuple[Aspect, ...] = Field(default=ASPECTS, min_length=1)


class CritiqueJudge(SpokenJudge):
    """A critique of each answer by itself and an overall score of 1 to 10 (zephyr-spec §4.6)."""

    kind: Literal["critique"] = "critique"
    principle: bool = True
    """Whether the judge is told what the answer's author was told to mind, as UltraFeedback's was."""


class PairwiseJudge(SpokenJudge):
    """Which of two answers is better. The score is the mean preference over the other answers of the case."""

    kind: Literal["pairwise"] = "pairwise"
    both_orders: bool = True
    """Ask each pair in both orders and take the mean, which removes what position alone decides."""
    explain: bool = False
    """Let the judge reason before its verdict; else it says the verdict alone, in 16 tokens at most."""


OneJudge = Annotated[
    LikelihoodJudge | ContrastJudge | DistilledJudge | AspectsJudge | CritiqueJudge | PairwiseJudge,
    Field(discriminator="kind"),
]


class EnsembleJudge(Noun):
    """Several judges, whose scores are made comparable (ranks within a case) before they are joined."""

    kind: Literal["ensemble"] = "ensemble"
    judges: dict[str, OneJudge] = Field(min_length=2)
    combine: Literal["mean", "majority", "abstain"] = "mean"
    """mean: of the ranks. majority: of the pairwise wins. abstain: mean, and no score where judges disagree."""


class ConsensusJudge(Noun):
    """A judge's scores, each moved by what the answer shares with the other answers that the judge likes: right answers
    are alike, wrong ones differ. For best-of-n with many answers (docs/feedback-lab.md says what it is worth)."""

    kind: Literal["consensus"] = "consensus"
    judge: Annotated[OneJudge | EnsembleJudge, Field(discriminator="kind")]
    weight: float = Field(default=0.5, gt=0.0)
    """By how many spreads of the judge's own scores one spread of support moves a score."""
    least: int = Field(default=8, ge=2)
    """With fewer answers that have a score the judge's own stand: few answers agree by chance."""


JudgeConfig = Annotated[
    LikelihoodJudge
    | ContrastJudge
    | DistilledJudge
    | AspectsJudge
    | CritiqueJudge
    | PairwiseJudge
    | EnsembleJudge
    | ConsensusJudge,
    Field(discriminator="kind"),
]


def members_of(judge: JudgeConfig) -> dict[str, OneJudge]:
    """The judges that a config comes down to, by their names in an ensemble; of one judge alone the name is empty."""
    match judge:
        case ConsensusJudge():
            return members_of(judge.judge)
        case EnsembleJudge():
            return judge.judges
        case _:
            return {"": judge}
