"""Win rates with the length of the answers controlled for (Dubois et al. 2024).

Per model, logit P(preferred) = φ tanh(z) + ψ difficulty + θ, where z is how much shorter its answer is than the
reference's, in standard deviations over the instructions. The length-controlled win rate is the mean of the predictions
with z = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from favonius.evals.alpaca_eval.difficulty import Difficulty
from favonius.evals.alpaca_eval.preferences import Comparison
from favonius.evals.alpaca_eval.regression import Array, Rows, best_strength, fit, logistic
from favonius.evals.alpaca_eval.reworded import REWORDED_WEIGHT, length_feature, reworded

FEWEST = 25
"""Readable comparisons; with fewer, folds of five are held out, and their noise chooses the penalty."""


class LengthControlled(NamedTuple):
    """In points, 0 to 100. Coefficients are in logits."""

    win_rate: float
    standard_error: float
    length: float
    """φ: below 0, longer answers are preferred."""
    difficulty: float
    """ψ"""
    quality: float
    """θ"""
    strength: float
    """C of the penalty, chosen by cross-validation."""


def length_controlled(comparisons: Sequence[Comparison], difficulty: Difficulty) -> LengthControlled | None:
    """The length-controlled win rate of one model; None with fewer than `FEWEST` readable comparisons.

    Unreadable comparisons are predicted like the others and fitted to nothing. KeyError where `difficulty` does not
    know an instruction. The order of the comparisons does not matter.
    """
    ordered = sorted(comparisons, key=lambda row: row.instruction)
    if sum(row.preference is not None for row in ordered) < FEWEST:
        return None
    if _against_itself(ordered):
        return LengthControlled(50.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    own = _own_rows(ordered, difficulty)
    rows = _joined(_reworded_rows(ordered, difficulty), own.where(own.weights > 0))
    strength = best_strength(rows)
    coefficients = fit(rows, strength)
    rate = float(logistic(_level(own) @ coefficients).mean())
    phi, psi, theta = map(float, coefficients)
    return LengthControlled(100 * rate, 100 * _standard_error(rows, own, coefficients), phi, psi, theta, strength)


def differs_much(controlled: float, raw: float) -> bool:
    """Whether a length-controlled win rate is so far from the raw one that the published code warns of it.

    That is, by more than 10 points and by more than a quarter of the way from the raw one to 0 or 100.
    """
    return controlled < min(raw - raw / 4, raw - 10) or controlled > max(raw + (100 - raw) / 4, raw + 10)


def _against_itself(comparisons: Sequence[Comparison]) -> bool:
    """The reference's own answers have 50 by definition, as in the published code."""
    return all(row.preference in (0.5, None) and row.length_model == row.length_reference for row in comparisons)


def _own_rows(comparisons: Sequence[Comparison], difficulty: Difficulty) -> Rows:
    """Rows of the model itself; unreadable ones have weight 0, and their labels mean nothing."""
    labels = np.array([0.5 if row.preference is None else row.preference for row in comparisons])
    shorter = np.array([row.length_reference - row.length_model for row in comparisons])
    known = np.array([difficulty.of[row.instruction] for row in comparisons])
    features = np.column_stack([length_feature(shorter), known, np.ones(len(labels))])
    return Rows(features, labels, np.array([float(row.preference is not None) for row in comparisons]))


def _reworded_rows(comparisons: Sequence[Comparison], difficulty: Difficulty) -> Rows:
    """Rows of the reference made longer and shorter, which hold φ to what length alone does.

    Difficulty has a part in them, as in the published regression, which so shrinks ψ; θ has none.
    """
    if difficulty.reworded is not None:
        features, labels = difficulty.reworded
    else:
        lengths, labels = reworded(np.array([row.length_reference for row in comparisons]))
        known = np.array([difficulty.of[row.instruction] for row in comparisons])
        features = np.column_stack([lengths, np.tile(known, 2), np.zeros(len(lengths))])
    return Rows(features, labels, np.full(len(labels), REWORDED_WEIGHT))


def _joined(first: Rows, second: Rows) -> Rows:
    return Rows(
        np.concatenate([first.features, second.features]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.weights, second.weights]),
    )


def _standard_error(rows: Rows, own: Rows, coefficients: Array) -> float:
    """Of the mean prediction at no difference in length, 0 to 1, over the draw of instructions.

    An instruction moves the mean by what is predicted of it, and by how it bends the coefficients (the penalty, whose
    part is small, left out). `own` are the model's rows, of weight 0 where unreadable; `rows` all that was fitted.
    """
    chances, predicted = logistic(own.features @ coefficients), logistic(_level(own) @ coefficients)
    fitted = logistic(rows.features @ coefficients)
    bread = np.linalg.pinv((rows.features.T * (rows.weights * fitted * (1 - fitted))) @ rows.features)
    slope = (_level(own) * (predicted * (1 - predicted))[:, None]).mean(0)
    scores = own.features * (own.weights * (own.labels - chances))[:, None]
    influence = predicted / len(predicted) + scores @ bread @ slope
    return float(influence.std(ddof=1) * len(influence) ** 0.5)


def _level(own: Rows) -> Array:
    """The features, were all answers as long as the reference's."""
    level = own.features.copy()
    level[:, 0] = 0
    return level
