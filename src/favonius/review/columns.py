"""Text in columns of a terminal, where some characters are two columns wide and some none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from favonius.doctor.paint import Paint
from favonius.phrases import printable

_PIECES = re.compile(r"\s+|\S+")
TAB = "    "
RULE = " │ "
LEAST = 32
"""Columns that a text needs to be read."""


def columns(text: str) -> int:
    """How many columns `text` takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at blanks where there are some. Controls are made visible."""
    return [line for given in printable(text.replace("\r\n", "\n")).split("\n") for line in _lines(given, width)]


def _lines(text: str, width: int) -> Iterator[str]:
    line, used = "", 0
    for piece in _PIECES.findall(text.replace("\t", TAB)):
        size = columns(piece)
        if used + size <= width:
            line, used = line + piece, used + size
            continue
        if line.strip():
            yield line.rstrip()
        # Of a blank at which a line is broken nothing is kept; a word may be longer than a line.
        line, used = "", 0
        for character in "" if piece.isspace() else piece:
            if used + _width(character) > width:
                yield line
                line, used = "", 0
            line, used = line + character, used + _width(character)
    yield line.rstrip()


def filled(text: str, width: int) -> str:
    """`text` and blanks up to `width` columns."""
    return text + " " * (width - columns(text))


def halves(width: int) -> int | None:
    """How wide each of two columns is in a terminal of `width`; None where they would be too narrow."""
    half = (width - len(RULE)) // 2
    return half if half >= LEAST else None


def beside(
    left: Sequence[str], right: Sequence[str], half: int, paint: Paint, painted: Callable[[str], str] = str
) -> Iterator[str]:
    """Two texts of plain lines next to each other, each of them `painted`."""
    for one, other in zip_longest(left, right, fillvalue=""):
        yield f"{painted(filled(one, half))}{paint.aside(RULE)}{painted(other)}".rstrip()


def shortened(lines: Sequence[str], most: int | None) -> list[str]:
    """The first lines, and a line that tells of the others."""
    if most is None or len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"… {len(lines) - most + 1} more lines"]
