"""Raw texts, carried on by a model: no chat template, only ids in and text out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from favonius.engines.decoder import Decoder, Job
from favonius.types import Sampling

LENGTH_STEP = 256
"""The decoder's cache is a multiple of it long, so that a few tokens more or less change no kernel."""


@dataclass(frozen=True)
class Start:
    """What is to be carried on. `seed` fixes the draws."""

    ids: tuple[int, ...]
    sampling: Sampling
    """It ends at the first of its `stop` texts, which is not part of what was written."""
    seed: str


def write_on(
    model: PreTrainedModel,
    tokenizer: Any,
    starts: Sequence[Start],
    slots: int,
    done: Callable[[int, str], None] = lambda index, text: None,
) -> list[str]:
    """What `model` writes after each of `starts`, special tokens left out; up to an end token, a stop text or
    max_tokens. `done` is told of each as it ends."""
    if not starts:
        return []
    longest = max(len(start.ids) + start.sampling.max_tokens for start in starts)
    decoder = Decoder(
        model, _end_ids(model, tokenizer), min(slots, len(starts)), -(-longest // LENGTH_STEP) * LENGTH_STEP
    )
    waiting = sorted(range(len(starts)), key=lambda index: len(starts[index].ids))
    running: dict[int, Job] = {}
    found: dict[int, str] = {}
    while waiting or running:
        while waiting and decoder.free:
            index = waiting.pop()
            running[index] = Job(starts[index].ids, starts[index].sampling, random.Random(starts[index].seed))
            decoder.admit(running[index])
        for index, job in list(running.items()):
            if job.over or _stopped(tokenizer, job):
                decoder.release(running.pop(index))
                found[index] = _text(tokenizer, job)
                done(index, found[index])
        decoder.step()
    return [found[index] for index in range(len(starts))]


def _end_ids(model: PreTrainedModel, tokenizer: Any) -> frozenset[int]:
    """Of the tokenizer and of the model's generation config, whose may be several."""
    own = getattr(model.generation_config, "eos_token_id", None)
    several = own if isinstance(own, list) else [own]
    return frozenset({tokenizer.eos_token_id, *several} - {None})


def _stopped(tokenizer: Any, job: Job) -> bool:
    """Whether a stop text, which may be a special token's, ends in the newest token. Every token is a byte at least."""
    longest = max((len(stop.encode()) for stop in job.sampling.stop), default=0)
    text = tokenizer.decode(job.tokens[-(longest + 2) :])
    return any(stop in text for stop in job.sampling.stop)


def _text(tokenizer: Any, job: Job) -> str:
    text = str(tokenizer.decode(job.tokens, skip_special_tokens=True))
    places = [place for stop in job.sampling.stop if (place := text.find(stop)) >= 0]
    return text[: min(places, default=None)]
