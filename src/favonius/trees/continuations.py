"""How probable continuations of contexts are, and whether greedy drawing would write them. Nothing runs twice: the
continuations of one context are branches of one tree, and a long beginning that contexts share is kept for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from transformers import PreTrainedModel

from favonius.trees.attention import TreePlan
from favonius.trees.fused import forward_only
from favonius.trees.head import likeliest
from favonius.trees.pack import pack, send
from favonius.trees.score import Logps, head_weight, predicting_states
from favonius.trees.shared import After, Beginning
from favonius.trees.tree import TokenSequence, Tree

LEAST_SHARED = 32
"""Tokens. A shorter beginning is run again: keeping it would cost every branch a copy and every pack its company."""
LEAST_SAVED = 0.1
"""Of a group's tokens; two long prompts that happen to open with the same example are better off with others' packs."""


@dataclass(frozen=True)
class Continuation:
    """`own` after `context`; neither is empty."""

    context: tuple[int, ...]
    own: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.context or not self.own:
            raise ValueError("a continuation has at least one token, and a token before it")

    def after(self, shared: int) -> TokenSequence:
        """Without the context's first `shared` tokens, which leave at least one of it."""
        rest = self.context[shared:]
        return TokenSequence(rest + self.own, (False,) * len(rest) + (True,) * len(self.own))


class Read(NamedTuple):
    logprob: float
    """In nats, of the whole continuation."""
    greedy: bool
    """Whether every token of it is the likeliest in its place."""


Done = Callable[[Sequence[int], Sequence[Read], int], None]


class Group(NamedTuple):
    """Questions `start` to `stop`, in the order of their contexts, all begin with the same `shared` tokens."""

    start: int
    stop: int
    shared: int


class _Question(NamedTuple):
    """A context and its continuations' places among what was asked."""

    context: tuple[int, ...]
    members: list[int]


def read_continuations(
    model: PreTrainedModel,
    asked: Sequence[Continuation],
    pack_tokens: int,
    done: Done = lambda places, read, tokens: None,
) -> list[Read]:
    """Of each of `asked`, in their order, under `model` (with favonius attention).

    `done` is told, pack by pack, the places of those that were read, what was read, and how many tokens were run.
    """
    found: dict[int, Read] = {}
    questions = _questions(asked)
    with forward_only(model):
        for group in groups([question.context for question in questions]):
            _read_group(model, asked, questions[group.start : group.stop], group.shared, pack_tokens, found, done)
    return [found[index] for index in range(len(asked))]


def groups(contexts: Sequence[tuple[int, ...]]) -> list[Group]:
    """Sorted contexts, cut into stretches that share a beginning; those that share too little stand in groups of 0.

    A stretch is cut where its neighbours agree least, as long as they agree on twice as much elsewhere: worked examples
    are common to a subject, the words that introduce them to all subjects.
    """
    agreed = [_agreement(one, other) for one, other in pairwise(contexts)]
    borders = [0, *(place for place, tokens in enumerate(agreed, 1) if tokens < LEAST_SHARED), len(contexts)]
    waiting = [(start, stop) for start, stop in pairwise(borders) if start < stop][::-1]
    found: list[Group] = []
    while waiting:
        start, stop = waiting.pop()
        inside = agreed[start : stop - 1]
        least = min(inside, default=0)
        if sum(inside) > 2 * least * len(inside):
            cut = start + 1 + inside.index(least)
            waiting += [(cut, stop), (start, cut)]
            continue
        if least * len(inside) < LEAST_SAVED * sum(map(len, contexts[start:stop])):
            least = 0
        if found and found[-1].shared == least == 0:
            found[-1] = found[-1]._replace(stop=stop)
        else:
            found.append(Group(start, stop, least))
    return found


def _agreement(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Leading tokens that are the same, leaving each context at least one of its own."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), most)


def _questions(asked: Sequence[Continuation]) -> list[_Question]:
    members: dict[tuple[int, ...], list[int]] = {}
    for index, continuation in enumerate(asked):
        members.setdefault(continuation.context, []).append(index)
    return [_Question(context, members[context]) for context in sorted(members)]


def _read_group(
    model: PreTrainedModel,
    asked: Sequence[Continuation],
    questions: Sequence[_Question],
    shared: int,
    pack_tokens: int,
    found: dict[int, Read],
    done: Done,
) -> None:
    beginning = None
    if shared:
        beginning = Beginning.run(model, questions[0].context[:shared])
        done([], [], shared)
    for members, trees in _packs(asked, questions, shared, pack_tokens):
        read = _read_pack(model, trees, shared, beginning)
        found.update(zip(members, read, strict=True))
        done(members, read, sum(tree.run_tokens for tree in trees))


def _packs(
    asked: Sequence[Continuation], questions: Sequence[_Question], shared: int, pack_tokens: int
) -> Iterator[tuple[list[int], list[Tree]]]:
    """Trees in the order of their contexts, as many at a time as `pack_tokens` hold, and at least one. They are made
    only now: written out, a benchmark's sequences take gigabytes."""
    members: list[int] = []
    trees: list[Tree] = []
    free = pack_tokens
    for own, tree in _trees(asked, questions, shared, pack_tokens):
        if trees and tree.run_tokens > free:
            yield members, trees
            members, trees, free = [], [], pack_tokens
        members, trees, free = [*members, *own], [*trees, tree], free - tree.run_tokens
    if trees:
        yield members, trees


def _trees(
    asked: Sequence[Continuation], questions: Sequence[_Question], shared: int, pack_tokens: int
) -> Iterator[tuple[list[int], Tree]]:
    """A question's tree, and further ones with the same context where its continuations are more than a pack holds."""
    for context, members in questions:
        part: list[int] = []
        free = pack_tokens - len(context) + shared
        for index in members:
            if part and len(asked[index].own) > free:
                yield part, Tree.of(*(asked[one].after(shared) for one in part))
                part, free = [], pack_tokens - len(context) + shared
            part, free = [*part, index], free - len(asked[index].own)
        yield part, Tree.of(*(asked[one].after(shared) for one in part))


def _read_pack(model: PreTrainedModel, trees: Sequence[Tree], shared: int, beginning: Beginning | None) -> list[Read]:
    batch = pack(trees)
    batch = replace(batch, positions_T=batch.positions_T + shared)
    plan = TreePlan if beginning is None else partial(After, beginning)
    values_N, greedy_N = likeliest(
        predicting_states(model, batch, plan),
        head_weight(model),
        send(batch.targets_N, model.device),
        getattr(model.config, "final_logit_softcapping", None),
    )
    scored = Logps(values_N.cpu()[batch.prediction_M], batch.sequence_M, batch.sequences)
    missed_M = (~greedy_N).cpu()[batch.prediction_M]
    missed = set(batch.sequence_M[missed_M].tolist())
    return [Read(value, index not in missed) for index, value in enumerate(scored.sums().tolist())]
