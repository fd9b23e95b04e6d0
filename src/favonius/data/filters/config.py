"""What a recipe may say about filters. No heavy imports: `favonius check` reads these."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from favonius.run import FileRef
from favonius.types import Noun, Role

Speaker = Literal["user", "assistant"]
RefusalFamily = Literal[
    "as an AI",
    "no experiences",
    "no feelings",
    "no opinions",
    "no senses",
    "cannot help",
    "knowledge cutoff",
    "no browsing",
]
FAMILIES: tuple[RefusalFamily, ...] = get_args(RefusalFamily)
Flaw = Literal["empty", "loop", "leak"]
DuplicateKey = Literal["prompt", "dialogue"]
"""What is compared: the first user turn, or all turns."""


class Truecase(Noun):
    """Mends sentence starts and the pronoun "I" in lower case (see `truecase`); changes, never drops."""

    kind: Literal["truecase"] = "truecase"
    roles: tuple[Speaker, ...] = Field(default=("user", "assistant"), min_length=1)
    """Leave "user" out where real people's prompts are to stay as they typed them."""


class Refusals(Noun):
    """Drops dialogues in which the assistant speaks of itself instead of answering (see `refusals`)."""

    kind: Literal["refusals"] = "refusals"
    families: tuple[RefusalFamily, ...] = Field(default=FAMILIES, min_length=1)


class Politeness(Noun):
    """Takes thanks and farewells off the end of a dialogue; drops it where nothing else is in it."""

    kind: Literal["politeness"] = "politeness"


class Language(Noun):
    """Drops dialogues whose user or assistant is certain to speak another language. Needs the extra `language`."""

    kind: Literal["language"] = "language"
    keep: tuple[str, ...] = Field(default=("en",), min_length=1)
    """ISO 639 codes, two letters where there are two."""
    roles: tuple[Speaker, ...] = Field(default=("user", "assistant"), min_length=1)
    """Leave "assistant" out to keep translations."""
    confidence: float = Field(default=0.6, ge=0.0, le=1.0)
    """Below this probability a language is undecided, and the dialogue is kept."""
    min_characters: int = Field(default=20, ge=1)
    """So is a text of fewer letters, code and addresses not counted."""


class Length(Noun):
    """Drops dialogues with a turn, or as a whole, outside these limits (both ends are inside)."""

    kind: Literal["length"] = "length"
    unit: Literal["words", "characters"] = "words"
    """Words are what white space parts; choose characters for scripts written without it."""
    roles: tuple[Role, ...] = Field(default=("user", "assistant"), min_length=1)
    """Whose turns the limits on a turn, and the sum, are about."""
    min_turn: int | None = Field(default=None, ge=0)
    max_turn: int | None = Field(default=None, ge=1)
    min_dialogue: int | None = Field(default=None, ge=0)
    max_dialogue: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        limits = ((self.min_turn, self.max_turn), (self.min_dialogue, self.max_dialogue))
        if all(low is None and high is None for low, high in limits):
            raise ValueError("set one of min_turn, max_turn, min_dialogue and max_dialogue")
        if any(low is not None and high is not None and low > high for low, high in limits):
            raise ValueError("a minimum is above its maximum")
        return self


class Flaws(Noun):
    """Drops dialogues in which a turn is empty, repeats itself or leaks markup (see `data.checks`)."""

    kind: Literal["flaws"] = "flaws"
    flaws: tuple[Flaw, ...] = Field(default=("empty", "loop", "leak"), min_length=1)
    roles: tuple[Speaker, ...] = Field(default=("assistant",), min_length=1)


class ExactDuplicates(Noun):
    """Drops what was there before; case, white space and width of letters make no difference."""

    kind: Literal["exact_duplicates"] = "exact_duplicates"
    key: DuplicateKey = "prompt"


class NearDuplicates(Noun):
    """Drops what is nearly like something that was kept before (see `data.near_duplicates`)."""

    kind: Literal["near_duplicates"] = "near_duplicates"
    key: DuplicateKey = "prompt"
    threshold: float = Field(default=0.7, ge=0.2, le=1.0)
    """Jaccard similarity of two sets of shingles from which on they are alike."""
    shingle_words: int = Field(default=3, ge=1)
    """Words in a shingle; more make long texts less alike."""


class Decontaminate(Noun):
    """Drops what holds a text that models are measured on (see `data.decontaminate`)."""

    kind: Literal["decontaminate"] = "decontaminate"
    benchmarks: tuple[str, ...] = ()
    """Known ones, fetched from the hub: mt_bench, alpaca_eval, ifeval, truthful_qa, gsm8k, humaneval."""
    files: dict[str, FileRef] = Field(default_factory=dict)
    """Name → file with a benchmark's prompts, in any shape that `data.benchmarks_known` reads."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.benchmarks and not self.files:
            raise ValueError("name at least one of benchmarks and files")
        return self


AnyFilter = Annotated[
    Truecase | Refusals | Politeness | Language | Length | Flaws | ExactDuplicates | NearDuplicates | Decontaminate,
    Field(discriminator="kind"),
]
