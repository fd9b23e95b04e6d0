"""From a judge's config to a judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from favonius.engines.interview import Interviews, interviews
from favonius.judges.config import (
    AspectsJudge,
    ConsensusJudge,
    ContrastJudge,
    CritiqueJudge,
    DistilledJudge,
    EnsembleJudge,
    JudgeConfig,
    LikelihoodJudge,
    OneJudge,
    PairwiseJudge,
    SpokenJudge,
    members_of,
)
from favonius.judges.consensus import Consensus
from favonius.judges.ensemble import Ensemble
from favonius.judges.judge import Judge
from favonius.judges.spoken.asking import Spoken, Way
from favonius.judges.spoken.aspects import Aspects
from favonius.judges.spoken.critique import Critique
from favonius.judges.spoken.pairwise import Pairwise
from favonius.run import Context, Inputs
from favonius.types import JudgedBy


@contextmanager
def open_judge(config: JudgeConfig, inputs: Inputs, context: Context) -> Iterator[Judge]:
    """The judge that a config asks for, with its models, ready until the block ends.

    All spoken members share engines, ledger and purse: one ledger at a time may write in a run.
    """
    with ExitStack() as stack:
        members = members_of(config)
        speak = any(isinstance(member, SpokenJudge) for member in members.values())
        opened = stack.enter_context(interviews(context)) if speak else None
        judges = {name: _open_one(member, inputs, context, opened) for name, member in members.items()}
        yield _joined(config, judges)


def _joined(config: JudgeConfig, members: Mapping[str, Judge]) -> Judge:
    match config:
        case ConsensusJudge():
            return Consensus(config, _joined(config.judge, members))
        case EnsembleJudge():
            return Ensemble(config, members)
        case _:
            return members[""]


def _open_one(config: OneJudge, inputs: Inputs, context: Context, opened: Interviews | None) -> Judge:
    """Judges that read weights are imported where they are wanted: they load torch, which those that ask need not."""
    match config:
        case LikelihoodJudge():
            from favonius.judges.likelihood import Likelihood

            return Likelihood(config, inputs, context)
        case ContrastJudge():
            from favonius.judges.contrast import Contrast

            return Contrast(config, inputs, context)
        case DistilledJudge():
            from favonius.judges.distilled import Distilled

            return Distilled(config, inputs, context)
    assert opened is not None
    return _open_spoken(config, inputs, opened)


def _open_spoken(config: AspectsJudge | CritiqueJudge | PairwiseJudge, inputs: Inputs, opened: Interviews) -> Judge:
    source = inputs.speaker(config.model)
    way: Way[Any]
    match config:
        case AspectsJudge():
            way = Aspects.of(config, inputs)
        case CritiqueJudge():
            way = Critique.of(config, inputs)
        case PairwiseJudge():
            way = Pairwise.of(config, inputs)
    mark = JudgedBy(name=source.name, kind=config.kind, template=way.template.digest)
    return Spoken[Any](way, opened.open(config.engine, source), mark)
