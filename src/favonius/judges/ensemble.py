"""Several judges as one. Their scores have different units, so what is joined is their ranks or their votes.

What a member could not judge leaves the word to the others; each member's own judgement is kept beside the joint one.

- mean: an answer's ranks within its case, from 0 (last) to 1 (first), ties sharing theirs; their mean over members.
- majority: for every two answers each member has one vote or abstains with a tie; the preference is the share of votes,
  and an answer's score the share of the others that it beats by majority, a tie counting half.
- abstain: as mean, but an answer has no score where two members' ranks of it are more than half the scale apart (two
  places of four, or first against last of two), or where only one member had a word on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from favonius.judges.agreement import ranks_of_known
from favonius.judges.config import EnsembleJudge
from favonius.judges.duels import Preferences, decided, preferences, value
from favonius.judges.judge import FIRST, Failure, Judge, Judgement, Score, Showing, Verdict
from favonius.types import Comparison, Feedback, JudgedBy, digest

FARTHEST = 0.5
"""Members' ranks of an answer that are farther apart than this disagree."""
DISAGREE = "judges disagree"
ALONE = "only one judge had a word"
NO_WORD = "no judge had a word"

Members = Mapping[str, Judgement]


class Ensemble:
    """The judges of `config`, opened, by name."""

    def __init__(self, config: EnsembleJudge, judges: Mapping[str, Judge]) -> None:
        self.config, self.judges = config, judges
        templates = {name: judge.mark.template for name, judge in judges.items() if judge.mark.template is not None}
        self.mark = JudgedBy(
            name=f"{config.combine} of {', '.join(judges)}",
            kind=config.kind,
            template=digest(templates) if templates else None,
        )

    @property
    def tokens(self) -> int:
        return sum(judge.tokens for judge in self.judges.values())

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "  judging") -> list[Judgement]:
        """A judgement per case: every member is asked about all of them, one member after the other."""
        heard = {name: judge.judge(cases, showing, f"{label}, {name}") for name, judge in self.judges.items()}
        join = JOINS[self.config.combine]
        return [join({name: judgements[number] for name, judgements in heard.items()}) for number in range(len(cases))]


def mean_of_ranks(members: Members) -> Judgement:
    return _joined(members, [_mean(known) for known in _ranks(members)])


def unless_they_disagree(members: Members) -> Judgement:
    return _joined(members, [_agreed(known) for known in _ranks(members)])


def majority(members: Members) -> Judgement:
    votes = [{pair: decided(word) for pair, word in preferences(heard).items()} for heard in members.values()]
    pairs = sorted({pair for one in votes for pair in one})
    share = {pair: _mean_of([one[pair] for one in votes if pair in one]) for pair in pairs}
    answers = range(len(next(iter(members.values())).verdicts))
    comparisons = tuple(Comparison(first=i, second=j, preference=word) for (i, j), word in share.items())
    return _joined(members, [_beaten(answer, share) for answer in answers], comparisons)


JOINS: Mapping[str, Callable[[Members], Judgement]] = {
    "mean": mean_of_ranks,
    "majority": majority,
    "abstain": unless_they_disagree,
}


def _ranks(members: Members) -> list[list[float]]:
    """Of each answer, the ranks that members gave it."""
    columns = [ranks_of_known([value(verdict) for verdict in heard.verdicts]) for heard in members.values()]
    return [[rank for rank in row if rank is not None] for row in zip(*columns, strict=True)]


def _mean(known: Sequence[float]) -> float | str:
    return _mean_of(known) if known else NO_WORD


def _agreed(known: Sequence[float]) -> float | str:
    if len(known) < 2:
        return ALONE if known else NO_WORD
    return _mean_of(known) if max(known) - min(known) <= FARTHEST else DISAGREE


def _beaten(answer: int, share: Preferences) -> float | str:
    """The share of the other answers that it beats."""
    won = [decided(word if pair[0] == answer else 1 - word) for pair, word in share.items() if answer in pair]
    return _mean_of(won) if won else NO_WORD


def _mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _joined(members: Members, scores: Sequence[float | str], comparisons: tuple[Comparison, ...] = ()) -> Judgement:
    """`scores` hold a number or the cause for which there is none."""
    return Judgement(
        verdicts=tuple(_verdict(place, score, members) for place, score in enumerate(scores)),
        comparisons=comparisons,
        calls=tuple(call for heard in members.values() for call in heard.calls),
        unread=tuple(failure for heard in members.values() for failure in heard.unread),
        reasked=sum(heard.reasked for heard in members.values()),
        members=members,
    )


def _verdict(place: int, score: float | str, members: Members) -> Verdict:
    words = {name: heard.verdicts[place] for name, heard in members.items()}
    failures = {name: word for name, word in words.items() if isinstance(word, Failure)}
    if isinstance(score, str):
        told = "; ".join(f"{name}: {failure.cause}" for name, failure in failures.items())
        asked = not failures or any(failure.asked for failure in failures.values()) or len(failures) < len(words)
        return Failure(score, raw=told or None, asked=asked)
    critiques = [
        f"{name}: {word.critique}" for name, word in words.items() if isinstance(word, Score) and word.critique
    ]
    return Score(score, {name: value(word) for name, word in words.items()}, "\n\n".join(critiques) or None)
