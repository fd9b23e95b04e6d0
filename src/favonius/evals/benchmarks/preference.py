"""Held-out pairs: whether a model finds the chosen answer likelier than the rejected one.

A pair is right by a measure where the chosen answer has more of it; where both have as much it counts half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from favonius.data.checks import Drops
from favonius.data.splits import opening
from favonius.evals.benchmarks.config import Preference
from favonius.evals.benchmarks.own_rows import origin_of, own_rows, unit_of
from favonius.evals.benchmarks.task import Desk, ItemRow, Metric, Scored
from favonius.evals.heldout import held_out_logps
from favonius.judges.figures import by_prompt
from favonius.run import Inputs, ModelSource
from favonius.statistics import share
from favonius.types import Pair, digest

ALIKE = 0.8
"""Answers are about as long as one another where the shorter has this share of the longer one's characters."""
IS_REFERENCE = "{} is the reference itself: its rewards are 0, and every pair counts half."
BY_REWARD = (
    Metric(key="reward_accuracy", title="pairs ranked right by implied reward"),
    Metric(key="reward_accuracy_per_token", title="pairs ranked right by implied reward per token"),
    Metric(key="reward_accuracy_alike", title="pairs ranked right by implied reward, answers about as long"),
    Metric(key="reward_margin", title="implied reward of chosen over rejected", unit=""),
)
BY_LOGP = (
    Metric(key="accuracy", title="pairs ranked right by log-prob"),
    Metric(key="accuracy_per_token", title="pairs ranked right by log-prob per token"),
    Metric(key="accuracy_alike", title="pairs ranked right by log-prob, answers about as long"),
)
Logps = Mapping[str, tuple[float, float, int, int]]
"""Pair's id → log-probs of chosen and rejected, and their tokens."""


@dataclass(frozen=True)
class PreferenceTask:
    """A `ReadTask`."""

    config: Preference
    questions: str
    pairs: Sequence[Pair]
    unusable: Drops

    name = "preference"
    title = "Held-out preferences"

    @classmethod
    def of(cls, config: Preference, inputs: Inputs) -> Self:
        pairs, unusable = own_rows(config, inputs, Pair)
        return cls(config, origin_of(config, inputs), pairs, unusable)

    @property
    def metrics(self) -> Sequence[Metric]:
        return BY_LOGP if self.config.reference is None else (*BY_REWARD, *BY_LOGP)

    @property
    def texts(self) -> list[str]:
        return [opening(pair.prompt) for pair in self.pairs]

    def measured(self, model: ModelSource, desk: Desk) -> Scored:
        left_out = Drops()
        left_out.absorb(self.unusable)
        own = theirs = self._logps(model, desk.label, desk, left_out)
        reference = None if self.config.reference is None else desk.inputs.model(self.config.reference)
        if reference is not None and reference.digest != model.digest:
            theirs = self._logps(reference, f"reference of {desk.label}", desk, Drops())
        pairs = []
        for pair in self.pairs:
            if pair.id in own and pair.id in theirs:
                pairs.append(pair)
            elif pair.id in own:
                left_out.add("the reference cannot score it", pair.id)
        return Scored(
            rows=[self._row(pair, own, theirs) for pair in pairs],
            protocol={"longer_wins": _longer_wins(pairs), "beta": self.config.beta},
            left_out=left_out,
            notes=(IS_REFERENCE.format(desk.label),) if reference is not None and theirs is own else (),
        )

    def _logps(self, model: ModelSource, label: str, desk: Desk, left_out: Drops) -> Logps:
        held_out = held_out_logps(model, label, [], self.pairs, self.config.max_length, desk.context)
        left_out.absorb(held_out.left_out)
        return held_out.pairs

    def _row(self, pair: Pair, own: Logps, theirs: Logps) -> ItemRow:
        logps, tokens = own[pair.id][:2], own[pair.id][2:]
        scores: dict[str, float | None] = _ranked("accuracy", pair, logps, tokens)
        if self.config.reference is not None:
            ratios = [mine - other for mine, other in zip(logps, theirs[pair.id][:2], strict=True)]
            scores |= _ranked("reward_accuracy", pair, ratios, tokens)
            scores["reward_margin"] = self.config.beta * (ratios[0] - ratios[1])
        return ItemRow(
            id=pair.id,
            unit=unit_of(pair.prompt),
            category=None if pair.origin is None else pair.origin.prompt_source,
            scores=scores,
            prompt=pair.prompt[-1].content,
            rests_on=digest([pair.chosen, pair.rejected]),
        )


def _ranked(key: str, pair: Pair, values: Sequence[float], tokens: Sequence[int]) -> dict[str, float | None]:
    """The accuracies of a pair by one measure of chosen and rejected; the last where they are about as long."""
    chosen, rejected = values
    each = [value / count for value, count in zip(values, tokens, strict=True)]
    scores: dict[str, float | None] = {key: _right(chosen - rejected), f"{key}_per_token": _right(each[0] - each[1])}
    shorter, longer = sorted((len(pair.chosen), len(pair.rejected)))
    if shorter >= ALIKE * longer:
        scores[f"{key}_alike"] = _right(chosen - rejected)
    return scores


def _longer_wins(pairs: Sequence[Pair]) -> dict[str, float] | None:
    """How often the chosen answer is the longer one: what a model is worth that looks at nothing else."""
    found = share(*by_prompt((unit_of(pair.prompt), _right(len(pair.chosen) - len(pair.rejected))) for pair in pairs))
    return None if found is None else found._asdict()


def _right(difference: float) -> float:
    return 0.5 + 0.5 * (difference > 0) - 0.5 * (difference < 0)
