"""What a server does to its clients: a script that depends on a request's content and attempt, never on the order."""

from __future__ import annotations

import random
from typing import Literal, get_args

from pydantic import Field

from favonius.types import Noun

Kind = Literal[
    "limited",  # 429 without Retry-After
    "limited_seconds",  # 429, Retry-After in seconds
    "limited_date",  # 429, Retry-After as an HTTP date
    "server_error",  # 500
    "bad_gateway",  # 502 with a page of HTML
    "overloaded",  # 503, Retry-After in seconds
    "dropped",  # the connection closes before a byte is answered
    "dropped_in_body",  # … in the middle of a chunked body
    "half_body",  # … after half of what Content-Length promised; a stream ends in good order, but early
    "invalid_json",
    "no_choices",  # 200 with an `error` where `choices` should be
    "empty_choices",
    "null_content",
    "empty_text",
    "stall",  # the right answer after `stall_seconds`; a stream stops in its middle for as long
    "length",  # half of the answer, with finish_reason length
    "content_filter",  # half of the answer, with finish_reason content_filter
    "context_length",  # 400
    "unauthorized",  # 401 that repeats the key, as careless servers do
    "not_found",  # 404: no such model
    "quota",  # 429 that no waiting mends: insufficient_quota
]
LASTING: tuple[Kind, ...] = ("context_length", "unauthorized", "not_found", "quota")
TRANSIENT: tuple[Kind, ...] = (
    "limited", "limited_seconds", "limited_date", "server_error", "bad_gateway", "overloaded", "dropped",
    "dropped_in_body", "half_body", "invalid_json", "no_choices", "empty_choices", "null_content", "empty_text",
    "stall",
)  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


class Limits(Noun):
    """What the server takes; beyond it, it answers 429 of its own accord. 0: no limit."""

    requests: int = 0
    """In any window of `window_seconds`."""
    tokens: int = 0
    """Prompt and answer together, in any window."""
    window_seconds: float = 60.0
    at_once: int = 0


class BatchFates(Noun):
    """How batches go. Batches are numbered from 0 in the order of their creation."""

    polls_per_state: int = 1
    """A batch moves on to its next state when it has been looked at so often in this one …"""
    seconds_per_state: float = 0.0
    """… and so much time has passed in it."""
    invalid: tuple[int, ...] = ()
    """Batches that fail validation, whatever their file."""
    expired: tuple[int, ...] = ()
    """Batches that expire …"""
    served_share: float = 0.5
    """… or are cancelled after so many of their requests were answered."""
    most_requests: int = 50_000
    lost_replies: int = 0
    """So many creations of batches succeed, but the connection drops before the client hears of it."""
    failing_calls: int = 0
    """So many calls of the file and batch endpoints get a 500 first."""


class Fates(Noun):
    """One server's script. With the defaults everything is answered rightly and at once."""

    seed: int = 0
    share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of requests that meet faults before their right answer: 1 to `failures`, each drawn from `kinds`."""
    kinds: tuple[Kind, ...] = TRANSIENT
    failures: int = Field(default=1, ge=1)
    lasting_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of requests, besides `share`, that meet one fate drawn from `lasting` however often they are asked."""
    lasting: tuple[Kind, ...] = LASTING
    retry_after: float = 1.0
    """Seconds that Retry-After names."""
    stall_seconds: float = 60.0
    latency: tuple[float, float] = (0.0, 0.0)
    """Every answer takes seconds drawn from here, so that answers overtake each other."""
    unsupported: tuple[str, ...] = ()
    """Request fields that are refused with a 400, as some models refuse `seed` or `max_tokens`."""
    key: str | None = "test-key"
    """What Authorization must bear; None lets everyone in."""
    models: tuple[str, ...] = ("test-model",)
    die_after: int | None = None
    """At the next request after so many, the listener and all connections close."""
    dead_seconds: float | None = None
    """The server comes back after so long; None: when `Server.revive` is called."""
    limits: Limits = Limits()
    batches: BatchFates = BatchFates()

    def of(self, digest: str, attempt: int) -> Kind | None:
        """What the request with this content digest meets at its attempt 0, 1, …; None is the right answer."""
        draw = random.Random(f"{self.seed}/{digest}")
        place = draw.random()
        if place < self.lasting_share:
            return draw.choice(self.lasting)
        if place >= self.lasting_share + self.share or attempt >= draw.randint(1, self.failures):
            return None
        return random.Random(f"{self.seed}/{digest}/{attempt}").choice(self.kinds)

    def delay(self, digest: str, attempt: int) -> float:
        """Seconds until the answer, stalls not counted."""
        return random.Random(f"{self.seed}/{digest}/{attempt}/delay").uniform(*self.latency)
