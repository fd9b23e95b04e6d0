"""`favonius serve`: which models stand behind the address, and who may ask."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from favonius.chat.format import ChatFormat
from favonius.cli.named_models import Named, named
from favonius.engines.config import LlamaCpp, Transformers
from favonius.engines.writing import Writer
from favonius.errors import UserError
from favonius.pipeline.saved import is_run
from favonius.pipeline.talkers import talkers
from favonius.progress import Progress
from favonius.run import ModelSource
from favonius.serve.app import Limits
from favonius.serve.models import Models, Opening
from favonius.serve.server import read_key, serve


def run(options: argparse.Namespace) -> None:
    """Serve until told to stop. UserError where a model is not there, two have one name, or the key is unfit."""
    key = None if options.api_key_file is None else read_key(options.api_key_file)
    models = models_of(options.models, options.template, options.slots, options.context_tokens)
    limits = Limits(at_once=options.at_once, seconds=options.seconds)
    serve(models, options.host, options.port, Progress().say, limits, key)


def models_of(given: list[str], template: str, slots: int, context_tokens: int) -> Models:
    """The models that a command line names. UserError where one is not there, or two have one name."""
    openings: dict[str, Opening] = {}
    for name, source in _sources(given, template):
        if name in openings:
            raise UserError(f"two models would be called {name}; serve them from addresses of their own")
        openings[name] = partial(_engine, source, slots, context_tokens)
    return Models(openings)


def _sources(given: list[str], template: str) -> Iterator[tuple[str, ModelSource]]:
    """Name → weights. Models of one run go by their steps' names; of several, by RUN/STEP."""
    for text in given:
        if is_run(Path(text)):
            prefix = f"{Path(text).resolve().name}/" if len(given) > 1 else ""
            yield from ((f"{prefix}{name}", source) for name, source in talkers(Path(text)).items())
        else:
            found = named(text, template)
            yield found.name, _weights(found)


def _weights(found: Named) -> ModelSource:
    """UserError now, and not when it is first asked for, where it has no chat template."""
    source = found.fetch(Progress(), for_llama=True)  # as `_engine` runs GGUF files
    if not isinstance(source, ModelSource):
        raise UserError(f"{found.text}: it is served by an API already")
    try:
        ChatFormat.load(source)
    except UserError as error:
        raise UserError(f"{found.text}: {error}") from error
    return source


def _engine(source: ModelSource, slots: int, context_tokens: int) -> AbstractContextManager[Writer]:
    """llama.cpp for what came as a GGUF file, our own decoder for other weights."""
    if source.gguf is not None:
        from favonius.engines.llamacpp import LlamaCppEngine

        return LlamaCppEngine(source, LlamaCpp(slots=slots, context_tokens=context_tokens))
    from favonius.engines.transformers_engine import TransformersEngine

    return TransformersEngine(source, Transformers(slots=slots, context_tokens=context_tokens))
