"""Which training rows hold a benchmark's questions: a model that was taught them knows the answers, not the skill.

What counts as holding is the rule by which data steps keep evaluation texts out (`data.decontaminate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from favonius.data.benchmarks_known import EvaluationText
from favonius.data.decontaminate import EvaluationIndex, Hit
from favonius.data.rows import iterate_rows
from favonius.data.words import words
from favonius.errors import UserError
from favonius.types import Answer, Dialogue, Feedback, LabelledAnswer, Messages, Noun, Pair

KINDS: Mapping[str, type[Noun]] = {
    "dialogues.jsonl": Dialogue,
    "pairs.jsonl": Pair,
    "labelled_answers.jsonl": LabelledAnswer,
    "feedback.jsonl": Feedback,
    "answers.jsonl": Answer,
}
SHOWN = 20


def overlaps(texts: Sequence[str], steps: Mapping[str, Path]) -> dict[str, Any]:
    """How many of the questions `texts` stand in user and system turns of the train rows of `steps`, name → folder.

    JSON: `checked` steps, number of different `questions` and how many of them are `overlapping`; number of
    `train_rows` and how many of them are `overlapping_rows`; in `rows`, for up to SHOWN of the overlapping questions,
    the row that holds the greatest `share` of the question's words, the greatest shares first.
    UserError where a step holds no rows that could be trained on.
    """
    questions = [text for text in dict.fromkeys(texts) if text.strip()]
    index = EvaluationIndex(EvaluationText("", str(number), question) for number, question in enumerate(questions))
    lengths = [len(words(question)) for question in questions]
    worst: dict[int, tuple[float, str, str]] = {}
    looked_at = holding = 0
    for step, row, hits in _searched(index, steps):
        looked_at += 1
        holding += bool(hits)
        for hit in hits:
            number = int(hit.item)
            share = len(words(hit.matched)) / lengths[number] if lengths[number] else 1.0
            if number not in worst or share > worst[number][0]:
                worst[number] = (share, step, row)
    ranked = sorted(worst.items(), key=lambda found: (-found[1][0], found[0]))
    return {
        "checked": list(steps),
        "questions": len(questions),
        "overlapping": len(worst),
        "train_rows": looked_at,
        "overlapping_rows": holding,
        "rows": [
            {"step": step, "row": row, "question": questions[number], "share": round(share, 4)}
            for number, (share, step, row) in ranked[:SHOWN]
        ],
    }


def _searched(index: EvaluationIndex, steps: Mapping[str, Path]) -> Iterator[tuple[str, str, list[Hit]]]:
    """Step, row and what the row holds."""
    for step, folder in steps.items():
        yield from ((step, row, index.hits(messages)) for row, messages in _train_rows(step, folder))


def _train_rows(step: str, folder: Path) -> Iterator[tuple[str, Messages]]:
    """Names and turns of a step's train rows."""
    there = [(folder / file, kind) for file, kind in KINDS.items() if (folder / file).exists()]
    if not there:
        raise UserError(f"step {step} holds no rows to look for questions in ({', '.join(KINDS)}); leave it out")
    for path, kind in there:
        for row in iterate_rows(path, kind):
            match row:
                case Dialogue(split="train"):
                    yield row.id, row.messages
                case Pair(split="train") | LabelledAnswer(split="train") | Feedback(split="train"):
                    yield row.id, row.prompt
                case Answer(split="train"):
                    yield row.prompt_id, row.prompt
