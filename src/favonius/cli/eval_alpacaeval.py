"""`favonius eval alpacaeval score`: win rates of the models of a file of preferences."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from favonius.cli.eval_output import deliver
from favonius.cli.tables import table
from favonius.errors import UserError
from favonius.evals.alpaca_eval.difficulty import Difficulty, fit_difficulty
from favonius.evals.alpaca_eval.known_difficulty import read_difficulty
from favonius.evals.alpaca_eval.preferences import Preferences, read_preferences
from favonius.evals.alpaca_eval.scores import remarks, scores
from favonius.progress import Progress


def run(options: argparse.Namespace) -> int:
    """Print or write the scores; what is amiss goes to stderr. UserError for files that are not what they should be."""
    if options.difficulty is not None and options.version == 1:
        raise UserError("--difficulty is of version 2's length control; leave it out, or say --version 2")
    preferences = read_preferences(options.preferences)
    difficulty = _difficulty(options.difficulty, preferences) if options.version == 2 else None
    found = scores(preferences, difficulty)
    for sentence in remarks(preferences, found, difficulty):
        Progress().say(sentence)
    deliver(found, page(found, difficulty), options.json)
    return 0


def _difficulty(path: Path | None, preferences: Preferences) -> Difficulty:
    """Fitted from the scored models, or from another file."""
    models = list(preferences.models.values())
    return fit_difficulty(models) if path is None else read_difficulty(path, models)


def page(found: Mapping[str, Mapping[str, Any]], difficulty: Difficulty | None) -> str:
    """A table, the best model first; version 2's goes by the length-controlled win rate."""
    order = "win_rate" if difficulty is None else "length_controlled_winrate"
    names = sorted(found, key=lambda name: -1.0 if found[name][order] is None else found[name][order], reverse=True)
    rates = {"win rate": ("win_rate", "standard_error")}
    if difficulty is not None:
        rates = {"length-controlled": ("length_controlled_winrate", "length_controlled_standard_error"), **rates}
    rows: list[list[str | int]] = [
        [
            name,
            *(_rate(found[name], *fields) for fields in rates.values()),
            found[name]["n"],
            found[name]["unreadable"],
            round(found[name]["avg_length"] or 0),
        ]
        for name in names
    ]
    shown = table(("model", *rates, "n", "unreadable", "characters"), rows)
    meaning = "win rates in points, ± their standard error"
    return f"{shown}\n\n{meaning}" + (f"; difficulty: {difficulty.source}" if difficulty is not None else "")


def _rate(score: Mapping[str, Any], name: str, error: str) -> str:
    if score[name] is None:
        return "—"
    return f"{score[name]:6.2f}" + ("" if score[error] is None else f" ± {score[error]:.2f}")
