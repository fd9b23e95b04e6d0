"""Requests and tokens per minute, as a provider allows them."""

from __future__ import annotations

BURST = 0.05
"""Share of a minute's amount that may be spent at once."""
HAIR = 1e-9
"""Rounding error that is forgiven, as a share of the bucket: waiting exactly as long as was said must be enough."""


class Bucket:
    """A token bucket that starts full: it holds `BURST` of a minute's amount and is filled with the rest of it.

    So what is taken in *any* 60 seconds is at most `per_minute`, not up to twice as much after a pause. An amount
    larger than the bucket passes when it is full, and the bucket then owes it: such a minute may be over by that one.
    """

    __slots__ = ("_at", "_level", "_rate", "capacity")

    def __init__(self, per_minute: float, now: float) -> None:
        self.capacity = per_minute * BURST
        self._rate = per_minute * (1.0 - BURST) / 60.0
        self._level, self._at = self.capacity, now

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` may be taken; 0 now."""
        self._fill(now)
        short = min(amount, self.capacity) - self._level
        return short / self._rate if short > self.capacity * HAIR else 0.0

    def take(self, now: float, amount: float) -> None:
        """To be called when `wait` is 0."""
        self._fill(now)
        self._level -= amount

    def settle(self, now: float, reserved: float, used: float) -> None:
        """Of `reserved`, which was taken, `used` was needed: give back the rest, or take what is missing."""
        self._fill(now)
        self._level = min(self.capacity, self._level + reserved - used)

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
            self._at = now
