"""The `Engine` seam over the decoder: any transformers model answers, without a server."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType

from favonius.chat.format import ChatFormat
from favonius.engines.config import Transformers
from favonius.engines.decoder import Decoder, Job
from favonius.engines.prompting import Prompted, prompted
from favonius.engines.token_texts import read_logprobs, token_logprobs
from favonius.engines.writing import Listener, Pieces, Written, settled
from favonius.models.load import load
from favonius.run import ModelSource
from favonius.types import Completion, Request


@dataclass
class _Asked:
    job: Job
    answer: Future[Written]
    listener: Listener | None = None
    told: int = 0
    """Characters of the answer that the listener has."""

    @property
    def unwanted(self) -> bool:
        return self.listener is not None and self.listener.gone


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
        prompted(self.form, request, self.context_tokens)

    async def complete(self, request: Request) -> Completion:
        asked = _Asked(_job(prompted(self.form, request, self.context_tokens)), Future())
        self._inbox.put(asked)
        return (await asyncio.wrap_future(asked.answer)).completion

    async def write(self, prompted: Prompted) -> Pieces:
        """The answer as it comes, and at the end the whole."""
        listener = Listener()
        asked = _Asked(_job(prompted), Future(), listener)
        asked.answer.add_done_callback(lambda answer: listener.tell(answer.exception() or answer.result()))
        self._inbox.put(asked)
        async with aclosing(listener.pieces()) as pieces:
            async for piece in pieces:
                yield piece

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

    def _work(self) -> None:
        running: list[_Asked] = []
        try:
            while self._take_in(running):
                over = self._decoder.step()
                stopped = [asked.job for asked in running if asked.unwanted or self._stop(asked.job) is not None]
                for job in stopped:
                    self._decoder.release(job)
                for asked in [asked for asked in running if any(asked.job is job for job in (*over, *stopped))]:
                    running.remove(asked)
                    written = self._written(asked.job)
                    self._tell(asked, written.completion.text)
                    asked.answer.set_result(written)
                for asked in running:
                    if asked.listener is not None:
                        self._tell(asked, settled(self.form.decode(asked.job.tokens), asked.job.sampling.stop))
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
            if not asked.unwanted and asked.answer.set_running_or_notify_cancel():
                running.append(asked)
                self._decoder.admit(asked.job)
        return True

    def _tell(self, asked: _Asked, text: str) -> None:
        """What the answer has grown by, to who reads along."""
        if asked.listener is not None and len(text) > asked.told:
            asked.listener.tell(text[asked.told :])
            asked.told = len(text)

    def _stop(self, job: Job) -> int | None:
        """Where the first of the request's stop texts begins in the answer; None where there is none yet."""
        text = self.form.decode(job.tokens)
        places = [text.find(stop) for stop in job.sampling.stop]
        return min((place for place in places if place >= 0), default=None)

    def _written(self, job: Job) -> Written:
        stop = self._stop(job)
        text = self.form.decode(job.tokens)[:stop]
        completion = Completion(
            text=text,
            finish="length" if stop is None and not job.finished else "stop",
            prompt_tokens=len(job.ids),
            completion_tokens=len(job.tokens),
            logprobs=token_logprobs(self.form, job.tokens, job.odds[: len(job.tokens)], text),
        )
        if not job.echo:
            return Written(completion)
        end = [] if job.end is None else [job.end]
        ids = [*job.ids, *job.tokens, *end]
        return Written(completion, read_logprobs(self.form, ids, [*job.echoed, *job.odds]))


def _job(prompted: Prompted) -> Job:
    draws = random.Random(prompted.seed)
    return Job(prompted.ids, prompted.sampling, draws, prompted.logprobs, prompted.echo)
