"""The likelihood judge: how probable the judge model finds an answer to a prompt, per token."""

from __future__ import annotations

from collections.abc import Sequence

from favonius.chat.encoded import Encoded
from favonius.chat.format import ChatFormat
from favonius.judges.answers import Readable, readable
from favonius.judges.config import LikelihoodJudge
from favonius.judges.judge import FIRST, Judgement, Showing
from favonius.models.load import load
from favonius.progress import Progress
from favonius.run import Context, Inputs, ModelSource
from favonius.trees.store import stored_logps
from favonius.trees.tree import TokenSequence
from favonius.types import Feedback, JudgedBy

PACK_TOKENS = 4096


class Reader:
    """A model with its template, and the log-probs that it gives to answers. Answers to one prompt are branches of one
    tree, so the prompt runs once; what was computed before is known (`trees.store`)."""

    def __init__(self, source: ModelSource, max_length: int) -> None:
        self.max_length = max_length
        self._weights = source.digest
        self._form = ChatFormat.load(source)
        self._model = load(source)
        self.tokens = 0

    def read(self, cases: Sequence[Feedback], progress: Progress, label: str) -> list[tuple[Readable, list[float]]]:
        """Of each case, what can be read, and the log-prob of each answer that can, with its end where it ended."""
        found = [readable(case, self._form, self.max_length, _scored) for case in cases]
        trees = [case.tree for case in found if case.tree is not None]
        with progress.bar(label, len(trees), "prompts") as bar:

            def done(count: int, run_tokens: int) -> None:
                self.tokens += run_tokens
                bar.advance(count, run_tokens)

            stored = iter(stored_logps(self._model, self._weights, trees, PACK_TOKENS, done=done).sums)
        return [(case, [] if case.tree is None else next(stored)) for case in found]


class Likelihood:
    """A loaded judge. It sees one answer at a time and draws nothing: every showing gives the same."""

    def __init__(self, config: LikelihoodJudge, inputs: Inputs, context: Context) -> None:
        source = inputs.model(config.model)
        self.mark = JudgedBy(name=f"likelihood of {source.name}", kind=config.kind)
        self._progress = context.progress
        self._reader = Reader(source, config.max_length)
        self.tokens = 0

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "  judging") -> list[Judgement]:
        read = self._reader.read(cases, self._progress, label)
        self.tokens = self._reader.tokens
        return [case.judgement(per_token(case, logps)) for case, logps in read]


def per_token(case: Readable, sums: Sequence[float]) -> list[float]:
    """Each branch's sum divided by its scored tokens."""
    sequences = case.tree.sequences if case.tree is not None else ()
    return [value / sequence.scored_tokens for value, sequence in zip(sums, sequences, strict=True)]


def _scored(encoded: Encoded) -> TokenSequence:
    return TokenSequence.of(encoded.ids, encoded.scored)
