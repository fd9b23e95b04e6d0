"""Preferences of a judge between a reference's answers and those of one or many models, out of a file."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from favonius.data.checks import Drops
from favonius.data.streams import DamagedFileError, numbered_lines
from favonius.errors import UserError
from favonius.files import require_file

FIELDS = ("model", "instruction", "preference", "length_reference", "length_model")
OLD_DRAW = 0.0
"""How the first files of AlpacaEval wrote a draw, which is 1.5."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One instruction. `preference` is the model's share, 0 to 1; None where the judge's word could not be read.

    Lengths are characters.
    """

    instruction: str
    preference: float | None
    length_reference: float
    length_model: float


@dataclass
class ModelPreferences:
    """All that a file says of one model, in the file's order, each instruction once."""

    comparisons: list[Comparison] = field(default_factory=list)
    duplicates: int = 0
    """Rows of an instruction that had come before; the first counts."""
    excluded: int = 0
    """Rows whose preference or lengths cannot be what they say."""

    @property
    def unreadable(self) -> int:
        return sum(comparison.preference is None for comparison in self.comparisons)

    def by_instruction(self) -> dict[str, float]:
        """Instruction → preference, where it could be read."""
        return {row.instruction: row.preference for row in self.comparisons if row.preference is not None}


@dataclass
class Preferences:
    """Model → its preferences, in the order in which the file first names them, and what was found amiss."""

    models: dict[str, ModelPreferences] = field(default_factory=dict)
    amiss: Drops = field(default_factory=Drops)


class _BadRowError(Exception):
    """One row is not what it should be; the message is the cause, a fixed wording to count by."""


def read_preferences(path: Path) -> Preferences:
    """Rows of a JSON-lines file, plain or compressed: {model, instruction, preference, length_reference, length_model}.

    `preference` is 1 to 2, or 0 (a draw in old files); null and NaN are unreadable. Rows that cannot be used are
    counted by cause in `amiss` and, where they name their model, there too. UserError where there is no such file,
    where it is cut off, and where no row of it can be used.
    """
    require_file(path)
    found = Preferences()
    seen: dict[str, set[str]] = {}
    for place, line in _lines(path):
        try:
            row = _object(line)
            model = _text(row, "model")
        except _BadRowError as bad:
            found.amiss.add(str(bad), place)
            continue
        of_model = found.models.setdefault(model, ModelPreferences())
        try:
            comparison = _comparison(row)
        except _BadRowError as bad:
            found.amiss.add(str(bad), f"{place} ({model})")
            of_model.excluded += 1
            continue
        for name in row.keys() - set(FIELDS):
            found.amiss.add(f"unknown field {name}, ignored", place)
        if comparison.instruction in seen.setdefault(model, set()):
            found.amiss.add("model and instruction came before; the first row counts", f"{place} ({model})")
            of_model.duplicates += 1
            continue
        seen[model].add(comparison.instruction)
        of_model.comparisons.append(comparison)
    _refuse_nothing(found, path)
    return found


def paired(first: ModelPreferences, second: ModelPreferences) -> dict[str, tuple[float, float]]:
    """Instruction → both models' preferences, where both could be read; for tests that pair what two models did."""
    others = second.by_instruction()
    return {text: (value, others[text]) for text, value in first.by_instruction().items() if text in others}


def other_references(models: Mapping[str, ModelPreferences]) -> dict[str, int]:
    """Model → on how many instructions the reference's answer has another length than for most models.

    Only models with any: their win rates are against another reference, and mean something else.
    """
    lengths: dict[str, Counter[float]] = {}
    for model in models.values():
        for row in model.comparisons:
            lengths.setdefault(row.instruction, Counter())[row.length_reference] += 1
    usual = {instruction: counts.most_common(1)[0][0] for instruction, counts in lengths.items()}
    found = {
        name: sum(row.length_reference != usual[row.instruction] for row in model.comparisons)
        for name, model in models.items()
    }
    return {name: count for name, count in found.items() if count}


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    number = 0
    try:
        for number, line in numbered_lines(path):
            yield f"line {number}", line
    except DamagedFileError as error:
        raise UserError(
            f"{path}, after line {number}: {error}; a part of the preferences would give other numbers, so fetch the "
            "file again"
        ) from error


def _refuse_nothing(found: Preferences, path: Path) -> None:
    if any(model.comparisons for model in found.models.values()):
        return
    if not found.amiss.counts:
        raise UserError(f"{path}: the file is empty; rows of {', '.join(FIELDS)} are needed, one a line")
    cause, rows = found.amiss.counts.most_common(1)[0]
    where = found.amiss.samples[cause][0]
    raise UserError(
        f"{path}, {where}: {cause}, as in {rows:,} rows, and none can be used; rows of {', '.join(FIELDS)} are needed"
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)  # Python's own, since files that pandas wrote hold NaN
    except (ValueError, RecursionError):
        raise _BadRowError("not a whole JSON value") from None
    if not isinstance(row, dict):
        raise _BadRowError("not a JSON object")
    return row


def _comparison(row: dict[str, Any]) -> Comparison:
    return Comparison(
        _text(row, "instruction"), _preference(row), _length(row, "length_reference"), _length(row, "length_model")
    )


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise _BadRowError(f"{name} is missing" if value is None else f"{name} is no text")
    return value


def _preference(row: dict[str, Any]) -> float | None:
    if "preference" not in row:
        raise _BadRowError("preference is missing (null would be unreadable)")
    value = row["preference"]
    if value is None:
        return None
    if not _is_number(value):
        raise _BadRowError("preference is no number")
    if math.isnan(value):
        return None
    if value == OLD_DRAW:
        return 0.5
    if not 1 <= value <= 2:
        raise _BadRowError("preference is neither 1 to 2 nor 0")
    return float(value) - 1


def _length(row: dict[str, Any], name: str) -> float:
    value = row.get(name)
    if value is None:
        raise _BadRowError(f"{name} is missing")
    if not _is_number(value) or not 0 <= value < math.inf:
        raise _BadRowError(f"{name} is no number of characters")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
