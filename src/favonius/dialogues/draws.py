"""Draws that depend on names and a seed alone: never on the order in which answers arrive or rows lie in a file."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from favonius.data.splits import share_of

T = TypeVar("T")


def drawn(items: Iterable[T], count: int, text: Callable[[T], str], purpose: str) -> list[T]:
    """`count` of the items, or all, in an order that their texts and the purpose fix: one more moves no other."""
    return heapq.nsmallest(count, items, key=lambda item: (share_of(purpose, text(item)), text(item)))


def spread(items: Sequence[T], count: int, group: Callable[[T], Hashable]) -> list[T]:
    """`count` of the items, or all, one of each group in turn, in their order."""
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[group(item)].append(item)
    return [item for _, item in zip(range(count), _in_turn(list(groups.values())), strict=False)]


def _in_turn(groups: list[list[T]]) -> Iterator[T]:
    for place in range(max(map(len, groups), default=0)):
        yield from (group[place] for group in groups if place < len(group))
