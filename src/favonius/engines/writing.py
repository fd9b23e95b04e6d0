"""Answers while they are written, for whoever reads along; who stops listening frees the slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from favonius.chat.format import ChatFormat
from favonius.engines.prompting import Prompted
from favonius.engines.token_texts import HALF
from favonius.types import Completion, TokenLogprob


@dataclass(frozen=True)
class Written:
    """An answer that is complete."""

    completion: Completion
    read: tuple[TokenLogprob, ...] = ()
    """Where the prompt's log-probs were wanted: of all its tokens after the first, of the answer's, and of the token
    by which the model ended its turn, if it did."""


Pieces = AsyncGenerator["str | Written", None]
"""Texts to be joined, and at the end the whole. Closing it before that stops the writing."""


class Writer(Protocol):
    """An engine that can be read along with."""

    form: ChatFormat
    model: str
    slots: int
    context_tokens: int

    def write(self, prompted: Prompted) -> Pieces:
        """RequestError, when first waited for, where this prompt cannot be answered."""
        ...


class Listener:
    """Brings what a thread writes to the event loop that it was made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[str | Written | BaseException] = asyncio.Queue()
        self.gone = False
        """Nobody wants the rest."""

    def tell(self, heard: str | Written | BaseException) -> None:
        """From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard.put_nowait, heard)

    async def pieces(self) -> Pieces:
        try:
            while True:
                heard = await self._heard.get()
                if isinstance(heard, BaseException):
                    raise heard
                yield heard
                if isinstance(heard, Written):
                    return
        finally:
            self.gone = True


def settled(text: str, stops: Sequence[str]) -> str:
    """What of an unfinished answer will not be taken back: no half character, nothing that may begin a stop text."""
    whole = text.rstrip(HALF)
    longest = max((len(stop) for stop in stops), default=0)
    for held in range(min(longest - 1, len(whole)), 0, -1):
        if any(stop.startswith(whole[-held:]) for stop in stops):
            return whole[:-held]
    return whole
