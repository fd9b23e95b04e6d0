"""Models asked many things within a stage: engines, ledger and purse are opened, used and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from typing import TypeVar

from favonius.engines.account import Account, Till
from favonius.engines.asked import Asked, Failure, Traffic
from favonius.engines.conduct import conduct
from favonius.engines.config import EngineConfig, OpenAI
from favonius.engines.ledger import Ledger
from favonius.engines.ledger_books import in_dollars
from favonius.engines.open import open_engine
from favonius.engines.policy.money import Purse
from favonius.errors import UserError
from favonius.run import Context, LeftOpen, ModelSource, ServedModel
from favonius.types import Completion, Engine, Messages, Request, RequestError, Sampling

T = TypeVar("T")
Reply = Completion | Failure


@dataclass(frozen=True)
class Question:
    """What one speaker is asked."""

    speaker: Interview
    request: Request


Talk = Generator[Question, Reply, T]
"""A conversation as a generator: it yields questions, is sent the replies, and returns what came of it."""


class Interviews:
    """The speakers of one stage, in one event loop, over one ledger and one purse."""

    def __init__(self, context: Context, ledger: Ledger, runner: asyncio.Runner, stack: ExitStack) -> None:
        self.context, self.ledger, self._runner, self._stack = context, ledger, runner, stack
        self._purse = _purse(context, ledger)
        self._till = Till(self._purse)
        self._traffic = Traffic()
        self._open: dict[tuple[str, str], Interview] = {}
        self.unasked = self.failed = 0

    def open(self, config: EngineConfig, source: ModelSource | ServedModel) -> Interview:
        """A model made to answer; the same one where it is open already."""
        key = (config.model_dump_json(), source.digest)
        if key not in self._open:
            price = source.price if isinstance(source, ServedModel) else None
            account = Account(price, self._till, self.ledger)
            opening = open_engine(config, source, account, self._runner, self.context.progress, self._traffic)
            engine = self._stack.enter_context(opening)
            batches = isinstance(config, OpenAI) and config.mode == "batch"
            asked = Asked(engine, self.ledger, account, self._traffic, engine_stores=batches)
            self._open[key] = Interview(self, engine, asked)
        return self._open[key]

    def conduct(
        self, talks: Iterable[Talk[T]], label: str, total: int, done: int = 0, unit: str = "answers"
    ) -> Iterator[tuple[int, T]]:
        """Hold many conversations at once; yields each one's number and result as it ends.

        `total` and `done` are the bar's: how many there are with those that were done before.
        """
        slots = min(sum(speaker.engine.slots for speaker in self._open.values()), max(1, total - done))
        before = self._generated
        with self.context.progress.bar(label, total, unit, done=done) as bar:
            for number, result in conduct(self._runner, talks, self._reply, slots):
                bar.advance(1, self._generated - before - bar.tokens, self._note())
                yield number, result

    def replies(self, questions: Sequence[Question], label: str) -> list[Reply]:
        """The answer to each question, in order; speakers take turns, so that all of them are kept busy."""
        known = self.ledger.known([question.request.key() for question in questions])
        found: dict[int, Reply] = {}
        for number, question in enumerate(questions):
            if (written := known.get(question.request.key())) is not None:
                found[number] = written
                question.speaker.tokens += written.completion_tokens
        numbers = _in_turn(questions, [number for number in range(len(questions)) if number not in found])
        talks = (_once(questions[number]) for number in numbers)
        for place, heard in self.conduct(talks, label, len(questions), len(found)):
            found[numbers[place]] = heard
        return [found[number] for number in range(len(questions))]

    @property
    def _generated(self) -> int:
        return sum(speaker.asked.generated for speaker in self._open.values())

    async def _reply(self, question: Question) -> Reply:
        reply = await question.speaker.asked.reply(question.request)
        if isinstance(reply, Completion):
            question.speaker.tokens += reply.completion_tokens
        elif not reply.asked:
            self.unasked += 1
        elif not reply.lasting:
            self.failed += 1
        return reply

    def _note(self) -> str | None:
        if self._purse.cap is None and not self._purse.spent:
            return None
        of = "" if self._purse.cap is None else f" of {in_dollars(self._purse.cap)}"
        return f"{in_dollars(self._purse.spent)}{of} spent"

    def close(self) -> None:
        """Say what money did not suffice for, and what may fare better in another run."""
        left_open = self.context.left_open
        if self.unasked and self._purse.cap is not None:
            left_open.append(LeftOpen("budget", self.unasked, in_dollars(self._purse.cap)))
        if self.failed:
            left_open.append(LeftOpen("failures", self.failed))


class Interview:
    """One model. `tokens` counts what it has said, asked now or found in the ledger."""

    def __init__(self, interviews: Interviews, engine: Engine, asked: Asked) -> None:
        self.interviews, self.engine, self.asked = interviews, engine, asked
        self.tokens = 0

    def question(self, messages: Messages, sampling: Sampling, sample: int = 0, logprobs: int = 0) -> Question:
        """What a `Talk` yields to hear this model."""
        request = Request(
            model=self.engine.model, messages=messages, sampling=sampling, sample=sample, logprobs=logprobs
        )
        return Question(self, request)

    def ask(
        self, conversations: Mapping[str, Messages], sampling: Sampling, label: str, sample: int = 0
    ) -> dict[str, Reply]:
        """The model's next message in each conversation, by name."""
        questions = [self.question(talk, sampling, sample) for talk in conversations.values()]
        return dict(zip(conversations, self.interviews.replies(questions, label), strict=True))

    def refuse_unanswerable(self, conversations: Mapping[str, Messages], sampling: Sampling) -> None:
        """UserError where a prompt of the user's own cannot be asked: before the first is paid for, not after."""
        for name, messages in conversations.items():
            try:
                self.engine.check(self.question(messages, sampling).request)
            except RequestError as error:
                raise UserError(f"prompt {name}: {error}") from error


