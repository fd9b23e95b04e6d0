"""A model asked through its provider's Batch API: what waits at the same time goes together, and may take days.

Answers are cheaper there, and a run need not live as long as they take. The ledger knows a batch before the provider
does, so that whenever the process dies the next run finds every batch again, and neither pays nor submits twice.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Sequence
from itertools import islice

from favonius.engines.account import Account, SpentError
from favonius.engines.asked import Traffic
from favonius.engines.config import OpenAI
from favonius.engines.ledger_books import Batch
from favonius.engines.openai.batch_api import DAY_SECONDS, BatchView, GoneError, ProviderError, RefusedError
from favonius.engines.openai.batch_endpoints import BatchEndpoints
from favonius.engines.openai.batch_lines import request_line, url
from favonius.engines.openai.batch_results import DELETED, ENDED, MISSING, Outcome, judge, outcomes, store
from favonius.engines.openai.batch_waiting import Waiting
from favonius.engines.openai.live import answering
from favonius.errors import FavoniusError
from favonius.progress import Progress, clock
from favonius.run import ServedModel
from favonius.types import Completion, Request

SLOTS = 100_000
"""Requests that wait at once, each in some kilobytes of memory."""
MOST_BYTES = 100_000_000
"""In one file."""
AT_ONCE = 1_000
"""Results that are stored in one go."""
TICK_SECONDS = 0.05
TOLD_SECONDS = 600.0
"""How often a line tells that batches are still waited for, where there is no terminal to rewrite it on."""
KEPT_DAYS = 30
"""Providers forget batches some time after; until then one that they do not know is taken for a mistake of the key."""


class BatchEngine:
    """The `Engine` seam over files and batches. Used within one event loop; `aclose` ends its connections there.

    Requests are parked until all that the stage asks is parked, or a file is full; then they are submitted. Answers
    and failures are written to the ledger here, a batch at a time and whether or not anybody waits for them: what asks
    this engine must not write them again (`Asked.engine_stores`). Samples are never grouped.
    """

    def __init__(
        self, config: OpenAI, model: ServedModel, account: Account, progress: Progress, traffic: Traffic
    ) -> None:
        self.config, self.served_as, self.account = config, model.served_as, account
        self.ledger, self.progress = account.ledger, progress
        self.model = answering(config, model)
        self.slots = SLOTS
        self._waiting = Waiting(traffic, config.batch_requests)
        self._endpoints = BatchEndpoints(config)
        self._batches: dict[str, Batch] = {}
        self._keys: dict[str, dict[str, None]] = {}
        """Of each batch, its requests when it was opened or found again."""
        self._held_back = False
        """Nothing can be submitted before a batch has ended."""
        self._next_look = self._told = -math.inf
        self._work: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._take_over()

    def check(self, request: Request) -> None:
        """Only the server knows what it can answer."""

    async def complete(self, request: Request) -> Completion:
        """Answer, once a batch has brought it.

        RequestError where as many batches as the config allows attempts did not, SpentError where there is no money,
        FavoniusError where batches cannot be submitted or collected; those that are under way stay in the ledger.
        """
        if self._failure is not None:
            raise self._failure
        key, reply = request.key(), self._waiting.park(request)
        if not any(key in keys for keys in self._keys.values()):
            self._waiting.enqueue([key])
        if self._work is None:
            self._work = asyncio.create_task(self._run())
        try:
            return await reply
        finally:
            self._waiting.leave(key)

    async def aclose(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._batches:
            names = ", ".join(batch.id or "one being submitted" for batch in self._batches.values())
            self.progress.say(f"  batches go on at the provider: {names}; run the same command again to collect them")
        await self._endpoints.aclose()

    def _take_over(self) -> None:
        """Batches that an earlier run of this step left under way."""
        for batch in self.ledger.batches():
            if (batch.step, batch.model) != (self.ledger.step, self.model):
                continue
            if keys := dict.fromkeys(self.ledger.batch_requests(batch.token)):
                self._batches[batch.token], self._keys[batch.token] = batch, keys
                self.account.resume(keys)
            else:
                self.ledger.close_batch(batch.token)  # all that it brought was written

    async def _run(self) -> None:
        """Submit and collect until the engine is closed; whoever waits hears of what ends it before."""
        try:
            while True:
                if self._waiting.gathered() and not self._held_back:
                    await self._submit()
                if time.monotonic() >= self._next_look:
                    for batch in list(self._batches.values()):
                        await self._look(batch)
                    # Money may be back, too, that others had set aside.
                    self._held_back = self._held_back and bool(self._batches)
                    self._next_look = time.monotonic() + self.config.poll_seconds
                await asyncio.sleep(min(TICK_SECONDS, self.config.poll_seconds))
        except Exception as error:
            self._failure = error
            self._waiting.end(error)

    async def _submit(self) -> None:
        """One batch of what waits, as far as a file has room and the purse has money."""
        home = await self._endpoints.home()
        lines = self._lines()
        token = uuid.uuid4().hex
        try:
            requests = self.account.open_batch(token, home.name, [self._waiting.queue[key] for key in lines])
        except SpentError as error:
            for key in lines:
                self._waiting.leave(key, error)
            return
        if not requests:
            self._held_back = True
            return
        keys = dict.fromkeys(request.key() for request in requests)
        for key in keys:
            del self._waiting.queue[key]
        batch = Batch(token, "", home.name, self.model, self.ledger.step, "submitting", time.time())
        self._batches[token], self._keys[token] = batch, keys
        try:
            file = await home.upload(b"".join(lines[key] for key in keys), f"favonius-{token}.jsonl")
        except ProviderError:
            self._withdraw(batch)
            raise
        try:
            view = await home.create(file, url(self.config), token)
        except RefusedError:
            self._withdraw(batch)
            raise
        self._note(batch, view)

    def _lines(self) -> dict[str, bytes]:
        """An input file's lines by request, from the first that waits."""
        lines: dict[str, bytes] = {}
        size = 0
        for key, request in self._waiting.queue.items():
            line = request_line(self.config, self.served_as, request)
            size += len(line)
            if len(lines) == self.config.batch_requests or (lines and size > MOST_BYTES):
                break
            lines[key] = line
        return lines

    async def _look(self, batch: Batch) -> None:
        """How far a batch is; collect it once it is over."""
        api = self._endpoints.at(batch.endpoint)
        try:
            view = await (api.look(batch.id) if batch.id else api.find(batch.token, batch.created))
        except GoneError as error:
            if time.time() < batch.created + KEPT_DAYS * DAY_SECONDS:
                asked = f"{len(self._keys[batch.token]):,} requests were asked in it"
                raise ProviderError(f"{error}; {asked}: use the key of the account that it belongs to") from error
            await self._close(batch, self.ledger.batch_requests(batch.token), DELETED)
            return
        if view is None:
            count = len(self._keys[batch.token])
            self.progress.say(f"  a batch of {count:,} requests had not reached {api.name}; they are submitted anew")
            self._withdraw(batch)
            return
        batch = self._note(batch, view)
        if view.over:
            await self._collect(batch, view)

    async def _collect(self, batch: Batch, view: BatchView) -> None:
        files = [file for file in (view.error_file, view.output_file) if file is not None]
        if view.status == "failed" and not files:
            self._refused(batch, view)
            return
        rest = MISSING if view.status == "completed" else ENDED
        requests = self.ledger.batch_requests(batch.token)
        for file in files:
            try:
                results = await self._endpoints.at(batch.endpoint).download(file)
            except GoneError as error:
                self.progress.say(f"  {error}")
                rest = DELETED
                continue
            with results:
                found = outcomes(results, requests)
                while some := list(islice(found, AT_ONCE)):
                    await self._settle(some, batch)
        await self._close(batch, requests, rest)

    async def _close(self, batch: Batch, requests: dict[str, Request], rest: Outcome) -> None:
        """A batch is over; `requests`, of which its files did not tell, have all met `rest`."""
        await self._settle([(request, rest) for request in requests.values()], batch)
        self.ledger.close_batch(batch.token)
        self._forget(batch)

    async def _settle(self, found: Sequence[tuple[Request, Outcome]], batch: Batch) -> None:
        """Store what became of requests, and tell those who wait for them."""
        attempts = self.config.attempts
        verdicts = [judge(request, outcome, self._waiting.get(request.key()), attempts) for request, outcome in found]
        await store(verdicts, self.account, batch.created)
        for verdict in verdicts:
            if (outcome := verdict.answer or verdict.error) is not None:
                self._waiting.leave(verdict.request.key(), outcome)

    def _refused(self, batch: Batch, view: BatchView) -> None:
        """A batch did not pass the provider's validation. FavoniusError unless it only came too early."""
        problem = view.problems[0] if view.problems else "no cause is given"
        self._withdraw(batch)
        if view.crowded and self._batches:
            self.progress.say(f"  batch {view.id} is submitted again after another has ended ({problem})")
            self._held_back = True
            return
        more = f" and {len(view.problems) - 1} more" if len(view.problems) > 1 else ""
        advice = "set a smaller `batch_requests`" if view.crowded else "mend that"
        raise FavoniusError(
            f"{batch.endpoint} refused batch {view.id}: {problem}{more}; nothing of it was asked or paid: {advice} and "
            "run the same command again"
        )

    def _withdraw(self, batch: Batch) -> None:
        """The provider has done nothing for a batch, and never will."""
        self.ledger.withdraw_batch(batch.token)
        for key in self._keys[batch.token]:
            self.account.settle(key, 0)
        self._forget(batch)

    def _forget(self, batch: Batch) -> None:
        """A batch is over; those of its requests that are still waited for go into another."""
        del self._batches[batch.token]
        self._held_back = False
        self._waiting.enqueue(self._keys.pop(batch.token))

    def _note(self, batch: Batch, view: BatchView) -> Batch:
        """Keep durably what the provider calls a batch and how far it is, and tell it."""
        total = view.total or len(self._keys[batch.token])
        since = clock(max(0.0, time.time() - batch.created))
        state = view.status.replace("_", " ")
        text = f"  batch {view.id}: {state}, {view.done:,} of {total:,} done, waiting since {since}"
        moved = (view.id, view.status) != (batch.id, batch.state)
        if moved:
            self.ledger.note_batch(batch.token, view.id, view.status)
            batch = self._batches[batch.token] = batch._replace(id=view.id, state=view.status)
        if moved or (not self.progress.live and time.monotonic() >= self._told + TOLD_SECONDS):
            self._told = time.monotonic()
            self.progress.say(text)
        else:
            self.progress.now(text)
        return batch
