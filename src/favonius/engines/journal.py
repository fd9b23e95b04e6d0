"""Group commit: many writers, one transaction at a time, and nobody goes on before what he wrote is on the disk.

One sync of the disk serves all that has arrived while the one before was under way, so that it costs a thousand
writers no more than one.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from favonius.engines.ledger_schema import transaction

LINGER_SECONDS = 0.002
"""How long the first of a group waits for others: at most 500 syncs a second, and a delay that no teacher notices."""
MOST_IN_GROUP = 2_000
"""Entries in one transaction."""
Change = TypeVar("Change")


class _Entry(NamedTuple, Generic[Change]):
    """What one caller writes, and the future that it waits for."""

    changes: Sequence[Change]
    durable: asyncio.Future[None]


class Journal(Generic[Change]):
    """A thread that writes for the coroutines of any number of event loops, in the order in which they call.

    `connect` opens the thread's own connection, `write` applies changes within a transaction, and `explained` makes of
    an error the one that callers get. Every entry has a caller that waits for it, so the queue is never longer than
    the calls under way. Once a transaction has failed, its callers and all later ones get the error; what was
    committed before stays.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        write: Callable[[sqlite3.Connection, Sequence[Change]], None],
        explained: Callable[[Exception], Exception],
    ) -> None:
        self._connect, self._write, self._explained = connect, write, explained
        self._arrived: queue.SimpleQueue[_Entry[Change] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    async def append(self, changes: Sequence[Change]) -> None:
        """Return when `changes` are durable, all in one transaction, after those of earlier calls.

        They are written even where the caller is cancelled while it waits.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
            self._thread.start()
        durable = asyncio.get_running_loop().create_future()
        self._arrived.put(_Entry(changes, durable))
        await durable

    def close(self) -> None:
        """Write what waits and end the thread. Raises where anything could not be written."""
        if self._thread is not None:
            self._arrived.put(None)
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._explained(self._error) from self._error

    def _work(self) -> None:
        database: sqlite3.Connection | None = None
        for group in self._groups():
            try:
                if self._error is None:
                    database = database or self._connect()
                    with transaction(database):
                        self._write(database, [change for entry in group for change in entry.changes])
            except Exception as error:  # the callers wait in other threads: they must hear of it, whatever it is
                self._error = error
            self._wake(group)
        if database is not None:
            database.close()

    def _groups(self) -> Iterator[list[_Entry[Change]]]:
        """What has arrived, again and again, until the journal is closed."""
        entry = self._arrived.get()
        while entry is not None:
            time.sleep(LINGER_SECONDS)
            group = [entry]
            with suppress(queue.Empty):
                while len(group) < MOST_IN_GROUP and (entry := self._arrived.get_nowait()) is not None:
                    group.append(entry)
            yield group
            entry = self._arrived.get() if entry is not None else None

    def _wake(self, group: list[_Entry[Change]]) -> None:
        """Tell the callers, each loop once: a signal per caller would cost more than the writing."""
        waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for entry in group:
            waiting.setdefault(entry.durable.get_loop(), []).append(entry.durable)
        for loop, futures in waiting.items():
            with suppress(RuntimeError):  # the loop is closed, and nobody waits in it
                loop.call_soon_threadsafe(self._settle, futures)

    def _settle(self, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if future.done():  # cancelled
                continue
            if self._error is None:
                future.set_result(None)
            else:
                future.set_exception(self._explained(self._error))
