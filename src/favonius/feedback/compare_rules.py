"""How rules differ on the same feedback: what each keeps, what length alone would explain, how far two agree, and how
many of a rule's labels another witness would turn round.

Witnesses of a label, where they are there: the other score of the same answers (overall or the aspects' mean, where
neither is made of the other), the judge's own comparison of the two, what it said when it saw them in the other order,
and reference scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import sqrt
from typing import Any

from favonius.data.checks import Drops
from favonius.feedback.binarise import Choice, Made, aspects_mean, choices_of
from favonius.feedback.config import Binarisation
from favonius.feedback.pair_sums import Measured, PairSums, mean, measured
from favonius.feedback.rules import (
    AllPairs,
    BestVsRandomLower,
    BestVsRandomOther,
    BestVsWorst,
    LengthMatched,
    Margin,
    Rule,
    ScoredBy,
    ScoreName,
)
from favonius.judges.config import SUMMED
from favonius.types import Comparison, Feedback

TOP_MODELS = 3
ALL_RULES: tuple[Rule, ...] = (
    BestVsRandomLower(), BestVsRandomOther(), BestVsWorst(), Margin(), LengthMatched(), AllPairs()
)  # fmt: skip
PLAIN_MEAN = ScoredBy(by="aspects")

Scores = Sequence[float | None]
Reference = Callable[[Feedback], Scores]
"""Scores of somebody who is trusted, answer by answer; None where there is none."""


@dataclass(frozen=True)
class Variant:
    """A rule and the score that it goes by."""

    name: str
    rule: Rule
    score: ScoredBy


def variants(how: Binarisation, first_rows: Sequence[Feedback]) -> list[Variant]:
    """`how`'s rule and all others by `how`'s score, then `how`'s rule by every other score that the first rows have."""
    rules = [how.rule, *(rule for rule in ALL_RULES if rule.kind != how.rule.kind)]
    found = [Variant(rule.name, rule, how.score) for rule in rules]
    scores = _scores_in(first_rows)
    if how.score.by == "both":
        scores.pop("overall" if "overall" in scores else "aspects", None)  # what `both` comes to
    others = {name: score for name, score in scores.items() if score != how.score}
    return found + [Variant(f"{how.rule.name} by {name}", how.rule, score) for name, score in others.items()]


def _scores_in(rows: Sequence[Feedback]) -> dict[str, ScoredBy]:
    """Overall, the mean of the aspects where it is another score, and each of several aspects by itself."""
    answers = [answer for row in rows for answer in row.completions]
    aspects = dict.fromkeys(name for answer in answers for name, score in answer.scores.items() if score is not None)
    found = {}
    if any(answer.overall is not None for answer in answers):
        found["overall"] = ScoredBy(by="overall")
    if aspects and not ("overall" in found and all(map(is_summed, rows))):
        found["aspects"] = PLAIN_MEAN
    if len(aspects) > 1:
        found |= {name: ScoredBy(by="aspects", weights={name: 1.0}) for name in aspects}
    return found


def is_summed(row: Feedback) -> bool:
    """Whether its overall scores are made of the scores beside them, as an aspects judge's or an ensemble's are."""
    return row.judge is not None and row.judge.kind in SUMMED


@dataclass(frozen=True)
class Seen:
    """A row with all that is asked of its answers, found once for all rules."""

    row: Feedback
    answers: Sequence[Measured]
    others: Mapping[ScoreName, Scores]
    """By the score that a rule goes by, the other one: the mean of all aspects alike, and the overall score. None where
    the one is made of the other."""
    reference: Scores | None

    @classmethod
    def of(cls, row: Feedback, reference: Reference | None) -> Seen:
        nothing: Scores = [None] * len(row.completions)
        means = nothing if is_summed(row) else [aspects_mean(answer, PLAIN_MEAN) for answer in row.completions]
        overall = nothing if is_summed(row) else [answer.overall for answer in row.completions]
        return cls(
            row,
            measured(row.completions),
            {"overall": means, "aspects": overall},
            reference(row) if reference is not None else None,
        )


@dataclass
class Witness:
    """What somebody else says of a rule's labels."""

    pairs: int = 0
    """Of which it says something."""
    otherwise: int = 0
    ties: int = 0

    def add(self, chosen: float | None, rejected: float | None) -> None:
        if chosen is None or rejected is None:
            return
        self.pairs += 1
        self.otherwise += chosen < rejected
        self.ties += chosen == rejected

    @property
    def share(self) -> float | None:
        """Of the pairs that it does not call a tie, those that it would turn round."""
        return mean(self.otherwise, self.pairs - self.ties, 4)

    def record(self) -> dict[str, Any]:
        return {"pairs": self.pairs, "ties": self.ties, "otherwise": self.otherwise, "share": self.share}


