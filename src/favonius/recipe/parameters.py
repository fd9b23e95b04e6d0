"""`$name` in a recipe: values that its user replaces without knowing the steps, as in `--set topics=my.txt`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        for path, text in _named(document.value, ())
        if path[0] != PARAMETERS and text[1:] not in parameters
    ]
    filled = {key: value if key == PARAMETERS else _filled(value, parameters) for key, value in document.value.items()}
    return Document(filled, document.places), problems


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


def _named(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str) and value.startswith("$"):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _named(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _named(item, (*path, index))


def _filled(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return parameters.get(value[1:], value)
    if isinstance(value, Mapping):
        return {key: _filled(item, parameters) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, parameters) for item in value]
    return value
