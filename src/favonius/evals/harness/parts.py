"""The rows of a task, part by part: from a folder, or from the hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from favonius.data.rows import explain
from favonius.data.sources import open_rows
from favonius.errors import UserError
from favonius.evals.benchmarks.rows import drawn
from favonius.evals.harness.boards import Board


@dataclass(frozen=True)
class Part:
    """A subject of MMLU, a subset of MedConceptsQA, or all there is of another task."""

    name: str
    file: Path
    """lm-eval's task file."""
    questions: Sequence[tuple[int, Any]]
    """Those that are asked (`Board.row`), each with its place among all rows of the split."""
    examples: Sequence[Any]


def read_parts(board: Board, folder: Path | None, shots: int, limit: int | None, seed: int) -> list[Part]:
    """At most `limit` questions of each part, drawn with `seed`; no part that `folder` has no folder for.

    UserError where lm-eval is not installed, a row is not of the data set's shape, or examples are too few.
    """
    found = []
    for name, file in _files(board):
        place = _place(board, folder, name)
        if place is None:
            continue
        questions = list(_rows(place, board.questions, board))
        examples = list(_rows(place, board.examples, board)) if board.examples and shots else []
        if not questions:
            raise UserError(f"{place}: the split {board.questions} holds no row")
        if board.examples is None and shots:
            raise UserError(f"{board.title} brings its own examples; set shots to 0 or leave it out")
        if len(examples) < shots:
            raise UserError(
                f"{place}: {shots} examples are to stand before each question, and the split {board.examples} holds "
                f"{len(examples)}; set shots to that or less"
            )
        found.append(Part(name, file, drawn(list(enumerate(questions)), limit, seed), examples))
    if not found:
        names = ", ".join(name for name, _ in _files(board)[:3])
        raise UserError(f"{folder}: {board.title} is kept in folders named {names}, …, and there is none of them")
    return found


def count_parts(board: Board) -> int:
    """How many parts the whole task has."""
    return len(_files(board))


def _files(board: Board) -> list[tuple[str, Path]]:
    """Name → lm-eval's task file."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{board.title} is a task of lm-eval; run pip install 'favonius[harness]'")
    files = sorted((Path(spec.submodule_search_locations[0]) / "tasks").glob(board.files))
    fixed = Path(board.files).stem.removesuffix("*")
    return [(board.part or file.stem.removeprefix(fixed), file) for file in files]


def _place(board: Board, folder: Path | None, name: str) -> str | None:
    """Where the part's rows are, as `open_rows` is told; None where the folder lacks it."""
    if folder is None:
        return f"hf://{board.repository}" + ("" if name == "default" else f"/{name}")
    if (folder / name).is_dir():
        return str(folder / name)
    return str(folder) if board.part else None


def _rows(place: str, split: str, board: Board) -> Iterator[Any]:
    for raw in open_rows(place, split=split):
        try:
            yield board.row.model_validate(raw.value)
        except ValidationError as error:
            raise UserError(f"{raw.place}: {explain(error, board.row)}") from None
