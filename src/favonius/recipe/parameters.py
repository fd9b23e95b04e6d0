"""`$name` in a recipe: values that its user replaces without knowing the steps, as in `--set topics=my.txt`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from favonius.recipe.document import Document, KeyPath
from favonius.recipe.problems import Problem, choice

PARAMETERS = "parameters"


def fill_in(document: Document) -> tuple[Document, list[Problem]]:
    """`document` with every text `$name` outside `parameters` replaced, and one problem for each unknown name."""
    parameters = document.value.get(PARAMETERS)
    if not isinstance(parameters, Mapping):
        return document, []
    problems = [
        Problem(path, f"{text} names no parameter{choice(text[1:], parameters)}")
        for path, text in names_in(document.value, ())
        if path[0] != PARAMETERS and text[1:] not in parameters
    ]
    value = {key: item if key == PARAMETERS else filled(item, parameters) for key, item in document.value.items()}
    return replace(document, value=value), problems


def with_files_from_here(text: str, folder: Path) -> str:
    """An override `path=value` whose value is a file of the current folder, and none of the recipe's `folder`, with
    that file's whole path: the person at the terminal means the file that she sees. So too a folder, where its name is
    written with a slash; without one it may be the name of a step."""
    path, equals, value = text.partition("=")
    here = Path(value.strip())
    is_there = here.is_file() or ("/" in value and here.is_dir())
    if equals and value.strip() and not here.is_absolute() and is_there and not (folder / here).exists():
        return f"{path}={here.resolve()}"
    return text


def names_in(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every text `$name` under `path`, with its own path."""
    if isinstance(value, str) and value.startswith("$"):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from names_in(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from names_in(item, (*path, index))


def filled(value: Any, parameters: Mapping[str, Any]) -> Any:
    """`value` with what `parameters` has in place of each text `$name`; names that it has not stay."""
    if isinstance(value, str) and value.startswith("$"):
        return parameters.get(value[1:], value)
    if isinstance(value, Mapping):
        return {key: filled(item, parameters) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, parameters) for item in value]
    return value
