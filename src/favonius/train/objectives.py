"""What is trained towards. An objective is a frozen config; its loss is a pure function in `train.losses`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from favonius.types import Noun


class SFT(Noun):
    """Mean negative log-prob per scored token: the assistant's words and the end of each of its turns."""

    kind: Literal["sft"] = "sft"


class DPO(Noun):
    """Direct preference optimisation against cached reference log-probs (zephyr-spec §1.4, Eq. 1)."""

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0.0)


Objective = Annotated[SFT | DPO, Field(discriminator="kind")]
