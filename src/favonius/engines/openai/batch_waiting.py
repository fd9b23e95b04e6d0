"""Requests that wait for batches, and when those that are in none have gathered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from favonius.engines.asked import Traffic
from favonius.engines.policy.retry import GaveUp
from favonius.engines.policy.trouble import Trouble
from favonius.types import Completion, Request


@dataclass(slots=True)
class Parked:
    """A request that somebody waits for, with what it has met so far."""

    request: Request
    reply: asyncio.Future[Completion]
    troubles: tuple[Trouble, ...] = ()
    cut: Completion | None = None
    """An answer that the server cut off; taken where no better one comes."""

    def meet(self, trouble: Trouble, attempts: int) -> GaveUp | None:
        """None where another batch may fare better, and `attempts` of them have not yet failed."""
        self.troubles += (trouble,)
        if trouble.kind != "rejected" and len(self.troubles) < attempts:
            return None
        return GaveUp(self.troubles)


class Waiting:
    """All that is parked with one engine. `queue` holds, in order, what is in no batch; `full` of them fill one."""

    def __init__(self, traffic: Traffic, full: int) -> None:
        self.traffic, self.full = traffic, full
        self.queue: dict[str, Request] = {}
        self._parked: dict[str, Parked] = {}
        self._arrivals = self._seen = 0

    def park(self, request: Request) -> asyncio.Future[Completion]:
        """What will hold the answer."""
        reply: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._parked[request.key()] = Parked(request, reply)
        self.traffic.parked += 1
        return reply

    def get(self, key: str) -> Parked | None:
        return self._parked.get(key)

    def enqueue(self, keys: Iterable[str]) -> None:
        """Those of `keys` that are parked go into the next batch."""
        for key in keys:
            if (parked := self._parked.get(key)) is not None:
                self.queue[key] = parked.request
                self._arrivals += 1

    def gathered(self) -> bool:
        """Whether something is queued that nothing will be added to, or as much as a batch takes.

        To be asked again and again: what somebody is about to ask has arrived by the next time.
        """
        quiet, self._seen = self._seen == self._arrivals, self._arrivals
        return bool(self.queue) and ((quiet and self.traffic.still) or len(self.queue) >= self.full)

    def leave(self, key: str, outcome: Completion | Exception | None = None) -> None:
        """Nobody waits for a request any more: it has its outcome, or was given up."""
        self.queue.pop(key, None)
        if (parked := self._parked.pop(key, None)) is None:
            return
        self.traffic.parked -= 1
        if parked.reply.done():
            return
        if isinstance(outcome, Completion):
            parked.reply.set_result(outcome)
        elif outcome is not None:
            parked.reply.set_exception(outcome)
            parked.reply.exception()  # whoever waits for it sees it; one who is being cancelled is no complaint

    def end(self, error: Exception) -> None:
        """Nothing will be answered any more."""
        for key in list(self._parked):
            self.leave(key, error)
