"""Config of a low-rank adapter. What is done with it is in `models.adapters`; this needs no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from favonius.types import Noun

ALL_LINEAR = "all-linear"


def _listed(value: Any) -> Any:
    """One name needs no list. Recipes are validated strictly, where what Python hands on must be a tuple already."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class LoRA(Noun):
    """Train x·Wᵀ + alpha/rank · x·(B·A)ᵀ with W as it was loaded; A is random, B starts at 0 (arXiv 2106.09685).

    The adapter is a step's own: the step ends with it merged into its model, so the model that a later step starts
    from, and is measured against, is the whole result of this one.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    targets: Annotated[
        tuple[str, ...], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])
    ] = (ALL_LINEAR,)
    """`all-linear`: every linear layer but the output head. Else names such as q_proj or mlp.up_proj: a layer is
    adapted where its own name ends with one of them."""
    quantize: Literal["none", "nf4"] = "none"
    """`nf4`: W is kept in 4 bits while training (QLoRA, arXiv 2305.14314), on CUDA only; the result is merged into the
    weights that W was made from."""
    dropout: float = 0.0
    """Only 0. Named so that a recipe which sets it, as the handbook's do, is told why."""

    @field_validator("dropout")
    @classmethod
    def _no_dropout(cls, value: float) -> float:
        if value != 0:
            raise ValueError("a training draws no random numbers, so that it resumes to the bit; leave dropout out")
        return value
