"""An engine behind the ledger: what is written there is not asked again, and what fails is written there too."""

from __future__ import annotations

import asyncio
import re
import time

from favonius.engines.account import Account, SpentError
from favonius.engines.ledger import Ledger
from favonius.types import Completion, Engine, Noun, Request, RequestError


class Failure(Noun):
    """A request that got no answer, and why."""

    cause: str
    asked: bool = True
    """False where there was no money left to ask it."""
    lasting: bool = True
    """Whether another run would fare no better."""

    @property
    def countable(self) -> str:
        """The last trouble without quotations and numbers: the same failure of two requests is one cause. What a
        server answered keeps its status."""
        trouble = self.cause.partition("; tried ")[0]
        return re.sub(r"(?<!answered )\b\d+", "N", re.sub(r"“[^”]*”", "…", trouble))


class Traffic:
    """How many requests of a stage are asked at this moment, and how many of those wait for others to go with them."""

    def __init__(self) -> None:
        self.asked = self.parked = 0

    @property
    def still(self) -> bool:
        """Nothing will be asked before some of what is parked is answered."""
        return self.asked == self.parked


class Asked:
    """Answers from the ledger, from a request like it that is in flight, or from the engine; durable when returned.

    `engine_stores`: the engine writes answers and failures to the ledger itself, and settles their cost.
    """

    def __init__(
        self, engine: Engine, ledger: Ledger, account: Account, traffic: Traffic, engine_stores: bool = False
    ) -> None:
        self.engine, self.ledger, self.account, self.traffic = engine, ledger, account, traffic
        self.engine_stores = engine_stores
        self.generated = 0  # tokens that the engine wrote; those of the ledger are not among them
        self._in_flight: dict[str, asyncio.Future[Completion | Failure]] = {}

    async def reply(self, request: Request) -> Completion | Failure:
        key = request.key()
        if (other := self._in_flight.get(key)) is not None:
            return await asyncio.shield(other)
        if (known := self.ledger.get(key)) is not None:
            return known
        future = self._in_flight[key] = asyncio.get_running_loop().create_future()
        self.traffic.asked += 1
        try:
            reply = await self._ask(request)
            future.set_result(reply)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # whoever waits for it sees it; where nobody does, that is no complaint
            raise
        finally:
            self.traffic.asked -= 1
            del self._in_flight[key]
        return reply

    async def _ask(self, request: Request) -> Completion | Failure:
        started = time.monotonic()
        try:
            completion = await self.engine.complete(request)
        except SpentError:
            return Failure(cause="the budget is spent", asked=False, lasting=False)
        except RequestError as error:
            if not self.engine_stores:
                self.account.close(request, None)
                written = 0 if self.account.tariff is None else error.paid_attempts
                await self.ledger.fail(request, str(error), error.attempts - written)
            return Failure(cause=str(error), lasting=error.lasting)
        self.generated += completion.completion_tokens
        if not self.engine_stores:
            cost = self.account.close(request, completion)
            await self.ledger.put(request, completion, time.monotonic() - started, cost)
        return completion
