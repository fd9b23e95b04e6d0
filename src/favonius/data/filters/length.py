"""Conversations that are too short or too long."""

from __future__ import annotations

from favonius.data.filters.config import Length
from favonius.data.filters.outcome import Outcome
from favonius.types import Messages


class LengthLimits:
    """The filter: drops what is outside the limits of `config`, and says which limit."""

    def __init__(self, config: Length) -> None:
        self._config = config

    def __call__(self, messages: Messages) -> Outcome:
        config = self._config
        if config.unit == "words" and self._surely_inside(messages):
            return Outcome(messages)
        sizes = [self._size(message.content) for message in messages if message.role in config.roles]
        cause = _outside("turn", min(sizes, default=0), max(sizes, default=0), config.min_turn, config.max_turn)
        cause = cause or _outside("dialogue", sum(sizes), sum(sizes), config.min_dialogue, config.max_dialogue)
        return Outcome(messages) if cause is None else Outcome(None, cause)

    def _surely_inside(self, messages: Messages) -> bool:
        """Without counting words to the end: no text has more of them than every other character, and a first one."""
        config = self._config
        texts = [message.content for message in messages if message.role in config.roles]
        most = [(len(text) + 1) // 2 for text in texts]
        if config.max_turn is not None and max(most, default=0) > config.max_turn:
            return False
        if config.max_dialogue is not None and sum(most) > config.max_dialogue:
            return False
        if config.min_dialogue and sum(_words(text, config.min_dialogue) for text in texts) < config.min_dialogue:
            return False
        return (
            not config.min_turn or min((_words(text, config.min_turn) for text in texts), default=0) >= config.min_turn
        )

    def _size(self, text: str) -> int:
        return len(text.split()) if self._config.unit == "words" else len(text)


def _words(text: str, enough: int) -> int:
    """How many, up to `enough` of them."""
    return len(text.split(None, enough - 1))


def _outside(what: str, least: int, most: int, low: int | None, high: int | None) -> str | None:
    if low is not None and least < low:
        return f"{what} too short"
    if high is not None and most > high:
        return f"{what} too long"
    return None
