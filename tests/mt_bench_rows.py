"""Judgments of MT-Bench: rows made on the spot, and the published ones where they are at hand."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from favonius.evals.mt_bench.questions import Question
from favonius.evals.mt_bench.record import amiss, record
from favonius.evals.mt_bench.rows import Judgment, Misfit, judgment_of
from favonius.evals.mt_bench.scores import scores

DATA = Path(os.environ.get("FAVONIUS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "mt_bench"
published = pytest.mark.skipif(not DATA.is_dir(), reason="FAVONIUS_TEST_DATA names no folder with MT-Bench")
QUESTIONS = {81: "writing", 82: "writing", 111: "math"}


def row(question: int, turn: int, score: Any, **others: Any) -> dict[str, Any]:
    prompt = "single-v1-multi-turn" if turn == 2 else "single-v1"
    text = f"Fine.\n\nRating: [[{score}]]"
    plain = {"question_id": question, "model": "m", "judge": ["gpt-4", prompt], "judgment": text, "score": score}
    return {**plain, "turn": turn, **others}


def whole(model: str = "m") -> list[dict[str, Any]]:
    """Every turn of QUESTIONS once: mean 6, turns 5 and 7."""
    grades = {81: (3, 8), 82: (5, 6), 111: (7, 7)}
    return [row(question, turn, grades[question][turn - 1], model=model) for turn in (1, 2) for question in QUESTIONS]


def judged(value: dict[str, Any], place: str = "line 1") -> Judgment | Misfit:
    return judgment_of(place, value)


def scored(rows: Iterable[dict[str, Any]], **options: Any) -> tuple[dict[str, Any], str]:
    read = [judged(value, f"line {number}") for number, value in enumerate(rows, start=1)]
    found = scores(read, QUESTIONS, **options)
    json.dumps(record(found), allow_nan=False)
    return record(found), "\n".join(amiss(found))


def stored() -> list[dict[str, Any]]:
    with gzip.open(DATA / "gpt-4_single.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def shown(stored_row: dict[str, Any], question: Question) -> list[str]:
    """The answers that a stored prompt shows."""
    text = stored_row["user_prompt"]
    if stored_row["turn"] == 1:
        start, end = "[The Start of Assistant's Answer]\n", "\n[The End of Assistant's Answer]"
        return [text[text.index(start) + len(start) : -len(end)]]
    frame = "<|The {} of Assistant A's Conversation with User|>"
    start = frame.format("Start") + f"\n\n### User:\n{question.turns[0]}\n\n### Assistant A:\n"
    talk = text[text.index(start) + len(start) : -len("\n\n" + frame.format("End"))]
    first, second = talk.split(f"\n\n### User:\n{question.turns[1]}\n\n### Assistant A:\n")
    return [first, second]
