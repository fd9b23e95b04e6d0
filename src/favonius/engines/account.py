"""What a model's answers cost: set aside before a call, settled after it, never beyond the purse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from favonius.engines.ledger import Ledger
from favonius.engines.openai.wire import Usage, prompt_bytes
from favonius.engines.policy.money import Purse, Tariff
from favonius.types import Completion, Price, Request


class SpentError(Exception):
    """There is no money left for a request; nothing was sent."""


class Till:
    """A purse that can be waited for; all accounts of a step share one."""

    def __init__(self, purse: Purse) -> None:
        self.purse = purse
        self._gate = asyncio.Lock()
        self._news = asyncio.Event()

    async def reserve(self, bounds: Sequence[int]) -> None:
        """Set nano-dollars aside for the requests of one call, in turn: for all of them or, while it waits, for none.

        SpentError where the purse is too small with nothing in flight.
        """
        async with self._gate:
            while not self._reserve_all(bounds):
                if self.hopeless:
                    raise SpentError
                self._news.clear()
                await self._news.wait()

    def _reserve_all(self, bounds: Sequence[int]) -> bool:
        for number, most in enumerate(bounds):
            if not self.purse.reserve(most):
                # Held on to, they would be what this very call waits for.
                for earlier in bounds[:number]:
                    self.purse.settle(earlier, 0)
                return False
        return True

    def reserve_now(self, most: int) -> bool:
        """Set `most` aside without waiting for others; False where there is too little."""
        return self.purse.reserve(most)

    @property
    def hopeless(self) -> bool:
        """After a refusal: nothing is under way that might give money back."""
        return self.purse.empty or not self.purse.reserved

    def settle(self, reserved: int, spent: int) -> None:
        self.purse.settle(reserved, spent)
        self._news.set()


class Account:
    """One model's money within a step. Everything costs nothing where the model has no price.

    A request's upper bound is durable in the ledger before it is sent, so that a killed run never forgets money.
    """

    def __init__(self, price: Price | None, till: Till, ledger: Ledger) -> None:
        self.tariff = None if price is None else Tariff(price)
        self.till, self.ledger = till, ledger
        self._open: dict[str, int] = {}

    async def open(self, requests: Sequence[Request]) -> None:
        """Set aside what one call for `requests` can cost. They are one question's samples; its prompt is paid once.

        Nothing happens where it is set aside already. SpentError where there is too little.
        """
        if self.tariff is None or requests[0].key() in self._open:
            return
        prompt, tariff = prompt_bytes(requests[0].messages), self.tariff
        bounds = [tariff.bound(0 if number else prompt, one.sampling.max_tokens) for number, one in enumerate(requests)]
        await self.till.reserve(bounds)
        for request, most in zip(requests, bounds, strict=True):
            self._open[request.key()] = most
            await self.ledger.reserve(request, most)

    async def paid(self, requests: Sequence[Request], usage: Usage | None, cause: str) -> None:
        """An attempt was billed and brought nothing; where its usage is not known, all that it can have cost."""
        if self.tariff is None:
            return
        for number, request in enumerate(requests):
            most = self._open.pop(request.key(), 0)
            used = usage if number == 0 else Usage(0, 0)
            cost = most if used is None else self.tariff.cost(*used)
            await self.ledger.fail(request, cause, tokens=used.tokens if used else 0, cost=cost)
            self.till.settle(most, cost)

    def close(self, request: Request, completion: Completion | None) -> int:
        """The cost of an answer, for the ledger; what was set aside for it is free again.

        0 without an answer, and for one that is `paid` already.
        """
        known = request.key() in self._open
        cost = self.cost(completion) if completion is not None and known else 0
        self.settle(request.key(), cost)
        return cost

    def cost(self, completion: Completion) -> int:
        return self.cost_of(Usage(completion.prompt_tokens, completion.completion_tokens, completion.cached_tokens))

    def cost_of(self, usage: Usage) -> int:
        return 0 if self.tariff is None else self.tariff.cost(*usage)

    def settle(self, key: str, cost: int) -> None:
        """A call is over and cost so much; what was set aside for it is free again."""
        if key in self._open:
            self.till.settle(self._open.pop(key), cost)

    def open_batch(self, token: str, endpoint: str, requests: Sequence[Request]) -> list[Request]:
        """Set aside what a batch can cost, durably, and return those of `requests` that there is money for now.

        None at all where others have it set aside; SpentError where nobody has.
        """
        held: list[tuple[Request, int]] = []
        for request in requests:
            most = self.bound(request)
            if self.tariff is None:
                held.append((request, most))
            elif self.till.reserve_now(most):
                self._open[request.key()] = most
                held.append((request, most))
        if held:
            self.ledger.open_batch(token, endpoint, requests[0].model, held)
        elif self.till.hopeless:
            raise SpentError
        return [request for request, _ in held]

    def resume(self, keys: Iterable[str]) -> None:
        """Requests of a batch that an earlier run left under way: the ledger has their bounds, as part of `spent`."""
        if self.tariff is None:
            return
        for key in keys:
            self._open[key] = self.ledger.bound(key)
            self.till.purse.resume(self._open[key])

    def held(self, request: Request) -> int:
        """What is set aside for it."""
        return self._open.get(request.key(), 0)

    def bound(self, request: Request) -> int:
        """The most that one call for a request can cost."""
        if self.tariff is None:
            return 0
        return self.tariff.bound(prompt_bytes(request.messages), request.sampling.max_tokens)
