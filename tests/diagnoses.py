"""What tests of the doctor share: a small measure, rows of chat with faults, and a diagnosis of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from favonius.chat.format import ChatFormat
from favonius.data.raw import RawRow
from favonius.doctor.diagnosis import Diagnosis, Finding
from favonius.doctor.examine import Source, diagnose
from favonius.doctor.measure import Measure
from favonius.doctor.paint import Paint
from favonius.doctor.sums import Limits
from favonius.doctor.texts import Against
from favonius.doctor.tokens import Tokens
from favonius.train.rows import Encoder
from favonius.types import Message
from tests.tiny import tiny_tokenizer

LENGTH = 130
FORM = ChatFormat(tiny_tokenizer())
FOX = "the quick brown fox "
LONG = " ".join(f"fox{number}" for number in range(60))
NOTHING_ELSE = Against()
PLAIN = Paint(colours=False)


def tokens(truncation: str = "drop", form: ChatFormat = FORM) -> Tokens:
    return Tokens(Encoder(form, LENGTH, truncation))  # type: ignore[arg-type]


def limits(truncation: str = "drop") -> Limits:
    return Limits(LENGTH, truncation)  # type: ignore[arg-type]


def diagnosed(
    rows: Sequence[dict[str, Any]], measure: Measure | None = None, against: Against = NOTHING_ELSE, **changes: Any
) -> Diagnosis:
    placed = [RawRow(f"rows.jsonl, line {number}", row) for number, row in enumerate(rows, start=1)]
    return diagnose(Source("rows.jsonl", placed), measure or tokens(**changes), against, limits(**changes))


def finding(diagnosis: Diagnosis, kind: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.kind == kind)


def talk(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)], **more}


def pair(prompt: str, chosen: str = "yes", rejected: str = "no", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


PAIRS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (pair("a question"), ()),
    (pair("a question", "perhaps"), ("prompt_again",)),
    (pair("same?", "the fox", "the fox"), ("identical_pair",)),
    (pair("none?", "", "the fox"), ("empty_answer",)),
    (pair("long?", LONG), ("over_long",)),
    (pair(LONG), ("prompt_over_long",)),
    (pair("worse?", chosen_score=1.0, rejected_score=2.0), ("score_order",)),
    (pair("tie?", chosen_score=2, rejected_score=2), ("tied_scores",)),
    (
        {"chosen": talk("x", "y", "z", "1")["messages"], "rejected": talk("x", "w", "z", "2")["messages"]},
        ("unlike_prompts",),
    ),
    (pair("cut?", LONG + "a", LONG + "b"), ("over_long",)),
]


def conversation(asked: Sequence[tuple[str, str]], last: str) -> tuple[Message, ...]:
    said = [text for exchange in asked for text in exchange] + [last]
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said))  # type: ignore[arg-type]


def answered(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    return (*messages, Message(role="assistant", content=text))
