"""Asking many requests: a bounded number at once, answers in the order of the requests, failures recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from favonius.engines.ledger import Ledger, Ledgered
from favonius.progress import Progress
from favonius.types import Completion, Engine, Noun, Request, RequestError


class Failure(Noun):
    """A request that got no answer, and why. It is not stored, so the next run asks it again."""

    cause: str


def ask_all(
    engine: Engine, requests: Sequence[Request], ledger: Ledger, progress: Progress, label: str, concurrency: int
) -> list[Completion | Failure]:
    """Answer every request, from the ledger where it has been answered before.

    A RequestError of the engine becomes a Failure; anything else it raises ends the asking, with all answers that
    have arrived in the ledger.
    """
    replies: list[Completion | Failure | None] = [ledger.get(request.key()) for request in requests]
    open_requests = [index for index, reply in enumerate(replies) if reply is None]
    with progress.bar(label, len(requests), "answers", done=len(requests) - len(open_requests)) as bar:
        asked = Ledgered(engine, ledger)

        async def work(indices: Iterator[int]) -> None:
            for index in indices:
                try:
                    completion = await asked.complete(requests[index])
                except RequestError as error:
                    replies[index] = Failure(cause=str(error))
                    bar.advance(1)
                else:
                    replies[index] = completion
                    bar.advance(1, completion.completion_tokens)

        async def work_together() -> None:
            indices = iter(open_requests)
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(open_requests))):
                    group.create_task(work(indices))

        try:
            asyncio.run(work_together())
        except BaseExceptionGroup as group:
            raise _first(group) from None
    return [reply for reply in replies if reply is not None]


def _first(error: BaseException) -> BaseException:
    """The first of the errors that several workers met at once."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
