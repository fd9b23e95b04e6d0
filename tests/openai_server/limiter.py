"""The server's own limits, as a provider's: sliding windows of requests and tokens, and requests at once."""

from __future__ import annotations

from collections import deque

from tests.openai_server.fates import Limits


class Limiter:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.at_once = 0
        self._taken: deque[tuple[float, int]] = deque()
        """When and how many tokens, within the window."""
        self._tokens = 0

    def refuses(self, tokens: int, now: float) -> dict[str, str] | None:
        """Take a request, or give the headers of the refusal; a refused request takes up nothing."""
        limits = self.limits
        while self._taken and self._taken[0][0] <= now - limits.window_seconds:
            self._tokens -= self._taken.popleft()[1]
        if limits.at_once and self.at_once >= limits.at_once:
            return {}
        over_requests = limits.requests and len(self._taken) >= limits.requests
        over_tokens = limits.tokens and self._taken and self._tokens + tokens > limits.tokens
        if over_requests or over_tokens:
            wait = self._taken[0][0] + limits.window_seconds - now
            return {"Retry-After": f"{wait:.3f}", "x-ratelimit-limit-requests": str(limits.requests)}
        if limits.requests or limits.tokens:
            self._taken.append((now, tokens))
            self._tokens += tokens
        return None
