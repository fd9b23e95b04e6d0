"""Rows of judgments as FastChat writes them: one line for each grade that a judge gave."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from favonius.data.streams import DamagedFileError, numbered_lines
from favonius.errors import UserError
from favonius.evals.mt_bench.questions import TURNS
from favonius.evals.mt_bench.reading import read_rating
from favonius.files import require_file

UNREADABLE = -1
"""What FastChat's files hold in place of a score that could not be read. Here it is None."""
LEAST, MOST = 1.0, 10.0


@dataclass(frozen=True)
class Judge:
    """Who graded, by which set of prompts: judgments by other prompts are another judge's."""

    model: str
    prompts: str

    @classmethod
    def of(cls, model: str, prompt: str) -> Judge:
        """A set has prompts for both turns, with and without reference: single-math-v1-multi-turn is of single-v1."""
        return cls(model, prompt.replace("-math", "").removesuffix("-multi-turn"))

    def __str__(self) -> str:
        return f"{self.model}/{self.prompts}" if self.prompts else self.model


@dataclass(frozen=True)
class Judgment:
    """One grade. `score` is None where the judge's words hold none."""

    place: str
    model: str
    question_id: int
    turn: int
    judge: Judge
    score: float | None
    text: str | None
    shown: str | None
    """The prompt with the answer in it, where the row keeps it: another answer is another prompt."""

    @property
    def as_told(self) -> bool:
        """Whether the score is what FastChat's rule reads in the judge's words."""
        return self.text is None or self.score == read_rating(self.text)


@dataclass(frozen=True)
class Misfit:
    """A row that cannot be scored. `model` is empty where the row names none."""

    place: str
    model: str
    cause: str


def read_judgments(path: Path) -> Iterator[Judgment | Misfit]:
    """Every row of a .jsonl file, plain, .gz or .zst. UserError where it is missing or cut off.

    NaN, which is no JSON but which Python writes, is read: it is a number that does not fit.
    """
    require_file(path)
    number = 0
    try:
        for number, line in numbered_lines(path):
            place = f"{path.name}, line {number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                yield Misfit(place, "", "not a whole JSON value")
                continue
            yield judgment_of(place, value) if isinstance(value, dict) else Misfit(place, "", "not a JSON object")
        if not number:
            raise UserError(f"{path}: the file is empty; it should hold FastChat's rows of judgments, one a line")
    except DamagedFileError as error:
        raise UserError(
            f"{path}, after line {number}: {error}; means of a part would be others, so fetch the file again"
        ) from error


def judgment_of(place: str, row: Mapping[str, Any]) -> Judgment | Misfit:
    """A row checked, all but what only its neighbours or the questions can tell."""
    model = row.get("model")
    if not isinstance(model, str) or not model.strip():
        return Misfit(place, "", "no model is named")
    judge, question, turn = _judge(row.get("judge")), _whole(row.get("question_id")), _whole(row.get("turn"))
    if judge is None:
        return Misfit(place, model, "no judge is named")
    if question is None:
        return Misfit(place, model, "question_id is not a whole number")
    if turn is None or turn not in TURNS:
        return Misfit(place, model, "turn is neither 1 nor 2")
    score = row.get("score")
    if not _is_number(score) or (isinstance(score, float) and not math.isfinite(score)):
        return Misfit(place, model, "the score is not a finite number")
    if score != UNREADABLE and not LEAST <= score <= MOST:
        return Misfit(place, model, f"the score is outside {LEAST:g} to {MOST:g}")
    read = None if score == UNREADABLE else float(score)
    return Judgment(place, model, question, turn, judge, read, _text(row, "judgment"), _text(row, "user_prompt"))


def row_of(model: str, question_id: int, turn: int, judge: tuple[str, str], reply: str) -> dict[str, Any]:
    """A judge's reply as FastChat's row. `judge` is its name and the prompt's."""
    score = read_rating(reply)
    return {
        "question_id": question_id,
        "model": model,
        "judge": list(judge),
        "judgment": reply,
        "score": UNREADABLE if score is None else score,
        "turn": turn,
    }


def _judge(value: Any) -> Judge | None:
    """`["gpt-4", "single-v1"]`, or the bare name."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names) or not names[0]:
        return None
    return Judge.of(names[0], names[1] if len(names) > 1 else "")


def _whole(value: Any) -> int | None:
    """81, or 81.0 as pandas writes it where one row of a column is empty."""
    if not _is_number(value) or (isinstance(value, float) and not value.is_integer()):
        return None
    return int(value)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None
