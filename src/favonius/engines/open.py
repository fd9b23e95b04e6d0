"""From an engine's config to an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from favonius.engines.account import Account
from favonius.engines.asked import Traffic
from favonius.engines.config import EngineConfig, LlamaCpp, OpenAI, Transformers
from favonius.errors import UserError
from favonius.progress import Progress
from favonius.run import ModelSource, ServedModel
from favonius.types import Engine


@contextmanager
def open_engine(
    config: EngineConfig,
    source: ModelSource | ServedModel,
    account: Account,
    runner: asyncio.Runner,
    progress: Progress,
    traffic: Traffic,
) -> Iterator[Engine]:
    """The engine that `config` names, made for one model and freed at the end; used in the loop of `runner`.

    `traffic` tells it what else the stage asks, and `progress` is told of long waits. UserError where the model is not
    one that this engine can make answer.
    """
    if isinstance(config, OpenAI):
        if not isinstance(source, ServedModel):
            raise UserError(f"model {source.name} is no api:// model, and engine openai talks to those only")
        with _remote(config, source, account, runner, progress, traffic) as remote:
            yield remote
        return
    if isinstance(source, ServedModel):
        raise UserError(f"model {source.name} is served by an API; talk to it with `engine: {{kind: openai}}`")
    match config:  # what an engine is made of is heavy, and a run needs one or two
        case LlamaCpp():
            from favonius.engines.llamacpp import LlamaCppEngine

            with LlamaCppEngine(source, config) as local:
                yield local
        case Transformers():
            from favonius.engines.transformers_engine import TransformersEngine

            with TransformersEngine(source, config) as decoding:
                yield decoding


@contextmanager
def _remote(
    config: OpenAI,
    source: ServedModel,
    account: Account,
    runner: asyncio.Runner,
    progress: Progress,
    traffic: Traffic,
) -> Iterator[Engine]:
    from favonius.engines.openai.batch import BatchEngine
    from favonius.engines.openai.live import LiveEngine

    batches = config.mode == "batch"
    engine = BatchEngine(config, source, account, progress, traffic) if batches else LiveEngine(config, source, account)
    try:
        yield engine
    finally:
        runner.run(engine.aclose())
