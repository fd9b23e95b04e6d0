"""Rounds: a block of steps that is gone through again and again, each time with the model that the last time trained.

    online:
      rounds: 3
      student: dsft
      steps:
        answers: {stage: answers, prompts: dialogues, part: [$round, 8], pool: {student: {model: $student}}, samples: 4}
        ratings: {stage: ratings, answers: answers, judge: {kind: likelihood, model: teacher}}
        pairs: {stage: pairs, ratings: ratings}
        ddpo: {stage: train, model: $student, rows: pairs, objective: {kind: dpo}}

This becomes the steps online-1-answers, online-1-ratings, … online-3-ddpo before anything is checked, so that all else
sees ordinary steps. A round rests on those before it and never on how many there are: one more changes none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from favonius.recipe.document import Document, KeyPath
from favonius.recipe.model import Recipe
from favonius.recipe.parameters import PARAMETERS, filled, names_in
from favonius.recipe.problems import Problem, choice, problems_of
from favonius.run import FileRef, Reference
from favonius.types import Noun

OWN = ("round", "student")


class Rounds(Noun):
    """Steps that are gone through `rounds` times. In them `$round` is the number of the round, from 1, `$student` the
    model that the last train step of the round before has made, and a name of one of them means that of the same round.
    For the steps after them the block's name means its last trained model, and `online-2` that of the second round.
    """

    rounds: int = Field(ge=1)
    student: str = Field(min_length=1)
    """What `$student` means in the first round."""
    steps: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")], Any] = Field(min_length=1)
    """As those of a recipe."""


@dataclass
class Unrolled:
    """What stands in place of the blocks."""

    steps: dict[str, Any] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    written: dict[KeyPath, KeyPath] = field(default_factory=dict)
    scopes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Step of a round → what names mean in it."""
    problems: list[Problem] = field(default_factory=list)
    """At their paths in the file."""
    names: set[str] = field(default_factory=set)

    def name(self, name: str, path: KeyPath) -> str:
        """`name`, which what stands at `path` in the file gives to a step."""
        if name in self.names:
            self.problems.append(Problem(path, f"two steps would be called {name}; rename one of them"))
        self.names.add(name)
        return name

    def into(self, document: Document) -> Document:
        """`document` with them; places remain those of the file."""
        if not self.aliases:
            return document
        own = document.value.get("aliases")
        aliases = self.aliases if own is None else {**self.aliases, **own} if isinstance(own, dict) else own
        return replace(document, value=document.value | {"steps": self.steps, "aliases": aliases}, written=self.written)


def unroll(document: Document) -> Unrolled:
    """The plain steps that the recipe's steps and blocks of rounds come to, in order."""
    found = Unrolled()
    steps = document.value.get("steps")
    given = document.value.get(PARAMETERS)
    parameters = {name: value for name, value in given.items() if name not in OWN} if isinstance(given, dict) else {}
    for name, config in steps.items() if isinstance(steps, dict) else ():
        found.name(name, ("steps", name))
        if not _is_block(config):
            found.steps[name] = config
            continue
        block, problems = _read(config, ("steps", name), parameters)
        models = document.value.get("models")
        known = [*(models if isinstance(models, dict) else ()), *found.steps, *found.aliases]
        if block is not None and block.student not in known:
            sentence = f"no earlier model or train step is called {block.student}{choice(block.student, known)}"
            problems.append(Problem(("steps", name, "student"), sentence))
        if block is not None and not problems:
            _add_rounds(found, name, block)
        found.problems += problems
    return found


def _is_block(config: Any) -> bool:
    return isinstance(config, dict) and "stage" not in config and ("rounds" in config or "steps" in config)


def _read(config: dict[str, Any], path: KeyPath, parameters: Mapping[str, Any]) -> tuple[Rounds | None, list[Problem]]:
    """A block with its parameters filled in, and what is wrong with it."""
    unknown = [
        Problem(place, _unknown(text, parameters))
        for place, text in names_in(config, path)
        if text[1:] not in parameters and not (text[1:] in OWN and place[2] == "steps")
    ]
    try:
        block = Rounds.model_validate_json(json.dumps(filled(config, parameters)), strict=True)
    except ValidationError as error:
        wrong = [Problem((*path, *problem.path), problem.sentence) for problem in problems_of(error, Rounds)]
        return None, unknown + wrong
    nested = [
        Problem((*path, "steps", name), "rounds cannot hold rounds; write the steps of both into one block")
        for name, step in block.steps.items()
        if _is_block(step)
    ]
    if not nested and _student_of(block) is None:
        sentence = "no step here trains a model, which the next round would start from; add one of stage train"
        nested = [Problem((*path, "steps"), sentence)]
    return block, unknown + nested


def _unknown(text: str, parameters: Mapping[str, Any]) -> str:
    if text == "$rounds":
        return (
            "a round does not know how many there are, so that one more leaves the finished ones as they are; write "
            "a number, such as part: [$round, 8]"
        )
    return f"{text} names no parameter, and is not $round or $student{choice(text[1:], [*OWN, *parameters])}"


def _student_of(block: Rounds) -> str | None:
    """The last step that trains a model which writes text: ablations and reward models are none."""
    return next((name for name in reversed(block.steps) if _trains_a_student(block.steps[name])), None)


def _trains_a_student(step: Any) -> bool:
    if not isinstance(step, dict) or step.get("stage") != "train" or step.get("ablation"):
        return False
    objective = step.get("objective")
    return not (isinstance(objective, dict) and objective.get("kind") == "reward")


def _add_rounds(found: Unrolled, name: str, block: Rounds) -> None:
    """Each round's student is called after the round before: `online-2` in the third, and in the first `online-0`, for
    a step of the block may have the same name as what it starts from."""
    path: KeyPath = ("steps", name)
    start = {found.name(f"{name}-0", path): found.aliases.get(block.student, block.student)}
    trained = str(_student_of(block))
    aliases = {}
    for number in range(1, block.rounds + 1):
        scope = {step: f"{name}-{number}-{step}" for step in block.steps}
        for step, config in block.steps.items():
            made = found.name(scope[step], (*path, "steps", step))
            found.steps[made] = filled(config, {"round": number, "student": f"{name}-{number - 1}"})
            found.written["steps", made] = (*path, "steps", step)
            found.scopes[made] = scope | start
        aliases[found.name(f"{name}-{number}", path)] = aliases[name] = scope[trained]
    found.aliases |= aliases
    found.written |= {("aliases", alias): path for alias in aliases}


def resolved(recipe: Recipe, scopes: Mapping[str, Mapping[str, str]]) -> Recipe:
    """`recipe` whose references name steps by the names that they have in it."""
    steps = {
        name: _renamed(config, {**recipe.aliases, **scopes.get(name, {})}) for name, config in recipe.steps.items()
    }
    return recipe.model_copy(update={"steps": steps})


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Reference):
        return value if isinstance(value, FileRef) else type(value)(names.get(value, value))
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in value.model_fields_set}
        return value.model_copy(update={name: _renamed(item, names) for name, item in fields.items()})
    if isinstance(value, Mapping):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_renamed(item, names) for item in value)
    return value
