"""One look at rows of every kind: what is asked, what is answered, what is taught."""

from __future__ import annotations

import math
from dataclasses import dataclass

from favonius.data.convert import Row
from favonius.data.splits import opening, prompt_key
from favonius.types import Dialogue, Feedback, LabelledAnswer, Message, Messages, Pair, RatedText, SeedPrompt, Split

Answered = Pair | LabelledAnswer | Feedback
"""Rows of a prompt and answers to it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A row, and where it stands in its file."""

    place: str
    row: Row

    def shown(self) -> str:
        """What people know it by."""
        return f"{self.row.id}: {view(self.row).asked}"


@dataclass(frozen=True, slots=True)
class View:
    """`said`: all turns, one after another, answers that exclude each other too. `taught`: what is to become likelier.

    `asked` is what rows are compared by: a dialogue's first user turn, or all turns of a prompt but the system's.
    """

    split: Split
    said: Messages
    taught: tuple[str, ...]
    asked: str

    @property
    def asked_key(self) -> str:
        """The same for prompts that splits hold for one."""
        return prompt_key(self.asked)


def view(row: Row) -> View:
    match row:
        case Dialogue():
            return View(row.split, row.messages, assistant_texts(row), opening(row.messages))
        case SeedPrompt():
            return View("train", (Message(role="user", content=row.prompt),), (), row.prompt)
        case Pair():
            taught: tuple[str, ...] = (row.chosen,)
        case LabelledAnswer():
            taught = (row.text,) if row.desirable else ()
        case Feedback():
            taught = ()
    said = (*row.prompt, *(Message(role="assistant", content=text) for text in answers(row)))
    return View(row.split, said, taught, "\n".join(turn.content for turn in row.prompt if turn.role != "system"))


def assistant_texts(row: Dialogue) -> tuple[str, ...]:
    return tuple(message.content for message in row.messages if message.role == "assistant")


def answers(row: Answered) -> tuple[str, ...]:
    match row:
        case Pair():
            return (row.chosen, row.rejected)
        case LabelledAnswer():
            return (row.text,)
        case Feedback():
            return tuple(one.text for one in row.completions)


def named_answers(row: Answered) -> dict[str, str]:
    """Answers to be shown, by their names: of feedback, those that the judge liked most and least."""
    match row:
        case Pair():
            return {"chosen": row.chosen, "rejected": row.rejected}
        case LabelledAnswer():
            return {"answer, desirable" if row.desirable else "answer, undesirable": row.text}
        case Feedback():
            ranked = sorted(row.completions, key=lambda one: -_known(score(one)))
            return {_said_by(one): one.text for one in (ranked[0], ranked[-1])}


def score(one: RatedText) -> float | None:
    """The judge's overall score, else the mean of those by aspect; None where it gave no number."""
    given = [value for value in one.scores.values() if value is not None]
    if one.overall is not None or not given:
        return one.overall
    return sum(given) / len(given)


def rounds(row: Row) -> int:
    """User turns."""
    match row:
        case Dialogue():
            turns = row.messages
        case SeedPrompt():
            return 1
        case _:
            turns = row.prompt
    return sum(turn.role == "user" for turn in turns)


def _known(score: float | None) -> float:
    return -math.inf if score is None else score


def _said_by(one: RatedText) -> str:
    found = score(one)
    return f"{one.source}, " + ("without a score" if found is None else f"score {found:.3g}")
