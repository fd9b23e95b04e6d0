"""How many requests one server bears at once: found out by trying, as TCP does (RFC 5681)."""

from __future__ import annotations

FORGIVEN = 1 / 10
"""Throttled requests that one answer makes up for. Servers fail now and then for no reason of load; halving for each
failure, as TCP does, would keep one with 1 % of failures at a dozen requests at once, whatever it could bear."""
ALARM = 3.0
"""Throttled requests, less the forgiven ones, that halve the limit; where it is wide, a `SHARE`-th of it."""
SHARE = 16


class Window:
    """Additive increase, multiplicative decrease. `limit` stays in 1 … `most`; `in_flight` counts what is under way.

    At first (slow start) each answer makes room for one more; after the first cut it takes as many answers as the limit
    is wide, 16 at most. A window that is not half used does not grow: its answers do not say that more would be borne.
    """

    __slots__ = ("_alarm", "_grown", "_old", "_slow_start", "in_flight", "limit", "most", "start")

    def __init__(self, start: int, most: int) -> None:
        self.start, self.most = min(start, most), most
        self.in_flight = 0
        self.limit = self.start
        self._slow_start = True
        self._alarm = 0.0
        self._grown = 0
        """Answers since the last growth."""
        self._old = 0
        """Requests still under way that were sent before the last cut; what they bring is no news."""

    def started(self) -> None:
        self.in_flight += 1

    def answered(self) -> None:
        self._alarm = max(0.0, self._alarm - FORGIVEN)
        if self.limit < self.most and 2 * self.in_flight >= self.limit:
            self._grown += 1
            if self._slow_start or self._grown >= min(self.limit, SHARE):
                self.limit += 1
                self._grown = 0
        self.ended()

    def throttled(self) -> None:
        """The server could not bear it. Where that is no exception the limit is halved, once for all sent before."""
        if self._old == 0:
            self._alarm += 1.0
            if self._alarm >= max(ALARM, self.limit / SHARE):
                self.limit = max(1, self.limit // 2)
                self._slow_start, self._alarm, self._grown = False, 0.0, 0
                self._old = self.in_flight
        self.ended()

    def ended(self) -> None:
        """A request is over and says nothing about the load."""
        self.in_flight -= 1
        self._old = max(0, self._old - 1)

    def restart(self) -> None:
        """The server was away: what it bore before is not known to hold."""
        self.limit = min(self.limit, self.start)
        self._slow_start = True
