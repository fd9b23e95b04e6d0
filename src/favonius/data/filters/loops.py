"""`data.checks.loops` for millions of texts: most are cleared by questions that are answered at the speed of C.

Each is a necessary condition of one of the measures there (tests/test_filters.py tries to find a text for which it is
not); only where it holds the measure itself is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby
from operator import concat

from favonius.data.checks import (
    GRAM_SHARE,
    GRAM_TEXT_WORDS,
    GRAM_WORDS,
    UNIT_REPEATS,
    UNIT_SHARE,
    UNIT_WORDS,
    gram_loops,
    tail_loops,
    unit_loops,
)
from favonius.data.words import UNSPACED

SHORT_TEXT_WORDS = 350
"""In most texts of fewer words enough of them are different, and pairs need not be looked at."""

_UNSPACED = re.compile(f"[{UNSPACED}]")
_WIDE_GAP = re.compile(r"[^\w\s.!?;:\x00-\x7f]")
_WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")
_TYPOGRAPHY = "’‘“”–—…•→"
"""In most English texts of today; with plain marks in their place such a text needs no pattern."""
_WIDE_STOPS = "。！？；"


def _plain(code: int) -> int:
    """A small letter, digit, `_` or line end, `.` for all that may end a unit, a space, or `-` for all other marks."""
    character = chr(code)
    if code > 127 or character.isalnum() or character in "_\n":
        return ord(character.lower()) if code < 128 else code
    if character in ".!?;:":
        return ord(".")
    return ord(" " if character.isspace() else "-")


_PLAIN = bytes(map(_plain, range(256)))
_PARTED = bytes.maketrans(b".-\n", b"   ")


def loops(text: str) -> bool:
    """Exactly what `data.checks.loops` says."""
    if tail_loops(text):
        return True
    plain = text if text.isascii() else _marks_made_plain(text)
    if not plain.isascii() and _UNSPACED.search(plain):
        return unit_loops(text) or gram_loops(text)
    bare = plain.encode("utf-8", "surrogatepass").translate(_PLAIN)
    if _units_may_loop(bare.replace(b". ", b"\n\n")) and unit_loops(text):  # as long as before: much faster
        return True
    return _grams_may_loop(bare.translate(_PARTED).split()) and gram_loops(text)


def _marks_made_plain(text: str) -> str:
    """No marks and spaces beyond ASCII, and letters there small; what the measures say of the text stays the same."""
    plain = _replaced(text)
    # Small before marks are replaced: how a Greek sigma ends depends on what stands next to it.
    return plain if plain.isascii() else _WIDE_SPACE.sub(" ", _WIDE_GAP.sub("-", _replaced(text.lower())))


def _replaced(text: str) -> str:
    for mark in _TYPOGRAPHY:
        text = text.replace(mark, "-")
    for stop in _WIDE_STOPS:
        text = text.replace(stop, "\n")
    return text


def _units_may_loop(units: bytes) -> bool:
    """Whether a line or sentence may come too often; `units`: each in a line of its own."""
    lines = units.translate(None, b" .-").split(b"\n")
    repeated = len(lines) - len(set(lines))
    if repeated < UNIT_REPEATS - 1 or repeated - lines.count(b"") < UNIT_REPEATS - 2:  # most repeat the empty line
        return False
    often = {line for line, times in Counter(lines).items() if times >= UNIT_REPEATS and len(line) >= UNIT_WORDS}
    # What is alike without spaces and marks may still be different words, and then counts as the larger number.
    sizes: Counter[bytes] = Counter()
    for unit, line in zip(units.split(b"\n"), lines, strict=True):
        if line in often:
            sizes[line] = max(sizes[line], len(unit.translate(_PARTED).split()))
    often = {line for line, size in sizes.items() if size >= UNIT_WORDS and not line.isdigit()}
    if not often:
        return False
    words = len(units.translate(_PARTED, b"0123456789").split())  # numbers are no words here
    times = Counter(line for line in lines if line in often)
    if any(times[line] * sizes[line] >= UNIT_SHARE * words for line in often):
        return True
    return any(line in often and len(list(run)) >= UNIT_REPEATS for line, run in groupby(filter(_has_words, lines)))


def _has_words(line: bytes) -> bool:
    return bool(line) and not line.isdigit()


def _grams_may_loop(words: list[bytes]) -> bool:
    """Whether few words, or pairs of them, are different: there are never more of these than of longer runs."""
    if len(words) < GRAM_TEXT_WORDS:
        return False
    enough = GRAM_SHARE * (len(words) - GRAM_WORDS + 1) + GRAM_WORDS
    if len(words) < SHORT_TEXT_WORDS and len(set(words)) >= enough:
        return False
    if _pairs(words[: len(words) // 2]) >= enough:  # half of most texts is enough
        return False
    return _pairs(words) < enough


def _pairs(words: list[bytes]) -> int:
    """How many different ones there are at the least. Joined, as tuples would keep the garbage collector busy."""
    return len(set(map(concat, words, words[1:])))
