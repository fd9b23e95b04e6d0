"""From an engine's config to an engine."""

from __future__ import annotations

from favonius.engines.config import EngineConfig, LlamaCpp, Transformers
from favonius.engines.llamacpp import LlamaCppEngine
from favonius.engines.transformers_engine import TransformersEngine
from favonius.run import ModelSource


def open_engine(config: EngineConfig, source: ModelSource) -> LlamaCppEngine | TransformersEngine:
    """Load a model into the engine that `config` names; a context manager that frees it."""
    match config:
        case LlamaCpp():
            return LlamaCppEngine(source, config)
        case Transformers():
            return TransformersEngine(source, config)
        case _:
            raise NotImplementedError
