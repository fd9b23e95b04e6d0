"""A task of lm-eval as a benchmark: each question's numbers, as the leaderboard reckons them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

from transformers import AutoTokenizer

from favonius.errors import UserError, brief
from favonius.evals.benchmarks.config import Harness
from favonius.evals.benchmarks.rows import OVER_PARTS, counting_alike
from favonius.evals.benchmarks.task import Desk, ItemRow, Metric, Scored
from favonius.evals.harness.boards import EXAMPLES_SEED, Board, Measure, board
from favonius.evals.harness.parts import Part, count_parts, read_parts
from favonius.models.load import load
from favonius.run import Inputs, ModelSource
from favonius.types import digest

if TYPE_CHECKING:
    from favonius.evals.harness.adapter import FavoniusLM
    from favonius.evals.harness.running import Outcome

NO_NUMBER = "every choice is too improbable for a floating-point number"
NOT_READ = "the model gives a choice no probability: its weights hold or make a NaN"


@dataclass(frozen=True)
class HarnessTask:
    """A `ReadTask`. Every part counts alike in a mean, however many questions it has."""

    config: Harness
    board: Board
    parts: Sequence[Part]
    questions: str

    @classmethod
    def of(cls, config: Harness, inputs: Inputs) -> Self:
        """UserError where lm-eval is not installed or the rows cannot be used."""
        chosen = board(config)
        shots = chosen.shots if config.shots is None else config.shots
        folder = None if config.data is None else inputs.file(config.data)
        parts = read_parts(chosen, folder, shots, config.limit, config.seed)
        return cls(config, chosen, parts, chosen.repository if folder is None else folder.name)

    @property
    def name(self) -> str:
        return self.config.task

    @property
    def shots(self) -> int:
        return self.board.shots if self.config.shots is None else self.config.shots

    @property
    def title(self) -> str:
        return f"{self.board.title}, {self.shots}-shot"

    @property
    def metrics(self) -> list[Metric]:
        return [measure.metric for measure in self.board.measures]

    @property
    def texts(self) -> list[str]:
        return [row.sought for part in self.parts for _, row in part.questions]

    def measured(self, model: ModelSource, desk: Desk) -> Scored:
        from favonius.evals.harness.adapter import FavoniusLM
        from favonius.evals.harness.running import outcomes

        weights = load(model)
        lm = FavoniusLM(
            weights, _tokenizer(model), progress=desk.context.progress, label=f"  {desk.label}, {self.name}"
        )
        # What was read of other weights, or in another precision, is not to be taken for this model's.
        identity = digest([model.digest, str(weights.dtype), str(weights.device), version("lm_eval")])
        found = outcomes(self.board, self.parts, self.shots, lm, desk.folder / f"{identity[:16]}.sqlite")
        rows = list(self._rows(found))
        if self.board.part is None:
            rows = counting_alike(rows)
        return Scored(rows=rows, protocol=self._protocol(lm), notes=self._notes(lm))

    def _rows(self, found: Mapping[str, Sequence[Outcome]]) -> Iterator[ItemRow]:
        for part in self.parts:
            for (place, row), outcome in zip(part.questions, found[part.name], strict=True):
                scores = {m.metric.key: _number(outcome, m) for m in self.board.measures}
                yield ItemRow(
                    id=f"{part.name}:{place}",
                    unit=f"{part.name}:{place}",
                    category=part.name if self.board.part is None else None,
                    scores=scores,
                    prompt=row.shown,
                    answers=_answers(outcome, self.board),
                    note=_why_none(outcome) if None in scores.values() else None,
                    rests_on=digest(row.model_dump(mode="json")),
                )

    def _protocol(self, lm: FavoniusLM) -> dict[str, Any]:
        said: dict[str, Any] = {
            "lm_eval": version("lm_eval"),
            "task": self.parts[0].file.stem if self.board.part else f"{len(self.parts)} of {self.board.files}",
            "shots": self.shots,
            "examples_seed": EXAMPLES_SEED,
            "chat_template": False,
            "precision": str(lm.model.dtype).removeprefix("torch."),
            "max_length": lm.max_length,
            "tokens_run": lm.tokens,
        }
        if self.board.part is None:
            said["mean"] = OVER_PARTS
        return said

    def _notes(self, lm: FavoniusLM) -> list[str]:
        notes = list(self.board.notes)
        whole = count_parts(self.board)
        if len(self.parts) < whole:
            notes.append(f"Only {len(self.parts)} of the {whole} parts of {self.board.title} were there to be asked.")
        if lm.truncated:
            notes.append(
                f"{lm.truncated:,} texts were longer than the {lm.max_length:,} tokens that the model reads, and lost "
                "their beginning."
            )
        return notes


def _number(outcome: Outcome, measure: Measure) -> float | None:
    """None also where a choice has no probability: which of the others is the likeliest says nothing then."""
    value = outcome.scores[measure.theirs, measure.filter]
    return None if math.isnan(value) or any(map(math.isnan, outcome.logprobs)) else value


def _why_none(outcome: Outcome) -> str:
    return NOT_READ if any(map(math.isnan, outcome.logprobs)) else NO_NUMBER


def _answers(outcome: Outcome, board: Board) -> tuple[str, ...]:
    """What was written, or the choice that the headline takes for the model's."""
    if not outcome.logprobs:
        return outcome.texts
    values = list(outcome.logprobs)
    if board.measures[0].theirs == "acc_norm":  # the space before a choice is none of its characters
        values = [value / max(1, len(text) - 1) for value, text in zip(values, outcome.texts, strict=True)]
    return (outcome.texts[values.index(max(values))].strip(),)


def _tokenizer(source: ModelSource) -> Any:
    try:
        return AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"model {source.name}: its tokenizer cannot be read ({brief(error)})") from error
