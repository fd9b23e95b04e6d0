"""Stage `ratings`: a judge rates every answer, and its card says how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from favonius.data.checks import Drops
from favonius.data.rows import write_rows
from favonius.data.splits import opening, share_of
from favonius.errors import FavoniusError, UserError
from favonius.feedback.cases import Cases, read_cases
from favonius.feedback.config import CardConfig, RatingsConfig
from favonius.files import write_json
from favonius.judges.calibration import calibration_cases, calibration_items
from favonius.judges.card import Evidence, judge_card
from favonius.judges.judge import Failure, Judge, Judgement, Score, Showing, Verdict
from favonius.judges.open import open_judge
from favonius.judges.positions import both_orders_seen, shows_several
from favonius.run import Context, Inputs, ModelRef, references
from favonius.statistics import ratio
from favonius.types import Feedback, JudgedBy, RatedText


def run(config: RatingsConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes feedback.jsonl (the judge's scores in the place of any others), card.json and stats.json.

    An answer that could not be judged stays in its row without a score and is counted by cause; one that there was no
    money to ask about is no failure of the judge, and leaves the step open. FavoniusError where no answer got a score.
    """
    cases = read_cases(inputs.folder(config.answers), config)
    own = own_sources(config, cases.rows)
    with open_judge(config.judge, inputs, context) as judge:
        judgements = judge.judge(cases.rows, label="  ratings")
        drops, unasked = _failures(cases.rows, judgements)
        scored = sum(isinstance(verdict, Score) for verdict in _verdicts(judgements))
        if not scored and not unasked:
            raise FavoniusError(f"{out.name}: the judge could rate no answer ({_in_words(drops)})")
        evidence = None if config.card is None else _evidence(config.card, config.seed, own, judge, cases, judgements)
        tokens = judge.tokens
    rows = [rated(case, judgement, judge.mark) for case, judgement in zip(cases.rows, judgements, strict=True)]
    write_rows(out / "feedback.jsonl", rows)
    if evidence is not None:
        write_json(out / "card.json", judge_card(judge.mark, evidence).model_dump(mode="json"))
    stats = {"kept": scored, **drops.record(), "tokens": tokens, "judge": judge.mark.name, "prompts": len(rows)}
    unjudged = {"not asked about, for lack of money": unasked} if unasked else {}
    write_json(out / "stats.json", {**stats, **unjudged, "scores": _mean_scores(rows)})


def rated(case: Feedback, judgement: Judgement, mark: JudgedBy) -> Feedback:
    """A case with what a judge made of it."""
    completions = tuple(
        _rated(answer, verdict) for answer, verdict in zip(case.completions, judgement.verdicts, strict=True)
    )
    said = {"judge": mark, "calls": judgement.calls, "comparisons": judgement.comparisons}
    return case.model_copy(update={"completions": completions, **said})


def _rated(answer: RatedText, verdict: Verdict) -> RatedText:
    if isinstance(verdict, Failure):
        return answer
    said = {"overall": verdict.value, "scores": dict(verdict.aspects), "critique": verdict.critique}
    return answer.model_copy(update=said)


def _verdicts(judgements: Sequence[Judgement]) -> Iterator[Verdict]:
    return (verdict for judgement in judgements for verdict in judgement.verdicts)


def _failures(cases: Sequence[Feedback], judgements: Sequence[Judgement]) -> tuple[Drops, int]:
    """Answers without a score by cause, with what the judge said instead; and how many there was no money to ask."""
    drops, unasked = Drops(), 0
    for case, judgement in zip(cases, judgements, strict=True):
        for answer, verdict in zip(case.completions, judgement.verdicts, strict=True):
            if isinstance(verdict, Failure) and not verdict.asked:
                unasked += 1
            elif isinstance(verdict, Failure):
                drops.add(verdict.cause, f"{case.id} ({answer.source}): {verdict.raw or answer.text}")
    return drops, unasked


def _in_words(drops: Drops) -> str:
    return ", ".join(f"{count:,} {cause}" for cause, count in drops.counts.most_common()) or "there are none"


def _evidence(
    card: CardConfig, seed: int, own: frozenset[str], judge: Judge, cases: Cases, judgements: Sequence[Judgement]
) -> Evidence:
    """What the card is made from; for it the judge is asked about some cases again, and about the built-in items."""
    again = _chosen(cases.rows, card.cases, seed)
    turned = [place for place in again if shows_several(judgements[place]) and not both_orders_seen(judgements[place])]
    drawing = [place for place in again if judgements[place].calls]
    items = calibration_items() if card.calibration else []

    def once_more(places: list[int], showing: Showing, label: str) -> dict[int, Judgement]:
        """Nothing is asked where nothing could come of it."""
        chosen = [cases.rows[place] for place in places]
        return dict(zip(places, judge.judge(chosen, showing, label), strict=True)) if places else {}

    return Evidence(
        cases=cases.rows,
        judgements=judgements,
        labels=cases.labels,
        own=own,
        reversed=once_more(turned, Showing(reversed=True), "  ratings, reversed"),
        repeated=once_more(drawing, Showing(sample=1), "  ratings, repeated"),
        items=items,
        item_judgements=judge.judge(calibration_cases(items), label="  calibration") if items else [],
    )


def _chosen(cases: Sequence[Feedback], count: int, seed: int) -> list[int]:
    """Places of `count` cases with two answers or more, told by their prompts, in their order."""
    fit = [place for place, case in enumerate(cases) if len(case.completions) > 1]
    fit.sort(key=lambda place: share_of(f"card {seed}", opening(cases[place].prompt)))
    return sorted(fit[:count])


def own_sources(config: RatingsConfig, cases: Sequence[Feedback]) -> frozenset[str]:
    """The sources of answers that are of the judge's family: those that one of its own models wrote, and those that
    the config names. UserError where it names one that there is not."""
    models = {str(name) for name in references(config.judge) if isinstance(name, ModelRef)}
    answers = [answer for case in cases for answer in case.completions]
    written = {answer.source for answer in answers if answer.origin is not None and answer.origin.model in models}
    named = set(config.card.own_sources) if config.card is not None else set()
    if unknown := named - (sources := {answer.source for answer in answers}):
        raise UserError(
            f"card.own_sources: no answer is from {min(unknown)}; there are answers from {', '.join(sorted(sources))}"
        )
    return frozenset(written | named)


def _mean_scores(rows: Sequence[Feedback]) -> dict[str, Any]:
    """By source, the mean score with its interval over prompts, the highest first."""
    sums: dict[str, list[tuple[float, int]]] = {}
    for row in rows:
        own: dict[str, list[float]] = {}
        for answer in row.completions:
            if answer.overall is not None:
                own.setdefault(answer.source, []).append(answer.overall)
        for source, scores in own.items():
            sums.setdefault(source, []).append((sum(scores), len(scores)))
    found = {source: ratio(*zip(*parts, strict=True)) for source, parts in sums.items()}
    known = [(source, estimate) for source, estimate in found.items() if estimate is not None]
    return {source: estimate._asdict() for source, estimate in sorted(known, key=lambda pair: -pair[1].value)}
