"""Difficulties out of a file: the authors' own, or fitted from other models' preferences on the same instructions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from favonius.errors import UserError
from favonius.evals.alpaca_eval.difficulty import Difficulty, fit_difficulty
from favonius.evals.alpaca_eval.preferences import ModelPreferences, read_preferences
from favonius.evals.alpaca_eval.published_difficulty import read_published

PUBLISHED = (".csv", ".csv.gz")


def read_difficulty(path: Path, models: Sequence[ModelPreferences]) -> Difficulty:
    """The difficulties of the instructions of `models`; a file of preferences is known by its name's not being .csv.

    UserError where the file is not what it should be, or lacks an instruction.
    """
    if path.name.endswith(PUBLISHED):
        return read_published(path, models)
    fitted = fit_difficulty(list(read_preferences(path).models.values()))
    unknown = {row.instruction for model in models for row in model.comparisons} - fitted.of.keys()
    if unknown:
        raise UserError(
            f"{path}: it has no preference on {len(unknown):,} of the instructions, such as {min(unknown)[:60]!r}; "
            "give as difficulty a file of the same set"
        )
    return Difficulty(fitted.of, f"{fitted.source} of {path.name}")
