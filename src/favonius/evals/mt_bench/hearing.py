"""The judge asked through the run's ledger: everything of one model at once, and what brought no reply counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from favonius.data.checks import Drops
from favonius.engines.asked import Failure
from favonius.engines.interview import Reply, interview
from favonius.evals.benchmarks.config import MtBench
from favonius.evals.benchmarks.task import Desk
from favonius.evals.mt_bench.judging import JUDGE_SAMPLING, Asking

UNANSWERED = "no word from the judge: "


class Word(NamedTuple):
    """The judge's reply, or why there is none, and the key of the request in the ledger."""

    reply: Reply
    request: str


def hear(config: MtBench, askings: Sequence[Asking], desk: Desk, label: str) -> list[Word]:
    """A word for each asking, in order. Replies that lie in the ledger are not asked for again."""
    with interview(config.engine, desk.inputs.speaker(config.judge), desk.context) as judge:
        questions = [judge.question(asking.messages, JUDGE_SAMPLING) for asking in askings]
        replies = judge.interviews.replies(questions, label)
    return [Word(reply, question.request.key()) for reply, question in zip(replies, questions, strict=True)]


def leave_out(left_out: Drops, place: str, failure: Failure) -> None:
    left_out.add(UNANSWERED + failure.countable, f"{place}: {failure.cause}")
