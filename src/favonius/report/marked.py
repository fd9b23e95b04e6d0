"""Two versions of a text with their difference marked, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


class Piece(NamedTuple):
    text: str
    differs: bool


def marked(before: str, after: str, whole: bool = True) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces; joined they are the texts again.

    Of neighbourhoods that were cut to one length (not `whole`), what one has more at its end is no difference: only the
    other's cut came earlier there.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    steps = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    left: list[Piece] = []
    right: list[Piece] = []
    for number, (kind, old_from, old_to, new_from, new_to) in enumerate(steps):
        is_cut = not whole and 0 < number == len(steps) - 1 and any(step[0] != "equal" for step in steps[:-1])
        differs = kind != "equal" and not is_cut
        _add(left, old[old_from:old_to], differs)
        _add(right, new[new_from:new_to], differs)
    return left, right


def _add(pieces: list[Piece], words: list[str], differs: bool) -> None:
    if words:
        pieces.append(Piece("".join(words), differs))
