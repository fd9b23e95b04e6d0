"""From whatever people have to our own nouns, with an account of every row that did not make it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from favonius.data.checks import Drops
from favonius.data.convert import Row, convert
from favonius.data.raw import Losses, RawRow
from favonius.data.shapes import LOOKED_AT, Shape, detect
from favonius.data.sources import open_rows, source_name
from favonius.data.turns import UnfitRowError
from favonius.data.unique import UniqueIds
from favonius.errors import UserError
from favonius.phrases import counted, quoted
from favonius.types import Dialogue


@dataclass
class Intake:
    """What became of the rows of one source; complete when its last row has been read."""

    read: int = 0
    kept: int = 0
    dropped: Drops = field(default_factory=Drops)
    changed: Drops = field(default_factory=Drops)
    losses: Losses = field(default_factory=Losses)

    def record(self) -> dict[str, Any]:
        """For stats.json."""
        return {
            "read": self.read,
            "kept": self.kept,
            **self.dropped.record(),
            "changed": dict(self.changed.counts),
            "changed_samples": dict(self.changed.samples),
            "lost": self.losses.record(),
        }


def read_any(
    spec: str, *, shape: Shape | None = None, split: str | None = None, salvage: bool = False,
    intake: Intake | None = None,
) -> tuple[Shape, Iterator[Row]]:  # fmt: skip
    """The shape of `spec`'s rows, told from the first of them unless it is given, and the rows as nouns.

    Every id is given out once; dialogues without a source of their own have the name of the file or hub dataset. Rows
    that cannot be used are dropped, counted in `intake`, and refused (UserError) where they are all there are. For
    `spec`, `split` and `salvage` see `sources.open_rows`; for a row's faults `convert.convert`.
    """
    intake = intake if intake is not None else Intake()
    rows = open_rows(spec, split=split, salvage=salvage, losses=intake.losses)
    first = list(islice(rows, LOOKED_AT))
    if not first:
        lost = "; ".join(intake.losses.sentences())
        raise UserError(f"{spec}: there are no rows in it" + (f" ({lost})" if lost else ""))
    found = shape or detect(first)
    return found, _nouns(chain(first, rows), found, spec, intake)


def _nouns(rows: Iterator[RawRow], shape: Shape, spec: str, intake: Intake) -> Iterator[Row]:
    ids, source = UniqueIds(), source_name(spec)
    for raw in rows:
        intake.read += 1
        try:
            row = convert(raw, shape, intake.changed)
        except UnfitRowError as error:
            intake.dropped.add(error.cause, f"{raw.place}: {quoted(raw.value)}")
            continue
        intake.kept += 1
        changes = {"id": ids.unique(row.id)}
        if isinstance(row, Dialogue):
            changes["source"] = row.source or source
        yield row.model_copy(update=changes)
    if not intake.kept:
        causes = ", ".join(f"{cause} × {count:,}" for cause, count in intake.dropped.counts.most_common())
        raise UserError(f"{spec}: none of {counted(intake.read, 'row')} can be used: {causes}")
