"""Continuous batching over any transformers model, through the attention seam of `trees.attention`.

A request's tokens depend on the request alone (docs/decisions/0005): prefill is one request at a time, a decode step
always runs all slots over a cache of fixed length, and every request draws from a generator of its own.

Legend: S slots, L cache length, H query heads, G key/value heads, D head dimension, T tokens, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from favonius.engines.sampler import Odds, draw, odds
from favonius.trees.attention import segment_attention
from favonius.trees.score import head_weight, hidden_states
from favonius.types import Sampling

READ_AT_ONCE = 32
"""Tokens of a prompt."""


class Cache:
    """Keys and values of all layers, [S, G, L, D] each; layers are added as prefill meets them."""

    def __init__(self, slots: int, length: int) -> None:
        self.slots, self.length = slots, length
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, index: int, like_BGTD: Tensor) -> tuple[Tensor, Tensor]:
        if index not in self.layers:
            shape = (self.slots, like_BGTD.shape[1], self.length, like_BGTD.shape[3])
            self.layers[index] = (like_BGTD.new_zeros(shape), like_BGTD.new_zeros(shape))
        return self.layers[index]


@dataclass(frozen=True)
class Prefill:
    """Attention plan: one prompt, causal, kept in `slot`."""

    cache: Cache
    slot: int

    def attend(
        self, layer: int, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, scale: float, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        tokens = k_BGTD.shape[2]
        for kept, new in zip(self.cache.layer(layer, k_BGTD), (k_BGTD, v_BGTD), strict=True):
            kept[self.slot, :, :tokens] = new[0]
        return segment_attention(q_BHTD[0], k_BGTD[0], v_BGTD[0], scale, window, softcap)[None]


@dataclass(frozen=True)
class Step:
    """Attention plan: one new token in every slot, at `positions_S`."""

    cache: Cache
    positions_S: Tensor

    def attend(
        self, layer: int, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, scale: float, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        keys_SGLD, values_SGLD = self.cache.layer(layer, k_BGTD)
        slots = torch.arange(self.cache.slots, device=k_BGTD.device)
        keys_SGLD[slots, :, self.positions_S] = k_BGTD[:, :, 0]
        values_SGLD[slots, :, self.positions_S] = v_BGTD[:, :, 0]
        groups, heads = keys_SGLD.shape[1], q_BHTD.shape[1]
        q_SGRD = q_BHTD[:, :, 0].reshape(self.cache.slots, groups, heads // groups, -1)
        scores_SGRL = torch.matmul(q_SGRD, keys_SGLD.transpose(2, 3)) * scale
        if softcap is not None:
            scores_SGRL = torch.tanh(scores_SGRL / softcap) * softcap
        scores_SGRL = scores_SGRL.masked_fill(self._hidden(window)[:, None, None], float("-inf"))
        wide = torch.promote_types(scores_SGRL.dtype, torch.float32)
        weights_SGRL = torch.softmax(scores_SGRL, -1, dtype=wide).to(values_SGLD.dtype)
        return torch.matmul(weights_SGRL, values_SGLD).reshape(self.cache.slots, 1, heads, -1)

    def _hidden(self, window: int | None) -> Tensor:
        """[S, L] truth of "this key is not to be seen"."""
        keys_L = torch.arange(self.cache.length, device=self.positions_S.device)
        hidden_SL = keys_L > self.positions_S[:, None]
        return hidden_SL if window is None else hidden_SL | (keys_L <= self.positions_S[:, None] - window)


@dataclass
class Job:
    """One request in a slot. `fed` tokens are in the cache; `token` is the newest, not yet in it."""

    ids: Sequence[int]
    sampling: Sampling
    generator: random.Random
    logprobs: int = 0
    """Of so many likeliest tokens, the log-probs are kept for every token drawn; 0 keeps none."""
    echo: bool = False
    """Those of the prompt's tokens after the first are kept too."""
    tokens: list[int] = field(default_factory=list)
    odds: list[Odds] = field(default_factory=list)
    echoed: list[Odds] = field(default_factory=list)
    end: int | None = None
    """The token by which the model ended its turn itself."""

    @property
    def finished(self) -> bool:
        return self.end is not None

    @property
    def over(self) -> bool:
        return self.finished or len(self.tokens) >= self.sampling.max_tokens


