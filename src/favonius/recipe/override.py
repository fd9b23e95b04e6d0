"""`--set path=value` over a recipe file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from favonius.errors import UserError
from favonius.recipe.document import Document, KeyPath, dotted, read_override
from favonius.recipe.parameters import PARAMETERS
from favonius.recipe.problems import choice

NAMED = (PARAMETERS, "models", "steps")
"""Mappings whose entries must be in the file: an override changes a step, it does not invent one."""


def override(document: Document, text: str) -> Document:
    """`document` with one value replaced or added. Raises UserError naming `--set` where the path leads nowhere."""
    keys, change = read_override(text)
    keys = _parameter(document, keys)
    path: KeyPath = keys
    _refuse_unknown_name(document, keys, text)
    value = _replaced(document.value, keys, change.value, text, ())
    places = {known: place for known, place in document.places.items() if known[: len(path)] != path}
    above = [path[:end] for end in range(1, len(path))]
    places |= {prefix: change.place(()) for prefix in above if prefix not in places}
    places |= {path + known: place for known, place in change.places.items()}
    return replace(document, value=value, places=places)


def _parameter(document: Document, keys: tuple[str, ...]) -> tuple[str, ...]:
    """`topics` stands for `parameters.topics` where the recipe has that parameter."""
    parameters = document.value.get(PARAMETERS) if isinstance(document.value, dict) else None
    is_one = len(keys) == 1 and isinstance(parameters, dict) and keys[0] in parameters
    return (PARAMETERS, *keys) if is_one else keys


def _refuse_unknown_name(document: Document, keys: tuple[str, ...], text: str) -> None:
    in_block = keys[0] == keys[2] == "steps" if len(keys) > 3 else False
    named: Any = document.value
    for end, key in enumerate(keys[: 4 if in_block else 2], start=1):
        if not isinstance(named, dict):
            return
        if keys[0] in NAMED and end % 2 == 0 and key not in named:
            sentence = f"the recipe has no such {keys[0].removesuffix('s')}{choice(key, named)}"
            raise UserError(f"--set {text}: {dotted(keys[:end])}: {sentence}")
        named = named.get(key)


def _replaced(old: Any, keys: tuple[str, ...], new: Any, text: str, above: KeyPath) -> Any:
    if not keys:
        return new
    if not (old is None or isinstance(old, dict)):
        raise UserError(f"--set {text}: {dotted(above)} holds {old!r} and no keys; set it as a whole")
    old = old or {}
    return old | {keys[0]: _replaced(old.get(keys[0]), keys[1:], new, text, (*above, keys[0]))}
