"""The judge cards of a run, in sentences and figures."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from favonius.card.nouns import Finding, Judge, JudgeFigure
from favonius.card.private import Private
from favonius.files import read_json
from favonius.judges.card import JudgeCard
from favonius.judges.figures import Figure
from favonius.report.gather import Run
from favonius.report.judge_card import CARD
from favonius.report.judge_words import findings


def judges(run: Run, private: Private) -> tuple[tuple[Judge, ...], tuple[str, ...]]:
    """One for each ratings step that left a card, and the steps whose card is of another version of Favonius."""
    found, unreadable = [], []
    for step in run.of_stage("ratings"):
        file = run.path / step.name / CARD
        if file.is_file():
            try:
                found.append(_judge(step.name, JudgeCard.model_validate(private.public(read_json(file))), private))
            except ValidationError:
                unreadable.append(step.name)
    return tuple(found), tuple(unreadable)


def _judge(step: str, card: JudgeCard, private: Private) -> Judge:
    return Judge(
        step=step,
        judge=card.judge.name,
        kind=card.judge.kind,
        template=card.judge.template,
        answers=card.answers,
        findings=tuple(
            Finding(topic=one.topic, sentence=private.told(one.sentence), flag=one.flag) for one in findings(card)
        ),
        figures=tuple(_figures(card)),
    )


def _figures(card: JudgeCard) -> Iterator[JudgeFigure]:
    named = {
        "answers without a score": card.failed,
        "questions without a readable reply": card.unread,
        "pairs ranked as the reference does": card.labelled.right,
        "the same of answers of one length": card.labelled.right_matched,
        "known answers right": card.calibration.right,
        "wins of the longer answer": card.length.longer_wins.judge,
        "wins of its own family": card.own.judge,
        "preferences that turn round with the order": card.order.flips,
        "wins of the earlier answer beyond half": card.order.first_wins,
        "preferences kept when asked again": card.repeats.kept,
        "agreement of its members (Krippendorff's alpha)": card.alpha,
    }
    for title, figure in named.items():
        yield from _figure(title, figure)


def _figure(title: str, figure: Figure) -> Iterator[JudgeFigure]:
    if figure.estimate is not None:
        yield JudgeFigure(title=title, **figure.estimate._asdict())
