"""Config of stage `openings`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from favonius.engines.config import EngineConfig, LlamaCpp
from favonius.run import FileRef, ModelRef, StageConfig, StepRef
from favonius.types import Manner, Noun, Sampling

SectorName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Sector(Noun):
    """What every sector has."""

    manner: ClassVar[Manner | None] = None
    """How the simulated user goes on."""

    count: int = Field(ge=1)
    """Openings wanted. A teacher that brings too few usable ones is asked at most three times as much as planned."""


class World(Sector):
    """Questions about the world: topics → subtopics → questions → related questions; entities → questions of three
    kinds (UltraChat's first sector)."""

    manner = "world"
    kind: Literal["world"] = "world"
    topics: FileRef | None = None
    """One a line, # for comments; without it UltraChat's 30."""
    entities: FileRef | None = None
    """Things, people and places to ask about, one a line; without it all questions come from topics."""
    entity_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the openings that is about entities, where there are any."""
    subtopics: int = Field(default=30, ge=1)
    """At most so many of each topic; questions and related questions likewise."""
    questions: int = Field(default=10, ge=1)
    related: int = Field(default=10, ge=1)


class Writing(Sector):
    """Creation and writing: text types → instructions, most of them made more detailed (the second sector)."""

    manner = "writing"
    kind: Literal["writing"] = "writing"
    text_types: FileRef | None = None
    """One a line; without it UltraChat's 20."""
    topics: FileRef | None = None
    """What the texts are about, one a line; without it UltraChat's 30 topics."""
    refined_share: float = Field(default=0.8, ge=0.0, le=1.0)


class Material(Sector):
    """Assistance on existing material: a passage and an instruction, joined in one of seven ways (the third sector)."""

    manner = "material"
    kind: Literal["material"] = "material"
    passages: FileRef
    """Text with blank lines between passages, or JSON lines with `text` and optional `topic`."""
    instructions: int = Field(default=5, ge=1)
    """At most so many for one passage."""
    longest: int = Field(default=1500, ge=100)
    """Characters of a passage; longer ones are cut into several at ends of sentences."""


class FromPrompts(Sector):
    """A sector that begins with prompts: a file's, or an earlier openings step's."""

    seeds: FileRef | None = None
    """JSON lines with `id` and `prompt`."""
    openings: StepRef | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.seeds is None) == (self.openings is None):
            raise ValueError("name either seeds (a file) or openings (an earlier step)")
        return self


class Given(FromPrompts):
    """Prompts as they are (plain self-prompting, Zephyr §3)."""

    kind: Literal["given"] = "given"


class Grow(FromPrompts):
    """More of the kind of a handful of prompts (Self-Instruct)."""

    kind: Literal["grow"] = "grow"
    similarity: float = Field(default=0.55, ge=0.2, le=1.0)
    """A prompt is left out where shared words / all words with an earlier one reach this. Self-Instruct's ROUGE-L of
    0.7 is 0.54 of it, where shared words come in one order."""


class Evolve(FromPrompts):
    """Prompts made deeper and broader, generation by generation (Evol-Instruct)."""

    kind: Literal["evolve"] = "evolve"
    generations: int = Field(default=2, ge=1)
    similarity: float = Field(default=0.9, ge=0.2, le=1.0)
    """An evolved prompt has gained nothing where shared words / all words with an earlier one reach this."""


AnySector = Annotated[World | Writing | Material | Given | Grow | Evolve, Field(discriminator="kind")]


class OpeningsConfig(StageConfig):
    """UltraChat's openings (zephyr-spec §3.2), Self-Instruct and Evol-Instruct: what dialogues begin with."""

    stage: Literal["openings"] = "openings"
    teacher: ModelRef
    engine: EngineConfig = LlamaCpp()
    sectors: dict[SectorName, AnySector] = Field(min_length=1)
    """Name → what to write. No opening comes twice, whatever the sector."""
    language: str | None = None
    """In which the openings are written, such as German; without it the teacher's own choice."""
    sampling: Sampling = Sampling(temperature=0.8, max_tokens=320)
    seed: int = 0
