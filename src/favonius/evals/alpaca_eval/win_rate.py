"""Win rates as AlpacaEval defines them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Rate(NamedTuple):
    """A win rate in points, 0 to 100, its standard error (None for a single comparison), and how many it rests on."""

    value: float
    standard_error: float | None
    n: int


def win_rate(preferences: Sequence[float]) -> Rate | None:
    """Mean of preferences from 0 to 1, in points; None where there is none.

    The standard error is that of the mean, from the sample's deviation (n − 1).
    """
    if not preferences:
        return None
    points = 100 * np.sort(np.asarray(preferences, dtype=float))  # sorted: the order of rows changes no last digit
    error = float(points.std(ddof=1) / len(points) ** 0.5) if len(points) > 1 else None
    return Rate(float(points.mean()), error, len(points))
