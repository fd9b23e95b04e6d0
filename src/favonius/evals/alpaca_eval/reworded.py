"""What length alone does: the reference's own answers, made longer and made shorter, against themselves.

The published regression adds the judge's preferences on two such baselines to every model's, so that no model's
coefficient of length strays far from theirs. Their rows are not at hand, but their published win rates are: both
baselines stand here as the reference with every answer's length changed by one factor. The factor cancels in the
standardised difference, so that nothing is left to choose.
"""

from __future__ import annotations

import numpy as np

from favonius.evals.alpaca_eval.regression import Array

LONGER_WINS = 0.6430
"""Win rate of gpt4_1106_preview_verbose against gpt4_1106_preview, on the board of AlpacaEval 2."""
SHORTER_WINS = 0.2292
"""Of gpt4_1106_preview_concise."""
REWORDED_WEIGHT = 0.2 / 2
"""Of each of their rows, beside a model's own rows of weight 1; there are two baselines."""


def length_feature(shorter: Array) -> Array:
    """tanh of how much shorter each answer is than the reference's, in sample standard deviations of that.

    All differences alike (the reference against itself, a single row) say nothing of length: 0.
    """
    spread = shorter.std(ddof=1) if len(shorter) > 1 else 0.0
    if spread <= 1e-9 * np.abs(shorter).max(initial=1.0):
        return np.zeros(len(shorter))
    found: Array = np.tanh(shorter / spread)
    return found


def reworded(length_reference: Array) -> tuple[Array, Array]:
    """Length features and preferences (0 to 1) of the longer baseline, then of the shorter."""
    longer, shorter = length_feature(-length_reference), length_feature(length_reference)
    labels = np.concatenate([np.full(len(longer), LONGER_WINS), np.full(len(shorter), SHORTER_WINS)])
    return np.concatenate([longer, shorter]), labels
