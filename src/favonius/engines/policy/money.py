"""What requests cost, in whole nano-dollars, and purses that are never overdrawn."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

from favonius.types import Price


class Tariff:
    """A price in whole numbers, so that sums of millions of costs are exact.

    Costs are in nano-dollars, each rounded up once. A price means the decimal number that was written, not the float
    nearest to it.
    """

    def __init__(self, price: Price) -> None:
        cached = price.prompt if price.cached_prompt is None else price.cached_prompt
        # Dollars per million tokens are thousands of nano-dollars per token.
        rates = [Fraction(str(dollars)) * 1000 for dollars in (price.prompt, price.completion, cached)]
        self._parts = lcm(*(rate.denominator for rate in rates))
        """Of a nano-dollar: the unit of the rates."""
        self._prompt, self._completion, self._cached = (int(rate * self._parts) for rate in rates)

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """`cached_tokens` of `prompt_tokens` came from the provider's prefix cache."""
        fresh = prompt_tokens - cached_tokens
        parts = fresh * self._prompt + cached_tokens * self._cached + completion_tokens * self._completion
        return -(-parts // self._parts)

    def bound(self, prompt_tokens_upper: int, max_tokens: int) -> int:
        """The most that a call can cost."""
        parts = prompt_tokens_upper * max(self._prompt, self._cached) + max_tokens * self._completion
        return -(-parts // self._parts)


class Purse:
    """At most `cap` nano-dollars (None: no cap), of which `spent` are gone: what a call may cost is set aside before it
    is made. A purse `within` another takes from both, so a step's purse is in the run's.

    spent + reserved never exceeds the cap, unless a provider bills more than the bound that was set aside for a call;
    then nothing more is set aside.
    """

    def __init__(self, cap: int | None = None, spent: int = 0, within: Purse | None = None) -> None:
        self.cap, self.spent, self.within = cap, spent, within
        self.reserved = 0
        self._calls = 0
        """Reservations that are not settled."""
        self._final = False

    @property
    def empty(self) -> bool:
        """The last reservation was refused while none was open that might give something back: stop asking."""
        return self._final or (self.within is not None and self.within.empty)

    def reserve(self, bound: int) -> bool:
        """Set `bound` aside here and in the purse around; where either has too little, in neither, and False."""
        over = self.cap is not None and self.spent + self.reserved + bound > self.cap
        self._final = over and self._calls == 0
        if over or (self.within is not None and not self.within.reserve(bound)):
            return False
        self.reserved += bound
        self._calls += 1
        return True

    def resume(self, bound: int) -> None:
        """A call of an earlier run, counted as spent with its bound, is under way again: `settle` will follow."""
        self.spent -= bound
        self.reserved += bound
        self._calls += 1
        if self.within is not None:
            self.within.resume(bound)

    def settle(self, bound: int, cost: int) -> None:
        """A call for which `bound` was set aside cost `cost`: 0 where it was not billed, `bound` where nobody knows."""
        self.reserved -= bound
        self._calls -= 1
        self.spent += cost
        if self.within is not None:
            self.within.settle(bound, cost)
