"""What the documentation holds: its pages, the commands that they print, and their blocks of YAML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
MARKS = ("needs a GPU", "asks an API", "the hub", "minutes")
"""How the comment behind a command begins that no test can run (docs/index.md)."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<language>\S*)\s*$")
_COMMAND = re.compile(
    r"^\s*(?:\$ )?(?P<variables>(?:[A-Z_]+=\S+ )*)(?:\.venv/bin/)?(?P<command>(?:favonius|make|python -m)\s.*)$"
)
_INLINE = re.compile(r"`(?:\.venv/bin/)?((?:favonius|make|python -m) [^`]+)`")
_COMMENT = re.compile(r"\s+#\s+(?P<comment>.*)$")
_OPTIONAL = re.compile(r"…|\[-|\[[A-Z]|\.\.\.|[A-Z]\[\.")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or lines that are indented like code."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command that a page prints.

    `kind` is `line` for one that can be given as it stands, `form` where it shows optional parts, `mention` for one
    within a sentence.
    """

    place: str
    text: str
    comment: str
    kind: Literal["line", "form", "mention"]

    @property
    def mark(self) -> str | None:
        return next((mark for mark in MARKS if self.comment.startswith(mark)), None)

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def pages() -> list[Path]:
    """README and its like, and every page of docs/."""
    tops = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "recipes" / "README.md"]
    return [page for page in tops if page.exists()] + sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks, and runs of lines indented by four spaces behind an empty line."""
    lines = page.read_text(encoding="utf-8").splitlines()
    index = 0
    while index < len(lines):
        fence = _FENCE.match(lines[index])
        if fence is not None:
            end = next(n for n in range(index + 1, len(lines)) if lines[n].strip() == fence["fence"])
            inner = [line[len(fence["indent"]) :] for line in lines[index + 1 : end]]
            yield Block(page, index + 2, fence["language"], "\n".join(inner))
            index = end + 1
        elif lines[index].startswith("    ") and (index == 0 or not lines[index - 1].strip()):
            end = next((n for n in range(index, len(lines)) if not lines[n].startswith("    ")), len(lines))
            yield Block(page, index + 1, "indented", "\n".join(line[4:] for line in lines[index:end]))
            index = end
        else:
            index += 1


def commands(page: Path) -> Iterator[Command]:
    """Every command that `page` prints: in its blocks, then in its sentences."""
    for block in blocks(page):
        if block.language in ("", "sh", "bash", "console", "indented"):
            yield from _in_block(block)
    for number, line in enumerate(_prose(page), start=1):
        for found in _INLINE.finditer(line):
            yield Command(f"{page.relative_to(ROOT)}:{number}", found[1].replace("\\|", "|"), "", "mention")


def _in_block(block: Block) -> Iterator[Command]:
    for number, line in _joined(block.text.splitlines()):
        found = _COMMAND.match(line)
        if found is not None:
            comment = _COMMENT.search(found["command"])
            text = found["command"][: comment.start()] if comment else found["command"]
            place = f"{block.page.relative_to(ROOT)}:{block.line + number}"
            form: Literal["form", "line"] = "form" if _OPTIONAL.search(text) else "line"
            yield Command(place, text.strip(), comment["comment"] if comment else "", form)


def _joined(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines with those that continue them: behind a backslash, or further in and beginning with a bracket."""
    start, so_far = 0, ""
    for number, line in enumerate(lines):
        if so_far.endswith("\\"):
            so_far = f"{so_far[:-1]} {line.strip()}"
        elif so_far and re.match(r"\s+\[", line):
            so_far = f"{so_far} {line.strip()}"
        else:
            if so_far:
                yield start, so_far
            start, so_far = number, line
    if so_far:
        yield start, so_far


def _prose(page: Path) -> list[str]:
    """The lines of a page, those of its blocks left empty."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        for number in range(block.line - 1, block.line - 1 + len(block.text.splitlines())):
            lines[number] = ""
    return lines
