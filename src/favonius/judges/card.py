"""The judge card: how far a judge can be trusted, measured on what it judged.

Pure functions of cases and judgements. Every figure is resampled over prompts; what does not apply to a judge, or was
not asked, says so in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from favonius.judges import duels as two
from favonius.judges import positions
from favonius.judges.agreement import Unit, alpha_estimate, kendall, ranks_of_known, spearman
from favonius.judges.calibration import Calibration, Item, calibrated
from favonius.judges.config import JOINED
from favonius.judges.duels import Duel, Labels, Word, decided, preferences, value
from favonius.judges.figures import Figure, Written, by_prompt, figure
from favonius.judges.judge import Failure, Judgement
from favonius.judges.positions import Shown
from favonius.statistics import Estimate, mean, ratio, share
from favonius.types import Feedback, JudgedBy, Noun

NO_LABELS = "there are no scores of a reference to compare with"
NO_KIN = "no answers are known to be of its family"
ONE_BY_ONE = "it is shown no answers in an order"
NOT_REVERSED = "nothing was judged in both orders"
OWN_ORDERS = "the judges that it is made of see the answers in orders of their own"
NO_SPEECH = "it draws nothing: an answer always has the same score"
GREEDY = "it is asked without chance, so that asking again is the same request"
NOT_REPEATED = "nothing was judged again"
NO_ITEMS = "the built-in items were not judged"
NO_QUESTIONS = "it is asked nothing"
NOT_COUNTED = "it was not counted when this was written"
NO_PAIRS = "it preferred no answer to another"
BY_PAIRS = "it says which of two is better; see the answer shown first"


class Order(Noun):
    """What the order in which answers are shown decides."""

    flips: Figure
    """Share of pairs whose preference turns round in the reverse order."""
    first_wins: Figure
    """How much more often than half the answer shown first is preferred, −0.5 to 0.5."""
    slope: Figure
    """What a score gains from the first place to the last, in the judge's own unit."""
    places: tuple[Written, ...] = ()
    """How often the answer in each place beats the others, where three or more are shown together."""
    cancelled: bool = False
    """Whether every pair was asked in both orders, so that what place decides is not in the scores."""


class Against(Noun):
    """A preference of the judge, the reference's on the same pairs, and the excess of the one over the other."""

    judge: Figure
    reference: Figure
    excess: Figure
    lean: Figure
    """What is preferred beyond what the reference explains (`duels.lean`): the bias, whatever the judge's noise."""


class Length(Noun):
    longer_wins: Against
    """Share of pairs of which the longer wins, of those where one is longer and one is preferred (by both, where there
    is a reference)."""
    slope: Figure
    """What twice the length adds to a score, in typical (root mean square) gaps between two scores."""
    reference_slope: Figure
    curve: tuple[two.LengthBin, ...] = ()


class Repeats(Noun):
    kept: Figure
    """Share of preferences that are the same when asked again; becoming a tie is half of it."""
    drift: Figure
    """Mean absolute change of a score, in the judge's own unit."""


class Labelled(Noun):
    """Agreement with the scores of a reference."""

    right: Figure
    """Share of pairs ranked as the reference does, of those that it ranks; a tie of the judge counts half."""
    right_matched: Figure
    """The same of answers whose lengths are within 10 %."""
    spearman: Figure
    kendall: Figure
    """Rank correlations (tau-b) per prompt, averaged."""


class JudgeCard(Noun):
    judge: JudgedBy
    cases: int
    answers: int
    """What the judge was asked about."""
    failed: Figure
    """Share of answers without a score."""
    failures: dict[str, int]
    """Their number by cause; of an ensemble also those of its members, by `member: cause`."""
    unread: Figure
    """Share of questions whose replies could not be read, re-asks included."""
    unread_causes: dict[str, int]
    reasked: Figure = Figure(why=NOT_COUNTED)
    """Share of questions that were asked again, as the first reply could not be read."""
    order: Order
    length: Length
    own: Against
    """Share of pairs that an answer of the judge's own family wins against another's."""
    own_sources: tuple[str, ...]
    repeats: Repeats
    labelled: Labelled
    calibration: Calibration
    alpha: Figure
    """Krippendorff's ordinal alpha of an ensemble's members, over their rankings of the answers to a prompt."""


