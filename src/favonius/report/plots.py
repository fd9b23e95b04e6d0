"""Training curves and histograms as inline SVG that takes its colours and its fonts from the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from favonius.report.gather import Row, Step
from favonius.report.wording import decimal, minus
from favonius.statistics import Estimate

Ink = Literal["ink", "muted", "rule", "first", "second", "third", "fourth"]

# matplotlib wants colours, the page wants CSS variables: each stand-in below becomes `var(--name)` in the SVG.
STAND_IN: dict[Ink, str] = {
    "ink": "#010203",
    "muted": "#010204",
    "rule": "#010205",
    "first": "#010206",
    "second": "#010207",
    "third": "#010208",
    "fourth": "#010209",
}
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "favonius",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": STAND_IN["rule"],
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": STAND_IN["rule"],
    "grid.linewidth": 0.4,
    "xtick.color": STAND_IN["rule"],
    "ytick.color": STAND_IN["rule"],
    "xtick.labelcolor": STAND_IN["muted"],
    "ytick.labelcolor": STAND_IN["muted"],
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}
INCHES = (3.4, 2.3)
ROUND = [1, 2, 2.5, 5, 10]
"""Leading digits of distances between ticks."""
BINS = 16
LN2 = math.log(2)
STEADY_FROM = 20
"""Fewer train rows than this are drawn as they are, without a running mean."""


@dataclass(frozen=True)
class Line:
    """One column of metrics.jsonl. `name` tells two lines of one panel apart."""

    field: str
    color: Ink = "first"
    name: str = ""


@dataclass(frozen=True)
class Panel:
    """What one small chart shows: columns, and a dashed line at `level`, named where its height alone does not tell."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    level: float | None = None
    level_name: str = ""
    from_zero: bool = False
    share: bool = False
    tested: bool = True
    """Whether the columns mean something on test rows."""
    smooth: bool = True
    """Whether the columns vary from batch to batch."""


@dataclass(frozen=True)
class Key:
    """One entry of a chart's key: a swatch of `kind` in `color`, and its name."""

    kind: Literal["line", "dash"]
    color: Ink
    name: str


@dataclass(frozen=True)
class Chart:
    """A drawn panel. `note` says where its test values began and ended; with two lines, their keys do."""

    title: str
    unit: str
    keys: tuple[Key, ...]
    note: str
    svg: Markup


PACE = (
    Panel("Speed", "tokens/s", (Line("tokens_per_second"),), from_zero=True, tested=False),
    Panel("Learning rate", "", (Line("learning_rate"),), from_zero=True, tested=False, smooth=False),
    Panel("Gradient norm", "before clipping", (Line("grad_norm"),), from_zero=True, tested=False),
)
SFT_PANELS = (Panel("Loss", "nats per scored token", (Line("loss"),)), *PACE)
DPO_PANELS = (
    Panel("Loss", "nats per pair", (Line("loss"),), level=LN2, level_name="ln 2 = 0.693, no preference"),
    Panel("Accuracy", "% of pairs", (Line("accuracy"),), level=0.5, level_name="chance", share=True),
    Panel("Margin", "chosen − rejected reward", (Line("margin"),), level=0.0),
    Panel(
        "Log-probabilities",
        "nats per answer",
        (Line("chosen_logps", "first", "chosen"), Line("rejected_logps", "second", "rejected")),
    ),
    Panel(
        "Rewards",
        "β · log-ratio to the reference",
        (Line("chosen_rewards", "first", "chosen"), Line("rejected_rewards", "second", "rejected")),
        level=0.0,
    ),
    *PACE,
)
REWARD_PANELS = (
    Panel("Loss", "per prompt", (Line("loss"),)),
    Panel("Accuracy", "% of pairs of rated answers", (Line("accuracy"),), level=0.5, level_name="chance", share=True),
    Panel(
        "Longer answers",
        "% of pairs where the longer one has more",
        (Line("longer_preferred", "first", "reward"), Line("longer_better", "second", "score")),
        level=0.5,
        share=True,
    ),
    Panel("Margin", "better − worse answer's reward", (Line("margin"),), level=0.0),
    *PACE,
)


def charts(step: Step, prefix: str) -> list[Chart]:
    """The curves of a train step: a reward's or DPO's panels where rewards of rated answers or preferences were logged,
    else SFT's; panels without data fall out.

    `prefix` begins every id in the drawings; it must be an id itself and differ between steps of one page.
    Train values are thin lines, with a running mean (thick) from twenty steps on; test values are dots.
    """
    logged = {name for row in step.metrics for name in row}
    panels = REWARD_PANELS if "reward_mean" in logged else DPO_PANELS if "margin" in logged else SFT_PANELS
    drawn = (_chart(f"{prefix}-{number}", panel, step.metrics) for number, panel in enumerate(panels))
    return [chart for chart in drawn if chart is not None]


