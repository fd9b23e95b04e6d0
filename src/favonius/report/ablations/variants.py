"""The paper's Table 3: dDPO without dSFT, dSFT, imitation of the chosen answers on top of it, and dDPO on top of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from favonius.report.ablations.models import Comparison, Measure
from favonius.report.benchmarks.published import Source, sources
from favonius.report.gather import Estimate
from favonius.report.plots import ROUND, STAND_IN, STYLE, Chart, Ink, Key, as_svg
from favonius.report.wording import NONE, interval, measure, minus
from favonius.statistics import Z

VARIANTS = {
    ("preferences",): "dDPO − dSFT",
    ("sft",): "dSFT-1",
    ("sft", "sft"): "dSFT-2",
    ("sft", "preferences"): "dDPO + dSFT",
}
"""What a model's trainings were → what Table 3 calls it, in the table's order."""
ABLATED = frozenset({"dDPO − dSFT", "dSFT-2"})
"""Without one of these there is no ablation: dSFT and dDPO are what every run makes."""
INCHES = (3.4, 2.3)
THICK = 0.68
"""Of all bars of a variant; the distance between two variants is 1."""
GRADED = "mt-bench"
"""The task whose numbers are grades up to 10."""
COLUMNS = 4
"""Charts side by side on a wide page."""


@dataclass(frozen=True)
class Panel:
    """One measure of the variants, of this run and as published."""

    title: str
    unit: str
    own: Mapping[str, Estimate]
    published: Mapping[str, Estimate]
    """Both by the table's names of the variants."""
    task: str = ""
    judge: str = ""


def table_three(compared: Sequence[Comparison], prefix: str) -> tuple[tuple[Chart, ...], ...]:
    """In rows: a chart for each measure of this run's variants, and for each of the paper's where that is not the same.
    None where nothing is ablated. `prefix` begins every id of the drawings, as in `plots.charts`."""
    measures = [found for one in compared for found in _own_measures(one)]
    if not measures:
        return ()
    source = next(source for source in sources() if any(row.model in ABLATED for row in source.rows))
    panels = [*_own_panels(measures, source), *_published_panels(measures, source)]
    drawn = tuple(_chart(panel, f"{prefix}-{number}") for number, panel in enumerate(panels))
    if len(drawn) <= COLUMNS:
        return (drawn,)
    return tuple(row for row in (drawn[: len(measures)], drawn[len(measures) :]) if row)


def variants(compared: Comparison) -> dict[str, str]:
    """Name in Table 3 → label, in the table's order. Of several models made alike, the one of the fewest epochs: the
    paper's were of one each. Empty where no ablated variant is among them."""
    found: dict[str, str] = {}
    for trainings, name in VARIANTS.items():
        alike = {label: sum(made.epochs) for label, made in compared.made.items() if made.trainings == trainings}
        if alike:
            found[name] = min(alike, key=lambda label: alike[label])
    return found if ABLATED & found.keys() else {}


def _own_measures(compared: Comparison) -> Iterator[tuple[Measure, dict[str, Estimate]]]:
    """Each with the variants' values."""
    names = variants(compared)
    for one in compared.measures if names else ():
        values = {name: one.values[label] for name, label in names.items() if label in one.values}
        if values:
            yield one, values


def _own_panels(measures: Sequence[tuple[Measure, dict[str, Estimate]]], source: Source) -> Iterator[Panel]:
    """The published numbers stand beside those of the same protocol."""
    for one, values in measures:
        beside = _published(source, one.task) if one.is_papers and one.task in source.columns else {}
        yield Panel(one.title, one.unit, values, beside, one.task, one.judge)


def _published_panels(measures: Sequence[tuple[Measure, dict[str, Estimate]]], source: Source) -> Iterator[Panel]:
    """Those that stand beside none of the run's."""
    beside = {one.task for one, _ in measures if one.is_papers}
    for column, title in source.columns.items():
        if column not in beside:
            name, _, unit = title.partition(", ")
            yield Panel(name, unit, {}, _published(source, column), column)


