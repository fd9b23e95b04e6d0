"""How a model is made to answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from favonius.types import Noun


class LlamaCpp(Noun):
    """llama.cpp in this process; needs a model that came from a GGUF file."""

    kind: Literal["llamacpp"] = "llamacpp"
    slots: int = Field(default=16, ge=1)
    """Requests answered at once."""
    context_tokens: int = Field(default=1024, ge=16)
    """Longest prompt and answer together; memory is set aside for it in every slot."""


class Transformers(Noun):
    """Our own continuous batching over a transformers model, on GPU or CPU; answers any model."""

    kind: Literal["transformers"] = "transformers"
    slots: int = Field(default=16, ge=1)
    context_tokens: int = Field(default=1024, ge=16)


EngineConfig = Annotated[LlamaCpp | Transformers, Field(discriminator="kind")]
