"""What a server has done, to be compared with what its client believes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

ANSWERED = "answered"
"""The right answer was given to a connection that still stood."""
LOST = "lost"
"""The right answer was made, and nobody was there any more to take it."""
OVER_LIMIT = "over_limit"
"""Refused by the server's own limits; does not count as an attempt."""
REFUSED = "refused"
"""A wrong key, or a body that no server would answer; no attempt either."""


@dataclass(frozen=True, slots=True)
class Event:
    """One request for text. Times are seconds since the epoch; tokens are those that a provider would bill."""

    server: str
    path: str
    digest: str
    outcome: str
    """One of the words above, or the kind of fault."""
    arrived: float
    ended: float
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Journal:
    """Several servers may share one, so that attempts count across a fleet. Safe to read from another thread.

    With a path every event is appended to that file, flushed at once; what it holds already is read first, and counts.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.events: list[Event] = []
        self.attempts: Counter[str] = Counter()
        """Per content digest; its next attempt has this number."""
        self.answered: Counter[str] = Counter()
        """How often the right answer was given, per content digest."""
        self.outcomes: Counter[str] = Counter()
        self.servers: Counter[str] = Counter()
        """Requests per server, as host:port."""
        self.keys: Counter[str] = Counter()
        """What Authorization bore."""
        self.strays: list[str] = []
        """Where a key turned up that belongs in Authorization alone: in a URL, a body or another header."""
        self.prompt_tokens = self.completion_tokens = 0
        self._lock = Lock()
        self._path = path
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                event = Event(**json.loads(line))
                if event.outcome not in (OVER_LIMIT, REFUSED):
                    self.attempts[event.digest] += 1
                self._count(event)

    def attempt(self, digest: str) -> int:
        """The number of this attempt, which is hereby begun."""
        with self._lock:
            self.attempts[digest] += 1
            return self.attempts[digest] - 1

    def add(self, event: Event) -> None:
        with self._lock:
            self._count(event)
            if self._path is not None:
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(event)) + "\n")

    def most_at_once(self) -> int:
        """Requests that were open at the same time, at most; those still open are not counted."""
        changes = [(event.arrived, 1) for event in self.events] + [(event.ended, -1) for event in self.events]
        most = now = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        return most

    def most_requests_within(self, seconds: float) -> int:
        """Requests that arrived in the busiest stretch of so many seconds, the refused ones too."""
        return _most(((event.arrived, 1) for event in self.events), seconds)

    def most_tokens_within(self, seconds: float) -> int:
        """Billed tokens of the busiest stretch, at the times when their requests arrived."""
        return _most(((one.arrived, one.prompt_tokens + one.completion_tokens) for one in self.events), seconds)

    def _count(self, event: Event) -> None:
        self.events.append(event)
        self.outcomes[event.outcome] += 1
        self.servers[event.server] += 1
        if event.outcome == ANSWERED:
            self.answered[event.digest] += 1
        self.prompt_tokens += event.prompt_tokens
        self.completion_tokens += event.completion_tokens


def _most(weights: Iterable[tuple[float, int]], seconds: float) -> int:
    inside: list[tuple[float, int]] = []
    most = total = first = 0
    for at, weight in sorted(weights):
        inside.append((at, weight))
        total += weight
        while inside[first][0] <= at - seconds:
            total -= inside[first][1]
            first += 1
        most = max(most, total)
    return most
