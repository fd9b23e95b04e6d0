"""What judgments come to, as JSON and as sentences on what does not add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from favonius.data.checks import Drops
from favonius.evals.mt_bench.questions import TURNS
from favonius.evals.mt_bench.scores import Grades, ModelScores, Scores
from favonius.statistics import Estimate

Record = dict[str, Any]


def record(scores: Scores) -> dict[str, Record]:
    """Model → {turn_1, turn_2, mean, n, unparsed, by_category} and what stands beside them (docs/evaluation.md).

    Rows that name no model belong to none of them; `amiss` tells of them.
    """
    return {model: _of_model(own, scores) for model, own in scores.models.items() if model}


def _of_model(own: ModelScores, scores: Scores) -> Record:
    grades = own.by_judge.get(scores.judge, Grades((), next(iter(own.by_judge.values())).categories) if own.by_judge else Grades((), {}))
    return {}
