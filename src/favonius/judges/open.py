"""From a judge's config to a judge."""

from __future__ import annotations

from favonius.judges.config import JudgeConfig
from favonius.judges.judge import Judge
from favonius.judges.likelihood import Likelihood
from favonius.run import Inputs


def open_judge(config: JudgeConfig, inputs: Inputs) -> Judge:
    """Load the judge that a config asks for."""
    return Likelihood(inputs.model(config.model), config.max_length)
