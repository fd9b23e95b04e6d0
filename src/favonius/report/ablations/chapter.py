"""The page's section on ablations."""

from __future__ import annotations

from dataclasses import dataclass

from favonius.report.ablations.epochs import accuracy_chart, score_charts
from favonius.report.ablations.models import comparisons
from favonius.report.ablations.variants import table_three
from favonius.report.gather import Run
from favonius.report.plots import Chart
from favonius.report.public import Public


@dataclass(frozen=True)
class Ablations:
    variants: tuple[tuple[Chart, ...], ...]
    """Table 3, in rows."""
    epochs: tuple[Chart, ...]
    """Figure 3."""


def ablations(run: Run, public: Public) -> Ablations | None:
    """What the run has of the paper's two ablations so far; None where it has neither."""
    compared = list(comparisons(run, public))
    accuracy = accuracy_chart(run, "e")
    epochs = (*([accuracy] if accuracy is not None else []), *score_charts(compared, "e"))
    variants = table_three(compared, "v")
    return Ablations(variants, epochs) if variants or epochs else None
