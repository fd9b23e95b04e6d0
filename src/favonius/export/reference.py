"""What the model that is exported says in torch, in fp32: what every export of it is held against."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.engines.decoder import Decoder, Job
from favonius.errors import FavoniusError
from favonius.export.probes import ANSWER_TOKENS, Probe, probes
from favonius.models.load import load
from favonius.run import ModelSource
from favonius.trees.pack import pack
from favonius.trees.score import score
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Sampling

RIVALS = 5
"""Likeliest tokens whose log-probs are kept: two that are as good as equal may change places by rounding."""


class MismatchError(FavoniusError):
    """An export does not do what its model does; it is not written."""


@dataclass(frozen=True)
class Answer:
    """The greedy answer to a prompt, without its end token."""

    ids: tuple[int, ...]
    rivals: tuple[dict[int, float], ...]
    """For each token, the log-probs of the likeliest in its place."""


@dataclass(frozen=True)
class Drift:
    """How far the log-probs of `tokens` tokens are from the reference's, in nats."""

    tokens: int
    mean: float
    worst: float


@dataclass(frozen=True)
class Tried:
    """A probe and what the reference makes of it."""

    probe: Probe
    logps: tuple[float, ...]
    """Of every token but the first."""
    answers: tuple[Answer, ...]
    """To each of the probe's prompts."""


def tried(source: ModelSource, form: ChatFormat, context: int) -> list[Tried]:
    """Every probe that fits, scored and answered by the model of `source`."""
    model = load(source, "fp32")
    found = []
    for probe in probes(form, context):
        answers = [answer(model, form, form.prompt_ids(prompt)) for prompt in probe.prompts]
        found.append(Tried(probe, logps(model, probe.ids), tuple(answers)))
    return found


Rounding = Callable[[str, NDArray[np.float32]], NDArray[np.float32]]
"""What becomes of a tensor, by transformers' name for it."""


@torch.no_grad()  # type: ignore[untyped-decorator]
def rounded_logps(source: ModelSource, trials: Sequence[Tried], rounding: Rounding) -> list[tuple[float, ...]]:
    """Log-probs of each probe by the model of `source` with its weights rounded."""
    model = load(source, "fp32")
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.from_numpy(rounding(name, parameter.numpy())))
    return [logps(model, one.probe.ids) for one in trials]


@torch.no_grad()  # type: ignore[untyped-decorator]
def logps(model: PreTrainedModel, ids: Sequence[int]) -> tuple[float, ...]:
    """Log-probs of every token but the first."""
    sequence = TokenSequence(tuple(ids), (False, *[True] * (len(ids) - 1)))
    return tuple(score(model, pack([Tree.of(sequence)])).values_M.tolist())


def answer(model: PreTrainedModel, form: ChatFormat, ids: Sequence[int]) -> Answer:
    decoder = Decoder(model, form.end_ids, slots=1, length=len(ids) + ANSWER_TOKENS)
    job = Job(ids, Sampling(temperature=0.0, max_tokens=ANSWER_TOKENS), random.Random(0), RIVALS)
    decoder.admit(job)
    while not job.over:
        decoder.step()
    return Answer(tuple(job.tokens), tuple(dict(odds.top) for odds in job.odds))


def drift(wanted: Sequence[float], found: Sequence[float]) -> Drift:
    gaps = [abs(one - other) for one, other in zip(wanted, found, strict=True)]
    return Drift(len(gaps), sum(gaps) / len(gaps), max(gaps))


def agreeing(wanted: Answer, found: Sequence[int]) -> int:
    """Tokens until the two answers part; the length of the longer one where they do not."""
    length = max(len(wanted.ids), len(found))
    places = (place for place in range(length) if wanted.ids[place : place + 1] != tuple(found[place : place + 1]))
    return next(places, length)


def refuse_other_answer(wanted: Answer, found: Sequence[int], form: ChatFormat, tolerance: float) -> bool:
    """MismatchError where greedy answers differ. False where they part between two tokens whose log-probs lie within
    `tolerance` of each other: which of them is taken is decided by rounding."""
    place = agreeing(wanted, found)
    if place == max(len(wanted.ids), len(found)):
        return True
    if place < min(len(wanted.ids), len(found)):
        rivals = wanted.rivals[place]
        if rivals[wanted.ids[place]] - rivals.get(found[place], float("-inf")) <= tolerance:
            return False
    said = [
        form.decode(ids[place : place + 1]) if place < len(ids) else "the end" for ids in (wanted.ids, tuple(found))
    ]
    raise MismatchError(f"greedy answers part at token {place + 1}: the model says {said[0]!r}, its export {said[1]!r}")


def refuse_other_ids(wanted: Sequence[int], found: Sequence[int], form: ChatFormat, what: str) -> None:
    """MismatchError that names the first token that differs."""
    if list(wanted) == list(found):
        return
    place = next(
        (at for at, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]),
        min(len(wanted), len(found)),
    )
    told = [
        f"{ids[place]} ({form.decode([ids[place]])!r})" if place < len(ids) else "nothing" for ids in (wanted, found)
    ]
    raise MismatchError(f"{what}: token {place + 1} is {told[1]}, and the model was trained with {told[0]}")
