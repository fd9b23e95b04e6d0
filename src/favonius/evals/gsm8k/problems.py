"""Problems and their results in the shape of the published file, and worked examples that may come before them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files

import yaml

from favonius.data import fields
from favonius.data.checks import Drops
from favonius.data.raw import RawRow
from favonius.evals.gsm8k.reading import strict
from favonius.types import Message, Messages, Noun

TOLD = (
    "Solve this step by step. Then add one last line that holds nothing but #### and the result as a plain number, "
    "without a unit."
)
AGAIN = "a question that stood there before"
NO_NUMBER = "an answer without a line of #### and a number"


class Example(Noun):
    """A problem with its solution, which ends in `#### number`."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Problem:
    """`number` is the right result."""

    question: str
    number: Decimal

    def messages(self, examples: Iterable[Example] = ()) -> Messages:
        """The problem as a user puts it, after `examples` that were put and answered in the same way."""
        return (*(message for one in examples for message in _shown(one)), _put(self.question))


def read_problems(rows: Iterable[RawRow], left_out: Drops) -> dict[str, Problem]:
    """By their number among the rows, from 1. Rows that come twice or have no number are counted in `left_out`.

    UserError where a row has no text `question` or `answer`.
    """
    found: dict[str, Problem] = {}
    seen: set[str] = set()
    for place, row in enumerate(rows, start=1):
        question, answer = fields.text(row, "question"), fields.text(row, "answer")
        number = strict(answer)
        if question in seen:
            left_out.add(AGAIN, f"{row.place}: {question}")
        elif number is None:
            left_out.add(NO_NUMBER, f"{row.place}: {answer}")
        else:
            found[str(place)] = Problem(question, number)
        seen.add(question)
    return found


def examples() -> list[Example]:
    """The eight of favonius/evals/gsm8k/builtin/examples.yaml."""
    text = (files("favonius.evals.gsm8k") / "builtin" / "examples.yaml").read_text(encoding="utf-8")
    return [Example.model_validate(one) for one in yaml.safe_load(text)]


def _put(question: str) -> Message:
    return Message(role="user", content=f"{question}\n\n{TOLD}")


def _shown(example: Example) -> Messages:
    return (_put(example.question), Message(role="assistant", content=example.answer))
