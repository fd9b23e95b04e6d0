"""What tasks do alike: draw fewer items, and make a row of what was said to one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from favonius.evals.benchmarks.task import Item, ItemRow, Said
from favonius.types import digest

T = TypeVar("T")
OVER_PARTS = "over parts, each counting alike"
"""What `protocol.mean` says of a task whose mean is one of its categories' means."""


def drawn(values: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """At most `limit` of the values, drawn with `seed`, in their own order; None: all."""
    if limit is None or limit >= len(values):
        return list(values)
    return [values[place] for place in sorted(random.Random(seed).sample(range(len(values)), limit))]


def drawn_of_each(values: Sequence[T], limit: int | None, seed: int, category: Callable[[T], Hashable]) -> list[T]:
    """At most `limit` of each category, drawn as by `drawn`, in their own order."""
    places: dict[Hashable, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(category(value), []).append(place)
    return [values[place] for place in sorted(place for own in places.values() for place in drawn(own, limit, seed))]


def row_of(
    said: Said,
    scores: Mapping[str, float | None],
    *,
    prompt: str | None = None,
    weights: Mapping[str, float] | None = None,
    note: str | None = None,
    judged: Sequence[str] = (),
) -> ItemRow:
    """The row of an item. `prompt` is what a reader should see of it; None: all that the user says."""
    item = said.item
    asked = [message.content for message in item.messages if message.role == "user"]
    return ItemRow(
        id=item.id,
        unit=item.id if item.unit is None else item.unit,
        category=item.category,
        scores=dict(scores),
        weights=dict(weights or {}),
        prompt="\n\n".join((*asked, *item.follow_ups)) if prompt is None else prompt,
        answers=tuple(turn.text for turn in said.turns),
        tokens=sum(turn.tokens for turn in said.turns),
        finished=all(turn.finished for turn in said.turns),
        note=note,
        judged=tuple(judged),
        rests_on=rests_on(item),
    )


def rests_on(item: Item) -> str | None:
    """Digest of what an item's scorer goes by; None where the prompt tells it all."""
    return digest(item.about) if item.about else None


def counting_alike(rows: Sequence[ItemRow]) -> list[ItemRow]:
    """The rows with weights by which their mean is the mean of their categories' means."""
    sizes = Counter(row.category for row in rows)
    average = len(rows) / max(1, len(sizes))
    return [
        row.model_copy(update={"weights": dict.fromkeys(row.scores, average / sizes[row.category])}) for row in rows
    ]
