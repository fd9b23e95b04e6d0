"""Several servers of one model: where the next request goes, and what a failure means for all."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from favonius.engines.policy.endpoint import Endpoint, EndpointRules, Flight
from favonius.engines.policy.trouble import WORDLESS, Trouble

NEAR = 0.25
"""A server is not clearly busier than another while its share of slots taken is larger by no more than this."""
NAMED = 3
"""Servers that a sentence names one by one."""


@dataclass(frozen=True, slots=True)
class Wait:
    """No server can take a request. Choose again after `seconds` or once a request of this fleet has ended, whichever
    comes first; None: only the end of a request can change it, and there is one under way."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing is under way, and no server will be asked again within the fleet's patience."""

    sentence: str


class Fleet:
    """`choose` says where, `started` gives a Flight, and every Flight ends in `answered` or `failed`, once.

    `patience`: seconds without any answer after which a fleet of which no server is open is `Dead`.
    """

    def __init__(
        self, endpoints: Sequence[EndpointRules], now: float, rng: random.Random, patience: float = 3600.0
    ) -> None:
        if not endpoints:
            raise ValueError("a fleet needs an endpoint")
        self.endpoints = tuple(Endpoint(rules, now) for rules in endpoints)
        self._rng, self.patience = rng, patience
        self._silent_since: float | None = None
        """Time of the first trouble since the last answer."""

    def choose(self, now: float, tokens: int, avoid: int | None = None, hint: int | None = None) -> int | Wait | Dead:
        """The server for a request of up to `tokens` tokens (prompt and answer); `started` must follow at once.

        A server that is due to be probed comes first. Then the one with the smallest share of its slots taken, among
        equals the one with the fewest tokens under way. `avoid` (where it failed before) is taken only if there is no
        other. Requests with one `hint` (a hash of the prefix that they share) go to one server as long as it is not
        clearly busier than others, so that its prefix cache serves them.
        """
        ready, soonest = [], math.inf
        for index, endpoint in enumerate(self.endpoints):
            wait = endpoint.wait(now, tokens)
            if wait == 0:
                ready.append(index)
            elif wait < soonest:
                soonest = wait
        if avoid in ready and len(ready) > 1:
            ready.remove(avoid)
        if len(ready) == 1:
            return ready[0]
        return self._best(ready, hint) if ready else self._nobody(now, soonest)

    def started(self, index: int, now: float, tokens: int) -> Flight:
        return self.endpoints[index].started(index, now, tokens)

    def answered(self, flight: Flight, now: float, used_tokens: int) -> None:
        self._silent_since = None
        self.endpoints[flight.endpoint].answered(flight, now, used_tokens)

    def failed(self, flight: Flight, now: float, trouble: Trouble) -> Trouble:
        """The trouble as its request should take it (`retry.attempts` is to be sent this one).

        What it says about the server stays here: another server that is open need not be waited for, and a server that
        is known to be out of service is not the request's fault.
        """
        endpoint = self.endpoints[flight.endpoint]
        elsewhere = any(other.state == "open" for other in self.endpoints if other is not endpoint)
        endpoint.failed(flight, now, trouble, elsewhere, self._rng)
        if endpoint.is_blameless(trouble, elsewhere):
            self._silent_since = None
            return trouble
        if self._silent_since is None:
            self._silent_since = now
        outage = endpoint.state in ("drained", "closed") and trouble.kind not in WORDLESS
        return replace(trouble, retry_after=None if elsewhere else trouble.retry_after, outage=outage)

    def _best(self, ready: list[int], hint: int | None) -> int:
        loads = []
        for index in ready:
            endpoint = self.endpoints[index]
            if endpoint.state == "drained":
                return index
            loads.append((endpoint.window.in_flight / endpoint.window.limit, endpoint.tokens, index))
        least = min(loads)
        if hint is None:
            return least[2]
        # Rendezvous hashing: where a server is lost or busy, only what would have gone there goes elsewhere.
        return max((hash((hint, index)), index) for load, _, index in loads if load <= least[0] + NEAR)[1]

    def _nobody(self, now: float, soonest: float) -> Wait | Dead:
        if any(endpoint.state == "open" or endpoint.window.in_flight for endpoint in self.endpoints):
            return Wait(None if soonest == math.inf else soonest)
        silent_since = now if self._silent_since is None else self._silent_since
        if now + soonest > silent_since + self.patience:
            return Dead(self._account())
        return Wait(soonest)

    def _account(self) -> str:
        parts = [f"{endpoint.name} {endpoint.last_trouble}" for endpoint in self.endpoints[:NAMED]]
        more = len(self.endpoints) - len(parts)
        named = "; ".join(parts) + (f"; and {more} more" if more else "")
        return f"no server can be used: {named}; mend that and run the same command again: nothing answered is lost"
