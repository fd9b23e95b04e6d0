"""Configs of stages `answers`, `ratings`, `pairs`, `best` and `constitution`. No heavy imports."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from favonius.engines.config import EngineConfig, Transformers
from favonius.feedback.rules import BestVsRandomLower, Rule, ScoredBy
from favonius.judges.config import JudgeConfig
from favonius.run import FileRef, ModelRef, StageConfig, StepRef
from favonius.types import Noun, Sampling

NEVER_CHOSEN = ("empty", "loop", "leak", "unfinished")


class PoolMember(Noun):
    """One of the models that answer: a teacher, a student of this run, or any other."""

    model: ModelRef
    engine: EngineConfig = Transformers()
    sampling: Sampling = Sampling()
    temperatures: tuple[Annotated[float, Field(ge=0.0)], ...] = ()
    """Several temperatures instead of `sampling`'s: which of them an answer is drawn at is seeded by its prompt."""
    system: str | None = None
    """Said before the question in place of a dialogue's own system message; a principle goes behind either."""
    shows_principle: bool = True
    """Whether the model is told its principle (UltraFeedback's weakest was not)."""


class Principles(Noun):
    """Which principle the author of an answer is told to mind, drawn per answer and seeded by its prompt."""

    weights: Literal["code", "readme"] = "readme"
    """UltraFeedback's two published weightings (zephyr-spec §4.3), by the source of the prompt, ..."""
    harmlessness: float = Field(default=0.0, ge=0.0, le=1.0)
    """... with this share of all draws given to harmlessness, which the original never sampled."""
    file: FileRef | None = None
    """Other wordings than the built-in ones."""


class AnswersConfig(StageConfig):
    """Models of a pool answer the first user turn of every dialogue, or every given prompt (zephyr-spec §1.3, §4.2)."""

    version: ClassVar[int] = 2
    ordered: ClassVar[frozenset[str]] = frozenset({"pool"})

    stage: Literal["answers"] = "answers"
    prompts: StepRef
    """A dialogues, openings or data step (of dialogues, prompts or feedback)."""
    pool: dict[str, PoolMember] = Field(min_length=1)
    """Name → member; the name is the answers' `source`."""
    per_prompt: int | None = Field(default=None, ge=1)
    """So many of the pool answer each prompt, drawn without replacement and seeded by the prompt; all without it."""
    samples: int = Field(default=1, ge=1)
    """Answers of each member to each prompt."""
    principles: Principles | None = None
    limit: int | None = Field(default=None, ge=1)
    """Only so many train prompts (all test prompts are answered)."""
    part: tuple[int, int] | None = None
    """(k, n): only the train prompts of part k of n, told by a hash of the prompt; rounds of on-policy answers take one
    each. Test prompts are answered in every part, so that rounds are measured on the same ones."""
    test_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Of openings, which have no split yet: as in stage `dialogues`, where the same openings go there too."""
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.per_prompt is not None and self.per_prompt > len(self.pool):
            raise ValueError(f"per_prompt is {self.per_prompt}, and the pool has {len(self.pool)} members")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"part is k of n with 1 ≤ k ≤ n, such as [1, 3], and not {list(self.part)}")
        return self


class CardConfig(Noun):
    """What is asked beyond the ratings themselves to measure the judge (`judges.card`)."""

    cases: int = Field(default=32, ge=0)
    """So many cases are judged again in the reverse order and once more as they were."""
    calibration: bool = True
    """Judge the built-in items whose better answer is known."""
    own_sources: tuple[str, ...] = ()
    """Sources of answers that are of the judge's family, beside those that its own model wrote."""


class RatingsConfig(StageConfig):
    """A judge rates every answer; with it comes its card, which says how far it can be trusted."""

    version: ClassVar[int] = 3

    stage: Literal["ratings"] = "ratings"
    answers: StepRef
    """An answers step, or a data step of feedback: scores that it has become the reference that the card compares."""
    judge: JudgeConfig
    card: CardConfig | None = CardConfig()
    limit: int | None = Field(default=None, ge=1)
    """Only so many prompts of each split."""
    per_prompt: int | None = Field(default=None, ge=2)
    """Only so many answers of each prompt, seeded by the prompt."""
    seed: int = 0


class Repair(Noun):
    """For UltraFeedback as it was first published: an overall score of 10 may have been a 1 (zephyr-spec §4.7).

    Where the mean aspect rating is at most `low` the 10 becomes a 1, above `high` it stays; between, the answer's
    overall score is left out and counted.
    """

    low: float = 2.0
    high: float = 4.0


class Binarisation(Noun):
    """How rated answers become preferences: by one rule (zephyr-spec §1.3); ties are dropped and counted."""

    rule: Rule = BestVsRandomLower()
    score: ScoredBy = ScoredBy()
    never_chosen: tuple[str, ...] = NEVER_CHOSEN
    """Flaws (data.checks) that keep an answer from being chosen, whatever its score. It may be rejected."""
    repair: Repair | None = None
    without_sources: tuple[str, ...] = ("truthful_qa",)
    """Sources of prompts that are left out: TruthfulQA is a benchmark (zephyr-spec §4.10)."""
    seed: int = 0


class PairsConfig(Binarisation, StageConfig):
    """Binarisation as a step."""

    version: ClassVar[int] = 3

    stage: Literal["pairs"] = "pairs"
    ratings: StepRef
    """A ratings step, or a data step of feedback."""


class BestConfig(StageConfig):
    """Best-of-n: each prompt's best rated answer becomes a dialogue, for rejection-sampling dSFT."""

    stage: Literal["best"] = "best"
    ratings: StepRef
    """A ratings step, or a data step of feedback."""
    score: ScoredBy = ScoredBy()
    least: float | None = None
    """Prompts whose best answer scores less are left out."""
    top_share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Of the train prompts, only the share whose best answers score highest."""
    never_chosen: tuple[str, ...] = NEVER_CHOSEN
    """Flaws that keep an answer out. One that was cut off is out in any case: it would teach to end anywhere."""
    seed: int = 0


class ConstitutionConfig(StageConfig):
    """Answer → critique by a sampled principle → revision; pair = (revision > answer) (zephyr-spec §2.7).

    Writes pairs.jsonl, and dialogues.jsonl with the revisions.
    """

    stage: Literal["constitution"] = "constitution"
    prompts: StepRef
    """As of stage `answers`."""
    model: ModelRef
    """Answers, critiques and revises."""
    engine: EngineConfig = Transformers()
    sampling: Sampling = Sampling(max_tokens=512)
    reviser: ModelRef | None = None
    """Critiques and revises in its place. Both are held in memory together."""
    reviser_engine: EngineConfig = Transformers()
    reviser_sampling: Sampling = Sampling(max_tokens=512)
    principles: FileRef | None = None
    """A file of principles, each with what a critique is to look for and what a revision is to mend."""
    rounds: int = Field(default=1, ge=1)
    """Critiques and revisions of each answer, by another principle each."""
    limit: int | None = Field(default=None, ge=1)
    """Only so many train prompts (all test prompts are answered)."""
    test_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """As of stage `answers`."""
    seed: int = 0
    """Of the principles."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reviser is None and "reviser_engine" in self.model_fields_set:
            raise ValueError("reviser_engine is for a reviser; name one, or leave reviser_engine out")
        return self
