"""The reference pages of the documentation, made of the code as the site is built: none of them is kept in the tree.

`reference/recipe.md` comes from the pydantic models that read recipes, `reference/cli.md` from the command's parser,
and `reference/recipes.md` is recipes/README.md, which lies outside the site's folder.
mkdocs loads this file as a hook (`hooks:` in mkdocs.yml).
"""

from __future__ import annotations

import argparse
import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from favonius.cli import parser
from favonius.recipe.model import AnyStage, Recipe
from favonius.recipe.problems import TAGS
from favonius.recipe.rounds import Rounds
from favonius.run import FileRef, ModelRef, RowsRef, StepRef

Model = type[BaseModel]

WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "file",
    StepRef: "step",
    ModelRef: "model or train step",
    FileRef: "file",
    RowsRef: "file or folder of rows",
    types.NoneType: "nothing",
    Any: "anything",
}
BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))
SPECIFICATION = re.compile(r"\s*\(zephyr-spec[^)]*\)")
"""Notes on where a number comes from, to a paper's digest that is not part of the project."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """mkdocs asks for the site's files, and is given the reference pages beside those in docs/."""
    pages = {"recipe": recipe_page(), "cli": cli_page(), "recipes": recipes_page()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def recipe_page() -> str:
    """Every key that a recipe can have: a section for each stage with the parts that it alone has, then shared ones."""
    stages = get_args(AnyStage)
    users: dict[Model, list[Model]] = {}
    for stage in stages:
        for part in _parts(stage):
            users.setdefault(part, []).append(stage)
    lines = [RECIPE_HEAD, *_section(Recipe, 2), *_section(Rounds, 3)]
    tops = [part for part in _parts(Recipe) if part not in users and part not in stages]
    for part in tops:
        lines += _section(part, 3)
    for stage in stages:
        lines += _section(stage, 2)
        for part in _parts(stage):
            if users[part] == [stage]:
                lines += _section(part, 3)
    lines.append("## Parts that several stages share\n")
    for part, used_by in users.items():
        if len(used_by) > 1:
            lines += _section(part, 3)
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Every command with its arguments and options, in the words of its own --help."""
    return "\n".join([CLI_HEAD, *_commands(parser())]) + "\n"


def recipes_page() -> str:
    """recipes/README.md, whose links to files that are not in the site become those files' paths."""
    text = (Path(__file__).parent.parent / "recipes" / "README.md").read_text(encoding="utf-8")
    inside = text.replace("](../docs/", "](../")
    return re.sub(r"\[[^\]]+\]\((?!\.\./|https?:)([^)]+)\)", r"`recipes/\1`", inside)


def _parts(model: Model) -> list[Model]:
    """Every model that a field of `model`, or of one of its parts, can hold; each once, stages left out."""
    found: dict[Model, None] = {}
    waiting = list(_models_in(model))
    while waiting:
        part = waiting.pop(0)
        if part not in found and part not in get_args(AnyStage):
            found[part] = None
            waiting = [*_models_in(part), *waiting]
    return list(found)


def _models_in(model: Model) -> Iterator[Model]:
    for field in model.model_fields.values():
        yield from _models_of(field.annotation)


def _models_of(annotation: Any) -> Iterator[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_of(argument)


def _section(model: Model, level: int) -> list[str]:
    lines = [f"{'#' * level} {_title(model)} {{#{_anchor(model)}}}\n", _prose(model.__doc__ or "") + "\n"]
    rows = [
        f"| `{field.alias or name}` | {_type(field.annotation)}{_bounds(field)} | {_default(field)} "
        f"| {_cell(field.description or '')} |"
        for name, field in model.model_fields.items()
        if name not in TAGS
    ]
    return [*lines, "| key | value | default | |", "|---|---|---|---|", *rows, ""] if rows else lines


def _title(model: Model) -> str:
    for tag in TAGS:
        field = model.model_fields.get(tag)
        if field is not None and field.default is not None and not field.is_required():
            return f"`{tag}: {field.default}`"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).removesuffix(" Config")


def _anchor(model: Model) -> str:
    return model.__name__.lower()


def _type(annotation: Any) -> str:
    """`annotation` in words, with links to the models in it."""
    if annotation in WORDS:
        return WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{_title(annotation)}](#{_anchor(annotation)})"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " · ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " · ".join(_type(argument) for argument in arguments if argument is not types.NoneType)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of names to {_type(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return f"list of {_type(arguments[0])}"
    if arguments:  # Annotated, whose first argument is the type itself
        return _type(arguments[0])
    return f"`{getattr(annotation, '__name__', annotation)}`"


def _bounds(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(limit, attribute):g}"
        for limit in field.metadata
        for kind, attribute, sign in BOUNDS
        if isinstance(limit, kind)
    ]
    if any(isinstance(limit, MinLen) for limit in field.metadata):
        found.append("not empty")
    return f" ({', '.join(found)})" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}, []):
        return "none"
    if isinstance(value, BaseModel):
        told = value.model_dump(mode="json", exclude_unset=True) | {
            tag: getattr(value, tag) for tag in TAGS if hasattr(value, tag)
        }
        return f"`{{{', '.join(f'{key}: {_plain(item)}' for key, item in told.items())}}}`" if told else "`{}`"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """As a recipe would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_plain(item)}' for key, item in value.items())}}}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return str(value)


def _prose(text: str) -> str:
    """A docstring as Markdown: lines indented by two become a list, those further in go on, decisions become links."""
    lines = inspect.cleandoc(text).splitlines()
    listed = [re.sub(r"^  (?=\S)", "\n- ", line) for line in lines]
    return _linked(SPECIFICATION.sub("", "\n".join(listed)))


def _cell(text: str) -> str:
    return _linked(SPECIFICATION.sub("", " ".join(text.split()))).replace("|", "&#124;")


def _linked(text: str) -> str:
    decisions = {path.name[:4]: path.name for path in (Path(__file__).parent / "decisions").glob("*.md")}
    return re.sub(
        r"`?docs/decisions/(\d{4})`?", lambda found: f"[{found[1]}](../decisions/{decisions[found[1]]})", text
    )


def _commands(command: argparse.ArgumentParser) -> Iterator[str]:
    """A section for `command`, or one for each of its sub-commands."""
    below = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for name in action.choices:
            yield from _commands(action.choices[name])
    if below:
        return
    command.formatter_class = _wide
    yield f"## {command.prog} {{#{command.prog.removeprefix('favonius ').replace(' ', '-')}}}\n"
    yield f"{_linked(command.description or '')}\n"
    yield f"```\n{command.format_usage().removeprefix('usage: ').rstrip()}\n```\n"
    actions = sorted(command._actions, key=lambda action: bool(action.option_strings))  # what has no name first
    rows = [row for action in actions for row in _argument(action, command.prog)]
    if rows:
        yield from ("| | |", "|---|---|", *rows, "")


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=100)


def _argument(action: argparse.Action, prog: str) -> Iterator[str]:
    if action.help == argparse.SUPPRESS or action.dest in ("help", "debug"):  # of all commands
        return
    values = "|".join(map(str, action.choices)) if action.choices else action.metavar or action.dest.upper()
    name = ", ".join(action.option_strings) or str(values)
    written = f"{name} {values}" if action.option_strings and action.nargs != 0 else name
    text = (action.help or "") % {**vars(action), "prog": prog}
    yield f"| `{written}` | {_cell(text)} |".replace(f"`{written}`", f"`{written}`".replace("|", "&#124;"))


RECIPE_HEAD = """\
# Keys of a recipe

Every key of a recipe, made of the models that read it. A recipe is strict: a key that is not on this page is refused,
with its line and the nearest name. `favonius schema` prints the same as JSON Schema, for editors. A value may also be
`$name` of a parameter. What the stages are for is in the pages on [data](../data.md), [dialogues](../dialogues.md),
[feedback](../feedback.md), [judges](../judges.md), [pairs](../pairs.md), [training](../training.md),
[evaluation](../evaluation.md) and [tasks](../tasks.md); engines and budgets are in [Teachers](../teachers.md).
"""
CLI_HEAD = """\
# Command line

Every command, in the words of its own `--help`. All take `--debug`, which shows the traceback of errors. Exit codes:
0; 1 for what went wrong and for faults that a check found; 2 for a mistake that the reader can mend, in one sentence
that names the place; 130 where it was stopped.
"""
