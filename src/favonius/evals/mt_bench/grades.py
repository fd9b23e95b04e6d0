"""Single mode: a judge grades both answers of each question, and FastChat's rule reads the grade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from favonius.data.checks import Drops
from favonius.engines.asked import Failure
from favonius.evals.benchmarks.config import MtBench
from favonius.evals.benchmarks.task import Desk, ItemRow, Said, Scored
from favonius.evals.mt_bench.hearing import hear, leave_out
from favonius.evals.mt_bench.judging import Asking, grading
from favonius.evals.mt_bench.material import Material
from favonius.evals.mt_bench.questions import TURNS, Question
from favonius.evals.mt_bench.record import amiss, record
from favonius.evals.mt_bench.rows import Judgment, judgment_of, read_judgments, row_of
from favonius.evals.mt_bench.scores import Scores, scores
from favonius.evals.mt_bench.turns import answers, notes_on, place, prompts_record, turn_row, write_lines
from favonius.types import JudgedBy

JUDGMENTS = "judgments.jsonl"
"""FastChat's rows, which `favonius eval mt-bench score` reads."""
NO_GRADE = "the judge's reply holds no grade"


@dataclass(frozen=True)
class Grading:
    """One turn, and what the judge is asked of it."""

    question: Question
    said: Said
    turn: int
    asking: Asking


def graded(config: MtBench, material: Material, said: Sequence[Said], desk: Desk) -> Scored:
    """A row per turn on which the judge had a word. The protocol's numbers are reckoned from FastChat's rows, which are
    written beside, as the command reckons them.

    Turns on which the judge had none are left out and counted; the next run asks about them again.
    """
    judge = desk.inputs.speaker(config.judge)
    rows, judgments, left_out = list[ItemRow](), list[dict[str, Any]](), Drops()
    work = list(_gradings(material, said))
    words = hear(config, [one.asking for one in work], desk, f"  grading {desk.label}")
    for one, word in zip(work, words, strict=True):
        if isinstance(word.reply, Failure):
            leave_out(left_out, place(one.question, one.turn), word.reply)
            continue
        judgment = _judgment(one, desk.label, judge.name, word.reply.text)
        judgments.append(judgment)
        rows.append(_row(one, judgment, word.request))
    write_lines(desk.folder / JUDGMENTS, judgments)
    found = _scores(material, desk) if any(row.scores["score"] is not None for row in rows) else None
    return Scored(
        rows=rows,
        judge=JudgedBy(name=judge.name, kind="mt-bench single", template=material.prompts.digest),
        protocol={**prompts_record(material.prompts), **({} if found is None else record(found)[desk.label])},
        left_out=left_out,
        notes=[*notes_on(material.prompts), *(() if found is None else amiss(found))],
    )


def _gradings(material: Material, said: Sequence[Said]) -> Iterator[Grading]:
    for one in said:
        question = material.questions[int(one.item.id)]
        reference = material.references.get(question.question_id)
        for turn in TURNS:
            yield Grading(question, one, turn, grading(material.prompts, question, answers(one), turn, reference))


def _judgment(one: Grading, model: str, judge: str, reply: str) -> dict[str, Any]:
    prompt = one.asking.prompt.name
    return {
        **row_of(model, one.question.question_id, one.turn, (judge, prompt), reply),
        "user_prompt": one.asking.messages[-1].content,
    }


def _row(one: Grading, judgment: dict[str, Any], request: str) -> ItemRow:
    read = judgment_of("", judgment)
    score = read.score if isinstance(read, Judgment) else None
    note = None if score is not None else NO_GRADE if isinstance(read, Judgment) else read.cause
    return turn_row(one.question, one.said, one.turn, {"score": score}, note, (request,))


def _scores(material: Material, desk: Desk) -> Scores:
    return scores(read_judgments(desk.folder / JUDGMENTS), material.categories, [desk.label])
