"""Contamination: which questions of a benchmark stand in the train rows of a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from favonius.data.rows import write_rows
from favonius.errors import UserError
from favonius.evals.benchmarks.contamination import KINDS, SHOWN, overlaps
from favonius.types import (
    Answer,
    Dialogue,
    Feedback,
    LabelledAnswer,
    Message,
    Messages,
    Noun,
    Pair,
    RatedText,
    Role,
    Split,
)

LONG = (
    "Ann has 3 baskets with 12 apples each. She gives 5 apples to each of her 4 friends. "
    "How many apples are left in the baskets?"
)
HALF = LONG.partition("She")[0] + "She gives 5 apples to each of them."
SHORT = "Why is the sky blue?"


def turns(*contents: str) -> Messages:
    roles: Sequence[Role] = ("user", "assistant") * len(contents)
    return tuple(Message(role=role, content=text) for role, text in zip(roles, contents, strict=False))


def dialogue(name: str, *contents: str, split: Split = "train") -> Dialogue:
    return Dialogue(id=name, split=split, messages=turns(*contents))


def step(folder: Path, file: str, rows: Sequence[Noun]) -> Path:
    folder.mkdir(exist_ok=True)
    write_rows(folder / file, rows)
    return folder


def test_a_question_in_other_case_and_punctuation_is_found_whole(tmp_path: Path) -> None:
    rows = [dialogue("a", "Hello there", "Hi."), dialogue("b", f"Please: {LONG.upper().replace('.', ' –')}", "16.")]
    found = overlaps([LONG, SHORT], {"talk": step(tmp_path / "talk", "dialogues.jsonl", rows)})
    assert found == {
        "checked": ["talk"],
        "questions": 2,
        "overlapping": 1,
        "train_rows": 2,
        "overlapping_rows": 1,
        "rows": [{"step": "talk", "row": "b", "question": LONG, "share": 1.0}],
    }


def test_the_row_that_holds_most_of_a_question_is_shown(tmp_path: Path) -> None:
    first = step(tmp_path / "one", "dialogues.jsonl", [dialogue("part", HALF, "Yes.")])
    rows = [dialogue("whole", "Hello", "Hi.", LONG, "16."), dialogue("again", LONG, "16.")]
    second = step(tmp_path / "two", "dialogues.jsonl", rows)
    [alone] = overlaps([LONG], {"one": first})["rows"]
    assert alone["row"] == "part" and 0.5 < alone["share"] < 0.9
    both = overlaps([SHORT, LONG], {"one": first, "two": second})
    assert both["overlapping"] == 1 and both["checked"] == ["one", "two"]
    assert (both["train_rows"], both["overlapping_rows"]) == (3, 3)
    assert both["rows"] == [{"step": "two", "row": "whole", "question": LONG, "share": 1.0}]


def test_neither_test_rows_nor_answers_nor_a_dozen_words_count(tmp_path: Path) -> None:
    rows = [
        dialogue("held out", LONG, "16.", split="test"),
        dialogue("said by the model", "Ask me something.", LONG),
        dialogue("too little", " ".join(LONG.split()[:12]), "Yes."),
    ]
    found = overlaps([LONG], {"talk": step(tmp_path / "talk", "dialogues.jsonl", rows)})
    assert (found["overlapping"], found["train_rows"], found["overlapping_rows"]) == (0, 2, 0)


def test_every_kind_of_row_is_read(tmp_path: Path) -> None:
    made = {
        "dialogues.jsonl": dialogue("row", SHORT, "Air."),
        "pairs.jsonl": Pair(id="row", split="train", prompt=turns(SHORT), chosen="Air.", rejected="Sea."),
        "labelled_answers.jsonl": LabelledAnswer(
            id="row", split="train", prompt=turns(SHORT), text="Air.", desirable=True
        ),
        "feedback.jsonl": Feedback(
            id="row", split="train", prompt=turns(SHORT), completions=(RatedText(source="m", text="Air."),)
        ),
        "answers.jsonl": Answer(
            prompt_id="row", split="train", prompt=turns(SHORT), source="m", text="Air.", finished=True, tokens=2
        ),
    }
    assert made.keys() == KINDS.keys()
    for file, row in made.items():
        folder = step(tmp_path / file, file, [row, row.model_copy(update={"split": "test"})])
        [one] = overlaps([SHORT], {file: folder})["rows"]
        assert one == {"step": file, "row": "row", "question": SHORT, "share": 1.0}


def test_the_same_question_counts_once_and_blank_ones_do_not(tmp_path: Path) -> None:
    folder = step(tmp_path / "talk", "dialogues.jsonl", [dialogue("a", "???", "What?"), dialogue("b", SHORT, "Air.")])
    found = overlaps([SHORT, SHORT, "", " ", "???"], {"talk": folder})
    assert (found["questions"], found["overlapping"]) == (2, 2)
    assert [row["share"] for row in found["rows"]] == [1.0, 1.0]


def test_no_more_than_so_many_rows_are_shown(tmp_path: Path) -> None:
    questions = [f"What is the number that comes after {number}?" for number in range(SHOWN + 5)]
    rows = [dialogue(f"row {number}", question, "One more.") for number, question in enumerate(questions)]
    found = overlaps(questions, {"talk": step(tmp_path / "talk", "dialogues.jsonl", rows)})
    assert found["overlapping"] == SHOWN + 5
    assert [row["row"] for row in found["rows"]] == [f"row {number}" for number in range(SHOWN)]


def test_a_step_without_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="step judge holds no rows"):
        overlaps([SHORT], {"judge": tmp_path})
    assert overlaps([SHORT], {}) == {
        "checked": [], "questions": 1, "overlapping": 0, "train_rows": 0, "overlapping_rows": 0, "rows": []
    }  # fmt: skip
