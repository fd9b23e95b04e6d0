"""Rows as they stand in a file, and what of a file cannot be read as rows.

A reader of a container yields both, in the order of the file, and has no opinion; `sources.open_rows` decides whether a
fault refuses the file or is counted among the losses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from favonius.data.checks import Drops
from favonius.phrases import counted

NOT_UTF8 = "the text is not UTF-8"


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row, unchecked. `place` is for people: `talk.jsonl, line 17` or `talk.parquet, row 3`."""

    place: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A stretch of a file that gives no whole row.

    `cause` is one of a few fixed wordings, to count by; `detail` is what the parser said of this one. `rows` were
    certainly lost, and `bytes` of the (decompressed) file with them; of a row that was cut off, so many whole `turns`
    are there. Where `ends`, nothing after it can be read, and how many rows once stood there is unknown.
    """

    file: str
    where: str
    cause: str
    detail: str = ""
    rows: int = 1
    bytes: int = 0
    turns: int = 0
    sample: str = ""
    ends: bool = False

    def sentence(self, whole: int) -> str:
        """Why the file is refused, after `whole` good rows of it."""
        detail = f" ({self.detail})" if self.detail else ""
        lost = [counted(self.bytes, "byte")] if self.bytes else []
        lost += [counted(self.turns, "whole turn")] if self.turns else []
        held = f"the broken part holds {' and '.join(lost)}; " if lost else ""
        before = "1 whole row stands" if whole == 1 else f"{whole:,} whole rows stand"
        return (
            f"{self.file}, {self.where}: {self.cause}{detail}; {before} before it; {held}"
            "mend or fetch the file again, or read its whole rows and count what is lost (--salvage, in a recipe "
            "salvage: true)"
        )


@dataclass
class FileLoss:
    """What one file lost. `cut`: it ends too early, and rows that nobody can count may be missing."""

    whole: int = 0
    rows: int = 0
    bytes: int = 0
    turns: int = 0
    cut: bool = False
    causes: Drops = field(default_factory=Drops)


@dataclass
class Losses:
    """What salvage left behind, file by file; files without a fault are not in it."""

    files: dict[str, FileLoss] = field(default_factory=dict)

    def add(self, fault: Fault, whole: int) -> None:
        """Count `fault`, met after `whole` good rows of its file."""
        loss = self.files.setdefault(fault.file, FileLoss())
        loss.whole = whole
        loss.rows += fault.rows
        loss.bytes += fault.bytes
        loss.turns += fault.turns
        loss.cut = loss.cut or fault.ends
        loss.causes.add(fault.cause, f"{fault.where}: {fault.sample or fault.detail}")

    def close(self, file: str, whole: int) -> None:
        """The file has been read to its end, with `whole` good rows."""
        if file in self.files:
            self.files[file].whole = whole

    @property
    def rows(self) -> int:
        return sum(loss.rows for loss in self.files.values())

    def sentences(self) -> list[str]:
        """One line a file, for people."""
        return [_loss_sentence(file, loss) for file, loss in self.files.items()]

    def record(self) -> dict[str, Any]:
        """For stats.json."""
        return {
            file: {
                "whole_rows": loss.whole,
                "lost_rows": loss.rows,
                "lost_bytes": loss.bytes,
                "whole_turns_in_lost_rows": loss.turns,
                "ends_early": loss.cut,
                "causes": dict(loss.causes.counts),
                "samples": dict(loss.causes.samples),
            }
            for file, loss in self.files.items()
        }


def _loss_sentence(file: str, loss: FileLoss) -> str:
    causes = ", ".join(f"{cause} × {count:,}" for cause, count in loss.causes.counts.items())
    turns = f" with {counted(loss.turns, 'whole turn')}" if loss.turns else ""
    more = " and whatever stood after them" if loss.cut else ""
    return (
        f"{file}: {counted(loss.whole, 'whole row')} read, {counted(loss.rows, 'row')} "
        f"({counted(loss.bytes, 'byte')}){turns} lost{more}: {causes}"
    )
