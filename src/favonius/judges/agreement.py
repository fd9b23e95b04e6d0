"""How far raters agree: Krippendorff's alpha over many of them, rank correlations of two."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from favonius.statistics import Estimate

Level = Literal["nominal", "ordinal", "interval"]
Unit = Sequence[float | None]
"""What each rater said of one thing, raters in one order; None where one said nothing."""
Floats = NDArray[np.float64]

RESAMPLES = 1000


def alpha(units: Sequence[Unit], level: Level) -> float | None:
    """Krippendorff's alpha: 1 is perfect agreement, 0 what chance gives, below it systematic disagreement.

    From the coincidence matrix (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011): each unit that two
    raters or more have rated gives its values, paired every way, with the weight 1 / (raters − 1). None where it is not
    defined: no unit has two values, or all values are the same.
    """
    values, tables = _coincidences(units, [0] * len(units))
    return _alpha(tables.sum(0), values, level)


def alpha_estimate(units: Sequence[Unit], level: Level, prompts: Sequence[Hashable] | None = None) -> Estimate | None:
    """`alpha` with its bootstrap interval over units, or over `prompts`, one for each unit: answers to one prompt are
    not independent. Resamples in which alpha is not defined are left out; n is what is resampled."""
    values, tables = _coincidences(units, range(len(units)) if prompts is None else prompts)
    found = _alpha(tables.sum(0), values, level)
    if found is None:
        return None
    draw = np.random.default_rng(0)
    drawn = (_alpha(_resampled(tables, draw), values, level) for _ in range(RESAMPLES))
    low, high = np.quantile([one for one in drawn if one is not None], (0.025, 0.975))
    return Estimate(found, float(low), float(high), len(tables))


def _coincidences(units: Sequence[Unit], names: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """The values that occur, ascending, and a coincidence matrix for each name; units with fewer than two values have
    no part in it."""
    heard = [(name, [value for value in unit if value is not None]) for name, unit in zip(names, units, strict=True)]
    paired = [(name, unit) for name, unit in heard if len(unit) > 1]
    values = np.unique(np.array([value for _, unit in paired for value in unit], dtype=float))
    places = {name: place for place, name in enumerate(dict.fromkeys(name for name, _ in paired))}
    tables = np.zeros((len(places), len(values), len(values)))
    for name, unit in paired:
        counts = np.bincount(np.searchsorted(values, unit), minlength=len(values)).astype(float)
        tables[places[name]] += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return values, tables


def _resampled(tables: Floats, draw: np.random.Generator) -> Floats:
    times = np.bincount(draw.integers(0, len(tables), len(tables)), minlength=len(tables))
    return np.asarray(np.tensordot(times, tables, axes=1))


def _alpha(coincidences: Floats, values: Floats, level: Level) -> float | None:
    if not coincidences.size:
        return None
    totals = coincidences.sum(1)
    distances = _distances(values, totals, level)
    # n − 1 and not n: a value is not paired with itself.
    expected = float((np.outer(totals, totals) * distances).sum() / (totals.sum() - 1))
    return 1 - float((coincidences * distances).sum()) / expected if expected > 0 else None


def _distances(values: Floats, totals: Floats, level: Level) -> Floats:
    """How far any two values are apart, squared; ordinal ones by how many ratings lie between them."""
    match level:
        case "nominal":
            return 1.0 - np.eye(len(values))
        case "interval":
            at = values
        case "ordinal":
            at = np.cumsum(totals) - totals / 2
    return (at[:, None] - at[None, :]) ** 2


def ranks(values: Sequence[float]) -> list[float]:
    """From 0, the lowest, to 1, the highest; equal values share the mean of their ranks. At least two values."""
    ordered = np.sort(np.array(values, dtype=float))
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return [float(rank) for rank in (below + upto - 1) / 2 / (len(values) - 1)]


def ranks_of_known(values: Sequence[float | None]) -> list[float | None]:
    """`ranks` among those that are there; one value alone has no rank."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return [None] * len(values)
    found = iter(ranks(known))
    return [None if value is None else next(found) for value in values]


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Correlation of the ranks; None where one side is all alike or has fewer than two values."""
    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b: pairs in one order less pairs in opposite orders, ties corrected for; None as `spearman`."""
    upper = np.triu_indices(len(first), 1)
    signs = [np.sign(np.subtract.outer(side, side))[upper] for side in (np.array(first), np.array(second))]
    decided = [float(np.abs(sign).sum()) for sign in signs]
    return float((signs[0] * signs[1]).sum()) / (decided[0] * decided[1]) ** 0.5 if all(decided) else None
