"""`data.checks.loops` for millions of texts: most are cleared by three questions that are answered at the speed of C.

Each is a necessary condition of one of the three measures there (tests/test_filters.py tries to find a text for which
it is not); only where it holds the measure itself is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby, pairwise

from favonius.data.checks import (
    GRAM_SHARE,
    GRAM_TEXT_WORDS,
    GRAM_WORDS,
    TAIL_CHARACTERS,
    TAIL_REPEATS,
    TAIL_WINDOW,
    UNIT_REPEATS,
    UNIT_SHARE,
    UNIT_WORDS,
    gram_loops,
    tail_loops,
    unit_loops,
)

TAIL_AGAIN = TAIL_CHARACTERS * (TAIL_REPEATS - 1) // TAIL_REPEATS
"""A tail of n copies of p characters agrees with itself p characters earlier, on the least of max(3 p, 40 - p)."""
TAIL_REACH = TAIL_WINDOW // TAIL_REPEATS + TAIL_AGAIN

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_WIDE_GAP = re.compile(r"[^\w\s.!?;:\x00-\x7f]")
_WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")
_TYPOGRAPHY = "’‘“”–—…•→"
"""In most English texts of today; with plain marks in their place such a text needs no pattern."""


def _plain(code: int) -> int:
    """A small letter, digit, `_` or line end, `.` for all that may end a unit, a space, or `-` for all other marks."""
    character = chr(code)
    if code > 127 or character.isalnum() or character in "_\n":
        return ord(character.lower()) if code < 128 else code
    if character in ".!?;:":
        return ord(".")
    return ord(" " if character.isspace() else "-")


_PLAIN = bytes(map(_plain, range(256)))
_PARTED = bytes.maketrans(b".-", b"  ")


def loops(text: str) -> bool:
    """Exactly what `data.checks.loops` says."""
    if _tail_may_loop(text) and tail_loops(text):
        return True
    plain = text if text.isascii() else _marks_made_plain(text.lower())
    if not plain.isascii() and _UNSPACED.search(plain):
        return unit_loops(text) or gram_loops(text)
    units = plain.encode("utf-8", "surrogatepass").translate(_PLAIN).replace(b". ", b"\n")
    if _units_may_loop(units) and unit_loops(text):
        return True
    return _grams_may_loop(units.translate(_PARTED).split()) and gram_loops(text)


def _marks_made_plain(text: str) -> str:
    """No marks and spaces beyond ASCII; what the measures say of the text stays the same."""
    for mark in _TYPOGRAPHY:
        text = text.replace(mark, "-")
    for stop in "。！？；":
        text = text.replace(stop, "\n")
    return text if text.isascii() else _WIDE_SPACE.sub(" ", _WIDE_GAP.sub("-", text))


def _tail_may_loop(text: str) -> bool:
    """Whether the text ends in copies of one piece."""
    tail = text.rstrip()[-TAIL_WINDOW:]
    if len(tail) < TAIL_CHARACTERS:
        return False
    last = tail[-TAIL_AGAIN:]
    at = len(tail) - TAIL_AGAIN
    while (at := tail.rfind(last, max(0, len(tail) - TAIL_REACH), at + TAIL_AGAIN - 1)) >= 0:
        length = len(tail) - TAIL_AGAIN - at
        whole = max(TAIL_REPEATS * length, TAIL_CHARACTERS)
        if whole <= len(tail) and tail[-whole:-length] == tail[length - whole :]:
            return True
    return False


def _units_may_loop(units: bytes) -> bool:
    """Whether a line or sentence may come too often; `units`: each in a line of its own."""
    lines = units.translate(None, b" .-").split(b"\n")
    if len(lines) - len(set(lines)) < UNIT_REPEATS - 1:
        return False
    lines = [line for line in lines if line and not line.isdigit()]
    often = {line: times for line, times in Counter(lines).items() if times >= UNIT_REPEATS and len(line) >= UNIT_WORDS}
    if not often:
        return False
    words = len(units.translate(_PARTED, b"0123456789").split())  # numbers are no words here
    # A unit has no more words than letters.
    return any(times * len(line) >= UNIT_SHARE * words for line, times in often.items()) or any(
        line in often and len(list(run)) >= UNIT_REPEATS for line, run in groupby(lines)
    )


def _grams_may_loop(words: list[bytes]) -> bool:
    """Whether few words, and few pairs of them, are different: there are never more of these than of longer runs."""
    if len(words) < GRAM_TEXT_WORDS:
        return False
    enough = GRAM_SHARE * (len(words) - GRAM_WORDS + 1) + GRAM_WORDS
    if len(set(words)) >= enough:
        return False
    most = words[: len(words) * 3 // 4]  # of long texts, as it is seldom close
    return len(set(pairwise(most))) < enough
