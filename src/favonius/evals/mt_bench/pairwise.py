"""MT-Bench's pairwise mode: each pair of answers is two games, and a win counts only where both games agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from favonius.evals.mt_bench.reading import Side
from favonius.judges.figures import by_prompt
from favonius.statistics import Estimate, share

Winner = Literal["first", "second", "tie"]
SHOWN_AS_A: dict[Side, Winner] = {"A": "first", "B": "second", "tie": "tie"}
SWAPPED: dict[Side, Winner] = {"A": "second", "B": "first", "tie": "tie"}
WON: dict[Winner, float] = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Match:
    """Two games about one turn of one question: in `game` the first model was shown as A, in `swapped` as B.

    None stands for a reply without a verdict.
    """

    question_id: int
    turn: int
    first: str
    second: str
    game: Side | None
    swapped: Side | None

    @property
    def winner(self) -> Winner | None:
        """A model that both games call better, else a tie; None where a game has no verdict."""
        if self.game is None or self.swapped is None:
            return None
        one, other = SHOWN_AS_A[self.game], SWAPPED[self.swapped]
        return one if one == other else "tie"


@dataclass(frozen=True)
class Standing:
    """A model's matches. `unread` have a game without a verdict and count nowhere else, as in FastChat."""

    wins: int
    losses: int
    ties: int
    unread: int
    adjusted: Estimate | None
    """(wins + ties / 2) / n, with its interval over questions."""

    @property
    def n(self) -> int:
        return self.wins + self.losses + self.ties

    @property
    def win_rate(self) -> float | None:
        """Wins among all matches that count; ties are no wins."""
        return self.wins / self.n if self.n else None


def standings(matches: Iterable[Match]) -> dict[str, Standing]:
    """Every model's, against whomever it met; in the order in which they appear."""
    played: dict[str, list[tuple[int, Winner | None]]] = {}
    for match in matches:
        winner = match.winner
        played.setdefault(match.first, []).append((match.question_id, winner))
        played.setdefault(match.second, []).append((match.question_id, _turned(winner)))
    return {model: _standing(results) for model, results in played.items()}


def _turned(winner: Winner | None) -> Winner | None:
    """As the second model sees it."""
    if winner is None or winner == "tie":
        return winner
    return "second" if winner == "first" else "first"


def _standing(results: Sequence[tuple[int, Winner | None]]) -> Standing:
    counted = [winner for _, winner in results if winner is not None]
    adjusted = share(*by_prompt((question, WON[winner]) for question, winner in results if winner is not None))
    unread = len(results) - len(counted)
    return Standing(counted.count("first"), counted.count("second"), counted.count("tie"), unread, adjusted)
