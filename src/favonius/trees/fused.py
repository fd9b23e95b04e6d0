"""What is compiled: the head's work on every logit, and the decoder layers where a caller asks.

Eager torch makes some ten passes over a tile of logits, each through freshly mapped memory; compiled, it is one.
Small tiles, and machines without a compiler, run the same functions eagerly. Which of the two a tile takes depends on
its size alone, so that a run that is continued rounds like one that was not interrupted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

WORTH_COMPILING = 500_000
"""Elements. Below, a tile takes less than a millisecond anyway, and a tiny model should not wait for a compiler."""


def statistics(raw_nv: Tensor, target_n: Tensor, softcap: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Of a tile of raw logits, per row: the largest logit, Σ exp(logit - largest), and the target's logit.

    All in fp32 (fp64 for fp64). `target_n` counts from the tile's first column; outside of the tile its logit is 0.
    """
    return _run(_statistics, raw_nv, target_n, softcap)  # type: ignore[no-any-return]


def logit_gradient(
    raw_nv: Tensor, target_n: Tensor, logsumexp_n: Tensor, gradient_n: Tensor, softcap: float | None
) -> Tensor:
    """Gradient of Σ gradient·logp with respect to a tile of raw logits, [n, v] in their dtype.

    d logp / d logits = one-hot(target) - softmax(logits); rounded once, after the two have met.
    """
    return _run(_logit_gradient, raw_nv, target_n, logsumexp_n, gradient_n, softcap)  # type: ignore[no-any-return]


def compile_layers(layers: Sequence[nn.Module]) -> bool:
    """Compile what decoder layers do around their attention, in place; False where this machine cannot.

    All layers of a shape share the kernels.
    """
    if not compiler_works(next(layers[0].parameters()).device.type):
        return False
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True)
        layer.is_compiled = True
    return True


def forward_only(model: nn.Module) -> AbstractContextManager[None]:
    """For a pass whose gradients nobody needs. Compiled layers record them all the same: without, they are other
    kernels, which round in their own way, and a reference would differ from the policy that it is compared with."""
    return torch.set_grad_enabled(any(getattr(module, "is_compiled", False) for module in model.modules()))  # type: ignore[no-any-return]


def _statistics(raw_nv: Tensor, target_n: Tensor, softcap: float | None) -> tuple[Tensor, Tensor, Tensor]:
    logits_nv = _capped(raw_nv, softcap)
    top_n = logits_nv.amax(1)
    total_n = (logits_nv - top_n[:, None]).exp().sum(1)
    inside_n = (target_n >= 0) & (target_n < logits_nv.shape[1])
    picked_n = logits_nv.gather(1, target_n.clamp(0, logits_nv.shape[1] - 1)[:, None])[:, 0]
    return top_n, total_n, torch.where(inside_n, picked_n, 0.0)


def _logit_gradient(
    raw_nv: Tensor, target_n: Tensor, logsumexp_n: Tensor, gradient_n: Tensor, softcap: float | None
) -> Tensor:
    logits_nv = _capped(raw_nv, softcap)
    target_nv = torch.arange(raw_nv.shape[1], device=raw_nv.device)[None] == target_n[:, None]
    slope_nv = gradient_n[:, None] * (target_nv.to(logits_nv.dtype) - (logits_nv - logsumexp_n[:, None]).exp())
    if softcap is not None:
        slope_nv = slope_nv * (1 - (logits_nv / softcap) ** 2)
    return slope_nv.to(raw_nv.dtype)


def _capped(raw_nv: Tensor, softcap: float | None) -> Tensor:
    """In fp32, or wider; soft-capped."""
    logits_nv = raw_nv.to(torch.promote_types(raw_nv.dtype, torch.float32))
    return logits_nv if softcap is None else torch.tanh(logits_nv / softcap) * softcap


def _run(function: Callable[..., Any], raw_nv: Tensor, *rest: Any) -> Any:
    if raw_nv.numel() < WORTH_COMPILING or not compiler_works(raw_nv.device.type):
        return function(raw_nv, *rest)
    return _compiled(function)(raw_nv, *rest)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)  # type: ignore[no-any-return]


@cache
def compiler_works(device: str) -> bool:
    """Whether torch can compile for `device` here; a warning says once that it cannot."""
    if device == "cpu":
        inductor.compile_threads = 1  # kernels this small are not worth a pool of compiler processes
    try:
        torch.compile(_capped, dynamic=True)(torch.zeros(3, 5, device=device), None)
    except Exception as error:  # the compiler's errors have no common class below this one
        warnings.warn(
            f"torch cannot compile on this machine ({type(error).__name__}), so training is slower; "
            "a C++ compiler (g++) is what it asks for",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True
