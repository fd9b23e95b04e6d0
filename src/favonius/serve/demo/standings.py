"""How often one model wins against another, over all stored votes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from favonius.judges.figures import by_prompt
from favonius.serve.demo.votes import Reply, Vote, prompt_of
from favonius.statistics import Estimate, share

SHORT = 6
"""Letters of a fingerprint that tell two models of one name apart."""


class Contestant(NamedTuple):
    """A model is its name and its weights: trained again under its old name, it is another."""

    model: str
    fingerprint: str | None

    @classmethod
    def of(cls, reply: Reply) -> Contestant:
        return cls(reply.model, reply.fingerprint)

    @property
    def told_apart(self) -> str:
        return f"{self.model} ({self.fingerprint[:SHORT] if self.fingerprint else 'unknown'})"


@dataclass(frozen=True)
class Standing:
    """Two models' duels, told for the one that wins more often."""

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    both_bad: int
    rate: Estimate
    """Share of duels that `first` wins, those that nobody wins counting half for each; the interval is over
    prompts."""

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.both_bad


def standings(votes: Iterable[Vote]) -> list[Standing]:
    """One for each two models that met, the most votes first. A model against itself is left out."""
    duels: defaultdict[tuple[Contestant, Contestant], list[Vote]] = defaultdict(list)
    for vote in votes:
        a, b = (Contestant.of(reply) for reply in vote.sides)
        if a != b:
            duels[min((a, b), (b, a), key=_order)].append(vote)
    names = _names({contestant for two in duels for contestant in two})
    found = [_standing(first, cast, names) for (first, _), cast in duels.items()]
    return sorted(found, key=lambda standing: (-standing.votes, standing.first, standing.second))


def _order(two: tuple[Contestant, Contestant]) -> list[tuple[str, str]]:
    return [(one.model, one.fingerprint or "") for one in two]


def _names(contestants: Iterable[Contestant]) -> Mapping[Contestant, str]:
    """What a model is called: more than its name only where several share it."""
    known = list(contestants)
    shared = Counter(one.model for one in known)
    return {one: one.told_apart if shared[one.model] > 1 else one.model for one in known}


def _standing(one: Contestant, cast: list[Vote], names: Mapping[Contestant, str]) -> Standing:
    other = next(found for found in map(Contestant.of, cast[0].sides) if found != one)
    won = sum(_score(vote, one) == 1.0 for vote in cast)
    lost = sum(_score(vote, one) == 0.0 for vote in cast)
    first, second = (one, other) if won >= lost else (other, one)
    rate = share(*by_prompt((prompt_of(vote), _score(vote, first)) for vote in cast))
    assert rate is not None  # there is at least one vote
    verdicts = Counter(vote.verdict for vote in cast)
    return Standing(
        names[first], names[second], max(won, lost), min(won, lost), verdicts["tie"], verdicts["both_bad"], rate
    )


def _score(vote: Vote, contestant: Contestant) -> float:
    """1 where `contestant` won, 0 where it lost, a half where nobody did."""
    if vote.verdict not in ("a", "b"):
        return 0.5
    winner = vote.a if vote.verdict == "a" else vote.b
    return float(Contestant.of(winner) == contestant)
