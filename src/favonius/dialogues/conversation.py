"""One dialogue between a teacher and a simulated user, as a generator that asks and is answered."""

from __future__ import annotations

from dataclasses import dataclass

from favonius.data.checks import flaws
from favonius.data.words import words
from favonius.dialogues.config import DialoguesConfig
from favonius.dialogues.seeds import rounds_of
from favonius.dialogues.simulator import User, next_turn, turn_tokens, user_of
from favonius.dialogues.user_turns import UnusableError, user_turn
from favonius.engines.asked import Failure
from favonius.engines.interview import Interview, Talk
from favonius.types import Completion, Message, Messages, Sampling, SeedPrompt


@dataclass(frozen=True)
class Cast:
    """Who speaks, and how."""

    config: DialoguesConfig
    teacher: Interview
    user: Interview

    @property
    def user_sampling(self) -> Sampling:
        return self.config.user.sampling or self.config.sampling

    def to_teacher(self, conversation: Messages) -> Messages:
        """A conversation as the teacher sees it: behind its system message."""
        system = self.config.system
        return conversation if system is None else (Message(role="system", content=system), *conversation)


@dataclass(frozen=True)
class Conversation:
    """What came of an opening: whole rounds, none where the first answer could not be used.

    `cause` says why it has fewer rounds than it was to have, `sample` what was said there; `answer_tokens` counts each
    answer's.
    """

    opening: SeedPrompt
    messages: Messages
    answer_tokens: tuple[int, ...]
    cause: str | None = None
    sample: str = ""


class _EndError(Exception):
    """A dialogue cannot go on."""

    def __init__(self, cause: str, sample: str) -> None:
        super().__init__(cause)
        self.cause, self.sample = cause, sample


def first_turn(opening: SeedPrompt) -> Messages:
    return (Message(role="user", content=opening.prompt),)


def converse(cast: Cast, opening: SeedPrompt) -> Talk[Conversation]:
    """As many rounds as the opening's text draws; fewer where a turn cannot be used or no longer fits the model."""
    user = user_of(opening)
    messages: Messages = ()
    tokens: tuple[int, ...] = ()
    asked = first_turn(opening)
    try:
        for number in range(rounds_of(cast.config, opening)):
            if number:
                turn = yield from _user_turn(cast, user, messages)
                asked = (*messages, Message(role="user", content=turn))
            reply = yield cast.teacher.question(cast.to_teacher(asked), cast.config.sampling)
            messages = (*asked, Message(role="assistant", content=_answer(reply, messages)))
            tokens = (*tokens, reply.completion_tokens if isinstance(reply, Completion) else 0)
    except _EndError as end:
        kept = " (earlier rounds kept)" if messages else ""
        return Conversation(opening, messages, tokens, end.cause + kept, end.sample)
    return Conversation(opening, messages, tokens)


def _user_turn(cast: Cast, user: User, messages: Messages) -> Talk[str]:
    sampling = cast.user_sampling.model_copy(update={"max_tokens": turn_tokens(user.opening.manner)})
    reply = yield cast.user.question(next_turn(user, messages, cast.config.language), sampling)
    if isinstance(reply, Failure):
        raise _EndError(f"user failed: {reply.countable}", reply.cause)
    try:
        return user_turn(reply, user, messages, english=cast.config.language is None)
    except UnusableError as error:
        raise _EndError(f"user's turn {error}", reply.text) from None


def _answer(reply: Completion | Failure, earlier: Messages) -> str:
    if isinstance(reply, Failure):
        raise _EndError(f"teacher failed: {reply.countable}", reply.cause)
    text = reply.text.strip()
    found = flaws(text, finished=reply.finish == "stop")
    if found:
        raise _EndError(f"answer {found[0]}", text)
    if any(words(text) == words(message.content) for message in earlier):
        raise _EndError("answer says again what was said", text)
    return text
