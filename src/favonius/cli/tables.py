"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str | int]], right: Collection[int] = ()) -> str:
    """Columns two spaces apart; those of numbers, and the ones at the places `right`, to the right. 0 is left out."""
    texts = [[f"{cell:,}" if cell and isinstance(cell, int) else str(cell or "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    numbers = {at for at in range(len(head)) if rows and all(isinstance(row[at], int) for row in rows)}
    lines = []
    for cells in [list(head), *texts]:
        fitted = enumerate(zip(cells, widths, strict=True))
        lines.append("  ".join(_fitted(cell, width, at in numbers or at in right) for at, (cell, width) in fitted))
    return "\n".join(line.rstrip() for line in lines)


def _fitted(cell: str, width: int, rightward: bool) -> str:
    return cell.rjust(width) if rightward else cell.ljust(width)
