"""Bouts decided by any judge of the house: by what it compares or, where it compares nothing, by its scores."""

from __future__ import annotations

from collections.abc import Sequence

from favonius.evals.alpaca_eval.bouts import DRAW, SAME, Bout, Verdicts, Word
from favonius.evals.benchmarks.task import Desk
from favonius.judges.config import JudgeConfig, SpokenJudge, members_of
from favonius.judges.duels import preferences
from favonius.judges.judge import Failure, Judgement
from favonius.judges.open import open_judge
from favonius.types import Feedback, RatedText

REFERENCE, MODEL = 0, 1
"""Places of the two answers in a case."""


def judged(config: JudgeConfig, bouts: Sequence[Bout], desk: Desk) -> Verdicts:
    """A word on each bout. Of answers that are the same nothing is asked."""
    cases = [_case(bout, desk.label) for bout in bouts if not bout.same]
    with open_judge(config, desk.inputs, desk.context) as judge:
        judgements = iter(judge.judge(cases, label=f"  judging {desk.label}") if cases else ())
        mark = judge.mark
    spoken = all(isinstance(member, SpokenJudge) for member in members_of(config).values())
    words = [Word(DRAW, SAME) if bout.same else word_of(next(judgements), spoken) for bout in bouts]
    return Verdicts(words, mark)


def word_of(judgement: Judgement, spoken: bool) -> Word:
    """`spoken`: a failure without words of the judge is a request that brought no answer, and not an answer that the
    judge cannot read, as judges that read weights have them."""
    requests = tuple(dict.fromkeys(call.request for call in judgement.calls))
    reference_better = preferences(judgement).get((REFERENCE, MODEL))
    if reference_better is not None:
        return Word(2 - reference_better, judged=requests)
    failures = [verdict for verdict in judgement.verdicts if isinstance(verdict, Failure)] or list(judgement.unread)
    causes = "; ".join(dict.fromkeys(failure.cause for failure in failures)) or "no word on the two answers"
    silent = any(not failure.asked or (spoken and failure.raw is None) for failure in failures)
    return Word(None, causes, silent, requests)


def _case(bout: Bout, model: str) -> Feedback:
    turn = bout.said.turns[0]
    return Feedback(
        id=bout.instruction.id,
        split="test",
        prompt=bout.said.item.messages,
        completions=(
            RatedText(source=bout.instruction.author, text=bout.reference),
            RatedText(source=model, text=turn.text, finished=turn.finished),
        ),
    )
