"""The head: log-probs and gradients as log_softmax makes them, in tiles, kept or made again, trained or frozen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from favonius.trees import fused, head


def plain_logps(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None) -> Tensor:
    logits_NV = hidden_ND @ weight_VD.T
    if softcap is not None:
        logits_NV = torch.tanh(logits_NV / softcap) * softcap
    return torch.log_softmax(logits_NV, -1).gather(1, targets_N[:, None])[:, 0]


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("keep", [0, 500, 10**9])
@pytest.mark.parametrize("tile", [1, 70, 10**6])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_head_equals_log_softmax(
    trained: bool, keep: int, tile: int, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "KEEP_BYTES", keep)
    monkeypatch.setattr(head, "CPU_TILE", tile)
    torch.manual_seed(0)
    hidden = torch.randn(10, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(23, 5, dtype=torch.float64, requires_grad=trained)
    targets = torch.randint(0, 23, (10,))
    ours = head.token_logps(hidden, weight, targets, softcap)
    theirs = plain_logps(hidden, weight, targets, softcap)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    slopes = torch.randn(10, dtype=torch.float64)
    inputs = (hidden, weight) if trained else (hidden,)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, slopes), torch.autograd.grad(theirs, inputs, slopes), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("trained", [True, False])
def test_nothing_as_large_as_tokens_times_vocabulary_is_kept(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "KEEP_BYTES", 4 * 64 * 100)
    monkeypatch.setattr(head, "CPU_TILE", 64 * 50)
    hidden = torch.randn(64, 4, requires_grad=True)
    saved: dict[int, int] = {}
    for vocabulary in (100, 800):
        weight = torch.randn(vocabulary, 4, requires_grad=trained)
        sizes: list[int] = []

        def pack_hook(tensor: Tensor, sizes: list[int] = sizes, weight: Tensor = weight) -> Tensor:
            if tensor is not weight:
                sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack_hook, lambda tensor: tensor):
            head.token_logps(hidden, weight, torch.zeros(64, dtype=torch.long))
        saved[vocabulary] = sum(sizes)
    assert saved[800] <= saved[100]


@pytest.mark.parametrize("softcap", [None, 30.0])
def test_compiled_kernels_equal_the_eager_ones(softcap: float | None) -> None:
    """Skipped nowhere: the machines that run the tests have a compiler, as CONTRIBUTING.md asks."""
    assert fused.compiler_works("cpu")
    torch.manual_seed(0)
    raw = (4 * torch.randn(260, 4000)).bfloat16()
    assert raw.numel() >= fused.WORTH_COMPILING
    targets = torch.randint(-2000, 6000, (260,))
    top, total, picked = fused.statistics(raw, targets, softcap)
    for mine, other in zip((top, total, picked), fused._statistics(raw, targets, softcap), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    logsumexp, gradient = top + total.log(), torch.randn(260)
    mine = fused.logit_gradient(raw, targets, logsumexp, gradient, softcap)
    other = fused._logit_gradient(raw.double(), targets, logsumexp.double(), gradient.double(), softcap)
    torch.testing.assert_close(mine.double(), other, rtol=2**-8, atol=1e-6)


def test_a_machine_without_a_compiler_runs_eagerly_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise OSError("no g++ here")

    monkeypatch.setattr(torch, "compile", broken)
    fused.compiler_works.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="cannot compile"):
            assert not fused.compiler_works("cpu")
        raw = torch.randn(1000, 1001)
        top, _, _ = fused.statistics(raw, torch.zeros(1000, dtype=torch.long), None)
        torch.testing.assert_close(top, raw.amax(1))
    finally:
        fused.compiler_works.cache_clear()
