"""Pieces of sentences that are alike wherever they stand: counts of things, and texts quoted in short."""

from __future__ import annotations

import json
import re
from typing import Any

QUOTED_CHARACTERS = 60
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def counted(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def shortened(text: str, most: int) -> str:
    """`text` with at most so many characters, the last of them `…` where some are left out."""
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str) -> str:
    """Text of a file or a model for a terminal, with escapes where it would move a cursor, or turn lines round."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def quoted(value: Any) -> str:
    """A value from a file, in short, as JSON has it."""
    return shortened(json.dumps(value, ensure_ascii=False, default=str), QUOTED_CHARACTERS)
