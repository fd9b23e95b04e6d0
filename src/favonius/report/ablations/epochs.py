"""The paper's Figure 3: how dDPO goes on for epochs, after dSFT of one, two and three."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from favonius.phrases import counted
from favonius.report.ablations.models import Comparison, Measure, made
from favonius.report.gather import Estimate, Row, Run, Step
from favonius.report.plots import STAND_IN, STYLE, Chart, Key, as_svg, tick_labels
from favonius.report.radar import PENS, Pen
from favonius.report.wording import measure
from favonius.statistics import share

INCHES = (5.4, 3.1)
ASIDE = 0.03
"""Epochs between the intervals of two lines at one place, which would cover each other."""
FEWEST = 2
"""Numbers of epochs of dSFT: with one there is nothing to compare."""


@dataclass(frozen=True)
class Curve:
    """Accuracy over a training on pairs, after so many epochs of dSFT."""

    sft_epochs: int
    trained: tuple[tuple[float, float], ...]
    """(epochs done at its end, accuracy on the batches of an epoch, each measured before it is learned from)."""
    held_out: tuple[tuple[float, Estimate], ...]
    """(epochs done, accuracy on the test rows)."""


def accuracy_chart(run: Run, prefix: str) -> Chart | None:
    """Accuracy on training and held-out pairs by epochs of dDPO, a colour for each number of epochs of dSFT; None with
    fewer than two such numbers. `prefix` begins every id of the drawing, as in `plots.charts`."""
    found = curves(run)
    if len(found) < FEWEST:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.5, color=STAND_IN["rule"], linewidth=0.8)
        for number, (curve, pen) in enumerate(zip(found, cycle(PENS), strict=False)):
            _draw_trained(axes, curve, pen)
            _draw_points(axes, curve.held_out, pen, ASIDE * (number - (len(found) - 1) / 2))
        _dress(axes, "%")
        svg = as_svg(figure, prefix, f"Accuracy, % of pairs. {'; '.join(map(_told, found))}")
    keys = [_key(curve.sft_epochs, pen) for curve, pen in zip(found, cycle(PENS), strict=False)]
    told = [Key("line", "ink", "held-out pairs"), Key("dash", "ink", "training pairs, mean of each epoch")]
    return Chart("Accuracy", "% of pairs", (*keys, *told), "", svg)


def score_charts(compared: Sequence[Comparison], prefix: str) -> tuple[Chart, ...]:
    """Each measure of models after dSFT alone and after dDPO on it, by epochs of dDPO, a line for each number of epochs
    of dSFT; none with fewer than two such numbers."""
    found: list[Chart] = []
    for one in compared:
        for what in one.measures:
            lines = score_lines(one, what)
            if len(lines) >= FEWEST and any(len(points) > 1 for points in lines.values()):
                found.append(_score_chart(what, lines, f"{prefix}-{len(found)}"))
    return tuple(found)


def curves(run: Run) -> list[Curve]:
    """Of the trainings on pairs right after dSFT that have logged an accuracy, by epochs of dSFT; of several after
    equally long dSFT, the longest training."""
    longest: dict[int, Step] = {}
    for step in run.of_stage("train"):
        found = made(run, step.name)
        if found is None or found.trainings != ("sft", "preferences") or not _known(step.metrics):
            continue
        sft_epochs, epochs = found.epochs
        if sft_epochs not in longest or epochs > longest[sft_epochs].config.get("epochs", 1):
            longest[sft_epochs] = step
    return [curve(epochs, step.metrics) for epochs, step in sorted(longest.items())]


def _known(rows: Sequence[Row]) -> list[Row]:
    """The lines that have an accuracy."""
    return [row for row in rows if isinstance(row.get("accuracy"), int | float) and math.isfinite(row["accuracy"])]


def curve(sft_epochs: int, rows: Sequence[Row]) -> Curve:
    """From the lines of a training's metrics.jsonl."""
    by_epoch: defaultdict[int, list[Row]] = defaultdict(list)
    held_out = []
    for row in _known(rows):
        if row["split"] == "train":
            by_epoch[math.ceil(row["epoch"])].append(row)
        elif row["split"] == "test":
            held_out.append((float(row["epoch"]), _of_share(row)))
    trained = [(own[-1]["epoch"], _mean(own)) for _, own in sorted(by_epoch.items())]
    return Curve(sft_epochs, tuple(trained), tuple(held_out))


