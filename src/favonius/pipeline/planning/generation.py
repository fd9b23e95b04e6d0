"""Steps that ask models or read with them: memory of weights and caches; time where it was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from favonius.engines.config import LlamaCpp, OpenAI, Transformers
from favonius.models.load import resolve_dtype
from favonius.pipeline.estimate import Asks, Estimate
from favonius.pipeline.planning.hardware import Hardware
from favonius.pipeline.planning.measure import WriteCost, write_cost
from favonius.pipeline.planning.outlines import config_of, gguf_of, numbers, outline, root_of
from favonius.pipeline.planning.speakers import Speaker, speakers
from favonius.pipeline.planning.training import PROCESS_BYTES, Memory
from favonius.recipe import AnyStage, Recipe

CACHE_BYTES = 2
"""Of a key's or a value's number in llama.cpp."""
READER = Transformers(slots=1, context_tokens=1024)
"""How a model that only reads is measured."""
FEWEST_SLOTS = 8
"""Where llama.cpp is to choose their number itself."""


@dataclass
class Generation:
    """Plans the steps of `recipe` that ask models, on `hardware`."""

    recipe: Recipe
    folder: Path
    hardware: Hardware
    say: Callable[[str], None]
    _costs: dict[tuple[str, str], WriteCost] = field(default_factory=dict)

    def memory(self, config: AnyStage) -> Memory | None:
        """Of the model that takes most, as one is open at a time; None where no model works here.

        UnknownShapeError where the shape of one is not known.
        """
        held = [self._held(speaker) for speaker in speakers(config) if not isinstance(speaker.engine, OpenAI)]
        if not held:
            return None
        most = max(held, key=lambda parts: sum(parts.values()))
        return Memory({**most, "process": PROCESS_BYTES[self.hardware.kind]})

    def seconds(self, config: AnyStage, step: Estimate) -> float | None:
        """By decode steps measured on this machine, every answer as long as it may be; None where some model is not
        here to be measured. FavoniusError where measuring fails."""
        by_model = {str(speaker.model): speaker for speaker in speakers(config)}
        total = 0.0
        for ask in step.asks:
            speaker = by_model.get(ask.model)
            if speaker is None or not isinstance(speaker.engine, Transformers):
                return None
            total += written_seconds(ask, speaker.engine, self._cost(speaker.model, speaker.engine))
        if step.read:
            readers = [speaker for speaker in by_model.values() if speaker.engine is None] or list(by_model.values())
            if isinstance(readers[-1].engine, OpenAI):
                return None
            total += step.read * self._cost(readers[-1].model, READER).token
        return total

    def _held(self, speaker: Speaker) -> dict[str, int]:
        shape = self._shape(speaker.model)
        if isinstance(speaker.engine, LlamaCpp):
            root = root_of(self.recipe, speaker.model)
            file = gguf_of(root, self.recipe.models[root], self.folder)
            slots = FEWEST_SLOTS if speaker.engine.slots == "auto" else speaker.engine.slots
            cells = slots * speaker.engine.context_tokens
            return {"weights": file.stat().st_size, "caches": cells * cell_bytes(shape, CACHE_BYTES)}
        compute = resolve_dtype("bf16" if self.hardware.kind == "cuda" else "auto", torch.device("cpu"))
        weights = numbers(outline(shape, compute)) * compute.itemsize
        engine = speaker.engine
        cells = engine.slots * engine.context_tokens if isinstance(engine, Transformers) else 0
        return {"weights": weights, "caches": cells * cell_bytes(shape, compute.itemsize)}

    def _shape(self, model: str) -> Any:
        root = root_of(self.recipe, model)
        return config_of(root, self.recipe.models[root], self.folder)

    def _cost(self, model: str, engine: Transformers) -> WriteCost:
        key = root_of(self.recipe, model), repr(engine)
        if key not in self._costs:
            self.say(f"measuring how {key[0]} answers, {engine.slots} at once")
            self._costs[key] = write_cost(self._shape(model), engine)
        return self._costs[key]


def cell_bytes(shape: Any, width: int) -> int:
    """What one token leaves in the keys and values of all layers, `width` bytes each number."""
    text = shape.get_text_config()
    heads = text.num_attention_heads
    dimension = getattr(text, "head_dim", None) or text.hidden_size // heads
    groups = getattr(text, "num_key_value_heads", None) or heads
    return int(2 * width * text.num_hidden_layers * groups * dimension)


def written_seconds(ask: Asks, engine: Transformers, cost: WriteCost) -> float:
    """Prompts are read one by one; every decode step writes a token in each slot."""
    at_once = max(1, min(engine.slots, ask.requests))
    return ask.prompt_tokens * cost.token + ask.completion_tokens / at_once * cost.step
