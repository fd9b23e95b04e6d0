"""Distributions as bars of text."""

from __future__ import annotations

from collections.abc import Sequence

from favonius.doctor.diagnosis import Distribution

WIDTH = 28
EIGHTHS = " ▏▎▍▌▋▊▉█"

Ends = tuple[int | None, int | None]


def bars(columns: Sequence[tuple[str, Distribution]], unit: str) -> list[str]:
    """A line of titles and one for each bin; `columns`, each with its title, are in the same bins."""
    ends = {(bin.low, bin.high) for _, found in columns for bin in found.bins}
    rows: list[Ends] = sorted(ends, key=lambda pair: (pair[0] is not None, pair[0] or 0))
    labels = [unit, *(_range(low, high) for low, high in rows)]
    width = max(map(len, labels))
    cells = zip((label.rjust(width) for label in labels), *(_column(*column, rows) for column in columns), strict=True)
    return ["  ".join(line).rstrip() for line in cells]


def _column(title: str, found: Distribution, rows: Sequence[Ends]) -> list[str]:
    counts = {(bin.low, bin.high): bin.count for bin in found.bins}
    most = max(counts.values())
    numbers = [f"{counts.get(ends, 0):,}" for ends in rows]
    width = max(map(len, numbers))
    lines = [
        f"{number.rjust(width)} {bar(counts.get(ends, 0) / most)}" for ends, number in zip(rows, numbers, strict=True)
    ]
    return [line.ljust(width + 1 + WIDTH) for line in (title, *lines)]


def bar(share: float) -> str:
    """At most WIDTH characters; what is there at all can be seen."""
    eighths = max(round(share * WIDTH * 8), 1 if share > 0 else 0)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def summary(found: Distribution) -> str:
    return (
        f"mean {found.mean:,.1f}, median {found.median:,}, 90 % up to {found.p90:,}, 99 % up to {found.p99:,}, "
        f"most {found.most:,}"
    )


def _range(low: int | None, high: int | None) -> str:
    if low is None:
        return f"below {high:,}"
    if high is None:
        return f"from {low:,}"
    return f"{low:,}" if high == low + 1 else f"{low:,} to {high - 1:,}"
