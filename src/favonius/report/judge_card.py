"""The judge of a ratings step: its card as sentences, a table and two drawings, and what it thinks of whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field, ValidationError

from favonius.files import read_json
from favonius.judges.calibration import Mistake
from favonius.judges.card import JudgeCard
from favonius.judges.duels import LengthBin
from favonius.judges.figures import Figure
from favonius.report import gather
from favonius.report.gather import Reading, Run, Step
from favonius.report.judge_words import Finding, findings
from favonius.report.plots import Chart, Series, intervals
from favonius.report.public import Public
from favonius.report.wording import NONE, count, decimal, interval, share, short

CARD = "card.json"
COLUMNS = ("Judge", "Reference", "Difference")
CAUSES_SHOWN = 8
SOURCES_SHOWN = 12
"""The others are folded."""


class RatingsStats(Reading):
    kept: int = 0
    judge: str = ""
    prompts: int | None = None
    unasked: int | None = Field(default=None, alias="not asked about, for lack of money")
    scores: dict[str, gather.Estimate] = Field(default={})


@dataclass(frozen=True)
class Cell:
    """A number with its interval; empty where there is none."""

    value: str = ""
    interval: str = ""
    n: int | None = None


@dataclass(frozen=True)
class CardRow:
    """One thing measured. `cells`: the judge's, the reference's, and the difference; `why`: there is no number."""

    title: str
    note: str
    cells: tuple[Cell, Cell, Cell]
    why: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of calibration items. `share` is in hundredths, for its bar."""

    name: str
    value: str
    share: float


