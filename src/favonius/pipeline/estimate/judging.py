"""What judges are asked, and what they read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from favonius.feedback.config import CardConfig
from favonius.judges.config import (
    AspectsJudge,
    ConsensusJudge,
    ContrastJudge,
    CritiqueJudge,
    DistilledJudge,
    EnsembleJudge,
    JudgeConfig,
    LikelihoodJudge,
    PairwiseJudge,
    SpokenJudge,
    members_of,
)
from favonius.pipeline.estimate.amounts import Asks, tokens_of

TEMPLATE_TOKENS = 800
"""What a built-in template of a judge takes at most, with a principle or what is known of the right answer."""


CHAT_TOKENS = 64
"""What a chat template adds, with the system message that some have of their own."""


@dataclass(frozen=True)
class Cases:
    """What is to be judged: `answers` to each of `count` prompts."""

    count: int
    answers: int
    prompt_tokens: int
    answer_tokens: int

    @property
    def tokens(self) -> int:
        """Of a prompt with one answer, in a chat template."""
        return self.prompt_tokens + self.answer_tokens + CHAT_TOKENS

    @property
    def pairs(self) -> int:
        return self.count * self.answers * (self.answers - 1) // 2


@dataclass(frozen=True)
class Judging:
    """The work of a judge: see `amounts.Estimate`."""

    asks: tuple[Asks, ...] = ()
    read: int = 0
    reasks: bool = False

    def __add__(self, other: Judging) -> Judging:
        return Judging((*self.asks, *other.asks), self.read + other.read, self.reasks or other.reasks)


def judging(judge: JudgeConfig, cases: Cases, folder: Path) -> Judging:
    """What it takes to judge `cases` once. `folder` is the recipe's, where templates are."""
    match judge:
        case LikelihoodJudge() | DistilledJudge():
            return Judging(read=cases.count * cases.answers * min(judge.max_length, cases.tokens))
        case ContrastJudge():
            return Judging(read=2 * cases.count * cases.answers * min(judge.max_length, cases.tokens))
        case EnsembleJudge() | ConsensusJudge():
            return sum((judging(member, cases, folder) for member in members_of(judge).values()), Judging())
        case AspectsJudge():
            return _asked(judge, cases, cases.count * len(judge.aspects), cases.answers, folder)
        case CritiqueJudge():
            return _asked(judge, cases, cases.count * cases.answers, 1, folder)
        case PairwiseJudge():
            return _asked(judge, cases, cases.pairs * (2 if judge.both_orders else 1), 2, folder)
        case _:
            assert_never(judge)


def carded(judge: JudgeConfig, cases: Cases, card: CardConfig | None, folder: Path) -> Judging:
    """The same with all that the judge's card asks beyond it."""
    whole = judging(judge, cases, folder)
    if card is None:
        return whole
    again = replace(cases, count=min(card.cases, cases.count))
    for member in members_of(judge).values():
        for _ in range(_showings(member)):
            whole += judging(member, again, folder)
    if card.calibration:
        whole += judging(judge, _calibration(), folder)
    return whole


def _showings(judge: JudgeConfig) -> int:
    """How many of the card's two further showings, reversed and once more, are other requests than the first."""
    if not isinstance(judge, SpokenJudge):
        return 0
    sees_order = isinstance(judge, AspectsJudge) or (isinstance(judge, PairwiseJudge) and not judge.both_orders)
    return int(sees_order) + int(judge.sampling.temperature > 0)


def _calibration() -> Cases:
    from favonius.judges.calibration import calibration_cases, calibration_items

    cases = calibration_cases(calibration_items())
    prompts = [tokens_of(case.prompt[-1].content) for case in cases]
    answers = [tokens_of(answer.text) for case in cases for answer in case.completions]
    return Cases(len(cases), 2, max(prompts), max(answers))


def _asked(
    judge: AspectsJudge | CritiqueJudge | PairwiseJudge, cases: Cases, requests: int, shown: int, folder: Path
) -> Judging:
    """`requests` that show so many answers each."""
    prompt = _template_tokens(judge, folder) + cases.prompt_tokens + shown * cases.answer_tokens
    written = requests * _reply_tokens(judge)
    return Judging((Asks(judge.model, requests, requests * prompt, written),), reasks=judge.reasks > 0)


def _template_tokens(judge: SpokenJudge, folder: Path) -> int:
    return TEMPLATE_TOKENS if judge.template is None else tokens_of((folder / judge.template).read_text("utf-8"))


def _reply_tokens(judge: SpokenJudge) -> int:
    from favonius.judges.spoken.pairwise import VERDICT_TOKENS

    is_brief = isinstance(judge, PairwiseJudge) and not judge.explain
    return min(judge.sampling.max_tokens, VERDICT_TOKENS) if is_brief else judge.sampling.max_tokens
