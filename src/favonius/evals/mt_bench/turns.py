"""One turn of a question as a row of items.jsonl, and rows of judgments on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from favonius.data.rows import json_line
from favonius.evals.benchmarks.rows import rests_on
from favonius.evals.benchmarks.task import ItemRow, Said
from favonius.evals.mt_bench.prompts import BUILT_IN, JudgePrompts
from favonius.evals.mt_bench.questions import Question
from favonius.files import write_text

OWN_PROMPTS = (
    "the judge was asked by our own prompts (favonius) and not by the published ones, so its word cannot be compared "
    "with published scores"
)


def turn_row(
    question: Question,
    said: Said,
    turn: int,
    scores: Mapping[str, float | None],
    note: str | None,
    judged: tuple[str, ...],
) -> ItemRow:
    """The prompt of turn 2 is both questions; the answer is the turn's own."""
    answer = said.turns[turn - 1]
    return ItemRow(
        id=place(question, turn),
        unit=str(question.question_id),
        category=question.category,
        scores=dict(scores),
        prompt="\n\n".join(question.turns[:turn]),
        answers=(answer.text,),
        tokens=answer.tokens,
        finished=answer.finished,
        note=note,
        judged=judged,
        rests_on=rests_on(said.item),
    )


def place(question: Question, turn: int) -> str:
    return f"{question.question_id}, turn {turn}"


def answers(said: Said) -> list[str]:
    return [turn.text for turn in said.turns]


def prompts_record(prompts: JudgePrompts) -> dict[str, Any]:
    """By which prompts the judge was asked."""
    return {"prompts": {"name": Path(prompts.name).name, "digest": prompts.digest}}


def notes_on(prompts: JudgePrompts) -> list[str]:
    return [OWN_PROMPTS] if prompts.name == BUILT_IN else []


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines, all of them or none."""
    write_text(path, "".join(map(json_line, rows)))
