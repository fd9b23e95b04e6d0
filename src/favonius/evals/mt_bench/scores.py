"""Mean grades from judgments, as FastChat reckons them, with everything beside them that does not add up.

FastChat leaves out what could not be read and takes the mean of all other rows. So do we, with these rules for rows
about the same turn of the same question, answered by the same model and graded by the same judge:

- A row whose answer, words and score another one has too is a copy, and counts once.
- Rows with the same words and different scores contradict each other: the one with the score that its words state
  counts, and where none has it, none does.
- Rows with other words, or about another answer, are repetitions: all of them count, and the result says how many.

Two judges are never averaged: one is reported, the others' means stand beside it under their own names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from favonius.data.checks import Drops
from favonius.errors import UserError
from favonius.evals.mt_bench.rows import LEAST, MOST, Judge, Judgment, Misfit
from favonius.judges.figures import by_prompt
from favonius.statistics import Estimate, ratio, share, standard_error

COPY = "a copy of another row"
CONTRADICTION = "the score contradicts another row with the same words"
UNKNOWN_QUESTION = "the question is not one of the benchmark's"
UNKNOWN_MODEL = "the model is not one of those asked for"


@dataclass(frozen=True)
class Grades:
    """The rows of one model and one judge that count."""

    rows: tuple[Judgment, ...]
    categories: Mapping[int, str]

    def scored(self, turn: int | None = None, category: str | None = None) -> list[Judgment]:
        return [
            row
            for row in self.rows
            if row.score is not None
            and turn in (None, row.turn)
            and category in (None, self.categories[row.question_id])
        ]

    def mean(self, turn: int | None = None, category: str | None = None) -> Estimate | None:
        """Of all rows' scores, with its 95 % interval over questions; None where there is no score."""
        return _mean(*_by_question(self.scored(turn, category)))

    @property
    def standard_error(self) -> float | None:
        """Of the mean over both turns; questions are the units."""
        return standard_error(*_by_question(self.scored()))

    @property
    def unparsed(self) -> int:
        return sum(row.score is None for row in self.rows)

    @property
    def mismatched(self) -> list[Judgment]:
        """Rows whose score is not what is read in the judge's words; it counts as it stands."""
        return [row for row in self.rows if not row.as_told]

    @property
    def repeated(self) -> dict[tuple[int, int], int]:
        """(question, turn) → number of its rows, where they are several."""
        counts = Counter((row.question_id, row.turn) for row in self.rows)
        return {key: count for key, count in counts.items() if count > 1}

    @property
    def of_several_answers(self) -> list[tuple[int, int]]:
        """(question, turn) about which different answers were judged, as far as the rows keep what was shown."""
        shown: dict[tuple[int, int], set[str]] = {}
        for row in self.rows:
            if row.shown is not None:
                shown.setdefault((row.question_id, row.turn), set()).add(row.shown)
        return [key for key, prompts in shown.items() if len(prompts) > 1]

    def missing(self, turn: int) -> list[int]:
        """Questions without a row that counts, be it one that could not be read."""
        there = {row.question_id for row in self.rows if row.turn == turn}
        return [question for question in self.categories if question not in there]


@dataclass
class ModelScores:
    """What one model's rows come to: grades by each judge, and what was left out and why."""

    by_judge: dict[Judge, Grades] = field(default_factory=dict)
    left_out: Drops = field(default_factory=Drops)


@dataclass(frozen=True)
class Scores:
    """`judge` is the one whose means are the models' scores; `models` are in the order of the file.

    Rows that name no model are under the name "".
    """

    judge: Judge
    models: Mapping[str, ModelScores]
    categories: Mapping[int, str]

    def grades(self, model: str) -> Grades:
        """By the judge that is reported; without rows where that one did not grade the model."""
        return self.models[model].by_judge.get(self.judge) or Grades((), self.categories)


