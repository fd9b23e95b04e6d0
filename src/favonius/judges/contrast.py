"""The contrast judge: by how much an aligned model finds an answer more probable than the base that it was made from.

What is merely predictable (common words, repetition) is probable under both and falls out of the difference; what is
left is what alignment changed. It is DPO's implied reward without its β (arXiv 2305.18290, Eq. 5), per token.
"""

from __future__ import annotations

from collections.abc import Sequence

from favonius.judges.answers import Readable
from favonius.judges.config import ContrastJudge
from favonius.judges.judge import FIRST, Failure, Judgement, Score, Showing, Verdict
from favonius.judges.likelihood import Reader
from favonius.run import Context, Inputs
from favonius.types import Feedback, JudgedBy


class Contrast:
    """Two loaded models, each with its own tokenizer and template. Both log-probs are of the same text, so they may be
    subtracted whatever tokens it is cut into; the difference is divided by the tokens of `model`, in nats per token.

    An answer that either cannot read has no score. Every showing gives the same.
    """

    def __init__(self, config: ContrastJudge, inputs: Inputs, context: Context) -> None:
        aligned, base = inputs.model(config.model), inputs.model(config.base)
        self.mark = JudgedBy(name=f"{aligned.name} against {base.name}", kind=config.kind)
        self._progress = context.progress
        self._aligned, self._base = Reader(aligned, config.max_length), Reader(base, config.max_length)
        self.tokens = 0

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "  judging") -> list[Judgement]:
        aligned = self._aligned.read(cases, self._progress, label)
        base = self._base.read(cases, self._progress, f"{label}, base")
        self.tokens = self._aligned.tokens + self._base.tokens
        return [_difference(*one, *other) for one, other in zip(aligned, base, strict=True)]


def _difference(aligned: Readable, aligned_sums: list[float], base: Readable, base_sums: list[float]) -> Judgement:
    sequences = () if aligned.tree is None else aligned.tree.sequences
    tokens = dict(zip(aligned.places, (sequence.scored_tokens for sequence in sequences), strict=True))
    verdicts: list[Verdict] = []
    ours, theirs = aligned.judgement(aligned_sums).verdicts, base.judgement(base_sums).verdicts
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if isinstance(one, Failure):
            verdicts.append(one)
        elif isinstance(other, Failure):
            verdicts.append(other)
        else:
            verdicts.append(Score((one.value - other.value) / tokens[place]))
    return Judgement(tuple(verdicts))
