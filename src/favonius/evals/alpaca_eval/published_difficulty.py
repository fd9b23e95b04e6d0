"""The difficulties that the authors of AlpacaEval 2 published: instruction_difficulty.csv or df_gamed.csv.

Both number the instructions from 0 and do not repeat their texts. The second also holds the preferences on the two
reworded references, a row for each baseline and instruction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from favonius.data.raw import Fault
from favonius.data.tables import csv_rows
from favonius.errors import UserError
from favonius.evals.alpaca_eval.difficulty import Difficulty
from favonius.evals.alpaca_eval.preferences import ModelPreferences
from favonius.evals.alpaca_eval.regression import Array
from favonius.files import require_file

UNNAMED = ""
"""The heading of the first column of instruction_difficulty.csv."""


def read_published(path: Path, models: Sequence[ModelPreferences]) -> Difficulty:
    """Difficulties of the instructions of `models`, whose numbers are their places in the longest of these.

    UserError where `path` is not such a file, or numbers another set of instructions.
    """
    require_file(path)
    of_number: dict[int, float] = {}
    features: list[tuple[float, float, float]] = []
    labels: list[float] = []
    for row in csv_rows(path, ","):
        if isinstance(row, Fault):
            raise UserError(f"{row.file}, {row.where}: {row.cause} ({row.detail})")
        place, value = row.place, row.value
        number = int(_number(value, "index" if "index" in value else UNNAMED, place))
        known = of_number.setdefault(number, _number(value, "instruction_difficulty", place))
        if value.get("preference"):
            features.append((math.tanh(_number(value, "std_delta_len", place)), known, 0.0))
            labels.append(_number(value, "preference", place))
    instructions = _numbered(path, of_number, models)
    reworded: tuple[Array, Array] | None = (np.array(features), np.array(labels)) if labels else None
    source = f"published, of {path.name}" + (", with its reworded references" if labels else "")
    return Difficulty({text: of_number[number] for number, text in enumerate(instructions)}, source, reworded)


def _number(row: Mapping[str, str], name: str, place: str) -> float:
    text = row.get(name, "")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UserError(
            f"{place}: {name or 'index'} is {text!r}, and must be a number; give instruction_difficulty.csv or "
            "df_gamed.csv as the authors of AlpacaEval published them"
        )
    return found


def _numbered(path: Path, of_number: Mapping[int, float], models: Sequence[ModelPreferences]) -> list[str]:
    """The instructions by number. The set's order is known only from a model that was asked all of them."""
    longest = max(models, key=lambda model: len(model.comparisons))
    found = [row.instruction for row in longest.comparisons]
    if sorted(of_number) != list(range(len(found))):
        raise UserError(
            f"{path}: it numbers {len(of_number)} instructions, and no model's preferences are of just so many (the "
            f"most are {len(found)}); give the preferences of the whole set in its order, or leave --difficulty out"
        )
    others = {row.instruction for model in models for row in model.comparisons} - set(found)
    if others:
        raise UserError(
            f"{path}: it numbers the instructions of one set, and the preferences are of {len(others)} others too, "
            f"such as {min(others)[:60]!r}; leave these out, or leave --difficulty out"
        )
    return found
