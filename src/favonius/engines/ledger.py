"""The ledger: every completion of a run, durable before it is reported. What was paid once is never paid again.

And every cent: what answers cost, what was paid for answers that could not be used, and the most that calls may cost
whose answer never came. So `spent` is never less than what was spent, whenever the process is killed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from favonius.engines import ledger_books as books
from favonius.engines.journal import Journal
from favonius.engines.ledger_changes import (
    STOPPED,
    UNANSWERED,
    Answered,
    Change,
    Failed,
    Reserved,
    charge_reservations,
    reserve,
    write,
)
from favonius.engines.ledger_schema import connect, explained, ledger_failures, open_ledger, transaction
from favonius.engines.ledger_view import LedgerView
from favonius.types import Completion, Request


class Answer(NamedTuple):
    """A completion and what it took: seconds, and nano-dollars."""

    request: Request
    completion: Completion
    seconds: float
    cost: int = 0


class Ledger(LedgerView):
    """One SQLite database per run. A context manager; all calls from one thread, of any number of event loops.

    What is written carries the name `step`. `put`, `fail` and `reserve` return when the row is durable, many of them
    in one transaction; the money they tell counts from the moment they are called. One Ledger at a time may write in a
    run (the run folder's lock sees to it): its running total knows nothing of what others write.
    Every method raises FavoniusError where disk, rights or another program stand in the way; what is stored stays.
    """

    def __init__(self, path: Path, step: str = "") -> None:
        super().__init__(path, open_ledger(path))
        self.step = step
        self._journal: Journal[Change] = Journal(lambda: connect(path), write, lambda error: explained(path, error))
        with ledger_failures(path):
            self._spent = {step: 0}
            for spend in books.spend(self._database):
                self._spent[spend.step] = self._spent.get(spend.step, 0) + spend.total
            held = self._database.execute("SELECT key, step, bound FROM reservations WHERE bound > 0")
            self._reserved: dict[str, tuple[str, int]] = {key: (step, bound) for key, step, bound in held}

    async def reserve(self, request: Request, bound: int) -> None:
        """Before a priced call is sent: it may cost `bound` nano-dollars at most. `put` or `fail` settles it."""
        call = Reserved(request.key(), request.model, self.step, bound, time.time())
        self._hold(call)
        await self._journal.append([call])

    async def put(self, request: Request, completion: Completion, seconds: float, cost: int = 0) -> None:
        """Store an answer. Where its key has one already that one stays, and the cost is counted beside it."""
        await self.put_many([Answer(request, completion, seconds, cost)])

    async def put_many(self, answers: Iterable[Answer]) -> None:
        """Store all of them in one transaction."""
        rows = [self._answered(answer) for answer in answers]
        if rows:
            await self._journal.append(rows)

    async def fail(self, request: Request, cause: str, attempts: int = 1, tokens: int = 0, cost: int = 0) -> None:
        """Record that `attempts` brought no answer, and why; the next run asks again, and `put` removes the record.

        `tokens` and `cost` are of answers that were paid and cannot be used.
        """
        row = Failed(
            request.key(), request.model, self.step, attempts, tokens, cost, time.time(), cause,
            request.model_dump_json(),
        )  # fmt: skip
        self._count(row.key, cost)
        await self._journal.append([row])

    def reclaim(self) -> int:
        """Count the calls as paid that a dead process left under way, and return their bounds' sum in nano-dollars.

        To be called by whoever holds the run folder's lock, before the first call is sent. Batches stay as they are.
        """
        with ledger_failures(self.path), transaction(self._database):
            return self._forfeit(STOPPED, "")

    def spent(self, step: str | None = None) -> int:
        """Nano-dollars that the run, or one step of it, has spent or may have: answers, losses, calls under way."""
        return sum(self._spent.values()) if step is None else self._spent.get(step, 0)

    def prunable(self, selection: books.Selection, failures_only: bool = False) -> books.Pruning:
        """What `prune` would remove."""
        with ledger_failures(self.path):
            return books.prunable(self._database, selection, failures_only)

    def prune(self, selection: books.Selection, failures_only: bool = False) -> books.Pruning:
        """Remove answers and failures, and give their room back to the disk; what they cost stays counted.

        Answers that a step asks for again are then paid again. To be called under the run folder's lock.
        """
        with ledger_failures(self.path):
            return books.prune(self._database, selection, failures_only)

    def open_batch(self, token: str, endpoint: str, model: str, calls: Iterable[tuple[Request, int]]) -> None:
        """Before a batch is submitted: its requests, each with the most that it may cost.

        `token` goes into the batch's metadata, so that it is found at the provider should the process die before the
        provider's id arrives; `endpoint` is a name that holds no secret.
        """
        now = time.time()
        held = [
            Reserved(request.key(), request.model, self.step, bound, now, token, request.model_dump_json())
            for request, bound in calls
        ]
        with ledger_failures(self.path), transaction(self._database):
            row = (token, "", endpoint, model, self.step, "submitting", now)
            self._database.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            reserve(self._database, held)
        for call in held:
            self._hold(call)

    def note_batch(self, token: str, id: str, state: str) -> None:
        """What the provider calls a batch, and how far it is."""
        with ledger_failures(self.path):
            self._database.execute("UPDATE batches SET id = ?, state = ? WHERE token = ?", (id, state, token))

    def close_batch(self, token: str) -> None:
        """Forget a batch whose results have been put. Its requests that are neither put nor failed count as paid."""
        with ledger_failures(self.path), transaction(self._database):
            self._forfeit(UNANSWERED, token)
            self._database.execute("DELETE FROM batches WHERE token = ?", (token,))

    def withdraw_batch(self, token: str) -> None:
        """Forget a batch that the provider did not take: nothing was paid for it."""
        with ledger_failures(self.path), transaction(self._database):
            keys = self._database.execute("SELECT key FROM reservations WHERE batch = ?", (token,)).fetchall()
            self._database.execute("DELETE FROM reservations WHERE batch = ?", (token,))
            self._database.execute("DELETE FROM batches WHERE token = ?", (token,))
        for (key,) in keys:
            self._count(key, 0)

    def bound(self, key: str) -> int:
        """Nano-dollars that are held for a call under way."""
        return self._reserved.get(key, ("", 0))[1]

    def close(self) -> None:
        """Write what waits, then close. Raises where that could not be written."""
        try:
            self._journal.close()
        finally:
            self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failures(self) -> AbstractContextManager[None]:
        return ledger_failures(self.path)

    def _answered(self, answer: Answer) -> Answered:
        request, completion = answer.request, answer.completion
        row = Answered(
            request.key(), request.model, self.step, completion.prompt_tokens, completion.completion_tokens,
            answer.cost, answer.seconds, time.time(), request.model_dump_json(), completion.model_dump_json(),
        )  # fmt: skip
        self._count(row.key, row.cost)
        return row

    def _hold(self, call: Reserved) -> None:
        """Count a bound. One that was held for the same key becomes a charge, and stays counted."""
        self._spent[self.step] += call.bound
        self._reserved[call.key] = (self.step, call.bound)

    def _count(self, key: str, cost: int) -> None:
        """Count a cost in place of the bound that was held for it."""
        self._spent[self.step] += cost
        step, bound = self._reserved.pop(key, (self.step, 0))
        self._spent[step] -= bound

    def _forfeit(self, cause: str, batch: str) -> int:
        """Turn the reservations of `batch` into charges, and return their sum, which was counted already."""
        query = "SELECT key, bound FROM reservations WHERE batch = ?"
        lost = dict(self._database.execute(query, (batch,)).fetchall())
        charge_reservations(self._database, cause, "batch = ?", batch)
        for key in lost:
            self._reserved.pop(key, None)
        return sum(lost.values())
