"""What a judge card comes to, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from favonius.judges.card import Against, JudgeCard
from favonius.judges.figures import DUST
from favonius.report.wording import decimal, minus
from favonius.statistics import Estimate

COIN = 0.5
PERCENT = "\N{NO-BREAK SPACE}%"
BIAS, CHANCE = "bias", "no better than a coin"


@dataclass(frozen=True)
class Finding:
    """A sentence on one side of a judge. `flag` is set where the whole interval lies on the wrong side."""

    topic: str
    sentence: str
    flag: str = ""


def findings(card: JudgeCard) -> list[Finding]:
    """What there is to say, in the order in which one asks; what was not measured is left to the table."""
    return [*_failures(card), *_labelled(card), *_calibrated(card), *_length(card), *_order(card), *_own(card),
            *_repeats(card), *_members(card)]  # fmt: skip


def percent(value: float) -> str:
    """0.463 → `46 %`; below 1 % with one decimal, so that little is not nothing."""
    return minus(f"{100 * value:.{1 if 0 < abs(value) < 0.01 else 0}f}") + PERCENT


def within(estimate: Estimate) -> str:
    """The interval of a share: `(42–51 %)`."""
    low, high = (minus(f"{100 * bound:.0f}") for bound in (estimate.low, estimate.high))
    return f"({low}{' to ' if estimate.low < 0 else '–'}{high}{PERCENT})"


def between(estimate: Estimate) -> str:
    """The interval of any number: `(0.3 to 0.5)`."""
    return f"({decimal(estimate.low, 2)} to {decimal(estimate.high, 2)})"


def _away(estimate: Estimate) -> bool:
    """Whether the interval leaves out 0."""
    return not estimate.low - DUST <= 0 <= estimate.high + DUST


def _failures(card: JudgeCard) -> Iterator[Finding]:
    found = card.failed.estimate
    if found is None:
        return
    unread = card.unread.estimate
    silent = "" if unread is None else f"{percent(unread.value)} {within(unread)} of its replies could not be read"
    if found.value > 0:
        told = f"{percent(found.value)} {within(found)} of {card.answers:,} answers got no score"
        told += f", mostly for this: {next(iter(card.failures))}"
    else:
        told = f"It gave each of {card.answers:,} answers a score"
        told += f", though {silent}" if unread is not None and unread.value > 0 else ""
    again = card.reasked.estimate
    if again is not None and again.value > 0:
        told += f"; {percent(again.value)} {within(again)} of its questions had to be asked again"
    yield Finding("Failures", f"{told}.")


def _labelled(card: JudgeCard) -> Iterator[Finding]:
    right, matched = card.labelled.right.estimate, card.labelled.right_matched.estimate
    if right is None:
        return
    told = f"It ranks {percent(right.value)} {within(right)} of all pairs as the reference does"
    if matched is not None:
        told += f", and {percent(matched.value)} {within(matched)} of those that are of one length"
        told += ", which a coin may do as well" if right.low > COIN >= matched.low else ""
    yield Finding("Agreement", f"{told}.", CHANCE if right.low <= COIN else "")


def _calibrated(card: JudgeCard) -> Iterator[Finding]:
    right = card.calibration.right.estimate
    if right is None:
        return
    told = f"Of {right.n} questions whose better answer is known it gets {percent(right.value)} {within(right)} right"
    known = [(figure.estimate, kind) for kind, figure in card.calibration.kinds.items() if figure.estimate is not None]
    worst, kind = min(known, key=lambda pair: pair[0].value)
    told += f", least of “{kind}”: {decimal(worst.value * worst.n, 3)} of {worst.n}" if worst.value < 1 else ""
    yield Finding("Known answers", f"{told}.", CHANCE if right.low <= COIN else "")


def _length(card: JudgeCard) -> Iterator[Finding]:
    found = card.length.longer_wins
    if found.judge.estimate is None:
        return
    told = (
        f"It prefers the longer answer in {percent(found.judge.estimate.value)} {within(found.judge.estimate)} of pairs"
    )
    if found.excess.estimate is None:
        yield Finding("Length", f"{told}; whether these are better cannot be said without a reference.")
    else:
        yield _against("Length", told, found, "twice the length")


def _own(card: JudgeCard) -> Iterator[Finding]:
    found = card.own
    if found.judge.estimate is None:
        return
    names = " and ".join(card.own_sources)
    told = (
        f"Answers of its own family ({names}) win {percent(found.judge.estimate.value)} {within(found.judge.estimate)}"
    )
    told += " of their pairs"
    if found.excess.estimate is None:
        yield Finding("Its own family", f"{told}; whether they are better cannot be said without a reference.")
    else:
        yield _against("Its own family", told, found, "being of its own family")


def _against(topic: str, told: str, found: Against, trait: str) -> Finding:
    """`trait` begins the sentence on what is preferred beyond what the reference explains."""
    reference, lean = found.reference.estimate, found.lean.estimate
    told += f", the reference in {percent(reference.value)}." if reference is not None else "."
    if lean is None:
        return Finding(topic, told)
    told += f" Where the reference scores both alike, {trait}"
    if not _away(lean):
        return Finding(topic, f"{told} nothing that could be told from chance.")
    word = "adds" if lean.value > 0 else "takes"
    size = f"{decimal(abs(lean.value), 2)} {_sized(lean)}"
    return Finding(topic, f"{told} {word} {size} of a typical gap between two scores.", BIAS)


def _sized(estimate: Estimate) -> str:
    """The interval of a number that is told without its sign."""
    low, high = sorted((abs(estimate.low), abs(estimate.high)))
    return f"({decimal(low, 2)} to {decimal(high, 2)})"


def _order(card: JudgeCard) -> Iterator[Finding]:
    flips, first, slope = (figure.estimate for figure in (card.order.flips, card.order.first_wins, card.order.slope))
    told = []
    if flips is not None:
        told.append(f"In the reverse order {percent(flips.value)} {within(flips)} of its preferences turn round.")
    if first is not None:
        wins = Estimate(first.value + COIN, first.low + COIN, first.high + COIN, first.n)
        told.append(
            f"The answer shown earlier wins {percent(wins.value)} {within(wins)} of the time"
            + (
                ", where a fair judge has 50 %."
                if _away(first)
                else ": no preference for a place can be told from chance."
            )
        )
    if slope is not None and _away(slope):
        word = "loses" if slope.value < 0 else "gains"
        size = decimal(abs(slope.value), 2)
        told.append(f"From the first place to the last an answer {word} {size} points of its scale.")
    if told and card.order.cancelled:
        told.append("Every pair was asked in both orders, which takes this out of its scores.")
    is_biased = any(estimate is not None and _away(estimate) for estimate in (first, slope))
    if told:
        yield Finding("Order", " ".join(told), BIAS if is_biased else "")


def _repeats(card: JudgeCard) -> Iterator[Finding]:
    kept, drift = card.repeats.kept.estimate, card.repeats.drift.estimate
    if kept is None:
        return
    told = f"Asked the same again, it keeps {percent(kept.value)} {within(kept)} of its preferences"
    told += f", and its scores move by {decimal(drift.value, 2)} on average" if drift is not None else ""
    yield Finding("Repeats", f"{told}.")


def _members(card: JudgeCard) -> Iterator[Finding]:
    found = card.alpha.estimate
    if found is not None:
        told = f"Krippendorff's alpha of its members is {decimal(found.value, 2)} {between(found)}"
        yield Finding("Members", f"{told}: 1 is agreement, 0 is chance.", "no agreement" if found.low <= 0 else "")
