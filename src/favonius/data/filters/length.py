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
        sizes = [self._size(message.content) for message in messages if message.role in config.roles]
        cause = _outside("turn", min(sizes, default=0), max(sizes, default=0), config.min_turn, config.max_turn)
        cause = cause or _outside("dialogue", sum(sizes), sum(sizes), config.min_dialogue, config.max_dialogue)
        return Outcome(messages) if cause is None else Outcome(None, cause)

    def _size(self, text: str) -> int:
        return len(text.split()) if self._config.unit == "words" else len(text)


def _outside(what: str, least: int, most: int, low: int | None, high: int | None) -> str | None:
    if low is not None and least < low:
        return f"{what} too short"
    if high is not None and most > high:
        return f"{what} too long"
    return None
