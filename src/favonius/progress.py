"""Live progress: one rewritten line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

PLAIN_SECONDS = 10.0
LIVE_SECONDS = 0.2


class Progress:
    """Where stages report to. `bar` opens one task; `say` prints a lasting line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.live = self.stream.isatty()

    def say(self, text: str) -> None:
        if self.live:
            self.stream.write("\r\x1b[K")
        self.stream.write(text + "\n")
        self.stream.flush()

    def now(self, text: str) -> None:
        """A line that the next one replaces; where there is no terminal, nothing."""
        if self.live:
            self.stream.write("\r\x1b[K" + text)
            self.stream.flush()

    def bar(self, label: str, total: int, unit: str = "", done: int = 0) -> Bar:
        return Bar(self, label, total, unit, done)


class Bar:
    """One task: `advance(items, tokens)` moves it on. Rates and time left count only what this process did."""

    def __init__(self, progress: Progress, label: str, total: int, unit: str, done: int) -> None:
        self.progress, self.label, self.total, self.unit = progress, label, total, unit
        self.done = self.already = done
        self.tokens = 0
        self.note = ""
        self.started = self.shown = time.monotonic()

    def advance(self, items: int = 1, tokens: int = 0, note: str | None = None) -> None:
        self.done += items
        self.tokens += tokens
        if note is not None:
            self.note = note
        now = time.monotonic()
        if self.done < self.total and now - self.shown >= (LIVE_SECONDS if self.progress.live else PLAIN_SECONDS):
            self.shown = now
            self._show(now)

    def _show(self, now: float, end: bool = False) -> None:
        text = self.line(now - self.started)
        if self.progress.live and not end:
            self.progress.stream.write("\r\x1b[K" + text)
            self.progress.stream.flush()
        else:
            self.progress.say(text)

    def line(self, seconds: float) -> str:
        """The line after `seconds` of work: label, count, tokens/s, time left, note."""
        unit = f" {self.unit}" if self.unit else ""
        parts = [f"{self.label}: {self.done}/{self.total}{unit}"]
        if self.tokens and seconds > 0:
            parts.append(f"{self.tokens / seconds:,.0f} tokens/s")
        here = self.done - self.already
        if here and self.done < self.total:
            parts.append(f"{clock((self.total - self.done) * seconds / here)} left")
        elif self.done >= self.total:
            parts.append(f"took {clock(seconds)}")
        if self.note:
            parts.append(self.note)
        return "  ".join(parts)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(time.monotonic(), end=True)


def clock(seconds: float) -> str:
    """`75` → `1m15s`, `8` → `8s`, `7260` → `2h01m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
