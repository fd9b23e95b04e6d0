"""What the judge is told: prompts in the shape that FastChat publishes, its own from a path or ours that are built in.

What a prompt is for is told by its type and its places, never by its name: one that shows {question_2} is about the
second turn, one that shows {ref_answer_1} compares with a reference answer.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from favonius.data.rows import explain, read_rows
from favonius.errors import UserError
from favonius.types import Message, Messages, Noun, digest

Type = Literal["single", "pairwise"]
BUILT_IN = "favonius"
"""Our own prompts, as results name them."""
REFERENCES = frozenset({"ref_answer_1", "ref_answer_2"})
OF_BOTH_TURNS = "question_2"
ANSWERS = {
    ("single", 1): frozenset({"question", "answer"}),
    ("single", 2): frozenset({"question_1", "question_2", "answer_1", "answer_2"}),
    ("pairwise", 1): frozenset({"question", "answer_a", "answer_b"}),
    ("pairwise", 2): frozenset({"question_1", "question_2", "answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2"}),
}
"""The places that a prompt must have, by type and turn; beside them it may have those of REFERENCES."""
VERDICTS: Mapping[Type, str] = {"single": "[[rating]]", "pairwise": "[[A]]"}


class JudgePrompt(Noun):
    """One row of FastChat's judge_prompts.jsonl. `prompt_template` has places in single braces, as str.format."""

    name: str = Field(min_length=1)
    type: Type
    system_prompt: str
    prompt_template: str
    output_format: Literal["[[rating]]", "[[A]]"]
    description: str = ""
    category: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        places = _places(self.prompt_template)
        needed = ANSWERS[self.type, self.turn]
        if missing := needed - places:
            raise ValueError(f"prompt_template needs the place {{{min(missing)}}}")
        if unknown := places - needed - REFERENCES:
            raise ValueError(f"prompt_template has no place {{{min(unknown)}}}")
        if self.output_format != VERDICTS[self.type]:
            raise ValueError(f"output_format of a {self.type} prompt must be {VERDICTS[self.type]}")
        return self

    @property
    def turn(self) -> int:
        return 2 if OF_BOTH_TURNS in _places(self.prompt_template) else 1

    @property
    def with_reference(self) -> bool:
        return bool(_places(self.prompt_template) & REFERENCES)

    def messages(self, values: Mapping[str, str]) -> Messages:
        """The prompt with everything in its place, to the character what FastChat sends; values may hold braces."""
        user = Message(role="user", content=self.prompt_template.format_map(values))
        return (Message(role="system", content=self.system_prompt), user) if self.system_prompt else (user,)


def _places(template: str) -> set[str]:
    """ValueError where the braces are no plain places: str.format would reach into what it is given."""
    places = set()
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is not None and (form or conversion or not name.isidentifier()):
            raise ValueError("prompt_template may have names in braces and nothing else; write {{ for a brace")
        if name is not None:
            places.add(name)
    return places


@dataclass(frozen=True)
class JudgePrompts:
    """One prompt for each thing that a judge is asked. `name` is what results say of where they come from."""

    name: str
    digest: str
    rows: tuple[JudgePrompt, ...]

    def find(self, kind: Type, turn: int, with_reference: bool) -> JudgePrompt:
        """UserError where the file has none."""
        for row in self.rows:
            if (row.type, row.turn, row.with_reference) == (kind, turn, with_reference):
                return row
        manner = "with" if with_reference else "without"
        raise UserError(f"{self.name}: no {kind} prompt for turn {turn} {manner} a reference answer")


def read_prompts(path: Path | None = None) -> JudgePrompts:
    """FastChat's rows from a .jsonl file, the same as a list in a .yaml file, or without a path those built in.

    UserError naming file, row and field, or two prompts that are for the same.
    """
    if path is None:
        built_in = files("favonius.evals.mt_bench") / "builtin" / "judge_prompts.yaml"
        return _checked(BUILT_IN, _from_yaml(built_in.read_text(encoding="utf-8"), BUILT_IN))
    if path.suffix not in (".yaml", ".yml"):
        return _checked(str(path), read_rows(path, JudgePrompt))
    try:
        return _checked(str(path), _from_yaml(path.read_text(encoding="utf-8"), str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _from_yaml(text: str, name: str) -> list[JudgePrompt]:
    try:
        values: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not valid YAML: {getattr(error, 'problem', None) or 'it cannot be parsed'}") from None
    if not isinstance(values, list):
        raise UserError(f"{name}: judge prompts must be a list")
    rows = []
    for number, value in enumerate(values, start=1):
        try:
            rows.append(JudgePrompt.model_validate(value))
        except ValidationError as error:
            raise UserError(f"{name}, prompt {number}: {explain(error, JudgePrompt)}") from None
    return rows


def _checked(name: str, rows: Iterable[JudgePrompt]) -> JudgePrompts:
    by_use: dict[tuple[str, int, bool], JudgePrompt] = {}
    for row in rows:
        use = (row.type, row.turn, row.with_reference)
        if use in by_use:
            raise UserError(f"{name}: {by_use[use].name} and {row.name} are for the same; leave one of them")
        by_use[use] = row
    found = tuple(by_use.values())
    return JudgePrompts(name, digest([row.model_dump() for row in found]), found)
