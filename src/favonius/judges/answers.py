"""The answers of a case as the branches of one tree, for judges that read and are not asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from favonius.chat.encoded import Encoded
from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.judges.judge import Failure, Judgement, Score, Verdict
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Feedback, Message, RatedText


class Readable(NamedTuple):
    """The answers of a case that a judge can read. `tree` has a branch for each of `places`, which are places in
    `Feedback.completions`; it is None where there is none. `failures`: what is wrong with each of the others."""

    tree: Tree | None
    places: tuple[int, ...]
    failures: dict[int, Failure]

    def judgement(self, values: Sequence[float]) -> Judgement:
        """With a score for each branch of the tree."""
        verdicts: dict[int, Verdict] = {**self.failures}
        verdicts |= {place: Score(value) for place, value in zip(self.places, values, strict=True)}
        return Judgement(tuple(verdicts[place] for place in sorted(verdicts)))


def readable(case: Feedback, form: ChatFormat, max_length: int, marked: Callable[[Encoded], TokenSequence]) -> Readable:
    """`marked` makes the sequence of a rendered answer, whose own tokens and end are scored."""
    branches: dict[int, TokenSequence] = {}
    failures: dict[int, Failure] = {}
    for place, answer in enumerate(case.completions):
        found = _sequence(case, answer, form, max_length, marked)
        if isinstance(found, Failure):
            failures[place] = found
        else:
            branches[place] = found
    tree = Tree.of(*branches.values()) if branches else None
    return Readable(tree, tuple(branches), failures)


def _sequence(
    case: Feedback, answer: RatedText, form: ChatFormat, max_length: int, marked: Callable[[Encoded], TokenSequence]
) -> TokenSequence | Failure:
    if not answer.text.strip():
        return Failure("empty answer")
    messages = (*case.prompt, Message(role="assistant", content=answer.text))
    try:
        encoded = form.encode(messages, finished=answer.finished, only_last=True)
    except UserError as error:
        return Failure(str(error))
    if len(encoded.ids) > max_length:
        return Failure(f"longer than the judge's max_length ({max_length} tokens)")
    return marked(encoded)
