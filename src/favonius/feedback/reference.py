"""Scores of somebody who is trusted, such as people or a stronger judge, for answers that somebody else rated."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from favonius.feedback.binarise import scores_of
from favonius.feedback.rules import ScoredBy
from favonius.types import Feedback, Messages

DIGEST_BYTES = 16


class Reference:
    """Looked up by the texts of prompt and answer, so that neither ids nor the order of the answers matter."""

    def __init__(self, scores: dict[bytes, float]) -> None:
        self._scores = scores

    @classmethod
    def of(cls, rows: Iterable[Feedback]) -> Reference:
        """Overall scores, or the mean of the aspects. About 100 bytes of memory for an answer."""
        found = {}
        for row in rows:
            for answer, number in zip(row.completions, scores_of(row.completions, ScoredBy())[1], strict=True):
                if number is not None:
                    found[_key(row.prompt, answer.text)] = number
        return cls(found)

    def __call__(self, row: Feedback) -> list[float | None]:
        """The reference's score of each of the row's answers; None where it has none."""
        return [self._scores.get(_key(row.prompt, answer.text)) for answer in row.completions]


def _key(prompt: Messages, text: str) -> bytes:
    said = "\0".join([*(f"{message.role}\0{message.content.strip()}" for message in prompt), text.strip()])
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
