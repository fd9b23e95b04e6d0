"""Work on chunks of rows by several processes, with results in the order of the chunks.

What Python does to rows, it does on one core; where that is slower than the disk and the tokenizer, the work is shared
out.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from favonius.errors import FavoniusError

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
Item = TypeVar("Item")

Work = Callable[[Chunk], Result]
PATIENCE_SECONDS = 5.0
"""Given to a worker that was told to go."""


def map_chunks(
    open_work: Callable[[], Work[Chunk, Result]], chunks: Iterable[Chunk], processes: int
) -> Iterator[Result]:
    """`open_work()` once in every process, and what it returns called with each chunk; each has one chunk at a time.

    `open_work` must be picklable: a function of a module, or a `functools.partial` of one. One process is this one.
    What a worker raises is raised here; its death is a FavoniusError. However the caller stops, the workers go.
    """
    if processes == 1:
        yield from map(open_work(), chunks)
        return
    workers: list[_Worker] = []
    try:
        workers += [_Worker(open_work) for _ in range(processes)]
        idle, busy = deque(workers), deque[_Worker]()
        for chunk in chunks:
            if not idle:
                first = busy.popleft()
                result = first.result()
                first.begin(chunk)
                busy.append(first)
                yield result
            else:
                idle[0].begin(chunk)
                busy.append(idle.popleft())
        for worker in busy:
            yield worker.result()
    finally:
        for worker in workers:
            worker.leave()


def chunked(items: Iterable[Item], size: Callable[[Item], int], enough: int) -> Iterator[list[Item]]:
    """Lists of neighbours whose sizes sum up to `enough` or, for the last of them, less."""
    chunk: list[Item] = []
    total = 0
    for item in items:
        chunk.append(item)
        total += size(item)
        if total >= enough:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


class _Worker:
    """A process that answers each chunk it is sent, and ends when nobody can send it any more."""

    def __init__(self, open_work: Callable[[], Work[Any, Any]]) -> None:
        context = get_context("spawn")  # a fork of a process with threads may hang
        self._pipe, its = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(open_work, its), daemon=True)
        self._process.start()
        its.close()

    def begin(self, chunk: Any) -> None:
        try:
            self._pipe.send(chunk)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def result(self) -> Any:
        try:
            result, error = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._death() from None
        if error is not None:
            raise error
        return result

    def leave(self) -> None:
        self._pipe.close()
        self._process.join(PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _death(self) -> FavoniusError:
        self._process.join(PATIENCE_SECONDS)
        return FavoniusError(
            f"a process that worked on rows died (exit {self._process.exitcode}; -9 is what happens where memory runs "
            "out); free some, or use fewer processes, and run the same command again"
        )


def _serve(open_work: Callable[[], Work[Any, Any]], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent closes the pipe
    work: Work[Any, Any] | None = None
    while True:
        try:
            chunk = pipe.recv()
        except EOFError:
            return
        try:
            if work is None:
                work = open_work()
            answer: tuple[Any, Exception | None] = (work(chunk), None)
        except Exception as error:
            answer = (None, error)
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return
