"""Rows that an earlier step of the run made, taken as they are: they were ours before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from favonius.corpus.config import FILES_OF, SHAPE_OF, Source
from favonius.corpus.kinds import noun_of
from favonius.data.convert import Row
from favonius.data.intake import Intake
from favonius.data.rows import iterate_rows
from favonius.data.shapes import Shape
from favonius.errors import UserError
from favonius.types import Dialogue


def file_in(folder: Path, source: Source) -> Path:
    """The file of a step's `folder` that `source` means. UserError where it is not there."""
    names = [source.file] if source.file is not None else FILES_OF["data"]
    there = [folder / name for name in names if (folder / name).is_file()]
    if not there:
        raise UserError(f"step {source.step} has written no {' or '.join(names)}, which this step would read")
    return there[0]


def read_step(path: Path, source: Source, intake: Intake) -> tuple[Shape, Iterator[Row]]:
    """The shape that stands for the rows of `path`, and the rows."""
    shape = next(shape for name, shape in SHAPE_OF.items() if name == path.name)
    return shape, _counted(iterate_rows(path, noun_of(shape)), source, intake)


def _counted(rows: Iterator[Row], source: Source, intake: Intake) -> Iterator[Row]:
    for row in rows:
        intake.read += 1
        intake.kept += 1
        if isinstance(row, Dialogue) and row.source is None:
            yield row.model_copy(update={"source": str(source.step)})
        else:
            yield row
