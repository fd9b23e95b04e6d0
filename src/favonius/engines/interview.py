"""A model asked many things within a stage: engine and ledger are opened, asked, closed and freed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from favonius.engines.ask import Failure, ask_all
from favonius.engines.config import EngineConfig
from favonius.engines.ledger import Ledger
from favonius.engines.open import open_engine
from favonius.errors import UserError
from favonius.run import Context, ModelSource
from favonius.types import Completion, Engine, Messages, Request, RequestError, Sampling


class Interview:
    """`tokens` counts what the model has said, asked now or found in the ledger."""

    def __init__(self, engine: Engine, ledger: Ledger, slots: int, context: Context) -> None:
        self.engine, self.ledger, self.slots, self.context = engine, ledger, slots, context
        self.tokens = 0

    def ask(
        self, conversations: Mapping[str, Messages], sampling: Sampling, label: str, sample: int = 0
    ) -> dict[str, Completion | Failure]:
        """The model's next message in each conversation, by name."""
        requests = [self._request(messages, sampling, sample) for messages in conversations.values()]
        replies = ask_all(self.engine, requests, self.ledger, self.context.progress, label, self.slots)
        self.tokens += sum(reply.completion_tokens for reply in replies if isinstance(reply, Completion))
        return dict(zip(conversations, replies, strict=True))

    def refuse_unanswerable(self, conversations: Mapping[str, Messages], sampling: Sampling) -> None:
        """UserError where a prompt of the user's own cannot be asked: before the first is paid for, not after."""
        for name, messages in conversations.items():
            try:
                self.engine.check(self._request(messages, sampling, 0))
            except RequestError as error:
                raise UserError(f"prompt {name}: {error}") from error

    def _request(self, messages: Messages, sampling: Sampling, sample: int) -> Request:
        return Request(model=self.engine.model, messages=messages, sampling=sampling, sample=sample)


@contextmanager
def interview(config: EngineConfig, source: ModelSource, context: Context) -> Iterator[Interview]:
    with open_engine(config, source) as engine, Ledger(context.ledger) as ledger:
        yield Interview(engine, ledger, engine.slots, context)
