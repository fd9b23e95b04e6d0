"""Many small interviews at once: generators that ask, are answered, and return what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")


def conduct(
    runner: asyncio.Runner,
    jobs: Iterable[Generator[A, R, T]],
    answer: Callable[[A], Awaitable[R]],
    concurrency: int,
) -> Iterator[tuple[int, T]]:
    """Run every job in the loop of `runner`; yield its number and what it returned, in the order in which they end.

    A job yields what it asks and is sent the answer. At most `concurrency` jobs are open at once, and jobs are taken
    from the iterable as there is room, so that a million of them need no more memory than a hundred. What a job or
    `answer` raises ends the whole and is raised here; so does closing this iterator.
    """
    workers: _Workers[A, R, T] = _Workers(jobs, answer, concurrency)
    try:
        while ended := runner.run(workers.some()):
            yield from ended
    finally:
        runner.run(workers.stop())


class _Workers(Generic[A, R, T]):
    """Tasks that take jobs, and the results that nobody has fetched yet.

    Between two calls of `some` the loop stands still, so few results wait at any time.
    """

    def __init__(
        self, jobs: Iterable[Generator[A, R, T]], answer: Callable[[A], Awaitable[R]], concurrency: int
    ) -> None:
        self.jobs, self.answer, self.concurrency = enumerate(jobs), answer, concurrency
        self.results: list[tuple[int, T]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None
        self.started = False
        self.news = asyncio.Event()

    async def some(self) -> list[tuple[int, T]]:
        """What has ended since the last call; empty once all is done."""
        if not self.started:
            self.started = True
            for _ in range(self.concurrency):
                task = asyncio.create_task(self._work())
                self.tasks.add(task)
                task.add_done_callback(self._leave)
        while not self.results and self.failure is None and self.tasks:
            await self.news.wait()
            self.news.clear()
        if self.failure is not None:
            raise self.failure
        results, self.results = self.results, []
        return results

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            self.failure = self.failure or task.exception()
        self.news.set()

    async def _work(self) -> None:
        for number, job in self.jobs:
            result = await self._through(job)
            self.results.append((number, result))
            self.news.set()

    async def _through(self, job: Generator[A, R, T]) -> T:
        try:
            asked = next(job)
            while True:
                asked = job.send(await self.answer(asked))
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]