@dataclass(frozen=True)
class Source:
    """What the judge thinks of one source of answers."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True)
class Judged:
    step: Step
    facts: tuple[tuple[str, str], ...]
    trouble: str
    findings: tuple[Finding, ...] = ()
    rows: tuple[CardRow, ...] = ()
    unmeasured: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Why something has no number, and what."""
    causes: tuple[tuple[str, int], ...] = ()
    charts: tuple[Chart, ...] = ()
    kinds: tuple[Kind, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    sources: tuple[Source, ...] = ()
    """The highest first."""

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS if any(row.cells[1].value for row in self.rows) else COLUMNS[:1]


def judged(run: Run, step: Step, prefix: str, public: Public) -> Judged:
    """What a ratings step's judge said, and how far it can be trusted. `prefix` begins the ids of its drawings."""
    stats = RatingsStats.model_validate(public(step.stats))
    file = run.path / step.name / CARD
    card, trouble = None, ""
    if file.is_file():
        try:
            card = JudgeCard.model_validate(public(read_json(file)))
        except ValidationError:
            trouble = "its card was written by another version of Favonius; run the step again to see it"
    sources = tuple(_source(name, estimate) for name, estimate in stats.scores.items())
    if card is None:
        return Judged(step, _facts(stats, None), trouble, sources=sources)
    rows = list(_rows(card))
    return Judged(
        step=step,
        facts=_facts(stats, card),
        trouble=trouble,
        findings=tuple(findings(card)),
        rows=tuple(row for row in rows if not row.why),
        unmeasured=tuple(_unmeasured(rows)),
        causes=tuple((card.unread_causes or card.failures).items())[:CAUSES_SHOWN],
        charts=tuple(_charts(card, prefix)),
        kinds=tuple(_kinds(card)),
        mistakes=card.calibration.mistakes,
        sources=sources,
    )


def _facts(stats: RatingsStats, card: JudgeCard | None) -> tuple[tuple[str, str], ...]:
    facts = {
        "judge": stats.judge or NONE,
        "asked for": NONE if card is None else card.judge.kind,
        "prompt template": short(card.judge.template) if card is not None else NONE,
        "prompts": count(stats.prompts),
        "answers with a score": count(stats.kept if stats.judge else None),
        "not asked about, for lack of money": count(stats.unasked),
    }
    return tuple((name, value) for name, value in facts.items() if value != NONE)


def _rows(card: JudgeCard) -> Iterator[CardRow]:
    length, own, order, labelled, repeats = card.length, card.own, card.order, card.labelled, card.repeats
    yield _alone("Answers without a score", "of all that it was asked about", card.failed)
    if card.unread.estimate is not None:
        yield _alone("Questions without a readable reply", "after all re-asks", card.unread)
        yield _alone("Questions asked again", "as the first reply could not be read", card.reasked)
    yield _alone("Pairs ranked as the reference does", "a tie of the judge counts half", labelled.right)
    yield _alone(
        "The same of answers of one length", "the shorter has 90 % of the longer's characters", labelled.right_matched
    )
    yield _alone("Rank correlation, Spearman", "per prompt, averaged", labelled.spearman, "")
    yield _alone("Rank correlation, Kendall's τ-b", "per prompt, averaged", labelled.kendall, "")
    yield _alone("Known answers right", "items whose better answer is known", card.calibration.right)
    longer = length.longer_wins
    yield _row("The longer answer wins", "of pairs with a preference", longer.judge, longer.reference, longer.excess)
    note = "per doubling, in typical gaps between two scores"
    yield _row("What length adds to a score", note, length.slope, length.reference_slope, Figure(), "")
    yield _alone("What length adds where the reference scores both alike", note, longer.lean, "")
    yield _row("Its own family wins", "against other answers", own.judge, own.reference, own.excess)
    note = "in typical gaps between two scores"
    yield _alone("What kinship adds where the reference scores both alike", note, own.lean, "")
    yield _alone("Preferences that turn round", "when the order is reversed", order.flips)
    yield _alone("Wins of the earlier answer", "beyond 50 %, shown in both orders", order.first_wins)
    yield _alone("Score gained from first place to last", "in the judge's own unit", order.slope, "")
    yield _alone("Preferences kept", "when asked the same again", repeats.kept)
    yield _alone("Change of a score", "when asked again, in the judge's own unit", repeats.drift, "")
    if card.alpha.estimate is not None:
        yield _alone("Agreement of its members", "Krippendorff's alpha, ordinal", card.alpha, "")


def _alone(title: str, note: str, figure: Figure, unit: str = "%") -> CardRow:
    return CardRow(title, note, (_cell(figure, unit), Cell(), Cell()), figure.why)


def _row(title: str, note: str, judge: Figure, reference: Figure, excess: Figure, unit: str = "%") -> CardRow:
    return CardRow(title, note, (_cell(judge, unit), _cell(reference, unit), _cell(excess, unit)), judge.why)


def _cell(figure: Figure, unit: str) -> Cell:
    found = figure.estimate
    if found is None:
        return Cell()
    if unit == "%":
        shown = gather.Estimate(value=found.value, low=found.low, high=found.high)
        return Cell(share(found.value), interval(shown, unit), found.n)
    return Cell(decimal(found.value, 3), _between(found.low, found.high), found.n)


def _unmeasured(rows: Sequence[CardRow]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for why in dict.fromkeys(row.why for row in rows if row.why):
        yield why, tuple(row.title[:1].lower() + row.title[1:] for row in rows if row.why == why)


def _between(low: float, high: float) -> str:
    return f"{decimal(low, 3)} to {decimal(high, 3)}"


def _charts(card: JudgeCard, prefix: str) -> Iterator[Chart]:
    curve = card.length.curve
    if len(curve) > 1:
        series = [Series("judge", "first", tuple(one.judge for one in curve))]
        labelled = [one.reference for one in curve if one.reference is not None]
        if len(labelled) == len(curve):
            series.append(Series("reference", "second", tuple(labelled)))
        axis = "how many times as long the longer one is"
        yield intervals("Wins of the longer answer", "of pairs", axis, _lengths(curve), series, f"{prefix}-length")
    if card.order.places:
        labels = [str(place) for place in range(1, len(card.order.places) + 1)]
        series = [Series("", "first", card.order.places)]
        yield intervals("Wins by place", "of pairs", "place among those shown", labels, series, f"{prefix}-place")


def _lengths(curve: tuple[LengthBin, ...]) -> list[str]:
    return [f"{one.low:g}+" if one.high is None else f"{one.low:g}–{one.high:g}" for one in curve]


def _kinds(card: JudgeCard) -> Iterator[Kind]:
    for name, figure in card.calibration.kinds.items():
        found = figure.estimate
        if found is None:
            yield Kind(name, NONE, 0.0)
        else:
            yield Kind(name, f"{decimal(found.value * found.n, 3)} of {found.n}", 100 * found.value)


def _source(name: str, found: gather.Estimate) -> Source:
    spread = "" if found.low is None or found.high is None else _between(found.low, found.high)
    return Source(name, decimal(found.value, 3), spread)
