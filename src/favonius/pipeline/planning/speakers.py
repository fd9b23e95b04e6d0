"""Which models a step talks to, and which it reads with. No heavy imports."""

from __future__ import annotations

from typing import NamedTuple

from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.openings.config import OpeningsConfig
from favonius.engines.config import EngineConfig
from favonius.evals.benchmarks.config import BenchmarkConfig
from favonius.evals.config import EvaluateConfig
from favonius.feedback.config import AnswersConfig, ConstitutionConfig, RatingsConfig
from favonius.judges.config import JudgeConfig, SpokenJudge, members_of
from favonius.recipe import AnyStage


class Speaker(NamedTuple):
    model: str
    engine: EngineConfig | None
    """None: it reads, token by token, and writes nothing."""


def speakers(config: AnyStage) -> list[Speaker]:
    """Every model of a step, in the order of its config; one that several tasks name comes once."""
    match config:
        case OpeningsConfig():
            found = [Speaker(config.teacher, config.engine)]
        case DialoguesConfig():
            user = config.user
            found = [
                Speaker(config.teacher, config.engine),
                Speaker(user.model or config.teacher, user.engine or config.engine),
            ]
        case AnswersConfig():
            found = [Speaker(member.model, member.engine) for member in config.pool.values()]
        case ConstitutionConfig():
            found = [Speaker(config.model, config.engine)]
            if config.reviser is not None:
                found.append(Speaker(config.reviser, config.reviser_engine))
        case RatingsConfig():
            found = _of_judge(config.judge)
        case EvaluateConfig():
            found = [Speaker(model, config.engine) for model in config.models.values()] + _of_judge(config.judge)
        case BenchmarkConfig():
            found = [Speaker(model, config.engine) for model in config.models.values()]
        case _:
            found = []
    return list({(str(one.model), repr(one.engine)): one for one in found}.values())


def _of_judge(judge: JudgeConfig) -> list[Speaker]:
    return [
        Speaker(member.model, member.engine if isinstance(member, SpokenJudge) else None)
        for member in members_of(judge).values()
    ]
