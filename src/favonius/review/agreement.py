"""How often judges and rules agree with the person who looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from favonius.phrases import counted
from favonius.review.choose import Deck
from favonius.review.contest import Contest
from favonius.review.labels import Labels
from favonius.statistics import Estimate, share

OF_DISAGREEMENTS = (
    "These are prompts on which the two differ: the shares say who is right there, not how often each is right "
    "(--only all draws prompts at random)."
)


@dataclass(frozen=True)
class Agreement:
    """With the person, over answers of which both prefer one."""

    voice: str
    share: Estimate | None
    """None where there are no such answers."""
    agreed: int
    of: int

    def in_words(self) -> str:
        if self.share is None:
            return "nothing to compare yet"
        low, high = round(100 * self.share.low), round(100 * self.share.high)
        return f"{self.agreed:,} of {self.of:,} = {100 * self.share.value:.0f} % ({low}–{high})"


@dataclass(frozen=True)
class Verdicts:
    """All that the person said of a deck."""

    preferred: int
    ties: int
    skipped: int
    contests: int
    agreements: tuple[Agreement, ...]

    @property
    def said(self) -> int:
        return self.preferred + self.ties + self.skipped

    def in_words(self) -> str:
        ties = [counted(self.ties, "tie")] if self.ties else []
        apart = ", ".join([*ties, *([f"{self.skipped:,} skipped"] if self.skipped else [])])
        return f"{counted(self.said, 'verdict')} on {self.contests:,}" + (f", of them {apart}" if apart else "")


def verdicts(deck: Deck, labels: Labels) -> Verdicts:
    """Counted over the whole deck, whatever part of it was shown this time."""
    said = [(contest, verdict) for contest in deck.contests if (verdict := labels.verdict(contest)) is not None]
    preferred = {"first": 1, "second": 2}
    sides = [(contest, preferred[verdict]) for contest, verdict in said if verdict in preferred]
    kinds = [verdict for _, verdict in said]
    return Verdicts(
        preferred=len(sides), ties=kinds.count("tie"), skipped=kinds.count("skip"), contests=len(deck.contests),
        agreements=tuple(_agreements(deck, sides)),
    )  # fmt: skip


def _agreements(deck: Deck, sides: list[tuple[Contest, int]]) -> Iterator[Agreement]:
    for voice in deck.voices:
        opinions = ((contest, voice.opinion(contest).prefers, side) for contest, side in sides)
        hits: dict[object, list[bool]] = {}
        for contest, prefers, side in opinions:
            if prefers is not None:
                hits.setdefault(contest.row.prompt, []).append(prefers == side)
        agreed, of = [sum(found) for found in hits.values()], [len(found) for found in hits.values()]
        yield Agreement(voice.name, share(agreed, of), sum(agreed), sum(of))