class Decoder:
    """`admit` a job into a free slot, `step` all slots, take back the jobs that are over."""

    def __init__(self, model: PreTrainedModel, end_ids: frozenset[int], slots: int, length: int) -> None:
        self.model, self.end_ids, self.length = model, end_ids, length
        self.cache = Cache(slots, length)
        self.jobs: list[Job | None] = [None] * slots

    @property
    def free(self) -> int:
        return self.jobs.count(None)

    @property
    def busy(self) -> bool:
        return self.free < len(self.jobs)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def admit(self, job: Job) -> None:
        """Run the prompt and draw the first token; the job leaves again at once if that ends it."""
        if len(job.ids) + job.sampling.max_tokens > self.length:
            raise ValueError(f"{len(job.ids)} + {job.sampling.max_tokens} tokens do not fit into {self.length}")
        slot = self.jobs.index(None)
        ids_BT = torch.tensor([job.ids], device=self.model.device)
        positions_BT = torch.arange(len(job.ids), device=self.model.device)[None]
        hidden_BTD = hidden_states(self.model, ids_BT, positions_BT, Prefill(self.cache, slot))
        if job.echo:
            job.echoed = list(self._read(job, hidden_BTD[0]))
        self._take(job, self._logits(hidden_BTD[0, -1:])[0])
        self.jobs[slot] = job

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self) -> list[Job]:
        """One token for every running job; returns those that are over, whose slots are free again."""
        over = [job for job in self.jobs if job is not None and job.over]
        self.jobs = [None if job is None or job.over else job for job in self.jobs]
        if not self.busy:
            return over
        device = self.model.device
        newest = [0 if job is None else job.tokens[-1] for job in self.jobs]
        places = [0 if job is None else len(job.ids) + len(job.tokens) - 1 for job in self.jobs]
        positions_S = torch.tensor(places, device=device)
        hidden_STD = hidden_states(
            self.model,
            torch.tensor(newest, device=device)[:, None],
            positions_S[:, None],
            Step(self.cache, positions_S),
        )
        logits_SV = self._logits(hidden_STD[:, 0])
        for slot, job in enumerate(self.jobs):
            if job is not None:
                self._take(job, logits_SV[slot])
        return over

    def release(self, job: Job) -> None:
        """Free the slot of a job that is over or no longer wanted."""
        self.jobs = [None if one is job else one for one in self.jobs]

    def _read(self, job: Job, hidden_TD: Tensor) -> Iterator[Odds]:
        """Odds of the prompt's tokens after the first; logits of a few at a time, as a vocabulary is wide."""
        for start in range(0, len(job.ids) - 1, READ_AT_ONCE):
            tokens = job.ids[start + 1 : start + 1 + READ_AT_ONCE]
            for token, logits_V in zip(tokens, self._logits(hidden_TD[start : start + len(tokens)]), strict=True):
                yield odds(logits_V, token, job.logprobs)

    def _take(self, job: Job, logits_V: Tensor) -> None:
        token = draw(logits_V, job.sampling, job.generator)
        if token in self.end_ids:
            job.end = token
        else:
            job.tokens.append(token)
        if job.logprobs and (job.echo or not job.finished):
            job.odds.append(odds(logits_V, token, job.logprobs))

    def _logits(self, hidden_SD: Tensor) -> Tensor:
        logits_SV = hidden_SD @ head_weight(self.model).T
        softcap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits_SV if softcap is None else torch.tanh(logits_SV / softcap) * softcap
