"""What judgments come to: as JSON, and in sentences what of them does not add up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from favonius.evals.mt_bench.questions import TURNS
from favonius.evals.mt_bench.scores import Grades, ModelScores, Scores
from favonius.phrases import counted
from favonius.statistics import Estimate

Record = dict[str, Any]
SHOWN = 6


def record(scores: Scores) -> dict[str, Record]:
    """Model → {turn_1, turn_2, mean, n, unparsed, by_category} and what stands beside them (docs/evaluation.md).

    Rows that name no model are in none of them; `amiss` speaks of them.
    """
    found = {}
    for model, own in scores.models.items():
        if model:
            grades = scores.grades(model)
            others = {str(judge): _means(one) for judge, one in own.by_judge.items() if judge != scores.judge}
            found[model] = {
                **_means(grades),
                **_spread(grades),
                "judge": str(scores.judge),
                "other_judges": others,
                **_amiss(grades, own),
            }
    return found


def _means(grades: Grades) -> Record:
    categories = dict.fromkeys(grades.categories.values())
    return {
        **{f"turn_{turn}": _value(grades.mean(turn)) for turn in TURNS},
        "mean": _value(grades.mean()),
        "n": len(grades.scored()),
        "unparsed": grades.unparsed,
        "by_category": {category: _value(grades.mean(category=category)) for category in categories},
    }


def _spread(grades: Grades) -> Record:
    """95 % intervals over questions."""
    mean = grades.mean()
    by_category = {name: grades.mean(category=name) for name in dict.fromkeys(grades.categories.values())}
    return {
        "standard_error": grades.standard_error,
        "interval": None if mean is None else [mean.low, mean.high],
        "questions": 0 if mean is None else mean.n,
        "intervals_by_category": {name: one and [one.low, one.high] for name, one in by_category.items()},
    }


def _amiss(grades: Grades, own: ModelScores) -> Record:
    repeated = grades.repeated
    return {
        "missing": {f"turn_{turn}": grades.missing(turn) for turn in TURNS},
        "repeated": {
            "turns": len(repeated),
            "rows": sum(repeated.values()),
            "of_several_answers": len(grades.of_several_answers),
        },
        "not_as_told": [row.place for row in grades.mismatched],
        "left_out": dict(own.left_out.counts),
        "left_out_samples": dict(own.left_out.samples),
    }


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def amiss(scores: Scores) -> Iterator[str]:
    """A sentence for each thing that does not add up, model by model."""
    for model, own in scores.models.items():
        name = model or "rows without a model"
        for cause, count in own.left_out.counts.items():
            where = "; ".join(own.left_out.samples[cause])
            yield f"{name}: {counted(count, 'row')} left out, {cause} ({where})"
        if model:
            yield from _of_grades(model, own, scores)


def _of_grades(model: str, own: ModelScores, scores: Scores) -> Iterator[str]:
    grades = scores.grades(model)
    if not grades.rows:
        yield f"{model}: no row of judge {scores.judge} counts"
    for turn in TURNS:
        if grades.rows and (missing := grades.missing(turn)):
            yield f"{model}: {counted(len(missing), 'question')} without a judgment of turn {turn} ({_ids(missing)})"
    if grades.unparsed:
        yield f"{model}: {counted(grades.unparsed, 'judgment')} without a score, left out of the means"
    if repeated := grades.repeated:
        rows, answers = counted(sum(repeated.values()), "row"), len(grades.of_several_answers)
        yield f"{model}: {counted(len(repeated), 'turn')} judged more than once, {rows}, all of them in the means"
        if answers:
            yield f"{model}: {counted(answers, 'turn')} of several answers, so that several sets go by this name"
    if wrong := grades.mismatched:
        places = "; ".join(row.place for row in wrong[:SHOWN])
        yield f"{model}: {counted(len(wrong), 'score')} other than the judge's words say, used as they are ({places})"
    if others := [judge for judge in own.by_judge if judge != scores.judge]:
        rows = counted(sum(len(own.by_judge[judge].rows) for judge in others), "row")
        yield f"{model}: {rows} by {', '.join(map(str, others))} not in the means, which are {scores.judge}'s (--judge)"


def _ids(questions: list[int]) -> str:
    shown = ", ".join(map(str, questions[:SHOWN]))
    return shown + (", …" if len(questions) > SHOWN else "")
