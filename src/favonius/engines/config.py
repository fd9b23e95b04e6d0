"""How a model is made to answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from favonius.types import Noun


class LlamaCpp(Noun):
    """llama.cpp in this process; needs a model that came from a GGUF file."""

    kind: Literal["llamacpp"] = "llamacpp"
    slots: int = Field(default=8, ge=1)
    """Requests answered at once."""


class Transformers(Noun):
    """Our own continuous batching over a transformers model, on GPU or CPU; answers any model."""

    kind: Literal["transformers"] = "transformers"
    slots: int = Field(default=16, ge=1)


EngineConfig = Annotated[LlamaCpp | Transformers, Field(discriminator="kind")]
