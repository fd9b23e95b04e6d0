"""Phrases that the terminal and the page share."""

from __future__ import annotations

from favonius.phrases import counted
from favonius.report.wording import decimal, words
from favonius.review.contest import Opinion, Scores
from favonius.types import Feedback, Messages, Principle, RatedText


def about_row(row: Feedback) -> str:
    return " · ".join(filter(None, (row.id, row.source)))


def about_answer(answer: RatedText) -> str:
    """Its length, its flaws, and what its author was told to mind."""
    length = f"{counted(len(answer.text), 'character')}, {counted(len(answer.text.split()), 'word')}"
    cut = () if answer.finished else ("cut off",)
    flaws = (words(flaw) for flaw in answer.flaws if flaw != "unfinished")
    minded = () if answer.principle is None else (about_principle(answer.principle),)
    drawn = () if answer.origin is None else (f"temperature {answer.origin.sampling.temperature:g}",)
    return " · ".join((length, *cut, *flaws, *minded, *drawn))


def about_principle(principle: Principle) -> str:
    return f"told to mind {words(principle.kind)}" if principle.shown else f"{words(principle.kind)}, not told"


def prompt_text(prompt: Messages) -> str:
    """A single turn as it is; of several, who says what."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def plain_number(score: float | None) -> str:
    return decimal(score, 4)


def said_of(opinion: Opinion) -> str:
    """What a voice prefers, with the aspects and notes behind it."""
    aspects = (f"{words(name)} {plain_number(one)} : {plain_number(two)}" for name, (one, two) in opinion.aspects)
    return " · ".join((opinion.says, *aspects, *opinion.notes))


def scores_text(scores: Scores) -> str:
    """`8.5 : 3`; nothing where neither has one."""
    return "" if scores == (None, None) else " : ".join(map(plain_number, scores))
