"""What the page's tables say, worked out from a run; the template only sets it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from favonius.report.gather import Estimate, Metric, Results, Run, Step
from favonius.report.wording import NONE, count, interval, measure

RULE = (
    "Small: 95 % interval. A value is set bold only where the row has a better direction and its whole interval lies "
    "on the better side of every other model's interval. Overlapping intervals do not show that two models are equal; "
    "they show that these prompts cannot tell them apart."
)
COIN = Estimate(value=0.5, low=0.5, high=0.5)
"""What the baseline's win rate against itself is by definition."""
WINS = ("win_rate", "win_rate_by_score")


@dataclass(frozen=True)
class Cell:
    value: str
    interval: str = ""
    n: int | None = None
    """Observations, where they differ along the row."""
    best: bool = False
    muted: bool = False


@dataclass(frozen=True)
class MetricRow:
    metric: Metric
    cells: tuple[Cell, ...]
    n: int | None
    """Observations behind every value of the row, where they are the same."""


def metric_rows(results: Results) -> list[MetricRow]:
    return [_metric_row(metric, results) for metric in results.metrics]


def _metric_row(metric: Metric, results: Results) -> MetricRow:
    values = {label: metric.values.get(label) for label in results.labels}
    by_definition = metric.key in WINS and values.get(results.baseline) is None
    if by_definition:
        values[results.baseline] = COIN
    winner = best(values, metric.better)
    sizes = {estimate.n for estimate in values.values() if estimate is not None and estimate is not COIN}
    common = next(iter(sizes)) if len(sizes) == 1 else None
    cells = [_cell(estimate, metric.unit, label == winner, common) for label, estimate in values.items()]
    return MetricRow(metric, tuple(cells), common)


def _cell(estimate: Estimate | None, unit: str, is_best: bool, common: int | None) -> Cell:
    if estimate is None:
        return Cell(NONE, muted=True)
    if estimate is COIN:
        return Cell(measure(0.5, "%"), "by definition", best=is_best, muted=True)
    n = estimate.n if common is None else None
    return Cell(measure(estimate.value, unit), interval(estimate, unit), n, is_best)


def best(values: Mapping[str, Estimate | None], better: str | None) -> str | None:
    """The label whose interval lies wholly on the better side of all others, if there is one (the page's RULE).

    None where the metric has no better direction, where fewer than two models have a value, or where any of those
    that have one lacks an interval.
    """
    known = {label: estimate for label, estimate in values.items() if estimate is not None}
    bounds = {
        label: (estimate.low, estimate.high)
        for label, estimate in known.items()
        if estimate.low is not None and estimate.high is not None
    }
    if better is None or len(known) < 2 or len(bounds) < len(known):
        return None
    for label, (low, high) in bounds.items():
        others = [bound for other, bound in bounds.items() if other != label]
        if better == "higher" and all(low > other_high for _, other_high in others):
            return label
        if better == "lower" and all(high < other_low for other_low, _ in others):
            return label
    return None


@dataclass(frozen=True)
class Bout:
    """One cell of the win matrix. `lean` is the tint's strength 0…100: 0 where the interval holds 50 %."""

    value: str
    interval: str
    n: int | None
    wins: bool
    lean: int


Wins = Mapping[str, Mapping[str, Estimate | None]]
"""Model → the other model → the share of games that the first wins."""


def win_rows(wins: Wins, labels: Sequence[str]) -> list[tuple[str, list[Bout | None]]]:
    """The win matrix by rows, in the labels' order; None on the diagonal and where two models never met."""
    rows = []
    for row in (label for label in labels if label in wins):
        estimates = (None if row == column else wins[row].get(column) for column in labels)
        rows.append((row, [None if estimate is None else _bout(estimate) for estimate in estimates]))
    return rows


def _bout(estimate: Estimate) -> Bout:
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    clear = not low <= 0.5 <= high
    lean = round(abs(estimate.value - 0.5) * 200) if clear else 0
    return Bout(measure(estimate.value, "%"), interval(estimate, "%"), estimate.n, estimate.value > 0.5, lean)


@dataclass(frozen=True)
class Version:
    package: str
    version: str
    steps: str
    """Names of the steps that ran with it, where not all ran with the same; else empty."""


def versions(run: Run) -> list[Version]:
    """Versions that the finished steps ran with, each once."""
    done = [step for step in run.steps if step.manifest is not None]
    found: dict[tuple[str, str], list[str]] = {}
    for step in done:
        for package, version in step.manifest.versions.items() if step.manifest else ():
            found.setdefault((package, version), []).append(step.name)
    variants = Counter(package for package, _ in found)
    return [
        Version(package, version, ", ".join(names) if variants[package] > 1 else "")
        for (package, version), names in sorted(found.items(), key=lambda item: item[0])
    ]


@dataclass(frozen=True)
class Pace:
    """Time and tokens of one step; `share` of the run's longest step, 0…100, for its bar."""

    step: Step
    tokens_per_second: str
    share: float


def paces(run: Run) -> list[Pace]:
    longest = max((step.seconds or 0.0 for step in run.steps), default=0.0)
    return [
        Pace(
            step,
            count(step.tokens / step.seconds) if step.tokens and step.seconds else NONE,
            100.0 * (step.seconds or 0.0) / longest if longest else 0.0,
        )
        for step in run.steps
    ]
