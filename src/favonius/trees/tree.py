"""A prompt tree: sequences that share a prefix.

A dialogue is a tree of one sequence, a preference pair of two, a question with K answers of K. The prefix is found
token by token, so two answers that open alike share their opening as well as the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenSequence:
    """Token ids and, for each, whether its log-prob is wanted. The first token has no predictor and is never scored."""

    ids: tuple[int, ...]
    scored: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.scored):
            raise ValueError(f"{len(self.ids)} ids but {len(self.scored)} marks")
        if len(self.ids) < 2 or not any(self.scored[1:]) or self.scored[0]:
            raise ValueError("a sequence needs a scored token, and its first token cannot be one")

    @classmethod
    def of(cls, ids: Sequence[int], scored: Sequence[bool]) -> TokenSequence:
        """Drops what follows the last scored token: no log-prob depends on it."""
        end = len(scored) - next((index for index, mark in enumerate(reversed(scored)) if mark), len(scored))
        return cls(tuple(ids[:end]), tuple(scored[:end]))

    @property
    def scored_tokens(self) -> int:
        return sum(self.scored)


@dataclass(frozen=True)
class Tree:
    """`sequences` agree on their first `prefix` tokens; each has at least one token of its own after them."""

    sequences: tuple[TokenSequence, ...]
    prefix: int

    @classmethod
    def of(cls, *sequences: TokenSequence) -> Tree:
        first = sequences[0]
        # One token is left to every branch, so that a branch is never empty and its last token never has to run.
        prefix = min(len(sequence.ids) - 1 for sequence in sequences)
        for other in sequences[1:]:
            prefix = min(prefix, _agreement(first, other))
        if prefix == 0:
            raise ValueError("the sequences of a tree must begin with the same token")
        return cls(sequences, prefix)

    @property
    def run_tokens(self) -> int:
        """Tokens the model runs: the prefix once, every branch without its last token, which is only a target."""
        return self.prefix + sum(len(sequence.ids) - self.prefix - 1 for sequence in self.sequences)

    @property
    def logical_tokens(self) -> int:
        """Tokens of all sequences, the prefix counted in each: what an unshared, unpadded trainer would run."""
        return sum(len(sequence.ids) for sequence in self.sequences)


def _agreement(first: TokenSequence, second: TokenSequence) -> int:
    """Leading tokens that are the same in both, and scored the same."""
    for length, (a, b) in enumerate(
        zip(zip(first.ids, first.scored, strict=True), zip(second.ids, second.scored, strict=True), strict=False)
    ):
        if a != b:
            return length
    return min(len(first.ids), len(second.ids))
