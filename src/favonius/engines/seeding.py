"""What fixes a request's draws."""

from __future__ import annotations

from favonius.types import Request


def request_seed(request: Request) -> int:
    """A 31-bit seed that depends on the request alone, so that an answer does not depend on when it is asked."""
    return int(request.key()[:8], 16) & 0x7FFFFFFF
