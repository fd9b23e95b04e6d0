"""Of which models the steps need the weights themselves, and which they only have somebody else ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel

from favonius.engines.config import LlamaCpp, OpenAI
from favonius.evals.benchmarks.config import READ_TASKS, AlpacaEval, BenchmarkConfig, MtBench
from favonius.evals.config import EvaluateConfig
from favonius.recipe.model import AnyStage
from favonius.recipe.references import direct_models, holders
from favonius.run import ModelRef, references


def weights_needed(configs: Iterable[AnyStage]) -> frozenset[str]:
    """Names of the models that a step trains from, scores with or asks through transformers. The weights of a GGUF file
    that is none of these are llama.cpp's business alone, which reads them in the file."""
    return frozenset(name for config in configs for name in _named(config) - _asked_elsewhere(config))


def _named(config: AnyStage) -> Counter[str]:
    """How often a config names each model."""
    return Counter(str(name) for name in references(config) if isinstance(name, ModelRef))


def _asked_elsewhere(config: AnyStage) -> Counter[str]:
    """How often it names a model for nothing but llama.cpp's or a server's answers, or to know it from another. What is
    not known to be such a place is taken to need the weights."""
    found = Counter(
        str(model)
        for holder, path in holders(config, ())
        if not _reads(holder)
        for _, model, engine in direct_models(holder, path)
        if isinstance(engine, (LlamaCpp, OpenAI))
    )
    if isinstance(config, EvaluateConfig) and config.teacher is not None:
        found[config.teacher] += 1
    if isinstance(config, BenchmarkConfig) and isinstance(config.engine, (LlamaCpp, OpenAI)):
        tasks = (task for task in config.tasks.values() if isinstance(task, (MtBench, AlpacaEval)))
        found.update(str(task.baseline) for task in tasks if task.baseline is not None)
    return found


def _reads(holder: BaseModel) -> bool:
    """Whether log-probs are read off the models of a config too, whatever its engine answers."""
    if isinstance(holder, BenchmarkConfig):
        return any(isinstance(task, READ_TASKS) for task in holder.tasks.values())
    return isinstance(holder, EvaluateConfig)
