"""What can be seen of a model's answers without reading them: whether they end, repeat themselves or leak markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from favonius.data.checks import Drops, flaws
from favonius.data.splits import first_question, opening
from favonius.evals.benchmarks.config import Health
from favonius.evals.benchmarks.own_rows import origin_of, own_prompts, unit_of
from favonius.evals.benchmarks.rows import row_of
from favonius.evals.benchmarks.task import Desk, Item, Metric, Said, Scored
from favonius.run import Inputs
from favonius.types import Dialogue, Message, Messages, SeedPrompt

METRICS = (
    Metric(key="without_flaw", title="answers without flaw"),
    Metric(key="ends", title="answers that end by themselves"),
    Metric(key="loop", title="answers that loop", better="lower"),
    Metric(key="leak", title="answers that leak role markers", better="lower"),
    Metric(key="empty", title="empty answers", better="lower"),
    Metric(key="tokens", title="answer length in tokens", unit="", better=None),
    Metric(key="characters", title="answer length in characters", unit="", better=None),
)


@dataclass(frozen=True)
class HealthTask:
    """An `AskedTask`."""

    config: Health
    questions: str
    prompts: Sequence[Dialogue | SeedPrompt]
    unusable: Drops

    name = "health"
    title = "Health of answers"
    metrics: Sequence[Metric] = METRICS

    @classmethod
    def of(cls, config: Health, inputs: Inputs) -> Self:
        prompts, unusable = own_prompts(config, inputs)
        return cls(config, origin_of(config, inputs), prompts, unusable)

    @property
    def texts(self) -> list[str]:
        return [opening(_asked(row)) for row in self.prompts]

    def items(self) -> list[Item]:
        return [
            Item(
                id=row.id,
                messages=_asked(row),
                sampling=self.config.sampling,
                category=_category(row),
                unit=unit_of(_asked(row)),
            )
            for row in self.prompts
        ]

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        return Scored(rows=[row_of(one, _scores(one)) for one in said], left_out=self.unusable)


def _asked(row: Dialogue | SeedPrompt) -> Messages:
    if isinstance(row, SeedPrompt):
        return (Message(role="user", content=row.prompt),)
    return first_question(row.messages)


def _category(row: Dialogue | SeedPrompt) -> str | None:
    return row.sector if isinstance(row, SeedPrompt) else row.source


def _scores(said: Said) -> dict[str, float | None]:
    [turn] = said.turns
    found = flaws(turn.text, turn.finished)
    return {
        "without_flaw": float(not found),
        "ends": float(turn.finished),
        **{flaw: float(flaw in found) for flaw in ("loop", "leak", "empty")},
        "tokens": float(turn.tokens),
        "characters": float(len(turn.text)),
    }
