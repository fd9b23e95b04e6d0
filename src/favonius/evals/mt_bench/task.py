"""MT-Bench as a task: two real turns of each question, and a judge's word on both (zephyr-spec §5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from favonius.errors import UserError
from favonius.evals.benchmarks.config import MtBench
from favonius.evals.benchmarks.task import Desk, Item, Metric, Said, Scored
from favonius.evals.mt_bench.games import compared
from favonius.evals.mt_bench.grades import graded
from favonius.evals.mt_bench.material import Material, read_material
from favonius.evals.mt_bench.questions import asked, sampling
from favonius.evals.mt_bench.rows import LEAST, MOST
from favonius.run import Inputs

SCORE = Metric(key="score", title="score", unit="", span=MOST - LEAST)
"""Of single mode: a grade from 1 to 10 for each turn."""
WIN_RATE = Metric(key="win_rate", title="win rate, ties half")
"""Of pairwise mode: 1 for a win, 0 for a loss, of each turn."""


@dataclass(frozen=True)
class MtBenchTask:
    """An `AskedTask`. Its rows are turns; the two of a question are one unit."""

    config: MtBench
    material: Material

    name = "mt-bench"

    @classmethod
    def of(cls, config: MtBench, inputs: Inputs) -> Self:
        """UserError where the files cannot be used (see `read_material`), or nobody is there to play against."""
        if config.mode == "pairwise" and config.baseline is None:
            raise UserError("mode pairwise needs a `baseline`, the model whose answers are played against")
        return cls(config, read_material(config, inputs))

    @property
    def title(self) -> str:
        return "MT-Bench" if self.config.mode == "single" else f"MT-Bench against {self.config.baseline}"

    @property
    def metrics(self) -> Sequence[Metric]:
        return (SCORE,) if self.config.mode == "single" else (WIN_RATE,)

    @property
    def questions(self) -> str:
        return self.material.source

    @property
    def texts(self) -> Sequence[str]:
        return [turn for question in self.material.questions.values() for turn in question.turns]

    def items(self) -> Sequence[Item]:
        return [
            Item(
                id=str(number),
                messages=asked(question),
                follow_ups=question.turns[1:],
                sampling=sampling(question.category).model_copy(update={"max_tokens": self.config.tokens}),
                category=question.category,
                about=self._reference(number),
            )
            for number, question in self.material.questions.items()
        ]

    def _reference(self, number: int) -> dict[str, Any]:
        found = self.material.references.get(number)
        return {} if found is None else {"reference": list(found.turns)}

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        if self.config.mode == "single":
            return graded(self.config, self.material, said, desk)
        assert self.config.baseline is not None  # see `of`
        return compared(self.config, self.config.baseline, self.material, self.items(), said, desk)
