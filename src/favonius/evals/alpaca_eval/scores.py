"""The scores of every model of a file of preferences, as they are stored, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from favonius.data.checks import SAMPLES
from favonius.evals.alpaca_eval.difficulty import Difficulty
from favonius.evals.alpaca_eval.length_controlled import FEWEST, differs_much, length_controlled
from favonius.evals.alpaca_eval.preferences import ModelPreferences, Preferences, other_references
from favonius.evals.alpaca_eval.win_rate import win_rate
from favonius.phrases import counted

Scores = dict[str, dict[str, Any]]
NAMED = 5
"""Models that a sentence names one by one."""


def scores(preferences: Preferences, difficulty: Difficulty | None) -> Scores:
    """Model → win_rate, standard_error, n, avg_length (characters), unreadable, duplicates and excluded rows.

    With a difficulty (version 2) also length_controlled_winrate, its standard error, the three coefficients, and where
    the difficulty comes from. A number that cannot be given (nothing readable, too few rows) is None. Win rates are in
    points. KeyError where `difficulty` does not know an instruction.
    """
    return {name: _score(model, difficulty) for name, model in preferences.models.items()}


def _score(model: ModelPreferences, difficulty: Difficulty | None) -> dict[str, Any]:
    rate = win_rate(list(model.by_instruction().values()))
    lengths = [row.length_model for row in model.comparisons]
    return {
        "win_rate": rate.value if rate else None,
        "standard_error": rate.standard_error if rate else None,
        "n": rate.n if rate else 0,
        **(_controlled(model, difficulty) if difficulty is not None else {}),
        "avg_length": float(np.mean(lengths)) if lengths else None,
        "unreadable": model.unreadable,
        "duplicates": model.duplicates,
        "excluded": model.excluded,
    }


def _controlled(model: ModelPreferences, difficulty: Difficulty) -> dict[str, Any]:
    found = length_controlled(model.comparisons, difficulty)
    return {
        "length_controlled_winrate": found.win_rate if found else None,
        "length_controlled_standard_error": found.standard_error if found else None,
        "coefficients": (
            {"length": found.length, "difficulty": found.difficulty, "quality": found.quality} if found else None
        ),
        "difficulty": difficulty.source,
    }


def remarks(
    preferences: Preferences, found: Mapping[str, Mapping[str, Any]], difficulty: Difficulty | None
) -> Iterator[str]:
    """What a reader must know of the input and the scores, a sentence each: nothing is left out without a word."""
    for cause, count in preferences.amiss.counts.most_common():
        samples = ", ".join(preferences.amiss.samples[cause]) + (", …" if count > SAMPLES else "")
        yield f"{counted(count, 'row')}: {cause} ({samples})"
    unreadable = {name: model.unreadable for name, model in preferences.models.items() if model.unreadable}
    if unreadable:
        rows = counted(sum(unreadable.values()), "row")
        yield f"{rows}: the judge's word is unreadable, left out ({_some(unreadable)})"
    every = {row.instruction for model in preferences.models.values() for row in model.comparisons}
    lacking = {name: len(every) - len(model.comparisons) for name, model in preferences.models.items()}
    if lacking := {name: count for name, count in lacking.items() if count}:
        yield f"of {len(every):,} instructions, some models have fewer; they lack: {_some(lacking)}"
    for name, count in other_references(preferences.models).items():
        yield (
            f"{name}: on {count:,} instructions the reference's answer has another length than for most models, so it "
            "was compared with another reference"
        )
    yield from _of_controlled(found)
    if difficulty is not None and not any(difficulty.of.values()):
        yield (
            "the difficulty of the instructions is left out of the regression, so its win rates are not quite the "
            "published ones; give one with --difficulty (`difficulty`), such as a file of many models' preferences"
        )


def _of_controlled(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, score in found.items():
        controlled, raw = score.get("length_controlled_winrate"), score["win_rate"]
        if "difficulty" in score and controlled is None:
            yield f"{name}: too few readable preferences to control for length ({score['n']}, {FEWEST} are needed)"
        elif controlled is not None and differs_much(controlled, raw):
            yield f"{name}: length control changes the win rate a great deal, from {raw:.1f} to {controlled:.1f}"


def _some(counts: Mapping[str, int]) -> str:
    """The largest first."""
    named = [f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1])]
    more = len(named) - NAMED
    return ", ".join(named[:NAMED]) + (f" and {counted(more, 'more model')}" if more > 0 else "")
