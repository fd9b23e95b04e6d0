"""Lists that people write by hand: topics, entities, text types, personas; our own and theirs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from favonius.errors import UserError


def read_lines(path: Path) -> tuple[str, ...]:
    """One entry a line, each once; blank lines and those that begin with # are left out. UserError where none is."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    found = _entries(text)
    if not found:
        raise UserError(f"{path}: there is no entry in it; write one a line")
    return found


def built_in(name: str) -> tuple[str, ...]:
    """The entries of favonius/dialogues/builtin/<name>.txt."""
    return _entries((files("favonius.dialogues") / "builtin" / f"{name}.txt").read_text(encoding="utf-8"))


def _entries(text: str) -> tuple[str, ...]:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
