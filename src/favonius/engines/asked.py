"""An engine behind the ledger: what is written there is not asked again, and what fails is written there too."""

from __future__ import annotations

import asyncio
import time

from favonius.engines.account import Account, SpentError
from favonius.engines.ledger import Ledger
from favonius.types import Completion, Engine, Noun, Request, RequestError


class Failure(Noun):
    """A request that got no answer, and why."""

    cause: str
    asked: bool = True
    """False where there was no money left to ask it."""


class Asked:
    """Answers from the ledger, from a request like it that is in flight, or from the engine; durable when returned."""

    def __init__(self, engine: Engine, ledger: Ledger, account: Account) -> None:
        self.engine, self.ledger, self.account = engine, ledger, account
        self._in_flight: dict[str, asyncio.Future[Completion | Failure]] = {}

    async def reply(self, request: Request) -> Completion | Failure:
        key = request.key()
        if (other := self._in_flight.get(key)) is not None:
            return await asyncio.shield(other)
        if (known := self.ledger.get(key)) is not None:
            return known
        future = self._in_flight[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await self._ask(request)
            future.set_result(reply)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # whoever waits for it sees it; where nobody does, that is no complaint
            raise
        finally:
            del self._in_flight[key]
        return reply

    async def _ask(self, request: Request) -> Completion | Failure:
        started = time.monotonic()
        try:
            completion = await self.engine.complete(request)
        except SpentError:
            return Failure(cause="the budget is spent", asked=False)
        except RequestError as error:
            self.account.close(request, None)
            await self.ledger.fail(request, str(error))
            return Failure(cause=str(error))
        cost = self.account.close(request, completion)
        await self.ledger.put(request, completion, time.monotonic() - started, cost)
        return completion