@contextmanager
def interviews(context: Context) -> Iterator[Interviews]:
    """Room for several models within a stage, closed together."""
    # The stack is left first: engines are freed in a loop that still turns, over a ledger that is still open.
    with asyncio.Runner() as runner, Ledger(context.ledger, context.step) as ledger, ExitStack() as stack:
        opened = Interviews(context, ledger, runner, stack)
        yield opened
        opened.close()


@contextmanager
def interview(config: EngineConfig, source: ModelSource | ServedModel, context: Context) -> Iterator[Interview]:
    with interviews(context) as opened:
        yield opened.open(config, source)


def _once(question: Question) -> Talk[Reply]:
    return (yield question)


def _in_turn(questions: Sequence[Question], numbers: Iterable[int]) -> list[int]:
    """Numbers of questions, one of each speaker in turn. Of each, those that begin alike go one after the other, so
    that a server's prefix cache finds them."""
    by_speaker: dict[Interview, list[int]] = {}
    for number in sorted(numbers, key=lambda number: _prefix(questions[number].request.messages)):
        by_speaker.setdefault(questions[number].speaker, []).append(number)
    turns = zip_longest(*by_speaker.values())
    return [number for turn in turns for number in turn if number is not None]


def _prefix(messages: Messages) -> list[str]:
    return [message.content for message in messages]


def _purse(context: Context, ledger: Ledger) -> Purse:
    """The step's purse within the run's, less what is spent; calls that a killed run left in flight count as paid."""
    ledger.reclaim()
    budget, step = context.budget, context.step
    own = None if budget is None else budget.steps.get(step)
    whole = Purse(None if budget is None else _nano(budget.dollars), ledger.spent())
    return whole if own is None else Purse(_nano(own), ledger.spent(step), within=whole)


def _nano(dollars: float) -> int:
    return int(Fraction(str(dollars)) * 10**9)
