"""What can be seen to be wrong with an answer without reading it, and a count of what was left out and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from favonius.data.words import UNSPACED
from favonius.phrases import shortened

MARKERS = (
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "### Instruction",
    "### Response:",
    "### Human",
    "### Assistant",
)
"""Text that only a chat template writes. So is `<|anything|>`, which is looked for without being listed."""

UNIT_WORDS = 4
"""Lines and sentences of fewer words may repeat as they like."""
UNIT_REPEATS = 3
"""A loop: one line or sentence so many times in a row, ..."""
UNIT_SHARE = 0.4
"""... or as often anywhere, making up this share of all words (a refrain is about a quarter of its poem)."""
TAIL_REPEATS = 4
"""A loop: the text ends in so many copies of one piece, ..."""
TAIL_CHARACTERS = 40
"""... that together are at least this long."""
TAIL_WINDOW = 4000
"""Characters from the end in which the tail is looked for."""
GRAM_WORDS = 4
GRAM_SHARE = 0.4
"""A loop: less than this share of all runs of GRAM_WORDS words is different (prose: above 0.9, lists and code: 0.6)."""
GRAM_TEXT_WORDS = 40
"""Texts with fewer words (numbers not counted) are not judged by their runs of words."""

# n copies of p characters agree with themselves p characters earlier, on the least of max(3 p, 40 - p) characters.
_TAIL_AGAIN = TAIL_CHARACTERS * (TAIL_REPEATS - 1) // TAIL_REPEATS
_TAIL_REACH = TAIL_WINDOW // TAIL_REPEATS + _TAIL_AGAIN
# A model that half knows its template also writes <|assistant>, and <|student|> in a marker's place.
_PIPED = re.compile(r"<\|\w+\|?>")
_SPEAKERS = ("User", "Assistant", "Human", "USER", "ASSISTANT", "HUMAN")
_TURN_LABEL = re.compile(rf"^[ \t]*(?:#+ )?\**(?:{'|'.join(_SPEAKERS)})\**:", re.MULTILINE)
# In scripts written without spaces every character counts as a word.
_WORD = re.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])\w)+")
_UNIT_END = re.compile(r"\n|(?<=[.!?;:])\s+|(?<=[。！？；])")


def flaws(text: str, finished: bool, markers: Sequence[str] = MARKERS) -> tuple[str, ...]:
    """Names of what is wrong, in this order: empty, unfinished, loop, leak.

    empty: nothing but white space; unfinished: not `finished`; loop: the text repeats itself (see the constants);
    leak: it holds one of `markers`, a `<|marker|>`, or a line that opens like another turn (`User:`).
    """
    found = {
        "empty": not text.strip(),
        "unfinished": not finished,
        "loop": loops(text),
        "leak": leaks(text, markers),
    }
    return tuple(name for name, is_so in found.items() if is_so)


def leaks(text: str, markers: Sequence[str] = MARKERS) -> bool:
    """Whether the text goes on into markup or turns that are not the answer's."""
    # A single character is found many times faster than a word, and rarely there.
    return (
        ("|" in text and _PIPED.search(text) is not None)
        or (":" in text and any(speaker in text for speaker in _SPEAKERS) and _TURN_LABEL.search(text) is not None)
        or any(marker[:1] in text and marker in text and _holds(text, marker) for marker in markers)
    )


def _holds(text: str, marker: str) -> bool:
    """A marker that ends in a letter must end there: "### Instructions" is a heading like any other."""
    end = r"(?!\w)" if marker[-1:].isalpha() else ""
    return bool(marker) and re.search(re.escape(marker) + end, text) is not None


def loops(text: str) -> bool:
    """Whether the text repeats itself, by any of the three measures above."""
    return unit_loops(text) or tail_loops(text) or gram_loops(text)


def unit_loops(text: str) -> bool:
    """Whether a line or sentence repeats itself too often."""
    units = list(_units(text))
    runs = (len(list(run)) for unit, run in groupby(units) if _counts(unit))
    if max(runs, default=0) >= UNIT_REPEATS:
        return True
    total = sum(len(unit) for unit in units)
    repeated = Counter(unit for unit in units if _counts(unit))
    return any(times >= UNIT_REPEATS and times * len(unit) >= UNIT_SHARE * total for unit, times in repeated.items())


def _units(text: str) -> Iterator[tuple[str, ...]]:
    """Lines and sentences as words, without case and punctuation; bare numbers between them (`1.`) are left out."""
    for piece in _UNIT_END.split(text):
        words = _words(piece)
        if any(map(_has_letter, words)):
            yield words


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _counts(unit: tuple[str, ...]) -> bool:
    """Rows of numbers are no sentences."""
    return sum(map(_has_letter, unit)) >= UNIT_WORDS


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def tail_loops(text: str) -> bool:
    """Whether the text ends in copies of one piece; the last copy may be cut off at either end.

    Its last characters must then come again one piece earlier, so only such places are tried.
    """
    tail = text.rstrip()[-TAIL_WINDOW:]
    if len(tail) < TAIL_CHARACTERS:
        return False
    at = len(tail) - _TAIL_AGAIN
    last = tail[at:]
    while (at := tail.rfind(last, max(0, len(tail) - _TAIL_REACH), at + _TAIL_AGAIN - 1)) >= 0:
        length = len(tail) - _TAIL_AGAIN - at
        whole = max(TAIL_REPEATS * length, TAIL_CHARACTERS)
        if whole <= len(tail) and tail[-whole:-length] == tail[length - whole :] and _has_letter(tail[-length:]):
            return True
    return False


def gram_loops(text: str) -> bool:
    """Whether too few runs of words are different."""
    words = _words(text)
    if sum(map(_has_letter, words)) < GRAM_TEXT_WORDS:
        return False
    grams = [words[start : start + GRAM_WORDS] for start in range(len(words) - GRAM_WORDS + 1)]
    return len(set(grams)) < GRAM_SHARE * len(grams)


SAMPLES = 3
SAMPLE_CHARACTERS = 200


@dataclass
class Drops:
    """What a stage left out: counts by cause, and a few samples of each for people to look at."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, cause: str, sample: str) -> None:
        self.counts[cause] += 1
        kept = self.samples.setdefault(cause, [])
        if len(kept) < SAMPLES:
            kept.append(shortened(sample, SAMPLE_CHARACTERS))

    def absorb(self, other: Drops, prefix: str = "") -> None:
        """Count what another counted, under its causes with `prefix` before them."""
        for cause, count in other.counts.items():
            self.counts[prefix + cause] += count
            kept = self.samples.setdefault(prefix + cause, [])
            kept += other.samples.get(cause, [])[: SAMPLES - len(kept)]

    def record(self) -> dict[str, Any]:
        """For stats.json, beside the stage's own `kept`."""
        return {"dropped": dict(self.counts), "samples": dict(self.samples)}