def _mean(rows: Sequence[Row]) -> float:
    """Over pairs: the last batch of an epoch may be smaller."""
    pairs = [row.get("rows", 1) for row in rows]
    return float(sum(row["accuracy"] * size for row, size in zip(rows, pairs, strict=True)) / sum(pairs))


def _of_share(row: Row) -> Estimate:
    """With its interval over pairs, where the line says how many they are. Before the first step every margin is 0 and
    counts half: that is no measurement, and has none."""
    pairs = int(row.get("rows", 0))
    if not pairs or not row["step"]:
        return Estimate(value=row["accuracy"])
    right, half = divmod(round(2 * row["accuracy"] * pairs), 2)
    hits = [*[1.0] * right, *[0.5] * half, *[0.0] * (pairs - right - half)]
    found = share(hits, [1.0] * pairs)
    return Estimate(value=row["accuracy"]) if found is None else Estimate(**found._asdict())


def score_lines(compared: Comparison, what: Measure) -> dict[int, list[tuple[float, Estimate]]]:
    """Epochs of dSFT → (epochs of dDPO, the models' value), in ascending order."""
    lines: defaultdict[int, dict[float, Estimate]] = defaultdict(dict)
    for label, found in compared.made.items():
        if label not in what.values:
            continue
        match found.trainings, found.epochs:
            case ("sft",), (sft_epochs,):
                lines[sft_epochs].setdefault(0.0, what.values[label])
            case ("sft", "preferences"), (sft_epochs, epochs):
                lines[sft_epochs].setdefault(float(epochs), what.values[label])
    return {sft_epochs: sorted(points.items()) for sft_epochs, points in sorted(lines.items())}


def _score_chart(what: Measure, lines: Mapping[int, Sequence[tuple[float, Estimate]]], prefix: str) -> Chart:
    with rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        if what.unit == "%":
            axes.axhline(0.5, color=STAND_IN["rule"], linewidth=0.8)
        for number, (points, pen) in enumerate(zip(lines.values(), cycle(PENS), strict=False)):
            _draw_points(axes, points, pen, ASIDE * (number - (len(lines) - 1) / 2))
        _dress(axes, what.unit)
        told = (f"{_after(epochs)}: {_listed(points, what.unit)}" for epochs, points in lines.items())
        svg = as_svg(figure, prefix, f"{what.title}, {what.unit}. {'; '.join(told)}")
    keys = (_key(epochs, pen) for epochs, pen in zip(lines, cycle(PENS), strict=False))
    return Chart(what.title, what.unit, tuple(keys), what.judge, svg)


def _draw_trained(axes: Axes, curve: Curve, pen: Pen) -> None:
    """A stair: each epoch's mean over the epoch that it is of."""
    if not curve.trained:
        return
    ends = [end for end, _ in curve.trained]
    values = [value for _, value in curve.trained]
    axes.stairs(values, [0.0, *ends], color=STAND_IN[pen.color], linewidth=1.1, linestyle=(0, (3, 2)), baseline=None)


def _draw_points(axes: Axes, points: Sequence[tuple[float, Estimate]], pen: Pen, aside: float) -> None:
    color = STAND_IN[pen.color]
    at = [place + aside for place, _ in points]
    axes.plot(at, [estimate.value for _, estimate in points], color=color, marker=pen.mark, markersize=4, linewidth=1.6)
    for place, (_, estimate) in zip(at, points, strict=True):
        if estimate.low is not None and estimate.high is not None:
            axes.plot([place, place], [estimate.low, estimate.high], color=color, linewidth=1.0, alpha=0.5)


def _dress(axes: Axes, unit: str) -> None:
    axes.set_xlabel("epochs of dDPO", color=STAND_IN["muted"], fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if unit == "%":
        axes.set_ylim(0.0, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        low, high = axes.get_ylim()
        ticks = [float(tick) for tick in axes.get_yticks() if low <= tick <= high]
        axes.set_yticks(ticks, tick_labels(ticks))


def _key(sft_epochs: int, pen: Pen) -> Key:
    return Key("line", pen.color, _after(sft_epochs))


def _after(sft_epochs: int) -> str:
    return f"after {counted(sft_epochs, 'epoch')} of dSFT"


def _told(curve: Curve) -> str:
    trained = ", ".join(f"{end:g}: {measure(value, '%')}" for end, value in curve.trained)
    return f"{_after(curve.sft_epochs)}, held out {_listed(curve.held_out, '%')}, training {trained}"


def _listed(points: Sequence[tuple[float, Estimate]], unit: str) -> str:
    return ", ".join(f"{place:g}: {measure(estimate.value, unit)}" for place, estimate in points)
