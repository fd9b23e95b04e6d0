"""How hard each instruction is for the reference: fitted from many models' preferences, or read as published.

All models share it: logit P(preferred) = φ_model tanh(z) + difficulty_instruction + θ_model, with difficulties drawn
from a standard normal distribution and the reworded reference beside every model, as in its own regression. The
published difficulties come from a joint fit of this kind; the prior is ours. It is convex; Newton's method solves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from favonius.evals.alpaca_eval.preferences import ModelPreferences
from favonius.evals.alpaca_eval.regression import Array, logistic
from favonius.evals.alpaca_eval.reworded import REWORDED_WEIGHT, length_feature, reworded

FEWEST_MODELS = 5
"""What is common to fewer is mostly each one's own noise. On AlpacaEval 2's annotations, difficulties of one, two and
five models left 2.6, 1.8 and 1.3 points between controlled win rates and the published ones; none at all, 1.8."""
PRIOR = 1.0
"""Precision of difficulties."""
MODEL_PRIOR = 1e-3
"""Of a model's two coefficients: only what keeps a model finite that always or never wins."""
NEWTON_STEPS = 100
CLOSE = 1e-8


@dataclass(frozen=True)
class Difficulty:
    """Above 0: the models are preferred more often than elsewhere. `source` says in words where it comes from.

    `reworded` are features and labels of the published rows of the two reworded references, where they were read.
    """

    of: Mapping[str, float]
    source: str
    reworded: tuple[Array, Array] | None = None


def fit_difficulty(models: Sequence[ModelPreferences]) -> Difficulty:
    """From readable preferences of at least `FEWEST_MODELS` models; with fewer, every difficulty is 0.

    An instruction that no model's preference could be read of has the difficulty 0, which is the mean.
    """
    instructions = list(dict.fromkeys(row.instruction for model in models for row in model.comparisons))
    useful = [model for model in models if model.by_instruction()]
    if len(useful) < FEWEST_MODELS:
        return Difficulty(dict.fromkeys(instructions, 0.0), f"none: fewer than {FEWEST_MODELS} models to fit it from")
    found = _minimum(_Table.of(useful, instructions))
    return Difficulty(dict(zip(instructions, map(float, found), strict=True)), f"fitted from {len(useful)} models")


@dataclass(frozen=True)
class _Table:
    """[model, instruction]; where `weights` is 0 there is no readable preference.

    The reworded reference's two baselines follow one another in [model, 2 × instruction].
    """

    labels: Array
    lengths: Array
    weights: Array
    reworded_lengths: Array
    reworded_labels: Array
    reworded_weights: Array

    @classmethod
    def of(cls, models: Sequence[ModelPreferences], instructions: Sequence[str]) -> _Table:
        column = {text: number for number, text in enumerate(instructions)}
        table = cls(*(np.zeros((len(models), width * len(column))) for width in (1, 1, 1, 2, 2, 2)))
        for line, model in enumerate(models):
            rows = model.comparisons
            at = np.array([column[row.instruction] for row in rows])
            table.labels[line, at] = [0.0 if row.preference is None else row.preference for row in rows]
            table.weights[line, at] = [float(row.preference is not None) for row in rows]
            table.lengths[line, at] = length_feature(
                np.array([row.length_reference - row.length_model for row in rows])
            )
            both = np.concatenate([at, at + len(column)])
            lengths, labels = reworded(np.array([row.length_reference for row in rows]))
            table.reworded_lengths[line, both], table.reworded_labels[line, both] = lengths, labels
            table.reworded_weights[line, both] = REWORDED_WEIGHT
        return table


def _minimum(table: _Table) -> Array:
    """The difficulties. ArithmeticError where Newton's method does not converge."""
    models, instructions = table.labels.shape
    now = np.zeros(2 * models + instructions)
    for _ in range(NEWTON_STEPS):
        slope, curvature = _derivatives(table, now)
        step = -np.linalg.solve(curvature, slope)
        height = _height(table, now)
        while _height(table, now + step) > height * (1 + 1e-12) and np.abs(step).max() >= CLOSE:
            step /= 2
        now += step
        if np.abs(step).max() < CLOSE:
            return now[2 * models :]
    raise ArithmeticError(f"the difficulties of {instructions} instructions do not converge")


def _split(table: _Table, at: Array) -> tuple[Array, Array, Array]:
    """φ and θ of models, difficulties of instructions."""
    models = len(table.labels)
    return at[:models], at[models : 2 * models], at[2 * models :]


def _logits(table: _Table, at: Array) -> tuple[Array, Array]:
    phi, theta, difficulty = _split(table, at)
    return phi[:, None] * table.lengths + theta[:, None] + difficulty, phi[:, None] * table.reworded_lengths


def _height(table: _Table, at: Array) -> float:
    """What is minimised: cross-entropies and priors."""
    phi, theta, difficulty = _split(table, at)
    own, again = _logits(table, at)
    losses = table.weights * (np.logaddexp(0, own) - table.labels * own)
    held = table.reworded_weights * (np.logaddexp(0, again) - table.reworded_labels * again)
    priors = MODEL_PRIOR * (phi @ phi + theta @ theta) + PRIOR * difficulty @ difficulty
    return float(losses.sum() + held.sum() + priors / 2)


def _derivatives(table: _Table, at: Array) -> tuple[Array, Array]:
    models = len(table.labels)
    own, again = (logistic(logits) for logits in _logits(table, at))
    pulls, bends = table.weights * (own - table.labels), table.weights * own * (1 - own)
    held = table.reworded_weights * (again - table.reworded_labels) * table.reworded_lengths
    held_bends = table.reworded_weights * again * (1 - again) * table.reworded_lengths**2
    by_length = bends * table.lengths
    prior = np.repeat([MODEL_PRIOR, PRIOR], [2 * models, table.labels.shape[1]])
    slope = np.concatenate([(pulls * table.lengths).sum(1) + held.sum(1), pulls.sum(1), pulls.sum(0)]) + prior * at
    curvature = np.diag(
        np.concatenate([(by_length * table.lengths).sum(1) + held_bends.sum(1), bends.sum(1), bends.sum(0)]) + prior
    )
    phi, theta, rest = np.arange(models), np.arange(models, 2 * models), slice(2 * models, None)
    curvature[phi, theta] = curvature[theta, phi] = by_length.sum(1)
    curvature[phi, rest], curvature[theta, rest] = by_length, bends
    curvature[rest, phi], curvature[rest, theta] = by_length.T, bends.T
    return slope, curvature
