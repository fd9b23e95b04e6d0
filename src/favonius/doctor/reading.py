"""Raw rows become nouns, and what is the matter with those that cannot is counted: nothing stops the reading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from favonius.data.checks import Drops
from favonius.data.convert import Row, convert
from favonius.data.intake import Intake
from favonius.data.raw import RawRow
from favonius.data.shapes import Shape
from favonius.data.turns import UnfitRowError, UnknownRoleError
from favonius.data.unique import UniqueIds
from favonius.doctor.kinds import CHANGED_ON_READING, UNFIT_ON_READING
from favonius.doctor.tally import Tally
from favonius.doctor.views import Placed
from favonius.errors import UserError


@dataclass
class WholeRows:
    """The rows of a file up to where it is broken; `refusal` then says why it is refused."""

    rows: Iterable[RawRow]
    refusal: str = ""

    def __iter__(self) -> Iterator[RawRow]:
        """UserError where not one row is whole."""
        begun = False
        try:
            for row in self.rows:
                begun = True
                yield row
        except UserError as error:
            if not begun:
                raise
            self.refusal = str(error)


@dataclass
class Reading:
    """Rows as `data.intake.read_any` would give them, which stops at the first malformed one.

    `intake` is complete when the last row has been read.
    """

    shape: Shape
    tally: Tally
    intake: Intake
    _ids: UniqueIds = field(default_factory=UniqueIds)

    def placed(self, rows: Iterable[RawRow]) -> Iterator[Placed]:
        for raw in rows:
            self.intake.read += 1
            if (row := self._row(raw)) is not None:
                self.intake.kept += 1
                yield Placed(raw.place, row.model_copy(update={"id": self._ids.unique(row.id)}))

    def _row(self, raw: RawRow) -> Row | None:
        changed = Drops()
        try:
            row = convert(raw, self.shape, changed)
        except UnfitRowError as error:
            self.intake.dropped.add(error.cause, raw.place)
            self.tally.add(UNFIT_ON_READING[error.cause], raw.place, as_json(raw), error.cause)
            return None
        except UserError as error:
            kind = "unknown_role" if isinstance(error, UnknownRoleError) else "malformed"
            self.tally.add(kind, raw.place, str(error).removeprefix(f"{raw.place}: "))
            return None
        for cause, samples in changed.samples.items():
            self.tally.add(CHANGED_ON_READING[cause], raw.place, samples[0].removeprefix(f"{raw.place}: "))
        return row


def as_json(raw: RawRow) -> str:
    return json.dumps(raw.value, ensure_ascii=False, default=str)
