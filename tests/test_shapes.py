"""Shapes are told from the rows, every one becomes our own nouns, and what is wrong is named or counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from favonius.data.checks import Drops
from favonius.data.convert import Row, convert
from favonius.data.intake import Intake, read_any
from favonius.data.raw import RawRow
from favonius.data.rows import read_rows, write_rows
from favonius.data.shapes import SHAPES, Shape, describe, detect
from favonius.data.turns import UnfitRowError
from favonius.data.unique import UniqueIds
from favonius.errors import UserError
from favonius.types import (
    Comparison,
    Dialogue,
    Feedback,
    JudgeCall,
    JudgedBy,
    Knowledge,
    LabelledAnswer,
    Message,
    Noun,
    Origin,
    Pair,
    PairOrigin,
    Principle,
    RatedText,
    Sampling,
    SeedPrompt,
)
from tests.row_files import lines, separated

HH_PROMPT = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?"
TWO_TURNS = [("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]
USER = {"role": "user", "content": "Why?"}
YES, NO = {"role": "assistant", "content": "Yes"}, {"role": "assistant", "content": "No"}


def raw(value: dict[str, Any]) -> RawRow:
    return RawRow("rows.jsonl, line 7", value)


def made(value: dict[str, Any]) -> Row:
    return convert(raw(value), detect([raw(value)]))


def said(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("messages", {"messages": [USER, YES]}),
        ("messages", {"conversation": [USER, YES], "prompt": "Why?", "prompt_id": "1"}),
        ("messages", {"conversations": [USER, YES], "messages": None, "label": 1}),
        ("sharegpt", {"id": "1", "conversations": [{"from": "human", "value": "a"}]}),
        ("alpaca", {"instruction": "a", "input": "", "output": "b", "text": "a b"}),
        ("alpaca", {"question": "a", "answer": "b"}),
        ("alpaca", {"prompt": [USER], "completion": [YES]}),
        ("ultrachat", {"id": "1", "data": ["a", "b"]}),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": "c"}),
        ("preference", {"prompt": "a", "chosen": [USER, YES], "rejected": [USER, NO], "messages": [USER, YES]}),
        ("preference", {"system": "s", "question": "a", "chosen": "b", "rejected": "c"}),
        ("ultrafeedback", {"instruction": "a", "completions": [{"model": "m", "response": "b"}], "source": "x"}),
        ("hh", {"chosen": HH_PROMPT + "\n\nAssistant: a", "rejected": HH_PROMPT + "\n\nAssistant: b"}),
        ("hh", {"prompt": HH_PROMPT + "\n\nAssistant:", "chosen": " a", "rejected": " b"}),
        ("kto", {"prompt": "a", "completion": "b", "label": True}),
        ("kto", {"prompt": [USER], "completion": [YES], "label": 0}),
        ("kto", {"messages": [USER, YES], "label": False}),
        ("prompts", {"prompt": "a", "category": "b"}),
        ("prompts", {"instruction": "a"}),
        ("prompts", {"text": "a", "label": 1}),
    ],
)
def test_shapes_are_told_apart(shape: Shape, value: dict[str, Any]) -> None:
    assert detect([raw(value)]) == shape
    convert_or_unfit(value, shape)


def convert_or_unfit(value: dict[str, Any], shape: Shape) -> None:
    """A row of its own shape is never the user's mistake."""
    try:
        convert(raw(value), shape)
    except UnfitRowError:
        assert shape == "sharegpt", "its only row has no answer"


def test_rows_without_evidence_do_not_hide_the_shape() -> None:
    assert detect([raw({"conversations": []}), raw({"conversations": [{"from": "gpt", "value": ""}]})]) == "sharegpt"


def test_no_shape_and_two_shapes_are_refused_with_what_was_found() -> None:
    with pytest.raises(UserError) as caught:
        detect([raw({"body": 1, "title": 2, **{f"field{number}": 0 for number in range(20)}, "empty": None})])
    assert "rows.jsonl, line 7" in str(caught.value) and "body, title" in str(caught.value)
    assert "and 10 more" in str(caught.value) and "empty" not in str(caught.value)
    assert all(shape in str(caught.value) for shape in SHAPES)
    with pytest.raises(UserError, match=r"several shapes \(prompts × 2, messages × 1\)"):
        detect([raw({"prompt": "a"}), raw({"messages": [USER, YES]}), raw({"prompt": "b"})])


