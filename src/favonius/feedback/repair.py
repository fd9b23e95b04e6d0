"""UltraFeedback as it was first published: some of its overall scores of 10 were 1 (zephyr-spec §4.7)."""

from __future__ import annotations

from collections import Counter

from favonius.feedback.binarise import aspects_mean
from favonius.feedback.config import Repair
from favonius.feedback.rules import ScoredBy
from favonius.types import Feedback, RatedText

SUSPECT = 10.0
REPAIRED = 1.0

BECAME_ONE = "a 10 that became a 1"
STAYED = "a 10 that stayed"
UNCLEAR = "a 10 left out, as its aspects leave it open"
NO_ASPECTS = "a 10 left out, as it has no aspects"

PLAIN_MEAN = ScoredBy(by="aspects")


def repaired(feedback: Feedback, repair: Repair, counts: Counter[str]) -> Feedback:
    """`feedback` with every overall score of 10 held against the mean of its answer's aspects, N/A left out.

    The authors asked their judge again where the mean leaves it open; here such a score is left out. What became of
    each 10 is counted in `counts`.
    """
    if all(answer.overall != SUSPECT for answer in feedback.completions):
        return feedback
    answers = tuple(_repaired(answer, repair, counts) for answer in feedback.completions)
    return feedback.model_copy(update={"completions": answers})


def _repaired(answer: RatedText, repair: Repair, counts: Counter[str]) -> RatedText:
    if answer.overall != SUSPECT:
        return answer
    mean = aspects_mean(answer, PLAIN_MEAN)
    if mean is not None and mean > repair.high:
        counts[STAYED] += 1
        return answer
    if mean is not None and mean <= repair.low:
        counts[BECAME_ONE] += 1
        return answer.model_copy(update={"overall": REPAIRED})
    counts[NO_ASPECTS if mean is None else UNCLEAR] += 1
    return answer.model_copy(update={"overall": None})
