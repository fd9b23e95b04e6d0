"""The articles of a constitution: what critiques of answers look for, and what revisions mend."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from favonius.data.documents import parse_document, read_document
from favonius.types import Noun

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Article(Noun):
    """One principle."""

    look_for: Text
    """Said to whoever critiques: what would be wrong in the answer."""
    mend: Text
    """Said to whoever revises: how the answer is to be."""


class Constitution(Noun):
    """A file of principles by name."""

    principles: dict[Name, Article] = Field(min_length=1)


@cache
def built_in_constitution() -> Constitution:
    """favonius/feedback/builtin/constitution.yaml."""
    file = files("favonius.feedback") / "builtin" / "constitution.yaml"
    return parse_document(file.read_text(encoding="utf-8"), file.name, Constitution)


def read_constitution(path: Path | None) -> Constitution:
    """The user's file in place of the built-in one. UserError naming file and key where it is not well formed."""
    return built_in_constitution() if path is None else read_document(path, Constitution)
