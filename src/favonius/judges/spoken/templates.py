"""Prompts for judges, read from YAML: texts with named places, such as {instruction}, and nothing that is executed.

- A place is a name in single braces; all other braces are text, and {{name}} writes {name}.
- What is put in is never searched for places again, whatever an answer holds.
- A line whose places are all empty is left out, and so is a part ({knowledge}) with nothing to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from favonius.errors import UserError, brief
from favonius.judges.config import Aspect, SpokenJudge
from favonius.judges.spoken.verdicts import Names
from favonius.run import Inputs
from favonius.types import Knowledge, Message, Messages, Noun, digest

PLACE = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")
KNOWN = frozenset({"correct", "incorrect", "note"})
WORDINGS = {"missing": "is missing", "extra_forbidden": "is no key of such a template"}
"""Ours for what pydantic says of a key."""


class Prompt(Noun):
    """What every template has. `places` are those that `system` and `user` may hold, `needed` those that they must."""

    places: ClassVar[frozenset[str]]
    needed: ClassVar[frozenset[str]]

    system: str = ""
    user: str = Field(min_length=1)
    knowledge: str = ""
    """The part at {knowledge}, where right or wrong answers are known: {correct}, {incorrect}, {note}."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_places("system", self.system, self.places)
        _check_places("user", self.user, self.places)
        _check_places("knowledge", self.knowledge, KNOWN)
        if missing := self.needed - _places(self.system) - _places(self.user):
            raise ValueError(f"user needs the place {{{min(missing)}}}")
        return self

    def messages(self, known: Knowledge | None, **values: str) -> Messages:
        """The prompt with everything in its place."""
        told = "" if known is None else fill(self.knowledge, _told(known), optional=True)
        filled = {"knowledge": told, **values}
        user = Message(role="user", content=fill(self.user, filled))
        system = fill(self.system, filled)
        return (Message(role="system", content=system), user) if system else (user,)


class CritiquePrompt(Prompt):
    places = frozenset({"instruction", "principle", "answer", "knowledge"})
    needed = frozenset({"instruction", "answer"})

    kind: Literal["critique"]


class PairwisePrompt(Prompt):
    places = frozenset({"instruction", "first", "second", "knowledge"})
    needed = frozenset({"instruction", "first", "second"})

    kind: Literal["pairwise"]
    verdicts: Names = Names()


class AspectPrompt(Prompt):
    """One aspect's prompt. `text` and `output` are repeated for each text, at {texts} and {outputs}."""

    places = frozenset({"instruction", "texts", "outputs", "rubric", "knowledge", "count"})
    needed = frozenset({"instruction", "texts"})

    rubric: str = ""
    text: str = Field(min_length=1)
    output: str = ""

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        _check_places("text", self.text, frozenset({"number", "text"}))
        _check_places("output", self.output, frozenset({"number"}))
        if "text" not in _places(self.text):
            raise ValueError("text needs the place {text}")
        return self


class AspectsPrompts(Noun):
    """A prompt per aspect: what stands at the top of the file, with what the aspect says differently."""

    kind: Literal["aspects"]
    aspects: dict[Aspect, AspectPrompt] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("aspects"), dict):
            return value
        shared = {key: text for key, text in value.items() if key not in ("kind", "aspects")}
        parts = {name: {} if part is None else part for name, part in value["aspects"].items()}
        spread = {name: {**shared, **part} if isinstance(part, dict) else part for name, part in parts.items()}
        return {"kind": value.get("kind"), "aspects": spread}


P = TypeVar("P", CritiquePrompt, PairwisePrompt, AspectsPrompts)


@dataclass(frozen=True)
class Template(Generic[P]):
    """Prompts, the digest of the text that they were read from, and where that was."""

    prompts: P
    digest: str
    name: str


def template_for(config: SpokenJudge, inputs: Inputs, form: type[P], built_in: str) -> Template[P]:
    """The template that a judge's config names, else favonius/judges/builtin/<built_in>.yaml.

    UserError with the file and the key where something is missing, unknown or misplaced.
    """
    if config.template is None:
        return read_template(
            (files("favonius.judges") / "builtin" / f"{built_in}.yaml").read_text("utf-8"), form, built_in
        )
    return template_at(Path(inputs.file(config.template)), form)


def template_at(path: Path, form: type[P]) -> Template[P]:
    """The template of a file. UserError as for `template_for`, and where there is no such file."""
    try:
        return read_template(path.read_text(encoding="utf-8"), form, str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def read_template(text: str, form: type[P], name: str) -> Template[P]:
    """A template from the text of a file that is called `name` in errors."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}:{mark.line + 1}"
        raise UserError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or brief(error)}") from None
    try:
        return Template(form.model_validate(value), digest(text), name)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        said = WORDINGS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        raise UserError(f"{name}: {key + ': ' if key else ''}{said}") from None


def fill(text: str, values: Mapping[str, str], optional: bool = False) -> str:
    """A text with its places filled. `optional`: empty where all its places are."""
    if optional and not any(values[name] for name in _places(text)):
        return ""
    lines: list[str] = []
    gap = False  # a line was left out below a blank one: the blank one after it goes too
    for line in text.strip("\n").split("\n"):
        places = _places(line)
        if places and not any(values[name] for name in places):
            gap = not lines or not lines[-1]
        elif line or not gap:
            lines.append(PLACE.sub(lambda match: f"{{{match[1]}}}" if match[1] else values[match[2]], line))
            gap = False
    return "\n".join(lines)


def conversation(prompt: Messages) -> str:
    """What an answer answers, as text: a lone question as it is, anything longer with who said what."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in prompt)


def _told(known: Knowledge) -> dict[str, str]:
    return {"correct": "; ".join(known.correct), "incorrect": "; ".join(known.incorrect), "note": known.note or ""}


def _places(text: str) -> set[str]:
    return {match[2] for match in PLACE.finditer(text) if match[2]}


def _check_places(key: str, text: str, allowed: frozenset[str]) -> None:
    if unknown := _places(text) - allowed:
        raise ValueError(f"{key} has no place {{{min(unknown)}}}; it may have {', '.join(sorted(allowed))}")
