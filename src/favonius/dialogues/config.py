"""Config of stage `dialogues`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from favonius.data.filters.config import AnyFilter
from favonius.engines.config import EngineConfig, LlamaCpp
from favonius.run import FileRef, ModelRef, StageConfig, StepRef
from favonius.types import Manner, Noun, Sampling

WORLD_ROUNDS = dict.fromkeys(range(3, 8), 1.0)
OTHER_ROUNDS = dict.fromkeys(range(2, 5), 1.0)
"""UltraChat's sectors (zephyr-spec §3.2): any number of these is as likely."""
PLAIN_ROUNDS = {1: 0.7, 2: 0.3}


class SimulatedUser(Noun):
    """Who speaks in the user's place. What is not named is the teacher's."""

    model: ModelRef | None = None
    engine: EngineConfig | None = None
    sampling: Sampling | None = None
    """Its `max_tokens` gives way to the room that a question or a request needs."""


class DialoguesConfig(StageConfig):
    """UltraChat's conversations (zephyr-spec §1.2, §3): the teacher answers, a simulated user asks on, and so forth."""

    version: ClassVar[int] = 3

    stage: Literal["dialogues"] = "dialogues"
    seeds: FileRef | None = None
    """JSONL rows `{"id", "prompt"}` and optional `topic`, `kind`; or ..."""
    openings: StepRef | None = None
    """... an openings step."""
    teacher: ModelRef
    engine: EngineConfig = LlamaCpp()
    user: SimulatedUser = SimulatedUser()
    limit: int | None = Field(default=None, ge=2)
    """Only the first so many seeds or openings."""
    test_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of openings held out, chosen by a hash of their text: adding some moves none to the other side."""
    rounds: dict[int, float] | None = None
    """Number of rounds → its weight. Without it 3 to 7 for questions about the world, 2 to 4 for writing and material,
    and for other openings one, now and then two. A dialogue that cannot go on ends earlier."""
    system: str | None = None
    """System message for the teacher only; rows do not keep it."""
    language: str | None = None
    """In which the simulated user writes, such as German."""
    sampling: Sampling = Sampling()
    filters: tuple[AnyFilter, ...] = ()
    """What whole dialogues must pass, in this order, before they are rows."""

    @model_validator(mode="after")
    def _check(self) -> DialoguesConfig:
        if (self.seeds is None) == (self.openings is None):
            raise ValueError("name either seeds (a file) or openings (an earlier step)")
        if self.rounds is not None:
            if not self.rounds or min(self.rounds) < 1:
                raise ValueError("rounds must hold numbers from 1 on, such as {1: 0.8, 2: 0.2}")
            if min(self.rounds.values()) < 0 or not sum(self.rounds.values()):
                raise ValueError("the weights of rounds must not be negative, and one must be above 0")
        return self

    def rounds_of(self, manner: Manner | None) -> dict[int, float]:
        """The weights of numbers of rounds for openings of a manner."""
        if self.rounds is not None:
            return self.rounds
        return {None: PLAIN_ROUNDS, "world": WORLD_ROUNDS}.get(manner, OTHER_ROUNDS)
