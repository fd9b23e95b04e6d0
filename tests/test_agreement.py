"""Agreement between raters, against published figures and other implementations."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.judges.agreement import Level, alpha, alpha_estimate, kendall, ranks, ranks_of_known, spearman

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
NONE = None
KRIPPENDORFF_2011 = list(
    zip(
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
        strict=True,
    )
)
"""The reliability data of "Computing Krippendorff's Alpha-Reliability", C: four observers, twelve units."""
TWO_VALUES = list(zip([0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0], strict=True))
"""The same paper's A: two observers, two values."""
SCORE = st.one_of(st.none(), st.integers(1, 5))


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(level: Level, published: float) -> None:
    assert alpha(KRIPPENDORFF_2011, level) == pytest.approx(published, abs=5e-4)
    found = alpha_estimate(KRIPPENDORFF_2011, level)
    assert found is not None and found.value == alpha(KRIPPENDORFF_2011, level)
    assert found.low < found.value < found.high <= 1.0
    assert found.n == 11, "the unit that one observer rated has no part in it"


def test_alpha_of_two_values() -> None:
    """Published as 0.095; by hand 1 − 19 · 4 / (14 · 6), of 14 zeros, 6 ones and four units that differ."""
    for level in LEVELS:
        assert alpha(TWO_VALUES, level) == pytest.approx(1 - 19 * 4 / (14 * 6))


def test_alpha_is_not_defined_where_nothing_can_differ() -> None:
    assert alpha([(1, 1), (1, 1)], "nominal") is None
    assert alpha([(1, NONE), (NONE, 2)], "interval") is None
    assert alpha([], "ordinal") is None and alpha_estimate([], "ordinal") is None


def test_alpha_of_raters_who_guess_is_nought() -> None:
    draw = random.Random(0)
    found = alpha_estimate([[draw.randint(1, 5) for _ in range(3)] for _ in range(400)], "ordinal")
    assert found is not None and found.low < 0 < found.high and found.high - found.low < 0.2


def test_units_of_one_prompt_are_drawn_together() -> None:
    """Ten copies of each unit say no more than one."""
    once = alpha_estimate(KRIPPENDORFF_2011, "interval")
    copied = [unit for unit in KRIPPENDORFF_2011 for _ in range(10)]
    again = alpha_estimate(copied, "interval", [number // 10 for number in range(len(copied))])
    alone = alpha_estimate(copied, "interval")
    assert once is not None and again is not None and alone is not None
    assert again.n == once.n and again.value == pytest.approx(once.value, abs=0.01)
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.1)
    assert alone.high - alone.low < 0.6 * (again.high - again.low)


@given(st.lists(st.tuples(SCORE, SCORE, SCORE), min_size=1, max_size=12), st.sampled_from(["nominal", "ordinal"]))
def test_alpha_knows_no_order_of_raters_and_no_scale(units: list[tuple[int | None, ...]], level: Level) -> None:
    found = alpha(units, level)
    turned = alpha([unit[::-1] for unit in units], level)
    rescaled = alpha([[None if one is None else one**3 for one in unit] for unit in units], level)
    if found is None:
        assert turned is None and rescaled is None
    else:
        assert found <= 1.0 + 1e-12
        assert turned == pytest.approx(found) and rescaled == pytest.approx(found)
        agreed = all(len({one for one in unit if one is not None}) <= 1 for unit in units)
        assert (found == pytest.approx(1.0)) == agreed


def test_ranks() -> None:
    assert ranks([3.0, 1.0, 2.0]) == [1.0, 0.0, 0.5]
    assert ranks([5.0, 5.0]) == [0.5, 0.5]
    assert ranks_of_known([None, 2.0, 1.0, 2.0]) == [None, 0.75, 0.0, 0.75]
    assert ranks_of_known([None, 2.0]) == [None, None]


@settings(deadline=None)  # importing scipy takes longer
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=8))
def test_rank_correlations_are_scipys(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = zip(*pairs, strict=True)
    if len(set(first)) < 2 or len(set(second)) < 2:
        assert spearman(first, second) is None and kendall(first, second) is None
    else:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second)[0])
        assert kendall(first, second) == pytest.approx(stats.kendalltau(first, second)[0])
        assert math.isclose(spearman(first, first) or 0.0, 1.0) and kendall(first, first) == 1.0
