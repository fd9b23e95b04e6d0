"""YAML files of texts that people write by hand, such as wordings of principles: one noun each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from favonius.data.rows import explain
from favonius.errors import UserError
from favonius.types import Noun

N = TypeVar("N", bound=Noun)


class _Texts(yaml.BaseLoader):
    """Every scalar is a text (`no` is a word here), and a key that comes twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                problem = f"the key {key.value} was given before; remove one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def read_document(path: Path, kind: type[N]) -> N:
    """The noun in a YAML file. UserError naming file and line, or file and key, where it is not well formed."""
    try:
        return parse_document(path.read_text(encoding="utf-8-sig"), str(path), kind)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def parse_document(text: str, name: str, kind: type[N]) -> N:
    """The noun in YAML text; `name` is what errors call it."""
    try:
        value = yaml.load(text, Loader=_Texts)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}, line {mark.line + 1}" if mark else name
        raise UserError(f"{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise UserError(f"{name}: not valid YAML: {error.reason}") from None
    if not isinstance(value, dict):
        raise UserError(f"{name}: this is no mapping of keys to texts (known keys: {', '.join(kind.model_fields)})")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{name}: {explain(error, kind)}") from None
