"""Two models on the same items: differences, their intervals and the sign test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.evals.paired import compare
from favonius.statistics import sign_test, standard_error


def noisy(count: int, shift: float, seed: int = 0) -> tuple[dict[int, float], dict[int, float]]:
    """Scores of two models on items that differ far more than the models do."""
    drawn = np.random.default_rng(seed)
    hardness, own, others = drawn.normal(5, 3, count), drawn.normal(shift, 0.5, count), drawn.normal(0, 0.5, count)
    return dict(enumerate(hardness + own)), dict(enumerate(hardness + others))


def test_a_comparison_by_hand() -> None:
    """Differences 0.5, 0, −0.25, 1; one item only the first has, two only the second."""
    first = {"a": 0.5, "b": 1.0, "c": 0.5, "d": 1.0, "x": 1.0}
    second = {"d": 0.0, "c": 0.75, "b": 1.0, "a": 0.0, "y": 0.0, "z": 0.0}
    found = compare(first, second)
    assert found is not None
    assert (found.difference.value, found.difference.n) == (0.3125, 4)
    assert (found.wins, found.losses, found.ties, found.only_first, found.only_second) == (2, 1, 1, 1, 2)
    assert found.p == 1.0  # 3 tosses: 2 or more of either side always come
    # Sum of squared deviations from 0.3125: 0.921875; /3 is the variance, /4 that of the mean.
    assert found.standard_error == pytest.approx(math.sqrt(0.921875 / 3 / 4))
    assert not found.told_apart


def test_pairing_sees_what_separate_intervals_cannot() -> None:
    found = compare(*noisy(80, 0.4), span=9.0)
    assert found is not None and found.told_apart and found.p < 0.01
    assert found.difference.value == pytest.approx(0.4, abs=0.2)
    assert found.difference.high - found.difference.low < 0.5  # the scores alone would give about 2


def test_the_bootstrap_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = noisy(60, 0.1, seed=3)
    found = compare(first, second, span=9.0)
    assert found is not None
    differences = np.array([first[item] - second[item] for item in first])
    theirs = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=20000, random_state=1)
    interval = theirs.confidence_interval
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high), abs=0.02)
    assert found.standard_error == pytest.approx(stats.sem(differences))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_the_sign_test_is_scipys(wins: int, losses: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(theirs, rel=1e-9, abs=1e-300)


def test_the_sign_test_by_hand() -> None:
    assert sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert sign_test(5, 0) == sign_test(0, 5) == pytest.approx(2 / 32)
    assert sign_test(3, 3) == sign_test(0, 0) == 1.0
    assert sign_test(500_600, 499_400) == pytest.approx(math.erfc(1199 / 1000 / math.sqrt(2)), rel=1e-4)


def test_items_of_one_unit_are_drawn_together() -> None:
    """Both turns of a question say the same: with turns as units the interval would be too narrow by √2."""
    first, second = noisy(50, 0.1)
    twice = [{(item, turn): score for item, score in scores.items() for turn in (1, 2)} for scores in (first, second)]
    alone, grouped = compare(first, second), compare(twice[0], twice[1], unit=lambda key: key[0])
    assert alone is not None and grouped is not None
    assert grouped.difference == pytest.approx(alone.difference)
    assert (grouped.wins, grouped.losses, grouped.p) == (alone.wins, alone.losses, alone.p)
    assert grouped.standard_error == pytest.approx(alone.standard_error)
    naive = compare(twice[0], twice[1])
    assert naive is not None and naive.standard_error is not None and alone.standard_error is not None
    assert naive.standard_error < 0.75 * alone.standard_error


def test_units_that_all_differ_alike_are_not_certain() -> None:
    same = compare(dict.fromkeys(range(10), 1.0), dict.fromkeys(range(10), 1.0))
    assert same is not None and same.difference.value == 0 and same.difference.low < 0 < same.difference.high
    grades = compare(dict.fromkeys(range(10), 7.0), dict.fromkeys(range(10), 6.0), span=9.0)
    assert grades is not None and (grades.difference.value, grades.wins) == (1.0, 10)
    assert grades.difference.low < 0.5
    assert compare({1: 1.0}, {1: 0.0}).standard_error is None  # type: ignore[union-attr]


def test_nothing_in_common_is_no_comparison() -> None:
    assert compare({"a": 1.0}, {"b": 1.0}) is None
    with pytest.raises(ValueError, match="finite"):
        compare({"a": math.nan}, {"a": 1.0})


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=1, max_size=30))
def test_turned_round_a_comparison_says_the_opposite(grades: list[tuple[int, int]]) -> None:
    first, second = ({at: float(pair[side]) for at, pair in enumerate(grades)} for side in (0, 1))
    one, other = compare(first, second, span=9.0), compare(second, first, span=9.0)
    assert one is not None and other is not None
    assert other.difference.value == pytest.approx(-one.difference.value)
    assert (other.difference.low, other.difference.high) == pytest.approx((-one.difference.high, -one.difference.low))
    assert (other.wins, other.losses, other.p) == (one.losses, one.wins, one.p)


def test_the_standard_error_of_a_ratio() -> None:
    """Units with 1 of 2, 2 of 2 and 0 of 1: ratio 0.6, residuals −0.2, 0.8 and −0.6."""
    assert standard_error([1, 2, 0], [2, 2, 1]) == pytest.approx(math.sqrt((0.04 + 0.64 + 0.36) * 3 / 2) / 5)
    assert standard_error([1.0], [1.0]) is None and standard_error([], []) is None


@pytest.mark.parametrize("units", [1, 2, 5, 6, 7])
def test_a_handful_of_units_tells_nothing_apart(units: int) -> None:
    """Five that all differ to one side are a coin's doing once in 16 times, six once in 32."""
    found = compare(dict.fromkeys(range(units), 1.0), dict.fromkeys(range(units), 0.0))
    assert found is not None and found.difference.low > 0
    assert found.told_apart == (found.p < 0.05) == (units >= 6)


def test_weights_count_items_more_or_less() -> None:
    """Differences −1, 0 and 2 with weights 3, 1 and 0: −3/4, over two units that weigh anything."""
    weights = {"a": 3.0, "b": 1.0, "c": 0.0}
    first, second = {"a": 0.0, "b": 1.0, "c": 2.0}, {"a": 1.0, "b": 1.0, "c": 0.0}
    found = compare(first, second, span=2.0, weight=weights.__getitem__)
    assert found is not None and found.difference.value == pytest.approx(-0.75)
    assert (found.wins, found.losses, found.ties) == (0, 1, 2)
    assert compare(first, second, weight=lambda item: 0.0) is None
