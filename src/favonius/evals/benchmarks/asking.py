"""A task's items put to a model through the ledger, follow-ups with the model's own answers in view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from favonius.data.checks import Drops
from favonius.engines.asked import Failure
from favonius.engines.interview import Interview, Talk
from favonius.errors import UserError
from favonius.evals.benchmarks.task import Item, Said, Turn
from favonius.types import Message


@dataclass(frozen=True)
class Heard:
    """What a model said to a task's items."""

    said: list[Said]
    """In the order of the items."""
    left_out: Drops
    """Items that did not get all their answers, by cause."""
    requests: int
    """That were answered, those of items that are left out with them."""
    tokens: int
    """Of all these answers."""


@dataclass(frozen=True)
class _Talked:
    """One item's answers, up to the request that failed."""

    item: Item
    turns: tuple[Turn, ...]
    failure: Failure | None = None


def ask(items: Sequence[Item], model: Interview, label: str) -> Heard:
    """Put every item to `model`. Answers that lie in the ledger are not asked for again.

    An item one of whose requests fails, as a prompt does that is too long or that holds a control token of the model,
    is left out and counted. UserError where two items have one id.
    """
    _refuse_twins(items)
    opened = model.interviews
    talks = (_talk(item, model) for item in items)
    found: dict[int, _Talked] = dict(opened.conduct(talks, label, len(items), unit="items"))
    talked = [found[number] for number in range(len(items))]
    turns = [turn for one in talked for turn in one.turns]
    return Heard(
        said=[Said(one.item, one.turns) for one in talked if one.failure is None],
        left_out=_left_out(talked),
        requests=len(turns),
        tokens=sum(turn.tokens for turn in turns),
    )


def _talk(item: Item, model: Interview) -> Talk[_Talked]:
    messages = item.messages
    answered: list[Turn] = []
    for follow_up in (None, *item.follow_ups):
        if follow_up is not None:
            messages = (*messages, Message(role="user", content=follow_up))
        question = model.question(messages, item.sampling)
        reply = yield question
        if isinstance(reply, Failure):
            return _Talked(item, tuple(answered), reply)
        turn = Turn(
            text=reply.text.strip(),
            finished=reply.finish == "stop",
            tokens=reply.completion_tokens,
            request=question.request.key(),
        )
        answered.append(turn)
        messages = (*messages, Message(role="assistant", content=turn.text))
    return _Talked(item, tuple(answered))


def _left_out(talked: Sequence[_Talked]) -> Drops:
    drops = Drops()
    for one in talked:
        if one.failure is not None:
            turn = f"turn {len(one.turns) + 1}: " if one.item.follow_ups else ""
            drops.add(turn + one.failure.countable, f"{one.item.id}: {one.failure.cause}")
    return drops


def _refuse_twins(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise UserError(f"two items have the id {item.id}; ids must differ")
        seen.add(item.id)
