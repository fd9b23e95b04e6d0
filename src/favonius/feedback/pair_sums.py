"""What a reader wants to know before believing pairs: who wins, by how much, and by length alone how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from favonius.feedback.binarise import Choice
from favonius.types import RatedText


class Measured(NamedTuple):
    """What the sums need of an answer, whose text is measured once for all rules."""

    source: str
    characters: int
    words: int


def measured(answers: Sequence[RatedText]) -> list[Measured]:
    return [Measured(answer.source, len(answer.text), len(answer.text.split())) for answer in answers]


@dataclass
class PairSums:
    """Sums over pairs that pass by one at a time."""

    pairs: int = 0
    margins: float = 0.0
    """Chosen minus rejected score."""
    longer: int = 0
    """Pairs whose chosen text has more characters."""
    chosen_characters: int = 0
    rejected_characters: int = 0
    chosen_words: int = 0
    rejected_words: int = 0
    wins: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)

    def add(self, choice: Choice, answers: Sequence[Measured]) -> None:
        """Count a choice among the answers that were measured."""
        chosen, rejected = answers[choice.chosen.place], answers[choice.rejected.place]
        self.pairs += 1
        self.margins += choice.chosen.score - choice.rejected.score
        self.longer += chosen.characters > rejected.characters
        self.chosen_characters += chosen.characters
        self.rejected_characters += rejected.characters
        self.chosen_words += chosen.words
        self.rejected_words += rejected.words
        self.wins[chosen.source] += 1
        self.losses[rejected.source] += 1

    def record(self) -> dict[str, Any]:
        """For stats.json."""
        return {
            "wins": dict(self.wins.most_common()),
            "losses": dict(self.losses.most_common()),
            "longer_chosen_share": mean(self.longer, self.pairs, 3),
            "mean_chosen_words": mean(self.chosen_words, self.pairs, 1),
            "mean_rejected_words": mean(self.rejected_words, self.pairs, 1),
            "mean_margin": mean(self.margins, self.pairs, 3),
        }


def mean(total: float, count: int, digits: int) -> float | None:
    """None where there is nothing to take the mean of."""
    return round(total / count, digits) if count else None
