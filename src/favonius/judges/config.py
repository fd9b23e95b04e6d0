"""Which judge rates."""

from __future__ import annotations

from typing import Literal

from favonius.run import ModelRef
from favonius.types import Noun


class LikelihoodJudge(Noun):
    """Score = the judge's mean log-prob per token of the answer (and its end, if it ended) under its own template.

    For judges too small to follow a rubric. Blind to truth; fond of what is predictable, so answers with flaws
    (loops, leaked markers) must be kept from winning by the stage that uses the scores.
    """

    kind: Literal["likelihood"] = "likelihood"
    model: ModelRef
    max_length: int = 1024


JudgeConfig = LikelihoodJudge
"""Becomes a discriminated union when the rubric judges arrive."""
