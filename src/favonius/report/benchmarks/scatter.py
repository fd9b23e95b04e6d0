"""Whether longer answers score higher: every item as a dot, and the slope of each model in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from favonius.judges.figures import slope
from favonius.report import gather
from favonius.report.benchmarks.reading import Items, Metric
from favonius.report.benchmarks.table import signed
from favonius.report.plots import ROUND, STAND_IN, STYLE, Chart, Key, as_svg
from favonius.report.radar import PENS
from favonius.report.wording import count, interval, measure
from favonius.statistics import Estimate

INCHES = (4.6, 3.3)
DOTS = 250
"""Drawn of each model at most; the slope is that of all."""
FEWEST = 8
"""Items, of which no slope is given below."""


@dataclass(frozen=True)
class Scatter:
    chart: Chart
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Dot:
    unit: str
    characters: int
    score: float


def length_against_score(found: Mapping[str, Items], metric: Metric, prefix: str) -> Scatter | None:
    """Up to four models; None where no item has an answer and a score. `prefix` begins every id of the drawing."""
    drawn = {label: _dots(items, metric) for label, items in list(found.items())[: len(PENS)]}
    drawn = {label: dots for label, dots in drawn.items() if dots}
    if not drawn:
        return None
    sentences = [_told(label, dots, metric) for label, dots in drawn.items()]
    if len(found) > len(PENS):
        sentences.append(f"Drawn are the first {len(PENS)} of {len(found)} models.")
    if any(len(dots) > DOTS for dots in drawn.values()):
        sentences.append(f"At most {DOTS} dots a model are drawn; slopes are those of all items.")
    return Scatter(_chart(drawn, metric, prefix, " ".join(sentences)), tuple(sentences))


def _dots(items: Items, metric: Metric) -> list[Dot]:
    """Items with words and a score: an empty answer has no place on an axis of doublings."""
    scores = items.scored(metric.key)
    rows = ((items.rows[item], item, score) for item, score in scores.items())
    return [Dot(row.unit or item, row.characters, score) for row, item, score in rows if row.characters]


def per_doubling(dots: Sequence[Dot]) -> Estimate | None:
    """What a score gains with each doubling of the answer's length, by least squares, units being resampled; None with
    few items and where all are of one length."""
    if len(dots) < FEWEST:
        return None
    x = [math.log2(dot.characters) for dot in dots]
    middle, level = fmean(x), fmean(dot.score for dot in dots)
    units = {unit: number for number, unit in enumerate(dict.fromkeys(dot.unit for dot in dots))}
    return slope((units[dot.unit], at - middle, dot.score - level) for at, dot in zip(x, dots, strict=True))


def _told(label: str, dots: Sequence[Dot], metric: Metric) -> str:
    unit = " points" if metric.unit == "%" else ""
    found = per_doubling(dots)
    if found is None:
        return f"{label}: too few answers of different length ({count(len(dots))} items) for a slope."
    bounds = interval(gather.Estimate(value=found.value, low=found.low, high=found.high), metric.shown_as)
    gain = f"{signed(found.value, metric.shown_as)}{unit} (95 % interval {bounds})"
    if found.low <= 0 <= found.high:
        return f"{label}: {gain} with each doubling of the length, which may be nothing."
    return f"{label}: {gain} with each doubling of the length; longer answers score {_way(found)}."


def _way(found: Estimate) -> str:
    return "higher" if found.value > 0 else "lower"


def _chart(drawn: Mapping[str, Sequence[Dot]], metric: Metric, prefix: str, told: str) -> Chart:
    with rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        for dots, pen in zip(drawn.values(), PENS, strict=False):
            shown = dots[:: math.ceil(len(dots) / DOTS)]
            x, y = [dot.characters for dot in shown], [dot.score for dot in shown]
            axes.plot(
                x, y, color=STAND_IN[pen.color], linestyle="none", marker=pen.mark, markersize=3.2, alpha=0.5,
                markeredgewidth=0,
            )  # fmt: skip
            _line(axes, dots, STAND_IN[pen.color])
        _dress(axes, [dot.characters for dots in drawn.values() for dot in dots], metric)
        svg = as_svg(figure, prefix, f"Length against {metric.title}. {told}")
    keys = tuple(Key("line", pen.color, label) for label, pen in zip(drawn, PENS, strict=False))
    return Chart("Length and score", metric.title, keys, "", svg)


def _line(axes: Axes, dots: Sequence[Dot], color: str) -> None:
    found = per_doubling(dots)
    if found is None:
        return
    x = [math.log2(dot.characters) for dot in dots]
    middle, level = fmean(x), fmean(dot.score for dot in dots)
    ends = (min(x), max(x))
    heights = [level + found.value * (end - middle) for end in ends]
    axes.plot([2**end for end in ends], heights, color=color, linewidth=1.5)


def _dress(axes: Axes, lengths: Sequence[int], metric: Metric) -> None:
    """Lengths by doublings, with round numbers at the ticks."""
    axes.set_xscale("log", base=2)
    low, high = min(lengths), max(lengths)
    ticks = [digit * 10**power for power in range(7) for digit in (1, 2, 5) if low <= digit * 10**power <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks or [low]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks or [low], [count(tick) for tick in ticks or [low]])
    axes.set_xlabel("characters of the answer", color=STAND_IN["muted"], fontsize=8.5)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    bottom, top = axes.get_ylim()
    heights = [float(tick) for tick in axes.get_yticks() if bottom <= tick <= top]
    axes.set_yticks(heights, labels=[measure(tick, metric.unit).removesuffix(".0") for tick in heights])
