"""What rows of each shape become, and where they stand."""

from __future__ import annotations

from favonius.corpus.config import MADE_OF
from favonius.data.convert import Row
from favonius.data.shapes import Shape
from favonius.types import Dialogue, Feedback, LabelledAnswer, Pair, SeedPrompt

NOUNS: dict[str, type[Row]] = {
    "dialogues": Dialogue,
    "pairs": Pair,
    "labelled answers": LabelledAnswer,
    "rows of feedback": Feedback,
    "prompts": SeedPrompt,
}
FILES = {
    "dialogues": "dialogues.jsonl",
    "pairs": "pairs.jsonl",
    "labelled answers": "labelled_answers.jsonl",
    "rows of feedback": "feedback.jsonl",
    "prompts": "openings.jsonl",  # as an openings step calls them, whose place this one can take
}


def file_of(shape: Shape) -> str:
    return FILES[MADE_OF[shape]]


def noun_of(shape: Shape) -> type[Row]:
    return NOUNS[MADE_OF[shape]]
