"""The models behind one address. Each is opened when it is first asked for and stays open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack

from favonius.engines.writing import Writer
from favonius.serve.problems import no_such_model

Opening = Callable[[], AbstractContextManager[Writer]]


class Models:
    """`openings`: name → how its engine is made."""

    def __init__(self, openings: Mapping[str, Opening]) -> None:
        self._openings = openings
        self._opened: dict[str, asyncio.Task[Writer]] = {}
        self._turn = asyncio.Lock()
        """One is opened at a time: transformers changes settings of the whole process while it loads."""
        self._stack = ExitStack()
        self.created = int(time.time())

    @property
    def names(self) -> list[str]:
        return list(self._openings)

    async def get(self, name: str) -> Writer:
        """ApiError where there is no such model, FavoniusError where it cannot be opened; asked again, it is tried
        again."""
        if name not in self._openings:
            raise no_such_model(name, self.names)
        opened = self._opened.get(name)
        if opened is None or (opened.done() and opened.exception() is not None):
            opened = self._opened[name] = asyncio.create_task(self._open(name))
        # Whoever asked first may leave; the model is opened all the same, for the next one.
        return await asyncio.shield(opened)

    async def _open(self, name: str) -> Writer:
        async with self._turn:
            return await asyncio.to_thread(lambda: self._stack.enter_context(self._openings[name]()))

    def close(self) -> None:
        self._stack.close()
