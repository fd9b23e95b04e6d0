"""Rows of the data sets, as the hub has them; fields that no task uses are let be."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from favonius.types import Noun

_MARKER = re.compile(r"\[[a-z]+\]")


class _Row(Noun):
    model_config = ConfigDict(extra="ignore")

    @property
    def shown(self) -> str:
        """The question, as a reader should see it."""
        raise NotImplementedError

    @property
    def sought(self) -> str:
        """The question, as training data must not hold it."""
        return self.shown


class Choices(_Row):
    text: tuple[str, ...] = Field(min_length=2)
    label: tuple[str, ...]


class Arc(_Row):
    """`{"question": "…", "choices": {"text": ["…", …], "label": ["A", …]}, "answerKey": "A"}`"""

    question: str
    choices: Choices
    answerKey: str

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if self.answerKey not in self.choices.label or len(self.choices.label) != len(self.choices.text):
            raise ValueError("choices.label must name each of choices.text, and answerKey one of them")
        return self

    @property
    def shown(self) -> str:
        return self.question


class HellaSwag(_Row):
    """`{"activity_label": "…", "ctx_a": "…", "ctx_b": "…", "endings": ["…", "…", "…", "…"], "label": "3"}`"""

    activity_label: str
    ctx_a: str
    ctx_b: str
    endings: tuple[str, str, str, str]
    label: Literal["0", "1", "2", "3", 0, 1, 2, 3]

    @property
    def shown(self) -> str:
        return f"{self.activity_label}: {self.ctx_a} {self.ctx_b}".strip()

    @property
    def sought(self) -> str:
        """Without the label and marks such as [title], which stand in no text but this data set's."""
        return " ".join(_MARKER.sub(" ", f"{self.ctx_a} {self.ctx_b}").split())


class Mmlu(_Row):
    """`{"question": "…", "choices": ["…", "…", "…", "…"], "answer": 2}`"""

    question: str
    choices: tuple[str, str, str, str]
    answer: int = Field(ge=0, le=3)

    @property
    def shown(self) -> str:
        return self.question


class Targets(_Row):
    choices: tuple[str, ...] = Field(min_length=1)
    labels: tuple[Literal[0, 1], ...]

    @model_validator(mode="after")
    def _marked(self) -> Self:
        if len(self.labels) != len(self.choices) or 1 not in self.labels:
            raise ValueError("labels must mark each of choices, and at least one of them as true")
        return self


class TruthfulQA(_Row):
    """`{"question": "…", "mc2_targets": {"choices": ["…", …], "labels": [1, …, 0]}}`"""

    question: str
    mc2_targets: Targets

    @property
    def shown(self) -> str:
        return self.question


class MedConceptsQA(_Row):
    """`{"question": "What is the description of …?\\nA. …\\nB. …\\nC. …\\nD. …", "answer_id": "A"}`"""

    question: str
    answer_id: Literal["A", "B", "C", "D"]

    @property
    def shown(self) -> str:
        return self.question


class Gsm8k(_Row):
    """`{"question": "…", "answer": "…\\n#### 72"}`"""

    question: str
    answer: str = Field(pattern="####")

    @property
    def shown(self) -> str:
        return self.question
