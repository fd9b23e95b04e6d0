"""Logistic regression with an L1 penalty, for few features and soft labels, without an intercept.

The published scores come from scikit-learn's LogisticRegressionCV with liblinear; this minimises the same function,
to the last digits and without that library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STRENGTHS = np.logspace(-4, 4, 10)
"""C: what the data's loss weighs against the penalty."""
FOLDS = 5
NEWTON_STEPS = 100
SWEEPS = 500
CLOSE = 1e-9
"""Of coefficients, in logits: nearer they are the same."""
FLAT = 1e-10
"""Added to curvatures, so that a feature that is 0 everywhere keeps its coefficient of 0."""


@dataclass(frozen=True)
class Rows:
    """Features [row, feature], soft labels from 0 to 1, and weights. A row stands for a hit of weight
    `label × weight` and a miss of weight `(1 − label) × weight`."""

    features: Array
    labels: Array
    weights: Array

    def where(self, chosen: NDArray[np.bool_]) -> Rows:
        return Rows(self.features[chosen], self.labels[chosen], self.weights[chosen])

    def losses(self, coefficients: Array) -> Array:
        """Weighted cross-entropy of each row, in nats."""
        logits = self.features @ coefficients
        found: Array = self.weights * (np.logaddexp(0, logits) - self.labels * logits)
        return found


def logistic(logits: Array) -> Array:
    """1 / (1 + exp(−x)), without overflow."""
    found: Array = (1 + np.tanh(logits / 2)) / 2
    return found


def fit(rows: Rows, strength: float, start: Array | None = None) -> Array:
    """Coefficients that minimise Σ|coefficient| + strength × Σ losses. ArithmeticError where it does not converge."""

    def height(at: Array) -> float:
        return float(np.abs(at).sum() + strength * rows.losses(at).sum())

    now = np.zeros(rows.features.shape[1]) if start is None else start
    before = height(now)
    for _ in range(NEWTON_STEPS):
        chances = logistic(rows.features @ now)
        slope = strength * (rows.features.T @ (rows.weights * (chances - rows.labels)))
        curvature = strength * (rows.features.T * (rows.weights * chances * (1 - chances))) @ rows.features
        step = _quadratic(now, slope, curvature + FLAT * np.eye(len(now))) - now
        while (after := height(now + step)) > before * (1 + 1e-12) and np.abs(step).max() >= CLOSE:
            step = step / 2
        now, before = now + step, after
        if np.abs(step).max() < CLOSE:
            return now
    raise ArithmeticError(f"the regression of {len(rows.labels)} rows does not converge")


def _quadratic(now: Array, slope: Array, curvature: Array) -> Array:
    """Where the penalised second-order model around `now` is least, feature by feature until none moves.

    In Python's numbers: for three features they are faster than arrays.
    """
    bends: list[list[float]] = curvature.tolist()
    pulls: list[float] = slope.tolist()  # of the second-order model at `new`
    new: list[float] = now.tolist()
    for _ in range(SWEEPS):
        moved = 0.0
        for place, bend in enumerate(bends):
            free = new[place] - pulls[place] / bend[place]
            value = math.copysign(max(abs(free) - 1 / bend[place], 0.0), free)
            change = value - new[place]
            new[place] = value
            pulls = [pull + change * row[place] for pull, row in zip(pulls, bends, strict=True)]
            moved = max(moved, abs(change))
        if moved < CLOSE / 10:
            break
    return np.array(new)


def best_strength(rows: Rows) -> float:
    """The strength with the least mean loss on held-out rows; every fifth row is a fold, in the order given."""
    fold = np.arange(len(rows.labels)) % FOLDS
    losses = np.zeros(len(STRENGTHS))
    for number in range(FOLDS):
        kept, held_out = rows.where(fold != number), rows.where(fold == number)
        coefficients = None
        for place, strength in enumerate(STRENGTHS):
            coefficients = fit(kept, float(strength), coefficients)
            losses[place] += held_out.losses(coefficients).mean()
    return float(STRENGTHS[losses.argmin()])
