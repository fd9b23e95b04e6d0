"""Held-out dialogues: how likely a model finds the assistant's turns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from favonius.data.checks import Drops
from favonius.data.splits import opening
from favonius.evals.benchmarks.config import Perplexity
from favonius.evals.benchmarks.own_rows import origin_of, own_rows, unit_of
from favonius.evals.benchmarks.record import figure
from favonius.evals.benchmarks.task import Desk, ItemRow, Metric, Scored
from favonius.evals.heldout import held_out_logps
from favonius.run import Inputs, ModelSource
from favonius.types import Dialogue, digest

PER_TOKEN = Metric(key="nats_per_token", title="negative log-prob per token", unit="", better="lower")
PER_BYTE = Metric(key="nats_per_byte", title="negative log-prob per byte of text", unit="", better="lower")
"""The same for models of several tokenizers, whose tokens are not of one length."""


@dataclass(frozen=True)
class PerplexityTask:
    """A `ReadTask`. Each token of an assistant's turn counts alike, its end token with it."""

    config: Perplexity
    questions: str
    dialogues: Sequence[Dialogue]
    unusable: Drops

    name = "perplexity"
    title = "Held-out answers"
    metrics: Sequence[Metric] = (PER_TOKEN, PER_BYTE)

    @classmethod
    def of(cls, config: Perplexity, inputs: Inputs) -> Self:
        dialogues, unusable = own_rows(config, inputs, Dialogue)
        return cls(config, origin_of(config, inputs), dialogues, unusable)

    @property
    def texts(self) -> list[str]:
        return [opening(dialogue.messages) for dialogue in self.dialogues]

    def measured(self, model: ModelSource, desk: Desk) -> Scored:
        held_out = held_out_logps(model, desk.label, self.dialogues, [], self.config.max_length, desk.context)
        left_out = Drops()
        left_out.absorb(self.unusable)
        left_out.absorb(held_out.left_out)
        found = held_out.teacher
        rows = [_row(dialogue, *found[dialogue.id]) for dialogue in self.dialogues if dialogue.id in found]
        return Scored(rows=rows, protocol=_protocol(rows), left_out=left_out)


def _row(dialogue: Dialogue, logp: float, tokens: int) -> ItemRow:
    answers = tuple(message.content for message in dialogue.messages if message.role == "assistant")
    size = sum(len(answer.encode()) for answer in answers)
    return ItemRow(
        id=dialogue.id,
        unit=unit_of(dialogue.messages),
        category=dialogue.source,
        scores={PER_TOKEN.key: -logp / tokens, PER_BYTE.key: -logp / max(1, size)},
        weights={PER_TOKEN.key: float(tokens), PER_BYTE.key: float(max(1, size))},
        prompt=opening(dialogue.messages),
        answers=answers,
        tokens=tokens,
        rests_on=digest(list(answers)),
    )


def _protocol(rows: Sequence[ItemRow]) -> dict[str, object]:
    """Perplexity is e to the nats per token, and so are the ends of its interval."""
    nats = figure(rows, PER_TOKEN)
    ends = {name: None if end is None else math.exp(end) for name, end in
            (("value", nats.value), ("low", nats.low), ("high", nats.high))}  # fmt: skip
    return {"perplexity": ends, "tokens": sum(row.tokens or 0 for row in rows)}
