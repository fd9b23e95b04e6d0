"""One request's life as a generator: send, and after a trouble wait and send again, or give up."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from favonius.engines.policy.trouble import Trouble
from favonius.types import RequestError

STEEPEST = 30
"""Doublings after which a backoff grows no more, far above any limit: 2.0 ** 1100 is an error."""


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How long to try."""

    attempts: int = 6
    """So many faults end a request."""
    patience_seconds: float = 3600.0
    """What a request waits in all for rate limits and outages, which say nothing about it; then they are faults too."""
    first_seconds: float = 0.5
    longest_seconds: float = 60.0
    """Bounds of the backoff, which doubles from the one to the other."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request, for the `attempt`-th time (from 1)."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


class GaveUp(RequestError):  # noqa: N818 - it is what happened
    """A request got no answer. `troubles` are all that it met; the message is one sentence about them."""

    def __init__(self, troubles: Sequence[Trouble]) -> None:
        self.troubles = tuple(troubles)
        self.lasting = troubles[-1].kind == "rejected" and not troubles[-1].closes
        self.attempts, self.paid_attempts = len(troubles), sum(trouble.paid for trouble in troubles)
        super().__init__(_account(self.troubles))


def attempts(rules: RetryRules, rng: random.Random) -> Generator[Send | Sleep, Trouble | None, tuple[Trouble, ...]]:
    """Yield what to do next with one request, and return the troubles it met once it is answered.

    After `Send` it must be sent the Trouble that came of it, or None for an answer; after `Sleep`, None. Waits are what
    the server asked for plus a backoff with full jitter, so that requests that were turned away together do not come
    back together. Raises GaveUp after `rules.attempts` faults, and at once where the request itself was rejected or the
    server asks for a longer wait than `rules` have left.
    """
    troubles: list[Trouble] = []
    faults, patience = 0, rules.patience_seconds
    while True:
        trouble = yield Send(len(troubles) + 1)
        if trouble is None:
            return tuple(troubles)
        troubles.append(trouble)
        asked = trouble.retry_after or 0.0
        final = trouble.kind == "rejected" and not trouble.closes
        if final or asked > max(patience, rules.longest_seconds):
            raise GaveUp(troubles)
        steep = min(len(troubles) - 1, STEEPEST)
        wait = asked + rng.uniform(0.0, min(rules.longest_seconds, rules.first_seconds * 2.0**steep))
        if (trouble.kind == "rate_limited" or trouble.outage) and patience > 0:
            # However short the jitter makes it, so that the number of attempts is bounded.
            patience -= max(wait, rules.first_seconds)
        else:
            faults += 1
        if faults >= rules.attempts:
            raise GaveUp(troubles)
        yield Sleep(wait)


def _account(troubles: Sequence[Trouble]) -> str:
    """`answered 500 (…); tried 5 times: 3 overloaded, 2 timeout`."""
    last = troubles[-1].sentence
    if len(troubles) == 1:
        return last
    kinds = Counter(trouble.kind for trouble in troubles).most_common()
    return f"{last}; tried {len(troubles)} times: " + ", ".join(
        f"{count} {kind.replace('_', ' ')}" for kind, count in kinds
    )
