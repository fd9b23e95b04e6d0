"""Texts that share a run of so many words, found without looking at every run.

Cut into blocks of BLOCK_WORDS = (RUN_WORDS + 1) / 2 words, a text that holds a shared run holds a whole block of it,
wherever the run begins. So the kept texts are indexed by all their blocks, and of a text in question only every
BLOCK_WORDS-th is looked up: one look-up in 7 words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

RUN_WORDS = 13
BLOCK_WORDS = (RUN_WORDS + 1) // 2


class Run(NamedTuple):
    """The kept text that shares a run, and the run's words `[begin:end]` in the text in question."""

    kept: int
    begin: int
    end: int


class RunIndex:
    """Kept texts as lists of words."""

    def __init__(self) -> None:
        self._texts: list[list[str]] = []
        self._blocks: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)

    def add(self, text: list[str]) -> int:
        """Keep a text and return its number."""
        number = len(self._texts)
        self._texts.append(text)
        for start in range(len(text) - BLOCK_WORDS + 1):
            self._blocks[" ".join(text[start : start + BLOCK_WORDS])].append((number, start))
        return number

    def search(self, text: list[str]) -> Iterator[Run]:
        """For each kept text that shares a run of RUN_WORDS words or more with this one, the first such run."""
        seen: set[int] = set()
        for start in range(0, len(text) - BLOCK_WORDS + 1, BLOCK_WORDS):
            for number, position in self._blocks.get(" ".join(text[start : start + BLOCK_WORDS]), ()):
                if number not in seen:
                    run = self._grown(text, start, number, position)
                    if run.end - run.begin >= RUN_WORDS:
                        seen.add(number)
                        yield run

    def _grown(self, text: list[str], start: int, number: int, position: int) -> Run:
        """The longest shared run around the block at `start` of `text`, `position` of the kept one."""
        kept = self._texts[number]
        shift = position - start
        begin, end = start, start + BLOCK_WORDS
        while begin > max(0, -shift) and text[begin - 1] == kept[begin - 1 + shift]:
            begin -= 1
        while end < min(len(text), len(kept) - shift) and text[end] == kept[end + shift]:
            end += 1
        return Run(number, begin, end)
