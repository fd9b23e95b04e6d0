"""GSM8K as a benchmark for chat models: the problem as a user's turn, worked examples as turns before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from favonius.data.benchmarks_known import KNOWN
from favonius.data.checks import Drops
from favonius.data.sources import open_rows, source_name
from favonius.errors import UserError
from favonius.evals.benchmarks.config import Gsm8k
from favonius.evals.benchmarks.rows import drawn, row_of
from favonius.evals.benchmarks.task import Desk, Item, ItemRow, Metric, Said, Scored
from favonius.evals.gsm8k.problems import Problem, examples, read_problems
from favonius.evals.gsm8k.reading import flexible, strict
from favonius.run import Inputs

METRICS = (
    Metric(key="strict", title="right, after ####"),
    Metric(key="flexible", title="right, by the last number"),
)


@dataclass(frozen=True)
class Gsm8kTask:
    """An `AskedTask`. `problems` are those that are asked, by item id."""

    config: Gsm8k
    questions: str
    problems: Mapping[str, Problem]
    left_out: Drops

    name = "gsm8k"
    title = "GSM8K"
    metrics = METRICS

    @classmethod
    def of(cls, config: Gsm8k, inputs: Inputs) -> Self:
        """UserError where not one problem is left, FavoniusError where the hub is needed and cannot be reached."""
        place = KNOWN["gsm8k"]
        spec, split = (
            (place.spec, place.split) if config.problems is None else (str(inputs.file(config.problems)), None)
        )
        left_out = Drops()
        found = read_problems(open_rows(spec, split=split), left_out)
        if not found:
            raise UserError(f"{spec}: no problem whose answer ends in #### and a number")
        problems = dict(drawn(list(found.items()), config.limit, config.seed))
        return cls(config, source_name(spec), problems, left_out)

    @property
    def texts(self) -> list[str]:
        return [problem.question for problem in self.problems.values()]

    def items(self) -> list[Item]:
        shown = examples()[: self.config.shots]
        return [
            Item(
                id=name,
                messages=problem.messages(shown),
                sampling=self.config.sampling,
                about={"number": str(problem.number)},
            )
            for name, problem in self.problems.items()
        ]

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        """An answer without a number is wrong; `protocol` counts how many there are."""
        rows = [self._row(one) for one in said]
        answers = [one.turns[0].text for one in said]
        return Scored(
            rows=rows,
            protocol={
                "shots": self.config.shots,
                "without_last_line": sum(strict(answer) is None for answer in answers),
                "without_number": sum(flexible(answer) is None for answer in answers),
            },
            left_out=self.left_out,
        )

    def _row(self, said: Said) -> ItemRow:
        problem, answer = self.problems[said.item.id], said.turns[0].text
        by_line, by_any = strict(answer), flexible(answer)
        scores = {"strict": float(by_line == problem.number), "flexible": float(by_any == problem.number)}
        read = "no number" if by_any is None else by_any
        note = None if by_any == problem.number else f"the result is {problem.number}, read was {read}"
        return row_of(said, scores, prompt=problem.question, note=note)