@dataclass(frozen=True)
class Evidence:
    """What a card is made from. `labels` are the scores of a reference, per case; `reversed` and `repeated` hold
    further judgements of some cases, by the cases' places; `own` are the sources of the judge's family."""

    cases: Sequence[Feedback]
    judgements: Sequence[Judgement]
    labels: Sequence[Labels] = ()
    own: frozenset[str] = frozenset()
    reversed: Mapping[int, Judgement] = field(default_factory=dict)
    repeated: Mapping[int, Judgement] = field(default_factory=dict)
    items: Sequence[Item] = ()
    item_judgements: Sequence[Judgement] = ()

    def duels(self) -> list[Duel]:
        labels = self.labels or [()] * len(self.cases)
        rows = enumerate(zip(self.cases, self.judgements, labels, strict=True))
        return [duel for number, row in rows for duel in two.duels(number, *row, self.own)]

    def shown(self) -> list[Shown]:
        """The cases in which order can matter."""
        found = (
            Shown(number, judgement, self.reversed.get(number)) for number, judgement in enumerate(self.judgements)
        )
        return [shown for shown in found if positions.shows_several(shown.first)]


def judge_card(mark: JudgedBy, evidence: Evidence) -> JudgeCard:
    """Everything that can be said of the judge `mark` from what it judged."""
    duels = evidence.duels()
    trials = list(_failures(evidence.judgements))
    return JudgeCard(
        judge=mark,
        cases=len(evidence.cases),
        answers=len(trials),
        failed=figure(share(*by_prompt(trials)), "it was asked about no answer"),
        failures=dict(_causes(evidence.judgements).most_common()),
        unread=figure(share(*by_prompt(_questions(evidence.judgements))), NO_QUESTIONS),
        unread_causes=dict(_unread_causes(evidence.judgements).most_common()),
        reasked=figure(_reasked(evidence.judgements), NO_QUESTIONS),
        order=_order(mark, evidence.shown()),
        length=_length(duels),
        own=_own(duels, evidence.own),
        own_sources=tuple(sorted(evidence.own)),
        repeats=_repeats(evidence),
        labelled=_labelled(evidence, duels),
        calibration=calibrated(evidence.items, evidence.item_judgements, NO_ITEMS),
        alpha=members_alpha(evidence.judgements),
    )


def _failures(judgements: Sequence[Judgement]) -> Iterator[tuple[int, float]]:
    """Of every answer that was asked about, whether it has no score."""
    for number, judgement in enumerate(judgements):
        for verdict in judgement.verdicts:
            if not isinstance(verdict, Failure) or verdict.asked:
                yield number, float(isinstance(verdict, Failure))


def _causes(judgements: Iterable[Judgement]) -> Counter[str]:
    causes: Counter[str] = Counter()
    for judgement in judgements:
        for name, heard in {"": judgement, **judgement.members}.items():
            prefix = f"{name}: " if name else ""
            failed = (verdict for verdict in heard.verdicts if isinstance(verdict, Failure) and verdict.asked)
            causes.update(prefix + verdict.cause for verdict in failed)
    return causes


def _questions(judgements: Sequence[Judgement]) -> Iterator[tuple[int, float]]:
    """Of every question, whether nothing readable came of it."""
    for number, judgement in enumerate(judgements):
        yield from ((number, 0.0) for _ in judgement.calls)
        yield from ((number, 1.0) for failure in judgement.unread if failure.asked)


def _reasked(judgements: Sequence[Judgement]) -> Estimate | None:
    questions: Counter[int] = Counter(number for number, _ in _questions(judgements))
    return share([judgements[number].reasked for number in questions], list(questions.values()))


def _unread_causes(judgements: Iterable[Judgement]) -> Counter[str]:
    return Counter(failure.cause for judgement in judgements for failure in judgement.unread if failure.asked)


def _order(mark: JudgedBy, shown: Sequence[Shown]) -> Order:
    why = NOT_REVERSED if shown else ONE_BY_ONE
    if mark.kind in JOINED and shown:
        none = Figure(why=OWN_ORDERS)
        return Order(flips=figure(positions.flips(shown), why), first_wins=none, slope=none)
    by_pairs = any(one.first.comparisons for one in shown)
    seen = [look for one in shown for look in positions.looks(one)]
    return Order(
        flips=figure(positions.flips(shown), why),
        first_wins=figure(positions.first_wins(seen), why),
        slope=figure(positions.place_slope(shown), BY_PAIRS if by_pairs else why),
        places=positions.places(shown),
        cancelled=by_pairs and all(positions.both_orders_seen(one.first) for one in shown),
    )


