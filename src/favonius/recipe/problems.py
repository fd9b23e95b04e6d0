"""What pydantic finds wrong, as key paths of the file and sentences for people."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from favonius.phrases import QUOTED_CHARACTERS, shortened
from favonius.recipe.document import KeyPath

TAGS = ("stage", "kind", "task")
"""Fields by which one of several configs is told from the others."""

WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (lines of `key: value`)",
    "model_type": "a mapping (lines of `key: value`)",
    "model_attributes_type": "a mapping (lines of `key: value`)",
}
BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(frozen=True)
class Problem:
    path: KeyPath
    sentence: str


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option that `word` was probably meant to be, whatever the case of its letters."""
    by_lower = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def choice(word: str, options: Iterable[str]) -> str:
    """`; did you mean learning_rate?`, or the options where none is near."""
    options = list(options)
    near = nearest(word, options)
    if near is not None:
        return f"; did you mean {near}?"
    return f"; there are {', '.join(options)}" if options else "; there are none"


def problems_of(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Every error of a validation of `root`, in pydantic's order."""
    return [_problem(details, root) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, root: type[BaseModel]) -> Problem:
    path, models = _follow(details["loc"], root)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "union_tag_not_found":
        tag = str(context["discriminator"]).strip("'")
        return Problem((*path, tag), f"missing key; it is one of {', '.join(_tags(models))}")
    if kind == "union_tag_invalid":
        tag, given = str(context["discriminator"]).strip("'"), str(context["tag"])
        return Problem((*path, tag), f"unknown {tag} {given!r}{choice(given, _tags(models))}")
    if kind == "extra_forbidden":
        keys = [key for model in models for key in model.model_fields]
        return Problem(path, f"unknown key{choice(str(path[-1]), keys)}")
    return Problem(path, _sentence(kind, context, details))


def _sentence(kind: str, context: dict[str, Any], details: ErrorDetails) -> str:
    given = _shown(details["input"])
    if kind == "missing":
        return "missing key"
    if kind in WANTED:
        return f"must be {WANTED[kind]}, not {given}"
    if kind in BOUNDS:
        bound, words = BOUNDS[kind]
        return f"must be {words} {context[bound]:g}, not {given}"
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", context["expected"])
        return f"unknown value {given}{choice(str(details['input']), options)}"
    if kind == "too_short":
        least = context["min_length"]
        return f"needs at least {least} entr{'y' if least == 1 else 'ies'}, not {context['actual_length']}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return f"{given} may hold only small letters, digits and hyphens"
    said = details["msg"]
    if kind == "value_error":  # ours, which may begin with what the file says
        return said.removeprefix("Value error, ")
    return said[:1].lower() + said[1:]


def _shown(value: Any) -> str:
    """A value as YAML has it, in short."""
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return shortened(text, QUOTED_CHARACTERS)


def _follow(loc: tuple[int | str, ...], root: type[BaseModel]) -> tuple[KeyPath, list[type[BaseModel]]]:
    """Pydantic's location as a key path, and the config(s) that its last key was looked up in or names.

    Pydantic adds the tag of the chosen config, `[key]` and the name of the plain type that it tried of several to its
    locations; the file has none of these.
    """
    path: list[str | int] = []
    here: Any = root
    holder: list[type[BaseModel]] = []
    for part in loc:
        models = _models(here)
        if part == "[key]" or _is_one_of_plain(here):
            break
        if len(models) > 1:
            here = next(model for model in models if part in _tags([model]))
        else:
            path.append(part)
            holder, here = models, _child(here, part)
    return tuple(path), _models(here) if here is not None and _models(here) else holder


def _is_one_of_plain(annotation: Any) -> bool:
    """Whether it allows several types, none of them a config, such as a word or a number."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    return not _models(annotation) and sum(member is not types.NoneType for member in members) > 1


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The configs that a value so annotated may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [model for member in get_args(annotation) for model in _models(member)]
    return []


def _child(annotation: Any, part: str | int) -> Any:
    """The annotation of what lies under `part`; None where it is unknown."""
    if get_origin(annotation) is Annotated:
        return _child(get_args(annotation)[0], part)
    if models := _models(annotation):
        field = models[0].model_fields.get(str(part))
        return field.annotation if field else None
    arguments = get_args(annotation)
    return arguments[-1 if get_origin(annotation) is dict else 0] if arguments else None


def _tags(models: Iterable[type[BaseModel]]) -> list[str]:
    """The values by which these configs are told from one another; some configs have several."""
    return [
        str(value)
        for model in models
        for value in get_args(next(model.model_fields[name].annotation for name in TAGS if name in model.model_fields))
    ]
