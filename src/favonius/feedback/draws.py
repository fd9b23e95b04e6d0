"""Draws that a prompt's id and a seed fix: never the order of rows, nor what else is asked."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TypeVar

from favonius.data.splits import share_of

T = TypeVar("T")


def drawn(items: Iterable[T], count: int, purpose: str, prompt_id: str) -> list[T]:
    """`count` different items, or all there are, in the order in which they were drawn.

    Rendezvous hashing (Thaler and Ravishankar 1998): an item's rank for a prompt depends on nothing but these two, so
    a prompt that is added changes no other's draw, and an item that is added changes only the draws that it enters.
    """
    return heapq.nsmallest(count, items, key=lambda item: share_of(f"{purpose}\0{item}", prompt_id))