def scores(
    rows: Iterable[Judgment | Misfit],
    categories: Mapping[int, str],
    models: Sequence[str] = (),
    judge: str | None = None,
) -> Scores:
    """Score a file of judgments.

    `categories` are the questions that there are, `models` those that are expected (empty: all that are named).
    `judge` chooses among several; else the one with the most rows is reported. UserError where nothing can be scored.
    """
    found: dict[str, ModelScores] = {model: ModelScores() for model in models}
    kept: dict[tuple[str, Judge], list[Judgment]] = {}
    for row in rows:
        cause = _cause(row, categories, models)
        if isinstance(row, Misfit) or cause:
            found.setdefault(row.model, ModelScores()).left_out.add(cause, row.place)
        else:
            found.setdefault(row.model, ModelScores())
            kept.setdefault((row.model, row.judge), []).append(row)
    if not kept:
        raise UserError(_nothing(found))
    for (model, name), own in kept.items():
        found[model].by_judge[name] = Grades(tuple(_settled(own, found[model].left_out)), categories)
    reported = _chosen(Counter(row.judge for own in kept.values() for row in own), judge)
    return Scores(reported, found, categories)


def _cause(row: Judgment | Misfit, categories: Mapping[int, str], models: Sequence[str]) -> str:
    """Why a row is left out; empty where it is not."""
    if models and row.model and row.model not in models:
        return UNKNOWN_MODEL
    if isinstance(row, Misfit):
        return row.cause
    return "" if row.question_id in categories else UNKNOWN_QUESTION


def _nothing(found: Mapping[str, ModelScores]) -> str:
    causes = Drops()
    for one in found.values():
        causes.absorb(one.left_out)
    told = ", ".join(f"{cause} × {count:,}, as in {causes.samples[cause][0]}" for cause, count in causes.counts.items())
    hint = "; name the file with its questions by --questions" if UNKNOWN_QUESTION in causes.counts else ""
    return f"no judgment can be scored: {told or 'there is none'}{hint}"


def _chosen(judges: Counter[Judge], name: str | None) -> Judge:
    if name is None:
        return judges.most_common(1)[0][0]
    fitting = [judge for judge in judges if name in (str(judge), judge.model)]
    if len(fitting) != 1:
        known = ", ".join(map(str, judges))
        raise UserError(f"--judge {name}: {'no such judge' if not fitting else 'several judges'} (known: {known})")
    return fitting[0]


def _settled(rows: Sequence[Judgment], left_out: Drops) -> list[Judgment]:
    """The rows that count; see the rules above."""
    alike: dict[tuple[object, ...], list[Judgment]] = {}
    for row in rows:
        alike.setdefault((row.question_id, row.turn, row.shown, row.text), []).append(row)
    settled = []
    for same in alike.values():
        kept = _true(same)
        settled += [] if kept is None else [kept]
        for row in same:
            if row is not kept:
                copied = kept is not None and row.score == kept.score
                left_out.add(COPY if copied else CONTRADICTION, row.place)
    return settled


def _true(same: Sequence[Judgment]) -> Judgment | None:
    """Of rows with the same words the first that they bear out; any, where the scores are the same too."""
    if len({row.score for row in same}) == 1:
        return same[0]
    return next((row for row in same if row.text is not None and row.as_told), None)


def _mean(sums: Sequence[float], counts: Sequence[float]) -> Estimate | None:
    """Questions that all got the same grade have a bootstrap interval of no width: there the share of the scale that
    was reached gets an interval as wide as Wilson's."""
    estimate, span = ratio(sums, counts), MOST - LEAST
    if estimate is None or estimate.low < estimate.high:
        return estimate
    reached = share([(total - LEAST * count) / span for total, count in zip(sums, counts, strict=True)], counts)
    assert reached is not None  # as there is an estimate
    return estimate._replace(low=LEAST + span * reached.low, high=LEAST + span * reached.high)


def _by_question(rows: Sequence[Judgment]) -> tuple[list[float], list[float]]:
    return by_prompt((row.question_id, row.score) for row in rows if row.score is not None)
