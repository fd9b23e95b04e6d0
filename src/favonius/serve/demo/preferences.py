"""Votes as preference pairs: rows of dDPO that a person judged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from favonius.data.checks import Drops
from favonius.data.splits import opening
from favonius.feedback.binarise import ALL_SAME, TIE
from favonius.serve.demo.votes import Reply, Vote, prompt_of
from favonius.types import JudgedBy, Pair, PairOrigin, Split

HUMAN = JudgedBy(name="human", kind="person")
BOTH_BAD = "both bad"
REPEATED = "said again of the same answers"
CONTRADICTED = "votes on the same answers contradict each other"
EMPTY = "the answer preferred is empty"
RULE = "vote"


@dataclass
class VoteAccount:
    """What became of votes: `votes` = pairs + all of `dropped`."""

    votes: int = 0
    pairs: int = 0
    held_out: int = 0
    contradictions: int = 0
    """Pairs of answers of which both were preferred."""
    dropped: Drops = field(default_factory=Drops)
    chosen: Counter[str] = field(default_factory=Counter)
    """Pairs in which a model's answer is the one preferred."""


def pairs_of_votes(votes: Iterable[Vote], split: Callable[[str], Split], account: VoteAccount) -> list[Pair]:
    """One pair for each two answers of which the votes prefer one, in the order of their first votes.

    Ties, both bad, answers that are alike, an empty answer that was preferred, and votes that contradict each other
    give none, and a vote that says again what was said gives no second one; all are counted. `split` says the side of
    a prompt's opening.
    """
    groups: defaultdict[Hashable, list[Vote]] = defaultdict(list)
    for vote in votes:
        account.votes += 1
        cause = _unfit(vote)
        if cause is not None:
            account.dropped.add(cause, vote.id)
        else:
            groups[_same_answers(vote)].append(vote)
    return [pair for group in groups.values() for pair in _pairs(group, split, account)]


def _unfit(vote: Vote) -> str | None:
    """Why a vote by itself prefers nothing."""
    match vote.verdict:
        case "tie":
            return TIE
        case "both_bad":
            return BOTH_BAD
    chosen, rejected = _ranked(vote)
    if chosen.text == rejected.text:
        return ALL_SAME
    return None if chosen.text.strip() else EMPTY


def _same_answers(vote: Vote) -> Hashable:
    """Equal for votes on one prompt and the same two answers, whichever side they were on."""
    return prompt_of(vote), frozenset((reply.model, reply.text) for reply in vote.sides)


def _ranked(vote: Vote) -> tuple[Reply, Reply]:
    """The answer preferred, and the other."""
    return (vote.a, vote.b) if vote.verdict == "a" else (vote.b, vote.a)


def _pairs(group: Sequence[Vote], split: Callable[[str], Split], account: VoteAccount) -> list[Pair]:
    """The one pair of votes on the same answers, or none."""
    if len({_ranked(vote)[0].text for vote in group}) > 1:
        account.contradictions += 1
        for vote in group:
            account.dropped.add(CONTRADICTED, vote.id)
        return []
    for vote in group[1:]:
        account.dropped.add(REPEATED, vote.id)
    pair = _pair(group[0], split(opening(group[0].prompt)))
    account.pairs += 1
    account.held_out += pair.split == "test"
    account.chosen[str(pair.chosen_source)] += 1
    return [pair]


def _pair(vote: Vote, split: Split) -> Pair:
    chosen, rejected = _ranked(vote)
    return Pair(
        id=vote.id,
        split=split,
        prompt=vote.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_finished=chosen.finished,
        rejected_finished=rejected.finished,
        chosen_source=chosen.model,
        rejected_source=rejected.model,
        origin=PairOrigin(rule=RULE, judge=HUMAN),
    )
