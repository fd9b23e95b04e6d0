"""What a chat template makes of a dialogue: its text, and where in it the assistant's turns stand.

Here Jinja does it, turn by turn, in transformers' sandbox. It is the reference for `chat.skeletons`, which is faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from favonius.errors import UserError
from favonius.types import Messages

Span = tuple[int, int]
"""Begin and end of a stretch of text, in characters."""


class ControlTokenError(UserError):
    """A text holds, spelled out, a token that means something to the model, such as its end of turn."""


@dataclass(frozen=True)
class Rendered:
    """A dialogue's text and the spans whose tokens are scored, in order."""

    text: str
    spans: tuple[Span, ...]


class ControlTokens:
    """The special tokens of a vocabulary. Gemma has 6,000 of them, so they are looked for in one pass."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._any = re.compile(any_of(self.tokens)) if self.tokens else None
        self.first_end = lru_cache(maxsize=1024)(self._first_end)
        """Where the first control token of a text ends; None where it holds none. What follows a turn repeats."""

    def refuse(self, messages: Messages) -> None:
        """ControlTokenError that names the first message and token."""
        if self._any is None:
            return
        for message in messages:
            if self._any.search(message.content):
                token = next(token for token in self.tokens if token in message.content)
                raise ControlTokenError(
                    f"a {message.role} message holds the control token {token}; take it out of the text"
                )

    def _first_end(self, text: str) -> int | None:
        return min((text.find(token) + len(token) for token in self.tokens if token in text), default=None)


def any_of(words: Iterable[str]) -> str:
    """A pattern that matches where one of `words` stands. A tree: thousands of alternatives in a list are slow."""
    branches: dict[str, list[str]] = {}
    for word in words:
        if not word:
            return ""  # a word ends here, and whether a longer one goes on makes no difference
        branches.setdefault(word[0], []).append(word[1:])
    return "(?:" + "|".join(re.escape(first) + any_of(rests) for first, rests in branches.items()) + ")"


class Renderer:
    """`tokenizer.chat_template` through Jinja."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.control = ControlTokens(
            [token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content]
        )

    def dialogue(self, messages: Messages, finished: bool, only_last: bool) -> Rendered:
        """See ChatFormat.encode for the flags and the errors."""
        self.control.refuse(messages)
        text = self.text(messages, generation_prompt=False)
        spans = [self._span(messages, text, *turn) for turn in scored_turns(messages, finished, only_last)]
        return Rendered(text, tuple(spans))

    def text(self, messages: Messages, generation_prompt: bool) -> str:
        """UserError where the template rejects the dialogue."""
        plain = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=generation_prompt)
        except Exception as error:  # Jinja raises its own kinds, and templates raise through it
            raise UserError(f"the chat template rejects a dialogue: {error}") from error
        return str(text)

    def _span(self, messages: Messages, text: str, index: int, with_end: bool) -> Span:
        """Where in `text` assistant turn `index` stands: content, and the end token if asked for."""
        before = self.text(messages[:index], generation_prompt=True)
        through = self.text(messages[: index + 1], generation_prompt=False)
        if not (through.startswith(before) and text.startswith(through.rstrip())):
            raise UserError("the chat template rewrites earlier turns when later ones come, so no turn can be scored")
        start, end = self.within(through[len(before) :], messages[index].content, with_end)
        return len(before) + start, len(before) + end

    def within(self, turn: str, content: str, with_end: bool) -> Span:
        """Where in its rendered turn a content stands, and the end token if asked for."""
        start = turn.find(content)
        if start < 0:
            content = content.strip()  # many templates trim what they are given
            start = turn.find(content)
        if start < 0:
            raise UserError("the chat template changes the assistant's words, so they cannot be scored")
        end = start + len(content)
        token_end = self.control.first_end(turn[end:]) if with_end else None
        return start, end + (token_end or 0)


def scored_turns(messages: Messages, finished: bool, only_last: bool) -> list[tuple[int, bool]]:
    """Indices of the assistant messages that are scored, each with whether its end token is."""
    turns = [(index, True) for index, message in enumerate(messages) if message.role == "assistant"]
    if turns and not finished:
        turns[-1] = (turns[-1][0], False)
    return turns[-1:] if only_last else turns
