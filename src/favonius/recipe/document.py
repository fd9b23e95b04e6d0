"""YAML text as plain values, each with the place where it was written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from favonius.errors import UserError

KeyPath = tuple[str | int, ...]

NULL = re.compile(r"|~|null")
INTEGER = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))


@dataclass(frozen=True)
class Document:
    """Plain values (dict, list, str, int, float, bool, None) and the place of every key and list item."""

    value: Any
    places: Mapping[KeyPath, str]
    written: Mapping[KeyPath, KeyPath] = field(default_factory=dict)
    """Paths of `value` that stand elsewhere in the file: a step of a round where its block has it."""

    def place(self, path: KeyPath) -> str:
        """`recipes/x.yaml:17` or `--set steps.dsft.epochs=2`: where `path`, or else what holds it, was written."""
        path = self.as_written(path)
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def as_written(self, path: KeyPath) -> KeyPath:
        """`path` as the file has it."""
        ends = (end for end in range(len(path), 0, -1) if path[:end] in self.written)
        end = next(ends, 0)
        return (*self.written[path[:end]], *path[end:]) if end else path

    def error(self, path: KeyPath, sentence: str) -> str:
        """`recipes/x.yaml:17: steps.ddpo.learning_rte: <sentence>`."""
        where = f" {dotted(self.as_written(path))}:" if path else ""
        return _on_one_line(f"{self.place(path)}:{where} {sentence}")


def _on_one_line(text: str) -> str:
    """Control characters escaped: a key may hold any, and a problem is one line."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def read_document(path: Path) -> Document:
    """Read one YAML file. Raises UserError with file and line for what is no plain, unambiguous YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: this is a folder; name a recipe file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    return read_text(text, str(path))


def read_text(text: str, source: str) -> Document:
    """As `read_document`, of text that comes from `source`."""
    return _Reader(source, numbered=True).read(text)


def read_override(text: str) -> tuple[tuple[str, ...], Document]:
    """`a.b.c=value` as its key path and its value, which is YAML. Places name `--set`."""
    path, equals, value = text.partition("=")
    keys = tuple(path.strip().split("."))
    if not equals or not all(keys):
        raise UserError(f"--set {text}: write it as path=value, such as steps.dsft.epochs=2")
    return keys, _Reader(f"--set {text}", numbered=False).read(value)


class _Reader:
    """Turns YAML nodes into plain values. Scalars follow YAML 1.2 (`1e-6` is a number, `no` and `1:30` are text)."""

    def __init__(self, source: str, numbered: bool) -> None:
        self.source, self.numbered = source, numbered
        self.places: dict[KeyPath, str] = {(): source}
        self.open: set[int] = set()

    def read(self, text: str) -> Document:
        try:
            node = yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._at(mark) if mark else self.source
            raise UserError(f"{place}: not valid YAML: {error.problem or error.context}") from None
        except yaml.reader.ReaderError as error:
            raise UserError(f"{self.source}: not valid YAML: {error.reason}") from None
        return Document(None if node is None else self._value(node, ()), self.places)

    def _at(self, mark: yaml.Mark) -> str:
        return f"{self.source}:{mark.line + 1}" if self.numbered else self.source

    def _refuse(self, node: yaml.Node, path: KeyPath, sentence: str) -> UserError:
        where = f" {dotted(path)}:" if path else ""
        return UserError(f"{self._at(node.start_mark)}:{where} {sentence}")

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        if node.tag not in PLAIN_TAGS:
            raise self._refuse(node, path, f"the tag {node.tag} has no meaning in a recipe; write a plain value")
        if isinstance(node, yaml.ScalarNode):
            return scalar(node.value) if node.style is None else node.value
        if id(node) in self.open:
            raise self._refuse(node, path, "this alias refers to what it stands in")
        self.open.add(id(node))
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._items(node.value, path)
        self.open.remove(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refuse(key_node, path, "a key must be one word")
            key = key_node.value
            if key in value:
                first = self.places[(*path, key)]
                raise self._refuse(key_node, (*path, key), f"this key was given before, at {first}; remove one")
            self.places[(*path, key)] = self._at(key_node.start_mark)
            value[key] = self._value(value_node, (*path, key))
        return value

    def _items(self, nodes: list[yaml.Node], path: KeyPath) -> list[Any]:
        value = []
        for index, item in enumerate(nodes):
            self.places[(*path, index)] = self._at(item.start_mark)
            value.append(self._value(item, (*path, index)))
        return value


def scalar(text: str) -> str | int | float | bool | None:
    """An unquoted YAML scalar. A number too large to hold stays text, and is refused where a number is wanted."""
    if NULL.fullmatch(text):
        return None
    if text in ("true", "false"):
        return text == "true"
    if INTEGER.fullmatch(text):
        return int(text)
    if NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text