def histogram(title: str, unit: str, counts: Mapping[int, int], prefix: str) -> Chart:
    """Bars for whole numbers and how often each is, those between that never are included. `prefix` as in `charts`."""
    numbers = range(min(counts), max(counts) + 1)
    heights = [counts.get(number, 0) for number in numbers]
    with rc_context(STYLE | {"axes.grid": False, "ytick.labelleft": False, "axes.spines.left": False}):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        bars = axes.bar(numbers, heights, width=0.72, color=STAND_IN["first"])
        shown = [f"{height:,}" if height else "" for height in heights]
        axes.bar_label(bars, shown, padding=2, color=STAND_IN["ink"], fontsize=8.5)
        axes.set_xlabel(title.lower(), color=STAND_IN["muted"], fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=ROUND))
        axes.set_xlim(numbers[0] - 0.7, numbers[-1] + 0.7)
        pairs = (f"{number}: {height:,}" for number, height in zip(numbers, heights, strict=True))
        svg = as_svg(figure, prefix, f"{title}, {unit}. {', '.join(pairs)}")
    return Chart(title, unit, (), "", svg)


def spread(title: str, unit: str, axis: str, values: Sequence[float], prefix: str) -> Chart:
    """A histogram of numbers that need not be whole, from 0 on, in bins with round ends; their median is marked.

    `axis` says what the numbers are. `prefix` as in `charts`.
    """
    low, high = min(0.0, *values), max(0.0, *values)
    edges = MaxNLocator(BINS, steps=ROUND).tick_values(low, high if high > low else 1.0)
    middle = median(values)
    with rc_context(STYLE | {"axes.grid": False, "ytick.labelleft": False, "axes.spines.left": False}):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        # The locator lets what is next to nothing lie beyond its last tick.
        within = [min(max(value, edges[0]), edges[-1]) for value in values]
        heights, _, _ = axes.hist(within, bins=edges, rwidth=0.9, color=STAND_IN["first"])
        axes.axvline(middle, color=STAND_IN["ink"], linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xlabel(axis, color=STAND_IN["muted"], fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
        bins = zip(edges[:-1], edges[1:], heights, strict=True)
        told = (f"{decimal(start, 3)} to {decimal(end, 3)}: {round(height):,}" for start, end, height in bins if height)
        svg = as_svg(figure, prefix, f"{title}, {unit}. {', '.join(told)}")
    return Chart(title, unit, (Key("dash", "ink", f"median {decimal(middle, 3)}"),), "", svg)


@dataclass(frozen=True)
class Series:
    """Shares with their intervals, one for each place on an axis."""

    name: str
    color: Ink
    estimates: Sequence[Estimate]


def intervals(title: str, unit: str, axis: str, labels: Sequence[str], series: Sequence[Series], prefix: str) -> Chart:
    """Shares from 0 to 1 with their intervals, by places that `labels` name, with a line at one half. `prefix` as in
    `charts`."""
    with rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.5, color=STAND_IN["ink"], linewidth=0.8, linestyle=(0, (4, 3)))
        for number, one in enumerate(series):
            at = [place + 0.16 * (number - (len(series) - 1) / 2) for place in range(len(labels))]
            values = [estimate.value for estimate in one.estimates]
            # A bootstrap's end may lie beyond its value by a rounding, and no bar can be drawn backwards.
            reach = [
                [max(0.0, estimate.value - estimate.low) for estimate in one.estimates],
                [max(0.0, estimate.high - estimate.value) for estimate in one.estimates],
            ]
            axes.errorbar(at, values, reach, color=STAND_IN[one.color], marker="o", markersize=4, linewidth=1.2)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_ylim(0.0, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_xlabel(axis, color=STAND_IN["muted"], fontsize=8.5)
        svg = as_svg(figure, prefix, f"{title}, {unit}. {_told(labels, series)}")
    keys = tuple(Key("line", one.color, one.name) for one in series if one.name)
    return Chart(title, unit, (*keys, Key("dash", "ink", "neither way")), "", svg)


def _told(labels: Sequence[str], series: Sequence[Series]) -> str:
    parts = []
    for one in series:
        pairs = zip(labels, one.estimates, strict=True)
        parts.append(f"{one.name} " + ", ".join(f"{label}: {estimate.value:.0%}" for label, estimate in pairs))
    return "; ".join(part.strip() for part in parts)


def _chart(prefix: str, panel: Panel, rows: Sequence[Row]) -> Chart | None:
    known = [line for line in panel.lines if any(_is_number(row.get(line.field)) for row in rows)]
    if not known:
        return None
    notes = [_note(line, rows, panel) for line in known]
    keys = [Key("line", line.color, note) for line, note in zip(known, notes, strict=True) if line.name]
    with rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        for line in known:
            _draw(axes, line, rows, panel)
        if panel.level is not None:
            axes.axhline(panel.level, color=STAND_IN["ink"], linewidth=0.8, linestyle=(0, (4, 3)), gid="level")
            if panel.level_name:
                keys.append(Key("dash", "ink", panel.level_name))
        _epochs(axes, rows)
        _dress(axes, panel)
        svg = as_svg(figure, prefix, f"{panel.title}. {', '.join(notes)}".strip())
    return Chart(panel.title, panel.unit, tuple(keys), "" if known[0].name else notes[0], svg)


def _points(rows: Sequence[Row], field: str, split: str) -> tuple[list[int], list[float]]:
    """Steps and finite values of one column on one split."""
    found = [(row["step"], row[field]) for row in rows if row["split"] == split and _is_number(row.get(field))]
    return [step for step, _ in found], [value for _, value in found]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _draw(axes: Axes, line: Line, rows: Sequence[Row], panel: Panel) -> None:
    """One column's train line and, in its own colour where it shares the panel, its test dots."""
    steps, values = _points(rows, line.field, "train")
    color = STAND_IN[line.color]
    means = running_mean(values) if panel.smooth else []
    axes.plot(steps, values, color=color, linewidth=0.7 if means else 1.5, alpha=0.35 if means else 1.0)
    if means:
        axes.plot(steps, means, color=color, linewidth=1.5)
    if panel.tested:
        steps, values = _points(rows, line.field, "test")
        dots = color if line.name else STAND_IN["second"]
        axes.plot(steps, values, color=dots, linewidth=0.8, marker="o", markersize=4, linestyle=(0, (1, 2)))


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean over a tenth of all steps (five at least) around each, less at both ends; empty where `values` are few."""
    if len(values) < STEADY_FROM:
        return []
    reach = max(5, len(values) // 10) // 2
    windows = (values[max(0, at - reach) : at + reach + 1] for at in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _note(line: Line, rows: Sequence[Row], panel: Panel) -> str:
    """First and last value on test rows, named."""
    values = _points(rows, line.field, "test")[1] if panel.tested else []
    ends = values if len(values) < 2 else (values[0], values[-1])
    shown = " → ".join(f"{value:.0%}" if panel.share else decimal(value, 3) for value in ends)
    return f"{line.name or 'test'} {shown}".strip() if shown else line.name


def _epochs(axes: Axes, rows: Sequence[Row]) -> None:
    """A hairline where a new epoch begins."""
    last = max(row["step"] for row in rows)
    reached = 1
    for row in rows:
        if row["split"] == "train" and _is_number(row.get("epoch")) and row["epoch"] >= reached and row["step"] < last:
            axes.axvline(row["step"], color=STAND_IN["rule"], linewidth=0.7, zorder=0)
            reached = math.floor(row["epoch"]) + 1


def _dress(axes: Axes, panel: Panel) -> None:
    """Limits, few round ticks with equally many decimals, and the name of the x axis."""
    axes.set_xlabel("optimizer step", color=STAND_IN["muted"], fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=ROUND))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    if panel.share:
        axes.set_ylim(0.0, 1.02)
    elif panel.from_zero:
        axes.set_ylim(bottom=0.0)
    low, high = axes.get_ylim()
    ticks = [float(tick) for tick in axes.get_yticks() if low <= tick <= high]
    axes.set_yticks(ticks, labels=[f"{tick:.0%}" for tick in ticks] if panel.share else tick_labels(ticks))


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """`[1.5, 2.0]` → `1.5`, `2.0`; numbers too small for that in e-notation."""
    texts = [decimal(round(tick, 12), 3) for tick in ticks]
    if any("e" in text for text in texts):
        return texts
    places = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [minus(f"{tick:,.{places}f}") for tick in ticks]


def as_svg(figure: Figure, prefix: str, label: str) -> Markup:
    """The figure as an `<svg>` element: no size of its own, no metadata, ids that are unique on the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    box = re.search(r'viewBox="[\d. ]+"', drawing)
    if box is None:
        raise AssertionError("matplotlib wrote an SVG without a viewBox")
    # What comes before the first group is metadata with outside addresses and a <style> that would rule the whole page.
    drawing = drawing[drawing.index("<g id=") :].replace("xlink:href", "href")
    drawing = re.sub(r"font-family: [^;\"]*;? ?", "", drawing)
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", drawing)
    for ink, color in STAND_IN.items():
        drawing = drawing.replace(color, f"var(--{ink})")
    opening = Markup('<svg role="img" aria-label="{}" {}>\n').format(label, Markup(box.group()))
    return opening + Markup(drawing)