def _length(duels: Sequence[Duel]) -> Length:
    why = NO_PAIRS if duels else "there are no two answers to a prompt"
    return Length(
        longer_wins=_against(duels, two.longer_won, two.longer_labelled, lambda duel: duel.doublings, why),
        slope=figure(two.length_slope(duels, lambda duel: duel.gap), why),
        reference_slope=figure(two.length_slope(duels, lambda duel: duel.label_gap), NO_LABELS),
        curve=two.length_curve(_same(duels)),
    )


def _own(duels: Sequence[Duel], own: frozenset[str]) -> Against:
    why = "it was asked about no pair of its own family and another" if own else NO_KIN
    return _against(duels, two.own_won, two.own_labelled, lambda duel: duel.own, why)


def _against(duels: Sequence[Duel], judge: Word, reference: Word, trait: Callable[[Duel], float], why: str) -> Against:
    same = _same(duels)
    without = why if _labelled_at_all(duels) else NO_LABELS
    return Against(
        judge=figure(two.rate(same, judge), why),
        reference=figure(two.rate(same, reference), without),
        excess=figure(two.excess(same, judge, reference), without),
        lean=figure(two.lean(duels, trait), without),
    )


def _same(duels: Sequence[Duel]) -> Sequence[Duel]:
    """The pairs on which judge and reference are set against each other: one and the same for both, so that the excess
    is the difference of the two. All, where there is no reference."""
    return [duel for duel in duels if two.both(duel)] if _labelled_at_all(duels) else duels


def _labelled_at_all(duels: Sequence[Duel]) -> bool:
    return any(duel.label is not None for duel in duels)


def _repeats(evidence: Evidence) -> Repeats:
    again = [(number, evidence.judgements[number], other) for number, other in sorted(evidence.repeated.items())]
    why = NOT_REPEATED if any(judgement.calls for judgement in evidence.judgements) else NO_SPEECH
    if again and all(_requests(one) == _requests(other) for _, one, other in again):
        again, why = [], GREEDY if any(one.calls for _, one, _ in again) else NO_SPEECH
    drifts = ((number, change) for number, one, other in again for change in _changes(one, other))
    kept = ((number, word) for number, one, other in again for word in _kept(one, other))
    return Repeats(
        kept=figure(share(*by_prompt(kept)), why),
        drift=figure(ratio(*by_prompt(drifts)), why),
    )


def _requests(judgement: Judgement) -> list[str]:
    return sorted(call.request for call in judgement.calls)


def _changes(one: Judgement, other: Judgement) -> Iterator[float]:
    for verdict, again in zip(one.verdicts, other.verdicts, strict=True):
        before, after = value(verdict), value(again)
        if before is not None and after is not None:
            yield abs(after - before)


def _kept(one: Judgement, other: Judgement) -> Iterator[float]:
    again = preferences(other)
    for pair, preference in preferences(one).items():
        word = decided(preference)
        if word != two.EVEN and pair in again:
            yield 1 - abs(word - decided(again[pair]))


def _labelled(evidence: Evidence, duels: Sequence[Duel]) -> Labelled:
    scored = [
        _both_scored(judgement, labels) for judgement, labels in zip(evidence.judgements, evidence.labels, strict=False)
    ]
    why = "no prompt has two answers that both score" if evidence.labels else NO_LABELS
    return Labelled(
        right=figure(two.rate(duels, two.right), why),
        right_matched=figure(two.rate([duel for duel in duels if duel.matched], two.right), why),
        spearman=figure(_averaged(spearman(*sides) for sides in scored), why),
        kendall=figure(_averaged(kendall(*sides) for sides in scored), why),
    )


def _both_scored(judgement: Judgement, labels: Labels) -> tuple[list[float], list[float]]:
    pairs = [(value(verdict), label) for verdict, label in zip(judgement.verdicts, labels, strict=True)]
    known = [(mine, label) for mine, label in pairs if mine is not None and label is not None]
    return [mine for mine, _ in known], [label for _, label in known]


def _averaged(values: Iterable[float | None]) -> Estimate | None:
    return mean([value for value in values if value is not None])


def members_alpha(judgements: Sequence[Judgement]) -> Figure:
    """Krippendorff's alpha, ordinal, of the members of an ensemble: units are answers, values their ranks within their
    prompt, and prompts are what is resampled."""
    units: list[Unit] = []
    prompts: list[int] = []
    for number, judgement in enumerate(judgements):
        columns = [
            ranks_of_known([value(verdict) for verdict in heard.verdicts]) for heard in judgement.members.values()
        ]
        rows = list(zip(*columns, strict=True))
        units += rows
        prompts += [number] * len(rows)
    why = "the members rank no two answers together" if units else "it is no ensemble"
    return figure(alpha_estimate(units, "ordinal", prompts), why)
