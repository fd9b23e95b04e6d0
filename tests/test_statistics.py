"""Estimates and their intervals."""

from __future__ import annotations

import pytest

from favonius.statistics import mean, ratio, share


def test_intervals_cover_the_truth() -> None:
    """The bootstrap's 95 % interval of a mean is close to the normal one, and holds the value."""
    values = [float(n % 10) for n in range(200)]
    estimate = mean(values)
    assert estimate is not None
    half = 1.96 * (8.25 / 200) ** 0.5
    assert (estimate.low, estimate.high) == pytest.approx((4.5 - half, 4.5 + half), abs=0.05)
    assert ratio([2.0, 4.0], [1.0, 3.0]) is not None and ratio([2.0, 4.0], [1.0, 3.0]).value == 1.5  # type: ignore[union-attr]
    assert ratio([], []) is None
    sure = share([2.0] * 15, [2.0] * 15)
    assert sure is not None and (sure.value, sure.high) == (1.0, 1.0) and sure.low == pytest.approx(0.796, abs=1e-3)
    never = share([0.0] * 15, [2.0] * 15)
    assert never is not None and (never.value, never.low) == (0.0, 0.0) and never.high == pytest.approx(0.204, abs=1e-3)


@pytest.mark.parametrize("units", range(1, 60))
def test_an_interval_holds_its_value_to_the_last_bit(units: int) -> None:
    """Of units that all agree; six of six once ended at 0.9999999999999999, below its value."""
    for hit in (0.0, 1.0):
        estimate = share([hit] * units, [1.0] * units)
        assert estimate is not None and estimate.low <= estimate.value <= estimate.high
