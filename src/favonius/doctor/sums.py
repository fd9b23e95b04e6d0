"""What is counted of rows as they are measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from favonius.doctor.diagnosis import Distribution, Gap, Lengths, Sample, Training
from favonius.doctor.measure import Measure, Measured
from favonius.doctor.numbers import Numbers
from favonius.doctor.tally import Tally
from favonius.doctor.views import Placed, rounds, view
from favonius.train.config import TrainConfig
from favonius.types import Pair

SAMPLES = 3
TURNS = range(1, 12)
"""More turns are counted together."""

Truncation = Literal["drop", "keep_start"]


@dataclass(frozen=True)
class Limits:
    """Of training, as in its config. Without a tokenizer nothing is dropped for its length."""

    max_length: int = TrainConfig.model_fields["max_length"].default
    truncation: Truncation = TrainConfig.model_fields["truncation"].default
    max_dropped_share: float = TrainConfig.model_fields["max_dropped_share"].default


class Sums:
    """Of one file. `samples`: the first rows that are kept."""

    def __init__(self, measure: Measure, limits: Limits, tally: Tally) -> None:
        self._measure, self._limits, self._tally = measure, limits, tally
        self.samples: list[Sample] = []
        self._turns = Numbers()
        self._whole, self._trained, self._gap = Numbers(), Numbers(), Numbers()
        self._dropped: Counter[str] = Counter()
        self._kept = self._held_out = self._rejected = self._tokens = self._trained_tokens = 0

    def add(self, rows: Sequence[Placed]) -> None:
        for placed, measured in zip(rows, self._measure.measured(rows), strict=True):
            self._count(placed, measured)
            self._measures(placed, measured)

    def _count(self, placed: Placed, measured: Measured) -> None:
        if measured.kind:
            self._tally.add(measured.kind, placed.place, measured.detail, measured.cause)
        if measured.kind == "template":
            self._rejected += 1
            return
        if not measured.kept:
            self._dropped[measured.cause or measured.kind] += 1
            return
        self._kept += 1
        if view(placed.row).split == "test":
            self._held_out += 1
        else:
            self._tokens += measured.tokens
            self._trained_tokens += measured.trained_tokens
        if len(self.samples) < SAMPLES:
            self.samples.append(Sample(placed.place, placed.row.id, self._measure.parts(placed)))

    def _measures(self, placed: Placed, measured: Measured) -> None:
        self._turns.add(rounds(placed.row))
        for length in measured.lengths:
            self._whole.add(length.whole)
            if length.trained:
                self._trained.add(length.trained)
        if isinstance(placed.row, Pair) and len(measured.lengths) == 2:
            chosen, rejected = measured.lengths
            self._gap.add(chosen.trained - rejected.trained)

    def training(self) -> Training:
        limits, dropped = self._limits, self._dropped.total()
        stops = []
        if self._rejected:
            stops.append("the chat template rejects a row")
        if self._kept == self._held_out:
            stops.append("no row to train on is left")
        if dropped > limits.max_dropped_share * (dropped + self._kept):
            stops.append(f"more rows are dropped than max_dropped_share {limits.max_dropped_share:g} allows")
        return Training(
            max_length=limits.max_length,
            truncation=limits.truncation,
            kept=self._kept,
            held_out=self._held_out,
            dropped=dict(self._dropped),
            tokens=self._tokens,
            trained_tokens=self._trained_tokens,
            stops=tuple(stops),
        )

    def lengths(self) -> Lengths | None:
        unit, limit = self._measure.unit, self._limits.max_length
        scale = self._whole.with_those_of(self._trained).edges()
        whole = self._whole.distribution(scale)
        if whole is None:
            return None
        over = sum(count for value, count in self._whole.counts.items() if value > limit)
        return Lengths(unit, whole, self._trained.distribution(scale), over if unit == "tokens" else None)

    def turns(self) -> Distribution | None:
        return self._turns.distribution(TURNS)

    def gap(self) -> Gap | None:
        difference = self._gap.distribution()
        if difference is None:
            return None
        longer = sum(count for value, count in self._gap.counts.items() if value > 0)
        return Gap(self._measure.unit, difference, longer, self._gap.counts[0])
