"""One server of a fleet: what is under way there, how much it bears, and whether it can be asked at all."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

from favonius.engines.policy.limits import Bucket
from favonius.engines.policy.trouble import WORDLESS, Kind, Trouble
from favonius.engines.policy.window import Window

State = Literal["open", "resting", "drained", "closed"]

START = 8
"""Requests at once to a server of which nothing is known yet."""
STRIKES: dict[Kind, int] = {
    "connection": 10,
    "timeout": 10,
    "rate_limited": 10,
    "rejected": 10,
    "overloaded": 3,
    "malformed": 3,
    "empty": 3,
}
"""How much a trouble counts towards `OUT` while nothing is answered in between. A server that fails here and there must
not be given up; one that fails at once whatever it is sent would otherwise, never being busy, attract every request."""
OUT = 30
WIDE = 12
"""Where more requests than this are let through at once, bad luck comes in longer rows, and `OUT` grows with them."""
REFUSALS = 3
"""So often in a row must a server that has answered before turn the caller away for that to be its last word."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds between probes; they double from the one to the other."""
LONGEST_PAUSE_OF_WORDLESS = 2.0
"""Of a server that is there and says nothing of use: time mends nothing, and its last requests must come to an end."""


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What is known of a server beforehand. None: no such limit."""

    name: str
    """What the user calls it, in sentences and reports."""
    concurrency: int = 64
    """Most requests at once."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


@dataclass(frozen=True, slots=True)
class Flight:
    """A request under way: where, with how many tokens reserved, and whether it probes a drained endpoint."""

    endpoint: int
    tokens: int
    probe: bool


class Endpoint:
    """open → resting: it throttled time and again and answered nothing; it opens by itself after a pause.
    open → drained: it failed time and again; after a pause one request at a time probes it, and an answer opens it.
    open → closed: it turned its very first or several callers in a row away; it is not asked again.
    """

    __slots__ = (
        "_has_answered", "_lapses", "_probing", "_refusals", "_requests", "_strikes", "_tokens", "_until",
        "last_trouble", "name", "state", "tokens", "window",
    )  # fmt: skip

    def __init__(self, rules: EndpointRules, now: float) -> None:
        self.name = rules.name
        self.window = Window(START, rules.concurrency)
        self._requests = Bucket(rules.requests_per_minute, now) if rules.requests_per_minute else None
        self._tokens = Bucket(rules.tokens_per_minute, now) if rules.tokens_per_minute else None
        self.tokens = 0
        """Reserved by what is under way."""
        self._has_answered = False
        self.last_trouble: str | None = None
        self.state: State = "open"
        self._strikes = self._refusals = 0
        self._lapses = 0
        """Pauses since the last answer."""
        self._until = now
        """End of the pause, where it is resting or drained."""
        self._probing = False

    def wait(self, now: float, tokens: int) -> float:
        """Seconds until a request may be sent here: 0 now, infinity where that takes something else to end first."""
        if self.state == "closed" or self._probing:
            return math.inf
        if self.state != "open":
            if now < self._until:
                return self._until - now
            if self.state == "resting":
                self.state = "open"
        if self.state == "open" and self.window.in_flight >= self.window.limit:
            return math.inf
        wait = self._requests.wait(now, 1) if self._requests is not None else 0.0
        return max(wait, self._tokens.wait(now, tokens)) if self._tokens is not None else wait

    def started(self, index: int, now: float, tokens: int) -> Flight:
        self._probing = self.state == "drained"
        self.window.started()
        self.tokens += tokens
        if self._requests is not None:
            self._requests.take(now, 1)
        if self._tokens is not None:
            self._tokens.take(now, tokens)
        return Flight(index, tokens, self._probing)

    def answered(self, flight: Flight, now: float, used_tokens: int) -> None:
        self._has_answered = True
        self.window.answered()
        self._ended(flight, now, used_tokens)
        self._alive(flight)

    def is_blameless(self, trouble: Trouble, elsewhere: bool) -> bool:
        """Whether the trouble is the request's alone. A blank answer may be either's: it is taken for the request's
        where the server has answered others, and no other can take its place (`elsewhere`)."""
        if trouble.kind == "empty":
            return self._has_answered and not elsewhere
        return trouble.kind == "rejected" and not trouble.closes

    def failed(self, flight: Flight, now: float, trouble: Trouble, elsewhere: bool, rng: random.Random) -> None:
        """`elsewhere`: another server of the fleet can be asked."""
        self.last_trouble = trouble.sentence
        if trouble.kind in ("rate_limited", "overloaded", "timeout"):
            self.window.throttled()
        else:
            self.window.ended()
        self._ended(flight, now, flight.tokens if trouble.paid else 0)
        if self.is_blameless(trouble, elsewhere):
            self._alive(flight)
        elif flight.probe or self.state == "open":  # else it was sent before the pause began
            self._strikes += STRIKES[trouble.kind]
            self._refusals = self._refusals + 1 if trouble.closes else 0
            if trouble.closes and (not self._has_answered or self._refusals >= REFUSALS):
                self.state = "closed"
            elif self._strikes >= OUT * max(1.0, self.window.limit / WIDE) or flight.probe:
                self._pause(now, trouble, rng)

    def _ended(self, flight: Flight, now: float, used_tokens: int) -> None:
        self.tokens -= flight.tokens
        if self._tokens is not None:
            self._tokens.settle(now, flight.tokens, used_tokens)
        if flight.probe:
            self._probing = False

    def _alive(self, flight: Flight) -> None:
        """A server that shuts down still answers what it was sent before: that does not end its pause."""
        if self.state == "open" or flight.probe:
            self._strikes = self._refusals = self._lapses = 0
            self.state = "open"

    def _pause(self, now: float, trouble: Trouble, rng: random.Random) -> None:
        self._strikes = 0
        self._lapses += 1
        most = LONGEST_PAUSE_OF_WORDLESS if trouble.kind in WORDLESS else LONGEST_PAUSE
        longest = min(most, FIRST_PAUSE * 2.0 ** min(self._lapses - 1, 30))
        self._until = now + max(rng.uniform(0.5, 1.0) * longest, trouble.retry_after or 0.0)
        self.state = "resting" if trouble.kind == "rate_limited" else "drained"
        if self.state == "drained":
            self.window.restart()
