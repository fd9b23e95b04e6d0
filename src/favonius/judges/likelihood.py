"""The likelihood judge: how probable the judge model finds an answer to a prompt, per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.judges.judge import Failure, Score, Verdict
from favonius.models.load import load
from favonius.run import ModelSource
from favonius.trees.store import stored_logps
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Answer, Message

PACK_TOKENS = 4096


class Likelihood:
    """A loaded judge. Answers to one prompt are branches of one tree, so the prompt runs once."""

    def __init__(self, source: ModelSource, max_length: int) -> None:
        self.name = f"likelihood of {source.name}"
        self.max_length = max_length
        self.weights = source.digest
        self.form = ChatFormat.load(source)
        self.model: PreTrainedModel = load(source)

    def rate(self, answers: Sequence[Answer], done: Callable[[int, int], None]) -> list[Verdict]:
        """A verdict per answer, in order. `done` is told how many prompts, of how many tokens, are finished."""
        verdicts: list[Verdict | None] = [None] * len(answers)
        groups: dict[str, list[int]] = {}
        sequences: dict[int, TokenSequence] = {}
        for index, answer in enumerate(answers):
            sequence = self._sequence(answer)
            if isinstance(sequence, Failure):
                verdicts[index] = sequence
            else:
                sequences[index] = sequence
                groups.setdefault(answer.prompt_id, []).append(index)
        members = list(groups.values())
        trees = [Tree.of(*(sequences[index] for index in group)) for group in members]
        stored = stored_logps(self.model, self.weights, trees, PACK_TOKENS, done=done)
        for group, tree, totals in zip(members, trees, stored.sums, strict=True):
            for index, sequence, total in zip(group, tree.sequences, totals, strict=True):
                verdicts[index] = Score(total / sequence.scored_tokens)
        return [verdict for verdict in verdicts if verdict is not None]

    def _sequence(self, answer: Answer) -> TokenSequence | Failure:
        if not answer.text.strip():
            return Failure("empty answer")
        messages = (*answer.prompt, Message(role="assistant", content=answer.text))
        try:
            encoded = self.form.encode(messages, finished=answer.finished, only_last=True)
        except UserError as error:
            return Failure(str(error))
        if len(encoded.ids) > self.max_length:
            return Failure(f"longer than the judge's max_length ({self.max_length} tokens)")
        return TokenSequence.of(encoded.ids, encoded.scored)
