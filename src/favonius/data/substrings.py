"""Many texts looked for in another, in one pass over it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import ahocorasick

ANCHOR_CHARACTERS = 16
"""Only the beginnings of the patterns are in the automaton: a small one stays in the processor's cache."""


class SubstringIndex:
    """Patterns to be found wherever they stand. ValueError where one is empty: that stands everywhere."""

    def __init__(self, patterns: Sequence[str]) -> None:
        if not all(patterns):
            raise ValueError("an empty pattern cannot be looked for")
        by_anchor: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for number, pattern in enumerate(patterns):
            by_anchor[pattern[:ANCHOR_CHARACTERS]].append((number, pattern))
        self._automaton = ahocorasick.Automaton()
        for anchor, numbered in by_anchor.items():
            self._automaton.add_word(anchor, (len(anchor), numbered))
        self._automaton.make_automaton()
        self._empty = not patterns

    def __bool__(self) -> bool:
        return not self._empty

    def search(self, text: str) -> Iterator[int]:
        """The number of each pattern, once for each place where it stands in the text."""
        if self._empty:  # such an automaton refuses to be asked
            return
        for last, (length, numbered) in self._automaton.iter(text):
            for number, pattern in numbered:
                if text.startswith(pattern, last + 1 - length):
                    yield number
