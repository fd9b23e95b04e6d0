"""The `Engine` seam over the decoder: any transformers model answers, without a server."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

from favonius.chat.format import ChatFormat
from favonius.engines.config import Transformers
from favonius.engines.decoder import Decoder, Job, decode_one
from favonius.engines.prompting import request_ids
from favonius.engines.seeding import request_seed
from favonius.engines.token_texts import token_logprobs
from favonius.models.load import load
from favonius.run import ModelSource
from favonius.types import Completion, Request


@dataclass(frozen=True)
class _Asked:
    job: Job
    answer: Future[Completion]


class TransformersEngine:
    """A thread of its own decodes. A context manager; leaving it ends the thread and frees the model."""

    def __init__(self, source: ModelSource, config: Transformers) -> None:
        self.model = source.digest
        self.form = ChatFormat.load(source)
        self.slots, self.context_tokens = config.slots, config.context_tokens
        self._decoder = Decoder(load(source), self.form.end_ids, config.slots, config.context_tokens)
        self._inbox: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
        self._thread.start()

    def check(self, request: Request) -> None:
        request_ids(self.form, request, self.context_tokens)

    async def complete(self, request: Request) -> Completion:
        asked = _Asked(self._job(request), Future())
        self._inbox.put(asked)
        return await asyncio.wrap_future(asked.answer)

    def stream(self, request: Request) -> Iterator[str]:
        """The answer's text as it comes. Not to be mixed with `complete` in flight."""
        job = self._job(request)
        shown = ""
        for _ in decode_one(self._decoder, job):
            text = self.form.decode(job.tokens)
            if not text.endswith("\ufffd"):  # half a character: its other bytes come with the next token
                yield text[len(shown) :]
                shown = text
        yield self.form.decode(job.tokens)[len(shown) :]

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()
        del self._decoder

    def __enter__(self) -> TransformersEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _job(self, request: Request) -> Job:
        ids = request_ids(self.form, request, self.context_tokens)
        return Job(ids, request.sampling, random.Random(request_seed(request)), request.logprobs)

    def _work(self) -> None:
        running: list[_Asked] = []
        try:
            while self._take_in(running):
                over = self._decoder.step()
                stopped = [asked.job for asked in running if self._stop(asked.job) is not None]
                for job in stopped:
                    self._decoder.release(job)
                for asked in [asked for asked in running if any(asked.job is job for job in (*over, *stopped))]:
                    asked.answer.set_result(self._completion(asked.job))
                    running.remove(asked)
        except BaseException as error:  # the callers wait in another thread: they must hear of it
            for asked in running:
                asked.answer.set_exception(error)
            while (late := self._inbox.get()) is not None:
                if late.answer.set_running_or_notify_cancel():
                    late.answer.set_exception(error)

    def _take_in(self, running: list[_Asked]) -> bool:
        """Admit what waits, as far as slots are free; wait where nothing runs. False: the engine is being closed."""
        while self._decoder.free:
            try:
                asked = self._inbox.get(block=not running)
            except queue.Empty:
                return True
            if asked is None:
                return False
            # From here on it cannot be cancelled, so that setting its result never fails.
            if asked.answer.set_running_or_notify_cancel():
                running.append(asked)
                self._decoder.admit(asked.job)
        return True

    def _stop(self, job: Job) -> int | None:
        """Where the first of the request's stop texts begins in the answer; None where there is none yet."""
        text = self.form.decode(job.tokens)
        places = [text.find(stop) for stop in job.sampling.stop]
        return min((place for place in places if place >= 0), default=None)

    def _completion(self, job: Job) -> Completion:
        stop = self._stop(job)
        text = self.form.decode(job.tokens)[:stop]
        return Completion(
            text=text,
            finish="length" if stop is None and not job.finished else "stop",
            prompt_tokens=len(job.ids),
            completion_tokens=len(job.tokens),
            logprobs=token_logprobs(self.form, job.tokens, job.odds, text),
        )
