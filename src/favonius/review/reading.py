"""Feedback from what people name: a step of a run, or any file of rated answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from favonius.data.folders import kind_of
from favonius.data.intake import read_any
from favonius.data.rows import read_rows
from favonius.data.sources import source_name
from favonius.errors import UserError
from favonius.files import read_json
from favonius.run import Identity
from favonius.types import Feedback

ROWS = "feedback.jsonl"


@dataclass(frozen=True)
class Read:
    """`name` is the judge's, where one judged all rows, else the step's or the file's. `run`: see `Judged`."""

    spec: str
    place: str
    name: str
    rows: tuple[Feedback, ...]
    run: Path | None


def read(spec: str) -> Read:
    """Rows of a step's folder, a file, a folder of files or a hub dataset. UserError where they are no feedback."""
    path = Path(spec).expanduser()
    if (path / ROWS).is_file():
        return _read(spec, path / ROWS)
    if (path / "recipe.yaml").is_file():
        steps = sorted(file.parent.name for file in path.glob(f"*/{ROWS}"))
        raise UserError(f"{spec}: name a step of this run; those with feedback: {', '.join(steps) or 'none yet'}")
    if _step_config(path) is not None:
        raise UserError(f"{spec}: this step holds no {ROWS}; ratings steps and data steps of feedback do")
    return _read(spec, path)


def reference_of(spec: str) -> Path | None:
    """The step whose answers a ratings step judged, where they came with scores or at least as feedback."""
    config = _step_config(Path(spec).expanduser())
    if config is None or "answers" not in config:
        return None
    folder = Path(spec).expanduser().resolve().parent / str(config["answers"])
    return folder if (folder / ROWS).is_file() else None


def _step_config(folder: Path) -> Mapping[str, Any] | None:
    """None where `folder` is no step of a run; others have a config.json too."""
    file = folder / "config.json"
    found = read_json(file) if file.is_file() else None
    identity = found.get("identity") if isinstance(found, dict) else None
    return Identity.model_validate(identity).config if identity is not None else None


def _read(spec: str, path: Path) -> Read:
    rows = tuple(read_rows(path, Feedback)) if path.name == ROWS else _foreign(spec)
    place = path.resolve().parent.name if path.name == ROWS else _stem(source_name(spec))
    judges = {row.judge.name for row in rows if row.judge is not None}
    name = judges.pop() if len(judges) == 1 else place
    run = next((folder for folder in path.resolve().parents[:2] if (folder / "ledger.sqlite").is_file()), None)
    return Read(spec, place, name, rows, run)


def _foreign(spec: str) -> tuple[Feedback, ...]:
    shape, rows = read_any(spec)
    found = [row for row in rows if isinstance(row, Feedback)]
    if not found:
        raise UserError(f"{spec}: these rows are {shape}; feedback has several answers to a prompt with their scores")
    return tuple(found)


def _stem(name: str) -> str:
    """`gpt4.test` for gpt4.test.jsonl.gz."""
    kind = kind_of(name)
    return name if kind is None else name[: name.lower().rindex(kind)]
