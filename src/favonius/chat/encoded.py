"""Token ids and marks of a rendered dialogue, by the tokenizer's own offsets: slow, and right for every tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from favonius.chat.rendering import Rendered, Span

Ids = NDArray[np.uint32]
Marks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The tokens of a dialogue and, for each, whether it is the assistant's: words and end of turn.

    Kept as arrays, five bytes a token: of millions of dialogues, most are only measured.
    """

    tokens: Ids
    marks: Marks

    @property
    def ids(self) -> list[int]:
        return list(self.tokens.tolist())

    @property
    def scored(self) -> list[bool]:
        return list(self.marks.tolist())

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Encoded)
            and np.array_equal(self.tokens, other.tokens)
            and np.array_equal(self.marks, other.marks)
        )


class Opening:
    """BOS before a text, once: some templates write it themselves."""

    def __init__(self, tokenizer: Any) -> None:
        self._token = tokenizer.bos_token
        first = tokenizer("", add_special_tokens=True)["input_ids"][:1]
        self._ids = [tokenizer.bos_token_id] if first == [tokenizer.bos_token_id] else []

    def ids(self, text: str) -> list[int]:
        return [] if self._ids and text.startswith(self._token) else self._ids

    def before(self, text: str, ids: Ids, marks: Marks) -> Encoded:
        """With the tokens of `text`."""
        bos = self.ids(text)
        if not bos:
            return Encoded(ids, marks)
        return Encoded(
            np.concatenate([np.array(bos, np.uint32), ids]), np.concatenate([np.zeros(len(bos), np.bool_), marks])
        )


def by_offsets(tokenizer: Any, rendered: Sequence[Rendered], opening: Opening) -> list[Encoded]:
    if not rendered:
        return []
    encoding = tokenizer([one.text for one in rendered], add_special_tokens=False, return_offsets_mapping=True)
    rows = zip(rendered, encoding["input_ids"], encoding["offset_mapping"], strict=True)
    return [
        opening.before(one.text, np.array(ids, np.uint32), _overlapping(one.spans, offsets))
        for one, ids, offsets in rows
    ]


def _overlapping(spans: Sequence[Span], offsets: Sequence[tuple[int, int]]) -> Marks:
    # Overlap, not containment: a token that begins before the span and reaches into it predicts the answer too.
    starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    marks = np.zeros(len(starts), np.bool_)
    for begin, end in spans:
        marks |= (starts < end) & (ends > begin)
    return marks
