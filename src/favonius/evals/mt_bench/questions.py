"""MT-Bench's questions and reference answers, read from the files that FastChat publishes (zephyr-spec §5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, Field

from favonius.data.rows import read_rows
from favonius.errors import UserError
from favonius.types import Message, Messages, Noun, Sampling

TURNS = (1, 2)
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
"""In the order of the published questions, of which ten belong to each."""
FIRST_ID = 81
PER_CATEGORY = 10
REFERENCED = ("reasoning", "math", "coding")
"""Categories whose answers the judge compares with a reference answer."""
TEMPERATURES: Mapping[str, float] = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7
"""Of categories that are not MT-Bench's own."""
ANSWER_TOKENS = 1024


class Question(Noun):
    """A question and what is asked after its answer. Fields of the file that are not named here are not read."""

    model_config = ConfigDict(extra="ignore")  # such as `reference`, which the published judgments were made without

    question_id: int
    category: str = Field(min_length=1)
    turns: tuple[str, str]

    @property
    def needs_reference(self) -> bool:
        return self.category in REFERENCED


class ReferenceTurns(Noun):
    model_config = ConfigDict(extra="ignore")

    turns: tuple[str, str]


class Reference(Noun):
    """What another model, GPT-4 in the published file, answered to both turns; the first choice is what counts."""

    model_config = ConfigDict(extra="ignore")

    question_id: int
    choices: tuple[ReferenceTurns, ...] = Field(min_length=1)

    @property
    def turns(self) -> tuple[str, str]:
        return self.choices[0].turns


R = TypeVar("R", Question, Reference)


def read_questions(path: Path) -> dict[int, Question]:
    """Questions by id, in the order of the file. UserError naming file, line and field, or an id that comes twice."""
    return _by_id(path, read_rows(path, Question), "question")


def read_references(path: Path, questions: Iterable[Question]) -> dict[int, Reference]:
    """Reference answers by question. UserError as for `read_questions`, and where a question is without the reference
    that its category needs."""
    references = _by_id(path, read_rows(path, Reference), "reference answer")
    missing = [one.question_id for one in questions if one.needs_reference and one.question_id not in references]
    if missing:
        named = ", ".join(map(str, missing))
        raise UserError(f"{path}: no reference answer to {named}; the judge needs one in {', '.join(REFERENCED)}")
    return references


def _by_id(path: Path, rows: Sequence[R], noun: str) -> dict[int, R]:
    if not rows:
        raise UserError(f"{path}: the file holds no {noun}")
    found: dict[int, R] = {}
    for row in rows:
        if row.question_id in found:
            raise UserError(f"{path}: two rows are {noun} {row.question_id}; leave one of them")
        found[row.question_id] = row
    return found


def published_categories() -> dict[int, str]:
    """The category of each published question, by id: 81 to 160."""
    return {
        FIRST_ID + place * PER_CATEGORY + offset: category
        for place, category in enumerate(CATEGORIES)
        for offset in range(PER_CATEGORY)
    }


def sampling(category: str, choice: int = 0) -> Sampling:
    """How an answer is drawn. The protocol seeds with the choice's number, and cuts no tail of the distribution."""
    temperature = TEMPERATURES.get(category, OTHER_TEMPERATURE)
    return Sampling(temperature=temperature, top_p=1.0, max_tokens=ANSWER_TOKENS, seed=choice)


def asked(question: Question, answers: Sequence[str] = ()) -> Messages:
    """What the model is asked next: its first turn, or with its own answer to that, its second."""
    if len(answers) >= len(question.turns):
        raise ValueError(f"question {question.question_id} has {len(question.turns)} turns, all of them answered")
    messages: list[Message] = []
    for turn, answer in zip(question.turns, answers, strict=False):
        messages += [Message(role="user", content=turn), Message(role="assistant", content=answer)]
    return (*messages, Message(role="user", content=question.turns[len(answers)]))
