"""Lists of bars: labels and how often each came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BARS_SHOWN = 10
"""Of a list of bars; the others are folded, ..."""
FEW = 3
"""... unless they are as few as this."""


@dataclass(frozen=True)
class Bar:
    """A label, how often it came, and its length in hundredths of the longest."""

    label: str
    count: int
    length: float


@dataclass(frozen=True)
class Bars:
    """The longest first."""

    title: str
    note: str
    shown: tuple[Bar, ...]
    folded: tuple[Bar, ...]


def bars_of(title: str, counts: Mapping[str, int], note: str = "") -> Bars | None:
    """None where there is nothing to draw."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if not ordered:
        return None
    bars = tuple(Bar(label, times, 100.0 * times / max(1, ordered[0][1])) for label, times in ordered)
    shown = BARS_SHOWN if len(bars) > BARS_SHOWN + FEW else len(bars)
    return Bars(title, note, bars[:shown], bars[shown:])
