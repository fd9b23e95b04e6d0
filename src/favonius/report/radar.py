"""Several models' scores by category around one centre: the paper's Figure 1, as inline SVG in the style of `plots`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from favonius.report.plots import STAND_IN, STYLE, Chart, Ink, Key, as_svg
from favonius.report.wording import NONE, decimal
from favonius.statistics import Estimate

Score = Estimate | float | None
INCHES = (4.6, 3.7)
APART = math.radians(3.0)
"""Between the intervals of two models on one spoke, which would cover each other."""

FEWEST = 3
"""With fewer categories an outline has no inside."""


@dataclass(frozen=True)
class Pen:
    """How one model is drawn: told by dashes and marks as well as by colour."""

    color: Ink
    dashes: tuple[float, ...]
    mark: str


PENS = (
    Pen("first", (), "o"),
    Pen("second", (), "s"),
    Pen("third", (4, 2), "^"),
    Pen("fourth", (1, 1.5), "D"),
)


def radar(
    title: str, unit: str, models: Mapping[str, Mapping[str, Score]], prefix: str, low: float = 0.0, high: float = 10.0
) -> Chart:
    """Up to four models, and a spoke for each of three categories or more, clockwise from the top; else ValueError.

    Categories are those of all models in the order of the first that names them. The rim is `high`, the centre `low`.
    Intervals are drawn as bars along the spokes. Where a model has no score, its outline is open. `prefix` begins every
    id of the drawing, as in `plots.charts`; the text alternative holds every number.
    """
    categories = list(dict.fromkeys(name for scores in models.values() for name in scores))
    if not 1 <= len(models) <= len(PENS) or len(categories) < FEWEST:
        raise ValueError(f"{len(models)} models and {len(categories)} categories make no radar")
    style = STYLE | {"axes.grid.axis": "both", "axes.edgecolor": STAND_IN["rule"]}
    with rc_context(style):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = cast(PolarAxes, figure.add_subplot(projection="polar"))
        _dress(axes, categories, low, high)
        axes.set_rlabel_position(_emptiest_sector(models, categories))
        for number, (scores, pen) in enumerate(zip(models.values(), PENS, strict=False)):
            aside = (number - (len(models) - 1) / 2) * APART
            _draw(axes, [scores.get(name) for name in categories], pen, aside)
        svg = as_svg(figure, prefix, f"{title}, {unit}. {_told(models, categories)}")
    keys = tuple(
        Key("dash" if pen.dashes else "line", pen.color, name) for name, pen in zip(models, PENS, strict=False)
    )
    return Chart(title, unit, keys, "", svg)


def _dress(axes: PolarAxes, categories: Sequence[str], low: float, high: float) -> None:
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_ylim(low, high)
    axes.set_xticks(_angles(len(categories)), categories, color=STAND_IN["ink"], fontsize=9.5)
    rings = [low + (high - low) * part / 5 for part in range(1, 6)]
    axes.set_yticks(rings, [decimal(ring, 3) for ring in rings], color=STAND_IN["muted"], fontsize=7.5)
    axes.tick_params(axis="x", pad=2)
    for label, angle in zip(axes.get_xticklabels(), _angles(len(categories)), strict=True):
        across = round(math.sin(angle), 3)
        label.set_horizontalalignment("left" if across > 0 else "right" if across < 0 else "center")


def _emptiest_sector(models: Mapping[str, Mapping[str, Score]], categories: Sequence[str]) -> float:
    """Degrees from the top to the middle between the two neighbouring spokes with the lowest scores: there the rings'
    numbers stand clear of the outlines."""
    found = [[_value(scores.get(name)) for scores in models.values()] for name in categories]
    reached = [sum(value for value in values if math.isfinite(value)) for values in found]
    places = range(len(categories))
    lowest = min(places, key=lambda place: reached[place] + reached[(place + 1) % len(categories)])
    return 360 / len(categories) * (lowest + 0.5)


def _draw(axes: PolarAxes, scores: Sequence[Score], pen: Pen, aside: float) -> None:
    """The outline, closed where every category has a score, its corners, and the intervals a little beside them."""
    angles = _angles(len(scores))
    values = [_value(score) for score in scores]
    color = STAND_IN[pen.color]
    style = (0, pen.dashes) if pen.dashes else "solid"
    axes.plot([*angles, angles[0]], [*values, values[0]], color=color, linewidth=1.6, linestyle=style, zorder=3)
    axes.plot(angles, values, color=color, linestyle="none", marker=pen.mark, markersize=4, zorder=4)
    for angle, score in zip(angles, scores, strict=True):
        if isinstance(score, Estimate):
            at = angle + aside
            axes.plot([at, at], [score.low, score.high], color=color, linewidth=1.0, alpha=0.5, zorder=2)


def _angles(count: int) -> list[float]:
    return [2 * math.pi * place / count for place in range(count)]


def _value(score: Score) -> float:
    """NaN, at which matplotlib breaks a line, where there is none."""
    if score is None:
        return math.nan
    return score.value if isinstance(score, Estimate) else score


def _told(models: Mapping[str, Mapping[str, Score]], categories: Sequence[str]) -> str:
    said = []
    for model, scores in models.items():
        said.append(f"{model}: " + ", ".join(f"{name} {_words(scores.get(name))}" for name in categories))
    return "; ".join(said)


def _words(score: Score) -> str:
    if score is None or not math.isfinite(_value(score)):
        return NONE
    text = decimal(_value(score), 3)
    if not isinstance(score, Estimate):
        return text
    return f"{text} ({decimal(score.low, 3)} to {decimal(score.high, 3)})"