def test_what_was_found_is_said_in_words() -> None:
    rows = [raw({"id": 1, "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}] * 2})]
    assert describe("sharegpt", rows * 3) == (
        "sharegpt (turns of from and value), from 3 rows: fields id, conversations; speakers human × 6, gpt × 6"
    )


@pytest.mark.parametrize(
    ("speaker", "role"),
    [("human", "user"), ("User", "user"), ("prompter", "user"), ("gpt", "assistant"), ("bard", "assistant"),
     ("chatgpt", "assistant"), ("bing", "assistant"), (" ASSISTANT ", "assistant")],
)  # fmt: skip
def test_speakers_have_many_names(speaker: str, role: str) -> None:
    turns = [{"from": speaker, "value": "a"}]
    turns = [*turns, {"from": "gpt", "value": "b"}] if role == "user" else [{"from": "user", "value": "b"}, *turns]
    row = made({"conversations": turns})
    assert isinstance(row, Dialogue)
    assert (role, "a") in said(row.messages)


@pytest.mark.parametrize(
    ("value", "shape", "parts"),
    [
        ({"messages": [USER, {"role": "narrator", "content": "a"}]}, "messages",
         ["messages[1].role", '"narrator"', "known: system", "human", "gpt"]),
        ({"conversations": [{"from": 3, "value": "a"}]}, "sharegpt", ["conversations[0].from is 3"]),
        ({"conversations": [{"value": "a"}]}, "sharegpt", ["conversations[0] has neither role nor from"]),
        ({"messages": [USER, "Yes"]}, "messages", ["messages[1]", '"Yes"']),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages", ["messages[1].content is null"]),
        ({"messages": "Why?"}, "messages", ["messages", "not a list"]),
        ({"chosen": [USER, {"role": "critic", "content": "a"}], "rejected": [USER, NO]}, "preference",
         ["chosen[1].role", "critic"]),
        ({"prompt": "a", "chosen": 1, "rejected": "b"}, "preference", ["chosen is 1, not a text"]),
        ({"prompt": "a", "rejected": "b"}, "preference",
         ["chosen or chosen_response is missing", "fields: prompt, rejected"]),
        ({"data": ["a", 2]}, "ultrachat", ["data[1] is 2"]),
        ({"instruction": "a"}, "alpaca", ["output or response"]),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "alpaca", ["history[0]"]),
        ({"prompt": "a", "completion": "b", "label": "maybe"}, "kto", ["label", '"maybe"']),
        ({"instruction": "a", "completions": [{"model": "m"}]}, "ultrafeedback", ["completions[0]", "is missing"]),
        ({"instruction": "a", "completions": [{"model": "m", "response": "b", "overall_score": "high"}]},
         "ultrafeedback", ["completions[0]", "overall_score", '"high"']),
        ({"instruction": "a", "completions": [{"model": "m", "response": "b", "annotations": {"x": {"Rating": "?"}}}]},
         "ultrafeedback", ["annotations.x.Rating"]),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(value: dict[str, Any], shape: Shape, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        convert(raw(value), shape)
    for part in ["rows.jsonl, line 7", *parts]:
        assert part in str(caught.value)


def spoken(roles: str) -> dict[str, Any]:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    turns = [{"role": names[role], "content": f"{role}{index}"} for index, role in enumerate(roles)]
    return {"messages": turns}


@pytest.mark.parametrize(
    ("roles", "cause"),
    [
        ("", "no messages"),
        ("s", "no answer"),
        ("u", "no answer"),
        ("su", "no answer"),
        ("a", "the assistant speaks first"),
        ("au", "no answer"),
        ("aaua", "the assistant speaks first"),
        ("uua", "one speaker has two turns in a row"),
        ("uaa", "one speaker has two turns in a row"),
        ("uasua", "a system turn after the first"),
        ("utua", "it uses tools"),
    ],
)
def test_a_dialogue_that_does_not_fit_is_a_counted_cause(roles: str, cause: str) -> None:
    with pytest.raises(UnfitRowError) as caught:
        convert(raw(spoken(roles)), "messages")
    assert caught.value.cause == cause


@pytest.mark.parametrize(("roles", "kept"), [("aua", "u1 a2"), ("saua", "s0 u2 a3"), ("auau", "u1 a2")])
def test_an_answer_that_nobody_asked_for_is_left_out_and_counted(roles: str, kept: str) -> None:
    changes = Drops()
    row = convert(raw(spoken(roles)), "messages", changes)
    assert isinstance(row, Dialogue) and " ".join(message.content for message in row.messages) == kept
    assert changes.counts["the first turn, an answer that nobody asked for, was left out"] == 1


@pytest.mark.parametrize("value", [spoken("uau"), {"data": ["u0", "a1", "u2"]}])
def test_a_last_question_is_left_out_and_counted(value: dict[str, Any]) -> None:
    changes = Drops()
    row = convert(raw(value), detect([raw(value)]), changes)
    assert isinstance(row, Dialogue)
    assert said(row.messages) == [("user", "u0"), ("assistant", "a1")]
    assert changes.samples == {"the last question, which has no answer, was left out": ["rows.jsonl, line 7: u2"]}


def test_parts_of_text_are_one_text_and_pictures_do_not_fit() -> None:
    parts = [{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}]
    row = made({"messages": [{"role": "user", "content": parts}, YES]})
    assert isinstance(row, Dialogue) and row.messages[0].content == "Why?"
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(UnfitRowError, match="more than text"):
        made({"messages": [{"role": "user", "content": picture}, YES]})


def test_alpaca_joins_its_input_and_keeps_system_and_history() -> None:
    row = made({"instruction": "Sum", "input": "1 2", "output": "3", "system": "Be brief", "history": [["a", "b"]]})
    assert isinstance(row, Dialogue)
    assert said(row.messages) == [
        ("system", "Be brief"), ("user", "a"), ("assistant", "b"), ("user", "Sum\n\n1 2"), ("assistant", "3")
    ]  # fmt: skip


PAIR_FORMS: list[dict[str, Any]] = [
    {"prompt": "Why?", "chosen": "Yes", "rejected": "No"},
    {"prompt": [USER], "chosen": "Yes", "rejected": "No"},
    {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    {"prompt": "Why?", "chosen": [YES], "rejected": [NO]},
    {"prompt": "Why?", "chosen": [USER, YES], "rejected": [USER, NO]},
    {"chosen": [USER, YES], "rejected": [USER, NO]},
    {"instruction": "Why?", "chosen": "Yes", "rejected": "No"},
    {"conversations": None, "question": "Why?", "system": "", "chosen": "Yes", "rejected": "No"},
    {"chosen": "\n\nHuman: Why?\n\nAssistant: Yes", "rejected": "\n\nHuman: Why?\n\nAssistant: No"},
    {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " Yes", "rejected": " No"},
]


@pytest.mark.parametrize("value", PAIR_FORMS)
def test_a_pair_is_the_same_in_every_form(value: dict[str, Any]) -> None:
    pair, first = made(value), made(PAIR_FORMS[0])
    assert isinstance(pair, Pair)
    assert said(pair.prompt) == [("user", "Why?")]
    assert pair == first, "the id too: it is the prompt's"


def test_the_prompt_of_two_conversations_is_what_they_share() -> None:
    row = made({"chosen": HH_PROMPT + "\n\nAssistant: Yes", "rejected": HH_PROMPT + "\n\nAssistant: No "})
    assert isinstance(row, Pair)
    assert said(row.prompt) == TWO_TURNS
    assert (row.chosen, row.rejected) == ("Yes", "No")
    same = made({"chosen": [USER, YES], "rejected": [USER, YES]})
    assert isinstance(same, Pair) and same.chosen == same.rejected == "Yes"
    with pytest.raises(UnfitRowError, match="differ before"):
        made({"chosen": [USER, YES], "rejected": [{"role": "user", "content": "What?"}, NO]})
    with pytest.raises(UnfitRowError, match="no answer"):
        made({"chosen": [USER], "rejected": [USER, NO]})


@pytest.mark.parametrize("form", ["score_{}", "{}_score", "{}-rating"])
def test_scores_have_many_names(form: str) -> None:
    scores = {form.format("chosen"): 8.5, form.format("rejected"): "N/A"}
    row = made({"prompt": "a", "chosen": "b", "rejected": "c", "chosen_model": "m", **scores})
    assert isinstance(row, Pair)
    assert (row.chosen_score, row.rejected_score, row.chosen_source) == (8.5, None, "m")


def test_ultrafeedback_keeps_every_number_and_the_critique() -> None:
    annotations = {"helpfulness": {"Rating": "4", "Rationale": "…"}, "honesty": {"Rating": "N/A"}, "other": None}
    completion = {"model": "gpt-4", "response": "b", "overall_score": 7.5, "critique": "good", "principle": "be true",
                  "annotations": annotations, "custom_system_prompt": "…"}  # fmt: skip
    row = made({"instruction": "a", "source": "flan", "models": ["gpt-4"], "completions": [completion]})
    assert isinstance(row, Feedback)
    assert row.source == "flan" and row.completions == (
        RatedText(
            source="gpt-4", text="b", scores={"helpfulness": 4.0, "honesty": None, "other": None}, overall=7.5,
            critique="good", principle=Principle(kind="be true", text="…"),
        ),
    )  # fmt: skip
    with pytest.raises(UnfitRowError, match="no completions"):
        convert(raw({"instruction": "a", "completions": []}), "ultrafeedback")


@pytest.mark.parametrize(("label", "desirable"), [(True, True), (0, False), ("True", True), ("0", False), (1.0, True)])
def test_kto_labels(label: object, desirable: bool) -> None:
    row = made({"prompt": "a", "completion": "b", "label": label})
    assert isinstance(row, LabelledAnswer)
    assert (said(row.prompt), row.text, row.desirable) == ([("user", "a")], "b", desirable)


PROMPT = (Message(role="user", content="Why?"),)
OWN_ROWS: list[Noun] = [
    Dialogue(id="d", split="test", messages=(*PROMPT, Message(role="assistant", content="Yes")), source="x", topic="y"),
    Pair(id="p", split="test", prompt=PROMPT, chosen="Yes", rejected="No", rejected_finished=False,
         chosen_source="m", chosen_score=2.0,
         origin=PairOrigin(rule="margin 1 by overall", places=(1, 0), calls=(JudgeCall(request="r", order=(1, 0)),))),
    LabelledAnswer(id="l", split="test", prompt=PROMPT, text="Yes", desirable=False, finished=False, source="m"),
    Feedback(id="f", split="test", prompt=PROMPT,
             completions=(RatedText(source="m", text="Yes", scores={"honesty": 1.0}, overall=None, critique="c"),)),
    Feedback(id="g", split="train", prompt=PROMPT, source="flan", knowledge=Knowledge(correct=("Yes",), note="n"),
             completions=(
                 RatedText(source="m", text="", finished=False, flaws=("empty", "unfinished"), overall=2.5,
                           principle=Principle(kind="honesty", text="Be honest.", shown=False),
                           origin=Origin(model="m", sampling=Sampling(stop=("\n",)), sample=3, request="r")),
                 RatedText(source="m", text="No"),
             ),
             judge=JudgedBy(name="j", kind="pairwise", template="t"),
             calls=(JudgeCall(request="r", order=(1, 0), aspect="honesty"),),
             comparisons=(Comparison(first=0, second=1, preference=0.25, seen_first=0.5),)),
    SeedPrompt(id="s", prompt="Why?", topic="y", kind="k"),
]  # fmt: skip


@pytest.mark.parametrize("row", OWN_ROWS, ids=lambda row: type(row).__name__)
def test_our_own_rows_come_back_whole(row: Noun, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [row])
    _, rows = read_any(str(path))
    assert list(rows) == [row]
    assert read_rows(path, type(row)) == [row]


def test_ids_are_the_rows_own_or_the_prompts_and_never_twice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"id": 7}, {"question_id": "7"}, {}, {"id": ""}, {"id": 0}, {"id": "7-2"}]
    path.write_bytes(lines([{"prompt": text, **row} for text, row in zip("abccde", rows, strict=True)]))
    ids = [row.id for row in read_any(str(path))[1]]
    own = ids[2]
    assert len(own) == 16
    assert ids == ["7", "7-2", own, f"{own}-4", "0", "7-2-6"]


def test_unique_ids_hold_for_many() -> None:
    ids = UniqueIds()
    given = [ids.unique(str(number % 500)) for number in range(5000)]
    assert len(set(given)) == 5000
    assert given[:500] == [str(number) for number in range(500)]


def test_reading_accounts_for_every_row(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    rows = [spoken("ua"), spoken("uua"), spoken("uau"), spoken("uua"), spoken("aua")]
    path.write_bytes(lines(rows))
    intake = Intake()
    shape, read = read_any(str(path), intake=intake)
    dialogues = list(read)
    assert shape == "messages"
    assert {row.source for row in dialogues if isinstance(row, Dialogue)} == {"talk.jsonl"}
    record = intake.record()
    assert (record["read"], record["kept"]) == (5, 3)
    assert record["dropped"] == {"one speaker has two turns in a row": 2}
    assert record["samples"]["one speaker has two turns in a row"][0].startswith(f"{path}, line 2: {{")
    assert record["changed"] == {
        "the last question, which has no answer, was left out": 1,
        "the first turn, an answer that nobody asked for, was left out": 1,
    }
    json.dumps(record)


def test_a_file_of_which_nothing_can_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_bytes(lines([spoken("a"), spoken("aaua"), spoken("uasa")]))
    with pytest.raises(UserError, match=r"none of 3 rows can be used: the assistant speaks first × 2, a system turn"):
        list(read_any(str(path))[1])


def test_a_shape_that_is_given_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(separated([{"text": "a", "answer": "b"}], ","))
    assert read_any(str(path))[0] == "alpaca"
    shape, rows = read_any(str(path), shape="prompts")
    assert shape == "prompts" and [type(row) for row in rows] == [SeedPrompt]
    with pytest.raises(UserError, match="chosen or chosen_response is missing"):
        list(read_any(str(path), shape="preference")[1])
