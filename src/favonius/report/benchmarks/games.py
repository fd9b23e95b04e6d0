"""Two models item by item: who scores higher how often, and where one fell furthest behind the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from favonius.judges.figures import DUST, by_prompt
from favonius.report import gather
from favonius.report.benchmarks.reading import Item, Items, Metric
from favonius.report.public import Public
from favonius.report.tables import Bout, win_rows
from favonius.report.wording import count
from favonius.statistics import share

WORST = 3
"""Regressions shown for each model and task."""


@dataclass(frozen=True)
class Side:
    """One model's answer to an item, turn by turn."""

    label: str
    answers: tuple[str, ...]
    score: float
    finished: bool
    note: str


@dataclass(frozen=True)
class Regression:
    prompt: str
    category: str
    baseline: Side
    model: Side


@dataclass(frozen=True)
class Regressions:
    """Where a model scores lower than the baseline; `sentence` says how often, both ways."""

    label: str
    sentence: str
    shown: tuple[Regression, ...]


def matrix(found: Mapping[str, Items], metric: Metric) -> list[tuple[str, list[Bout | None]]]:
    """How often the row's model scores better than the column's on the items that both have, equal scores half; empty
    where no two models have one. Units are what is resampled."""
    wins: dict[str, dict[str, gather.Estimate | None]] = {label: {} for label in found}
    for first, second in combinations(found, 2):
        trials = (
            (found[first].rows[item].unit or item, 0.5 if abs(apart) <= DUST else float(apart > 0))
            for item, apart in differences(found[first], found[second], metric).items()
        )
        rate = share(*by_prompt(trials))
        if rate is not None:
            wins[first][second] = gather.Estimate(value=rate.value, low=rate.low, high=rate.high, n=rate.n)
            wins[second][first] = gather.Estimate(value=1 - rate.value, low=1 - rate.high, high=1 - rate.low, n=rate.n)
    return win_rows(wins, list(found)) if any(wins.values()) else []


def differences(first: Items, second: Items, metric: Metric) -> dict[str, float]:
    """By item, how far the first is the better one, in the metric's unit."""
    sign = -1.0 if metric.better == "lower" else 1.0
    other = second.scored(metric.key)
    return {item: sign * (value - other[item]) for item, value in first.scored(metric.key).items() if item in other}


def regressions(found: Mapping[str, Items], baseline: str, metric: Metric, public: Public) -> tuple[Regressions, ...]:
    """For each model but the baseline, the items on which it lost most against it, in words of both."""
    if baseline not in found:
        return ()
    others = (label for label in found if label != baseline)
    made = (_against(label, found[label], baseline, found[baseline], metric, public) for label in others)
    return tuple(one for one in made if one.shown)


def _against(label: str, own: Items, baseline: str, base: Items, metric: Metric, public: Public) -> Regressions:
    apart = differences(own, base, metric)
    lost = sorted((item for item in apart if apart[item] < -DUST), key=lambda item: apart[item])
    gained = sum(difference > DUST for difference in apart.values())
    worst: dict[str, str] = {}
    for item in lost:
        if own.rows[item].answers and base.rows[item].answers:
            worst.setdefault(own.rows[item].unit or item, item)  # one of each unit: three wrappers are one question
    return Regressions(
        label=label,
        sentence=(
            f"{label} scores worse than {baseline} on {count(len(lost))} of {count(len(apart))} items, better on "
            f"{count(gained)}."
        ),
        shown=tuple(
            Regression(
                prompt=public(base.rows[item].prompt),
                category=public(base.rows[item].category or ""),
                baseline=_side(baseline, base.rows[item], metric, public),
                model=_side(label, own.rows[item], metric, public),
            )
            for item in list(worst.values())[:WORST]
        ),
    )


def _side(label: str, row: Item, metric: Metric, public: Public) -> Side:
    score = row.scores[metric.key]
    assert score is not None  # only items with both scores are compared
    return Side(label, tuple(public(list(row.answers))), score, row.finished, public(row.note or ""))
