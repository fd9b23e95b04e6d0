"""What a ratings step judges: prompts with their answers, and the scores that a reference gave them, if any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from favonius.data.rows import iterate_rows
from favonius.errors import UserError
from favonius.feedback.binarise import scores_of
from favonius.feedback.config import RatingsConfig
from favonius.feedback.draws import drawn
from favonius.feedback.rules import ScoredBy
from favonius.judges.duels import Labels
from favonius.types import Answer, Feedback, RatedText


class Cases(NamedTuple):
    """`labels` are the reference's scores of each case's answers; empty where nobody scored any."""

    rows: list[Feedback]
    labels: list[Labels]


def read_cases(folder: Path, config: RatingsConfig) -> Cases:
    """The first `limit` prompts of each split, with `per_prompt` answers each, as nobody had judged them yet.

    UserError where the folder holds neither answers nor feedback.
    """
    if (path := folder / "answers.jsonl").exists():
        rows: Iterable[Feedback] = grouped(iterate_rows(path, Answer))
    elif (path := folder / "feedback.jsonl").exists():
        rows = iterate_rows(path, Feedback)
    else:
        raise UserError(f"{folder}: there are no answers in it; name an answers step, or a data step of feedback")
    chosen = [_some_answers(row, config) for row in _first_of_each_split(rows, config.limit)]
    labels: list[Labels] = [scores_of(row.completions, ScoredBy())[1] for row in chosen]
    is_scored = any(label is not None for of_row in labels for label in of_row)
    return Cases([unjudged(row) for row in chosen], labels if is_scored else [])


def grouped(answers: Iterable[Answer]) -> list[Feedback]:
    """A row for each prompt, in the order of their first answers."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.prompt_id, []).append(answer)
    return [_row(group) for group in groups.values()]


def unjudged(row: Feedback) -> Feedback:
    """Without what anybody said of the answers."""
    bare: dict[str, Any] = {"scores": {}, "overall": None, "critique": None}
    completions = tuple(answer.model_copy(update=bare) for answer in row.completions)
    return row.model_copy(update={"completions": completions, "judge": None, "calls": (), "comparisons": ()})


def _row(answers: list[Answer]) -> Feedback:
    first = answers[0]
    return Feedback(
        id=first.prompt_id,
        split=first.split,
        prompt=first.prompt,
        completions=tuple(
            RatedText(
                source=answer.source,
                text=answer.text,
                finished=answer.finished,
                flaws=answer.flaws,
                principle=answer.principle,
                origin=answer.origin,
            )
            for answer in answers
        ),
        source=first.prompt_source,
        knowledge=first.knowledge,
    )


def _first_of_each_split(rows: Iterable[Feedback], limit: int | None) -> Iterable[Feedback]:
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.split] += 1
        if limit is None or seen[row.split] <= limit:
            yield row


def _some_answers(row: Feedback, config: RatingsConfig) -> Feedback:
    """Drawn by the prompt, in the order in which they stand; answers are told apart by where that is."""
    if config.per_prompt is None or len(row.completions) <= config.per_prompt:
        return row
    places = drawn(range(len(row.completions)), config.per_prompt, f"ratings {config.seed}", row.id)
    return row.model_copy(update={"completions": tuple(row.completions[place] for place in sorted(places))})
