"""Small outlines of sets, that tell of many sets at once that they cannot be alike."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

BITS = 512
WORDS = BITS // 64


class Outlines:
    """Of each set of 64-bit hashes: its size, and BITS bits of which every member sets one. 72 bytes a set.

    A bit that only one of two outlines has stands for a member, at least one, that only one of the sets has. So they
    bound how much two sets can share, and never rule out a pair that is alike.
    """

    def __init__(self) -> None:
        self._count = 0
        self._bits = np.zeros((1024, WORDS), np.uint64)
        self._sizes = np.zeros(1024, np.int64)

    def add(self, hashes: Set[int]) -> None:
        """Outline one set more; the sets are numbered from 0."""
        if self._count == len(self._sizes):
            self._bits = np.concatenate([self._bits, np.zeros_like(self._bits)])
            self._sizes = np.concatenate([self._sizes, np.zeros_like(self._sizes)])
        self._bits[self._count] = _outline(hashes)
        self._sizes[self._count] = len(hashes)
        self._count += 1

    def possible(self, hashes: Set[int], numbers: Sequence[int], threshold: float) -> list[int]:
        """Of the sets with these numbers, those whose Jaccard similarity to this one may reach the threshold."""
        chosen = np.asarray(numbers)
        mine, theirs = _outline(hashes), self._bits[chosen]
        sizes = self._sizes[chosen]
        not_theirs = np.bitwise_count(mine & ~theirs).sum(axis=1, dtype=np.int64)
        not_mine = np.bitwise_count(theirs & ~mine).sum(axis=1, dtype=np.int64)
        shared = np.minimum(len(hashes) - not_theirs, sizes - not_mine)
        possible = shared / (len(hashes) + sizes - shared) >= threshold
        return [int(number) for number in chosen[possible]]


def _outline(hashes: Set[int]) -> NDArray[np.uint64]:
    bits = 0
    for one in hashes:
        bits |= 1 << (one >> 55)  # the highest 9 bits: rensa's hashes end in a multiplication, which mixes upwards
    return np.frombuffer(bits.to_bytes(BITS // 8, "little"), np.uint64)
