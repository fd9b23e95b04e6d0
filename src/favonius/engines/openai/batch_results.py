"""What a batch brought, and what becomes of each of its requests: stored, recorded as failed, or to be asked again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from favonius.engines.account import Account
from favonius.engines.ledger import Answer
from favonius.engines.openai.batch_lines import outcome_of, read_line
from favonius.engines.openai.batch_waiting import Parked
from favonius.engines.openai.calls import Unanswered, cut_off, is_cut
from favonius.engines.policy.retry import GaveUp
from favonius.engines.policy.trouble import Trouble
from favonius.types import Completion, Request

Outcome = Completion | Unanswered
DELETED = Unanswered(
    Trouble("rejected", "was answered, but the provider has deleted the batch's results", paid=True, closes=True)
)
MISSING = Unanswered(Trouble("malformed", "is not among the batch's results", paid=True))
ENDED = Unanswered(Trouble("timeout", "was not answered before the batch ended"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """With neither answer nor error, the request is to be asked again, if anybody still waits for it."""

    request: Request
    answer: Completion | None = None
    failed: Unanswered | None = None
    error: GaveUp | None = None


def outcomes(results: IO[bytes], requests: dict[str, Request]) -> Iterator[tuple[Request, Outcome]]:
    """Each of `requests` that a file of results tells of, in the file's order; it is taken out of `requests`."""
    for line in results:
        found = read_line(line)
        if found is not None and (request := requests.pop(found[0], None)) is not None:
            yield request, outcome_of(found[1], request.messages)


def judge(request: Request, outcome: Outcome, parked: Parked | None, attempts: int) -> Verdict:
    """As a live engine would take it: an answer that was cut off is asked for once more."""
    if isinstance(outcome, Completion):
        if parked is None or parked.cut is not None or not is_cut([outcome], request):
            return Verdict(request, answer=outcome)
        parked.cut, outcome = outcome, cut_off([outcome])
    if parked is None:
        return Verdict(request, failed=outcome)
    error = parked.meet(outcome.trouble, attempts)
    if error is not None and parked.cut is not None:
        return Verdict(request, answer=parked.cut, failed=outcome)
    return Verdict(request, failed=outcome, error=error)


async def store(verdicts: Sequence[Verdict], account: Account, submitted: float) -> None:
    """Write answers and failures to the ledger with what they cost, and settle it; durable on return.

    `submitted` is when the batch was, in seconds since 1970.
    """
    costs = {verdict.request.key(): _cost(verdict, account) for verdict in verdicts}
    seconds = max(0.0, time.time() - submitted)
    await asyncio.gather(
        *(_record(verdict, account, costs[verdict.request.key()]) for verdict in verdicts if verdict.failed is not None)
    )
    await account.ledger.put_many(
        # What a cut-off answer cost is on record already, as a failure.
        Answer(verdict.request, verdict.answer, seconds, 0 if verdict.failed else costs[verdict.request.key()])
        for verdict in verdicts
        if verdict.answer is not None
    )
    for key, cost in costs.items():
        account.settle(key, cost)


async def _record(verdict: Verdict, account: Account, cost: int) -> None:
    assert verdict.failed is not None
    trouble, usage = verdict.failed.trouble, verdict.failed.usage
    cause = trouble.sentence if verdict.error is None else str(verdict.error)
    await account.ledger.fail(verdict.request, cause, tokens=usage.tokens if usage else 0, cost=cost)


def _cost(verdict: Verdict, account: Account) -> int:
    """What is not known is counted at its upper bound."""
    if verdict.failed is None:
        return 0 if verdict.answer is None else account.cost(verdict.answer)
    if not verdict.failed.trouble.paid:
        return 0
    usage = verdict.failed.usage
    return account.held(verdict.request) if usage is None else account.cost_of(usage)
