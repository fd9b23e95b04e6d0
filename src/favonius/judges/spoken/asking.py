"""Whoever asks a judge in words: many questions at once, unreadable replies again, everything from the ledger first.

A way of asking (`aspects`, `critique`, `pairwise`) is pure: which questions a case makes, how they are worded, how a
reply is read, what comes of all replies. Questions are independent of one another, so that a case waits for none of its
own, and a batch at a provider holds them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from favonius.engines.asked import Failure as Unanswered
from favonius.engines.interview import Interview, Talk
from favonius.judges.config import Aspect, SpokenJudge
from favonius.judges.judge import FIRST, Failure, Judgement, Showing
from favonius.judges.spoken.numerals import Unreadable
from favonius.judges.spoken.templates import Template
from favonius.types import Completion, Feedback, JudgeCall, JudgedBy, Messages, Sampling

R = TypeVar("R")

REASK_TEMPERATURE = 0.5
REASKED = 1_000
"""Sample indices of a first, second, … re-ask begin so far apart that no showing's are among them."""


@dataclass(frozen=True)
class Ask:
    """One question about a case: the places of the answers that it shows, in the order shown, and the aspect."""

    order: tuple[int, ...]
    aspect: Aspect | None = None


@dataclass(frozen=True)
class Heard(Generic[R]):
    """What was read in the reply to a question, and the key of the request that brought it, if one did. `asked_again`:
    as the first reply could not be read."""

    ask: Ask
    said: R | Failure
    request: str | None = None
    asked_again: bool = False


class Way(Protocol[R]):
    """A way of asking. `logprobs`: of so many of the likeliest tokens, for replies from which odds are read."""

    @property
    def config(self) -> SpokenJudge: ...
    @property
    def template(self) -> Template[Any]: ...
    @property
    def sampling(self) -> Sampling: ...
    @property
    def logprobs(self) -> int: ...

    def asks(self, case: Feedback, showing: Showing) -> list[Ask]: ...
    def messages(self, case: Feedback, ask: Ask) -> Messages: ...
    def read(self, ask: Ask, reply: Completion) -> R:
        """What a reply says. Raises Unreadable."""
        ...

    def judgement(self, case: Feedback, heard: Sequence[Heard[R]]) -> Judgement: ...


class Spoken(Generic[R]):
    """The `Judge` that asks a model in one of these ways.

    A request that fails leaves its answers without a score and all others as they are; the next run asks it again.
    """

    def __init__(self, way: Way[R], speaker: Interview, mark: JudgedBy) -> None:
        self.way, self.speaker, self.mark = way, speaker, mark
        self.tokens = 0

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "  judging") -> list[Judgement]:
        """See `Judge`. A greedy judge draws nothing, and its samples are one and the same."""
        asks = [self.way.asks(case, showing) for case in cases]
        work = [(number, ask) for number, of_case in enumerate(asks) for ask in of_case]
        talks = (self._talk(cases[number], ask, showing) for number, ask in work)
        heard: list[dict[Ask, Heard[R]]] = [{} for _ in cases]
        for place, one in self.speaker.interviews.conduct(talks, label, len(work), unit="questions"):
            heard[work[place][0]][one.ask] = one
        return [
            self._judgement(case, [found[ask] for ask in of_case])
            for case, of_case, found in zip(cases, asks, heard, strict=True)
        ]

    def _judgement(self, case: Feedback, heard: Sequence[Heard[R]]) -> Judgement:
        unread = tuple(one.said for one in heard if isinstance(one.said, Failure))
        reasked = sum(one.asked_again for one in heard)
        return replace(self.way.judgement(case, heard), unread=unread, reasked=reasked)

    def _talk(self, case: Feedback, ask: Ask, showing: Showing) -> Talk[Heard[R]]:
        """Ask until a reply can be read, `reasks` times more at most."""
        messages = self.way.messages(case, ask)
        failure = None
        for attempt in range(self.way.config.reasks + 1):
            sampling, sample = draw(self.way.sampling, showing.sample, attempt)
            question = self.speaker.question(messages, sampling, sample, self.way.logprobs)
            reply = yield question
            if isinstance(reply, Unanswered):
                return Heard(ask, Failure(reply.cause, asked=reply.asked), asked_again=attempt > 0 and reply.asked)
            self.tokens += reply.completion_tokens
            try:
                return Heard(ask, self.way.read(ask, reply), question.request.key(), attempt > 0)
            except Unreadable as fault:
                failure = Failure(str(fault), reply.text)
        assert failure is not None
        return Heard(ask, failure, asked_again=self.way.config.reasks > 0)


def draw(sampling: Sampling, sample: int, attempt: int) -> tuple[Sampling, int]:
    """How the reply of a showing's `sample` is drawn at an attempt, and which draw it is.

    The greedy words would be the same again: a re-ask is drawn at REASK_TEMPERATURE or the judge's own, whichever is
    higher.
    """
    own = sample if sampling.temperature > 0 else 0
    if attempt == 0:
        return sampling, own
    warmer = sampling.model_copy(update={"temperature": max(sampling.temperature, REASK_TEMPERATURE)})
    return warmer, own + attempt * REASKED


def calls(heard: Sequence[Heard[Any]]) -> tuple[JudgeCall, ...]:
    """The questions whose replies were used."""
    used = ((one.ask, one.request) for one in heard if one.request is not None)
    return tuple(JudgeCall(request=request, order=ask.order, aspect=ask.aspect) for ask, request in used)
