"""The questions that the judge is asked: single answers graded, or two models' answers compared in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from favonius.evals.mt_bench.prompts import JudgePrompt, JudgePrompts
from favonius.evals.mt_bench.questions import Question, Reference
from favonius.types import Messages, Sampling

JUDGE_SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=2048)


@dataclass(frozen=True)
class Asking:
    """What the judge is asked, by which prompt."""

    prompt: JudgePrompt
    messages: Messages


def grading(
    prompts: JudgePrompts, question: Question, answers: Sequence[str], turn: int, reference: Reference | None = None
) -> Asking:
    """The grading of one turn. For turn 2 the judge sees both turns, and grades the second answer.

    `reference` is needed, and used, in the categories that have reference answers.
    """
    prompt = prompts.find("single", turn, question.needs_reference)
    if turn == 1:
        values = {"question": question.turns[0], "answer": answers[0]}
    else:
        values = {**_both(question), "answer_1": answers[0], "answer_2": answers[1]}
    return Asking(prompt, prompt.messages(values | _told(question, reference)))


def comparing(
    prompts: JudgePrompts,
    question: Question,
    first: Sequence[str],
    second: Sequence[str],
    turn: int,
    reference: Reference | None = None,
) -> tuple[Asking, Asking]:
    """The two games of a comparison: the first model's answers shown as A and the second's as B, then swapped."""
    prompt = prompts.find("pairwise", turn, question.needs_reference)
    told = _told(question, reference)

    def game(a: Sequence[str], b: Sequence[str]) -> Asking:
        if turn == 1:
            values = {"question": question.turns[0], "answer_a": a[0], "answer_b": b[0]}
        else:
            shown = {"answer_a_1": a[0], "answer_a_2": a[1], "answer_b_1": b[0], "answer_b_2": b[1]}
            values = {**_both(question), **shown}
        return Asking(prompt, prompt.messages(values | told))

    return game(first, second), game(second, first)


def _both(question: Question) -> dict[str, str]:
    return {"question_1": question.turns[0], "question_2": question.turns[1]}


def _told(question: Question, reference: Reference | None) -> dict[str, str]:
    if not question.needs_reference:
        return {}
    if reference is None or reference.question_id != question.question_id:
        raise ValueError(f"question {question.question_id} ({question.category}) is judged with its reference answer")
    return {"ref_answer_1": reference.turns[0], "ref_answer_2": reference.turns[1]}