def _published(source: Source, column: str) -> dict[str, Estimate]:
    """Values of a column whose title ends with `%` are in hundredths there, and fractions here."""
    factor = 0.01 if source.columns[column].endswith("%") else 1.0
    found = {}
    for row in source.rows:
        if column in row.values:
            value, *error = (factor * number for number in row.values[column])
            low, high = (value - Z * error[0], value + Z * error[0]) if error else (None, None)
            found[row.model] = Estimate(value=value, low=low, high=high)
    return found


def _chart(panel: Panel, prefix: str) -> Chart:
    names = [name for name in VARIANTS.values() if name in panel.own or name in panel.published]
    sides: list[tuple[Mapping[str, Estimate], Ink]] = [(panel.own, "first"), (panel.published, "muted")]
    drawn = [(values, color) for values, color in sides if values]
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        thick = THICK / (1.5 if len(drawn) == 1 else 2)
        for number, (values, color) in enumerate(drawn):
            aside = thick * (number - (len(drawn) - 1) / 2)
            for place, name in enumerate(names):
                if name in values:
                    _bar(axes, place + aside, 0.86 * thick, values[name], color, panel.unit)
        _dress(axes, names, panel)
        svg = as_svg(figure, prefix, f"{panel.title}, {panel.unit}. {_told(names, panel)}")
    keys = []
    if panel.own:
        keys.append(Key("line", "first", f"this run{f', {panel.judge}' if panel.judge else ''}"))
    if panel.published:
        keys.append(Key("dash", "ink", "published: Mistral 7B, GPT-4"))
    return Chart(panel.title, panel.unit, tuple(keys), "", svg)


def _bar(axes: Axes, place: float, thick: float, estimate: Estimate, color: Ink, unit: str) -> None:
    """A published bar is an outline. The number stands at the right, as in a table."""
    ink, value = STAND_IN[color], estimate.value
    is_own = color == "first"
    outline: dict[str, Any] = {"facecolor": "none", "edgecolor": ink, "linestyle": (0, (3, 2))}
    axes.barh(place, value, height=thick, linewidth=0.9, **({"color": ink} if is_own else outline))
    if estimate.low is not None and estimate.high is not None and estimate.low < estimate.high:
        reach = [[max(0.0, value - estimate.low)], [max(0.0, estimate.high - value)]]
        axes.errorbar(value, place, xerr=reach, color=STAND_IN["ink"], linewidth=0.9, capsize=2)
    text_color = STAND_IN["ink" if is_own else "muted"]
    axes.annotate(
        _number(value, unit), (1.0, place), (4, 0), ("axes fraction", "data"), "offset points",
        va="center", color=text_color, fontsize=8.5,
    )  # fmt: skip


def _dress(axes: Axes, names: Sequence[str], panel: Panel) -> None:
    axes.set_yticks(range(len(names)), names, color=STAND_IN["ink"], fontsize=8.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    if panel.task == GRADED:
        axes.set_xlim(0.0, 10.0)
    if panel.unit == "%":
        axes.set_xlim(0.0, 1.0)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])


def _told(names: Sequence[str], panel: Panel) -> str:
    said = []
    for who, values in (("this run", panel.own), ("published", panel.published)):
        if values:
            said.append(f"{who}: " + "; ".join(f"{name} {_words(values.get(name), panel.unit)}" for name in names))
    return ". ".join(said)


def _words(estimate: Estimate | None, unit: str) -> str:
    if estimate is None:
        return NONE
    between = interval(estimate, unit)
    return _number(estimate.value, unit) + (f" ({between})" if between else "")


def _number(value: float, unit: str) -> str:
    """Grades with the two decimals of the paper."""
    return measure(value, unit) if unit else minus(f"{value:.2f}")
