"""Drawing a token: greedy, or from the nucleus by inverse distribution function with one uniform number."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from favonius.types import Sampling

NEAR = 256
"""Tokens looked at first; a nucleus that is larger costs a full sort."""


def draw(logits_V: Tensor, sampling: Sampling, generator: random.Random) -> int:
    """Token id. The nucleus is the fewest most probable tokens whose probabilities reach `top_p`."""
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    scaled_V = logits_V.float() / sampling.temperature
    total = torch.logsumexp(scaled_V, 0)
    if sampling.top_p < 1:
        near, tokens = scaled_V.topk(min(NEAR, scaled_V.numel()))
        cumulative = (near - total).exp().double().cumsum(0)
        if float(cumulative[-1]) < sampling.top_p:
            near, tokens = scaled_V.sort(descending=True)
            cumulative = (near - total).exp().double().cumsum(0)
        size = int((cumulative < sampling.top_p).sum()) + 1
        cumulative = cumulative[: min(size, cumulative.numel())]
    else:
        tokens = torch.arange(scaled_V.numel(), device=scaled_V.device)
        cumulative = (scaled_V - total).exp().double().cumsum(0)
    place = generator.random() * float(cumulative[-1])
    index = int(torch.searchsorted(cumulative, place, right=True))
    return int(tokens[min(index, cumulative.numel() - 1)])


@dataclass(frozen=True)
class Odds:
    """Log-prob in nats of a token that was drawn, before temperature and nucleus, and the likeliest with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...]


def odds(logits_V: Tensor, token: int, count: int) -> Odds:
    """Of `token` and the `count` likeliest; of equal ones the lower id comes first, as greedy drawing takes it."""
    logps_V = torch.log_softmax(logits_V.float(), 0)
    least = logits_V.topk(min(count, logits_V.numel())).values[-1]
    ids = (logits_V >= least).nonzero()[:, 0]
    ids = ids[logits_V[ids].sort(descending=True, stable=True).indices[:count]]
    return Odds(float(logps_V[token]), tuple(zip(ids.tolist(), logps_V[ids].tolist(), strict=True)))