@dataclass
class Witnesses:
    other_score: Witness = field(default_factory=Witness)
    comparison: Witness = field(default_factory=Witness)
    other_order: Witness = field(default_factory=Witness)
    """Pairs that the judge compared in both orders; otherwise: the two verdicts contradict each other."""
    reference: Witness = field(default_factory=Witness)

    def hear(self, seen: Seen, chosen: int, rejected: int, used: ScoreName) -> None:
        """Let everybody speak of two answers whose order the score `used` gave."""
        other = seen.others[used]
        self.other_score.add(other[chosen], other[rejected])
        for comparison in seen.row.comparisons:
            if {comparison.first, comparison.second} == {chosen, rejected}:
                self._hear_comparison(comparison, comparison.first == chosen)
        if seen.reference is not None:
            self.reference.add(seen.reference[chosen], seen.reference[rejected])

    def _hear_comparison(self, comparison: Comparison, chosen_first: bool) -> None:
        preference = comparison.preference if chosen_first else 1 - comparison.preference
        self.comparison.add(preference, 1 - preference)
        if comparison.seen_first is not None and comparison.seen_second is not None:
            self.other_order.add((comparison.seen_first - 0.5) * (comparison.seen_second - 0.5), 0.0)

    def label_noise(self) -> float | None:
        """The share of wrong labels, estimated from the best witness there is.

        A reference is taken at its word. Any other witness is taken to err as often as the label, independently:
        two that are wrong in a share e contradict each other in 2e(1 − e). Errors that they share are not seen. A
        comparison is no such witness: the scores of a judge that compares are made of its comparisons.
        """
        if self.reference.share is not None:
            return self.reference.share
        for witness in (self.other_score, self.other_order):
            if witness.share is not None:
                return round((1 - sqrt(max(0.0, 1 - 2 * witness.share))) / 2, 4)
        return None

    def record(self) -> dict[str, Any]:
        found: dict[str, Witness] = {name: getattr(self, name) for name in WITNESSES}
        return {name: witness.record() for name, witness in found.items() if witness.pairs}


WITNESSES = ("other_score", "comparison", "other_order", "reference")


@dataclass
class RuleSums:
    """What one variant makes of all prompts."""

    variant: Variant
    prompts: int = 0
    dropped: Drops = field(default_factory=Drops)
    sums: PairSums = field(default_factory=PairSums)
    held_out: int = 0
    witnesses: Witnesses = field(default_factory=Witnesses)

    def add(self, seen: Seen, made: Made) -> None:
        self.prompts += bool(made.choices)
        self.held_out += len(made.choices) if seen.row.split == "test" else 0
        for choice in made.choices:
            self.sums.add(choice, seen.answers)
            self.witnesses.hear(seen, choice.chosen.place, choice.rejected.place, made.used)

    def record(self) -> dict[str, Any]:
        sums = self.sums
        return {
            "rule": self.variant.rule.model_dump(),
            "score": self.variant.score.model_dump(),
            "prompts": self.prompts,
            "pairs": sums.pairs,
            "dropped": dict(self.dropped.counts.most_common()),
            "mean_margin": mean(sums.margins, sums.pairs, 3),
            "mean_gap_characters": mean(sums.chosen_characters - sums.rejected_characters, sums.pairs, 1),
            "mean_gap_words": mean(sums.chosen_words - sums.rejected_words, sums.pairs, 1),
            "longer_chosen_share": mean(sums.longer, sums.pairs, 4),
            "chosen_models": {name: mean(wins, sums.pairs, 4) for name, wins in sums.wins.most_common(TOP_MODELS)},
            "label_noise": self.witnesses.label_noise(),
            "witnesses": self.witnesses.record(),
        }


@dataclass
class Agreement:
    """Of the prompts of which two rules make one pair each: how often they choose the same answer, and the same two."""

    common: int = 0
    same_chosen: int = 0
    same_pair: int = 0

    def add(self, one: Choice, other: Choice) -> None:
        same_chosen = one.chosen.place == other.chosen.place
        self.common += 1
        self.same_chosen += same_chosen
        self.same_pair += same_chosen and one.rejected.place == other.rejected.place

    def record(self) -> dict[str, Any]:
        return {
            "prompts": self.common,
            "same_chosen": mean(self.same_chosen, self.common, 4),
            "same_pair": mean(self.same_pair, self.common, 4),
        }


class Compared:
    """Several variants over the same rows, which pass by one at a time."""

    def __init__(self, compared: Sequence[Variant], how: Binarisation, reference: Reference | None = None) -> None:
        self.rules = [RuleSums(variant) for variant in compared]
        self._how = how
        self._reference = reference
        single = [at for at, rule in enumerate(self.rules) if not isinstance(rule.variant.rule, AllPairs)]
        self.agreements = {two: Agreement() for two in combinations(single, 2)}

    def add(self, row: Feedback) -> list[Made]:
        """Count what every variant, in order, makes of `row` as it is to be seen (see `pairs.prepared`)."""
        how, seen, found = self._how, Seen.of(row, self._reference), []
        for rule in self.rules:
            variant = rule.variant
            made = choices_of(row, variant.rule, variant.score, how.never_chosen, how.seed, rule.dropped)
            rule.add(seen, made)
            found.append(made)
        for (one, other), agreement in self.agreements.items():
            if found[one].choices and found[other].choices:
                agreement.add(found[one].choices[0], found[other].choices[0])
        return found

    @property
    def own(self) -> RuleSums:
        """The first of the variants: the rule that was asked for."""
        return self.rules[0]

    def record(self) -> dict[str, Any]:
        """For comparison.json. `agreement` leaves out rules that make several pairs of a prompt."""
        names = [rule.variant.name for rule in self.rules]
        return {
            "rules": {rule.variant.name: rule.record() for rule in self.rules},
            "agreement": [
                {"rules": [names[one], names[other]], **agreement.record()}
                for (one, other), agreement in self.agreements.items()
            ],
        }
