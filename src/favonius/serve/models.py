"""The models behind one address. Each is opened when it is first asked for and stays open."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack

from favonius.engines.writing import Writer
from favonius.serve.problems import no_such_model

Opening = Callable[[], AbstractContextManager[Writer]]


class Models:
    """`openings`: name → how its engine is made."""

    def __init__(self, openings: Mapping[str, Opening]) -> None:
        self._openings = openings
        self._open: dict[str, Writer] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stack = ExitStack()
        self.created = int(time.time())

    @property
    def names(self) -> list[str]:
        return list(self._openings)

    async def get(self, name: str) -> Writer:
        """ApiError where there is no such model."""
        if name not in self._openings:
            raise no_such_model(name, self.names)
        async with self._locks[name]:
            if name not in self._open:
                opening = self._openings[name]()
                self._open[name] = await asyncio.to_thread(self._stack.enter_context, opening)
            return self._open[name]

    def close(self) -> None:
        self._stack.close()
