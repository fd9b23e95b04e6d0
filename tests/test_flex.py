"""Tree attention by FlexAttention, as far as it can be proven without a GPU: torch's eager kernel stands in for the
compiled one, and the tables that only the compiled one walks are held against the definition of who sees whom."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention import flex_attention as torch_flex
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

from favonius.trees import attention, flex
from favonius.trees.attention import way
from favonius.trees.blocks import tree_attention
from favonius.trees.flex import Kernel, agrees, flex_attend, tree_mask, trusted
from favonius.trees.fused import compiler_works
from favonius.trees.pack import Pack, TreeSpan, bucket, pack
from favonius.trees.score import score
from tests.reference import InDouble, error, gradients, grow, talk, twins, unequal

CPU = torch.device("cpu")
windows = st.none() | st.integers(1, 40)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the eager kernel run as it is, and also where gradients are wanted: torch forbids that on a CPU, although
    its plain formulas work there."""
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(torch_flex, "_validate_device", lambda query, key, value: None)


@st.composite
def rows(draw: st.DrawFn, longest: int = 30) -> list[TreeSpan]:
    """Trees of 1 to 4 branches, some of them without tokens of their own."""
    spans, start = [], 0
    for _ in range(draw(st.integers(1, 5))):
        prefix = draw(st.integers(1, longest))
        branches = draw(st.lists(st.integers(0, longest), min_size=1, max_size=4))
        spans.append(TreeSpan(start, prefix, tuple(branches)))
        start += prefix + sum(branches)
    return spans


def length(spans: list[TreeSpan]) -> int:
    return sum(span.prefix + sum(span.branches) for span in spans)


def visible(spans: list[TreeSpan], window: int | None) -> Tensor:
    """[T, T], token by token: same tree, not later, in the prefix or the same branch, and within the window."""
    tree: list[int] = []
    branch: list[int] = []
    position: list[int] = []
    for number, span in enumerate(spans):
        for name, start, count in [(-1, 0, span.prefix), *((b, span.prefix, n) for b, n in enumerate(span.branches))]:
            tree += [number] * count
            branch += [name] * count
            position += range(start, start + count)
    seen = [
        [
            tree[q] == tree[k] and q >= k and branch[k] in (-1, branch[q])
            and (window is None or position[q] - position[k] < window)
            for k in range(len(tree))
        ]
        for q in range(len(tree))
    ]  # fmt: skip
    return torch.tensor(seen)


def dense(counts: Tensor, numbers: Tensor) -> Tensor:
    """A table of blocks as truth values."""
    table = torch.zeros(numbers.shape[-2:], dtype=torch.bool)
    for row, count in enumerate(counts[0, 0].tolist()):
        table[row, numbers[0, 0, row, :count].long()] = True
    return table


@settings(max_examples=60, deadline=None)
@given(spans=rows(), window=windows, block=st.sampled_from([1, 2, 4, 8, 128]))
def test_a_mask_shows_each_token_what_it_may_see_and_nothing_else(
    spans: list[TreeSpan], window: int | None, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flex, "BLOCK", block)
        mask = tree_mask(spans, window, CPU)
    tokens = length(spans)
    rows_T = torch.arange(tokens)
    zero = torch.zeros((), dtype=torch.int64)
    seen = visible(spans, window)
    assert torch.equal(mask.mask_mod(zero, zero, rows_T[:, None], rows_T[None]), seen)

    blocks = -(-tokens // block)
    padded = torch.zeros(blocks * block, blocks * block, dtype=torch.bool)
    padded[:tokens, :tokens] = seen
    tiles = padded.view(blocks, block, blocks, block)
    some, every = tiles.any(3).any(1), tiles.all(3).all(1)
    assert torch.equal(dense(mask.kv_num_blocks, mask.kv_indices), some & ~every)
    assert torch.equal(dense(mask.full_kv_num_blocks, mask.full_kv_indices), every)
    assert torch.equal(dense(mask.q_num_blocks, mask.q_indices), (some & ~every).T)
    assert torch.equal(dense(mask.full_q_num_blocks, mask.full_q_indices), every.T)
    assert torch.equal(mask.to_dense()[0, 0].bool(), some)


@pytest.mark.parametrize("window", [None, 50, 300])
def test_tables_are_those_that_torch_makes_of_the_same_mask(window: int | None) -> None:
    spans = [TreeSpan(0, 300, (130, 0, 257)), TreeSpan(687, 5, (400,)), TreeSpan(1092, 1, (1,))]
    mask = tree_mask(spans, window, CPU)
    theirs = create_block_mask(mask.mask_mod, None, None, 1094, 1094, device="cpu")
    for ours, other in zip(mask.as_tuple(), theirs.as_tuple(), strict=True):
        assert torch.equal(ours, other) if isinstance(ours, Tensor) else ours == other or callable(ours)


def random_heads(tokens: int, heads: int = 4, groups: int = 2, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys and values, laid out in memory as models lay them out."""
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(1, tokens, count, 8) for count in (heads, groups, groups)]
    return [torch.randn(shape, dtype=dtype, generator=generator).transpose(1, 2).requires_grad_() for shape in shapes]


@settings(max_examples=15, deadline=None)
@given(
    spans=rows(60),
    window=windows,
    softcap=st.sampled_from([None, 2.0]),
    heads=st.sampled_from([(4, 4), (4, 2), (3, 1)]),
)
def test_flex_attends_as_plain_products_do_forward_and_backward(
    spans: list[TreeSpan], window: int | None, softcap: float | None, heads: tuple[int, int]
) -> None:
    q, k, v = inputs = random_heads(length(spans), *heads)
    ours = flex_attend(q, k, v, tree_mask(spans, window, CPU), 0.7, softcap, flex_attention)
    plain = tree_attention(q[0], k[0], v[0], spans, 0.7, window, softcap)[None]
    assert error(ours, plain) <= 1e-12
    slope = torch.randn(plain.shape, dtype=plain.dtype, generator=torch.Generator().manual_seed(0))
    found, expected = (dict(zip("qkv", torch.autograd.grad(out, inputs, slope), strict=True)) for out in (ours, plain))
    assert not unequal(found, expected, 1e-12)


def forest() -> Pack:
    rng = random.Random(0)
    return pack([grow(rng, 9, (12, 7, 20), shared=2), talk(rng, 5, 6, 4, 11), grow(rng, 30, (5, 1))])


@pytest.mark.parametrize(
    ("family", "layer_windows"),
    [("llama", [None]), ("qwen3", [None]), ("mistral", [8]), ("gemma2", [8, None]), ("gemma3", [8, None])],
)
def test_models_score_alike_by_flex_and_by_blocks(
    family: str, layer_windows: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows, soft caps, heads that share keys: all that a layer hands over arrives."""
    made: list[int | None] = []
    monkeypatch.setattr(attention, "trusted", lambda kernel: True)
    monkeypatch.setattr(attention, "compiled_flex", lambda: flex_attention)

    def tree_mask_once(spans: Any, window: int | None, device: torch.device) -> Any:
        made.append(window)
        return tree_mask(spans, window, device)

    monkeypatch.setattr(attention, "tree_mask", tree_mask_once)
    with InDouble():
        model, _ = twins(family, torch.float64)
        plain = score(model, forest()).values_M
        monkeypatch.setattr(attention, "way", lambda device, tokens: "flex")
        ours = score(model, forest()).values_M
        assert error(ours, plain) <= 1e-12
        assert not unequal(gradients(model, ours.sum()), gradients(model, plain.sum()), 1e-12)
    assert made == layer_windows  # each once for all layers


@given(st.integers(1, 40_000))
def test_buckets_are_few_and_not_far_above(tokens: int) -> None:
    size = bucket(tokens)
    assert size % (128 if size <= 1024 else 512) == 0
    assert 0 <= size - tokens < (128 if tokens <= 1024 else 512)
    assert bucket(size) == size


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_padding_changes_nothing_and_gets_no_gradient(family: str) -> None:
    batch = forest()
    padded = batch.padded(bucket(batch.tokens))
    assert padded.tokens == 128 > batch.tokens
    assert padded.padded(128) is padded
    with InDouble():
        model, _ = twins(family, torch.float64)
        plain, ours = (score(model, each).values_M for each in (batch, padded))
        assert error(ours, plain) <= 1e-12
        assert not unequal(gradients(model, ours.sum()), gradients(model, plain.sum()), 1e-12)


def test_the_way_follows_from_device_and_length() -> None:
    cuda = torch.device("cuda", 0)
    assert [way(CPU, 64), way(CPU, 8192)] == ["blocks", "blocks"]
    assert [way(cuda, 1023), way(cuda, 1024)] == ["segments", "flex"]
    assert way(torch.device("mps"), 8192) == "segments"


def kernel(trained: bool = True, softcap: float | None = None, tokens: int = 1100) -> Kernel:
    with torch.set_grad_enabled(trained):
        q, k, v = random_heads(tokens, dtype=torch.float32)
        return Kernel.of(q, k, v, 0.3, softcap)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_a_right_kernel_is_trusted(softcap: float | None) -> None:
    assert agrees(kernel(softcap=softcap), flex_attention)


def test_the_kernel_that_is_compiled_for_a_cpu_is_trusted() -> None:
    """It walks the tables as a GPU's does, though forward only."""
    if not compiler_works("cpu"):
        pytest.skip("needs a C++ compiler")
    assert trusted(kernel(trained=False, tokens=1024))


def sees_a_block_too_many(q: Tensor, k: Tensor, v: Tensor, block_mask: Any, **settings: Any) -> Tensor:
    own = block_mask.mask_mod
    block_mask.mask_mod = lambda b, h, query, key: own(b, h, query, key) | ((query // 128 == 7) & (key // 128 == 5))
    return flex_attention(q, k, v, block_mask=block_mask, **settings)


def gives_nan(q: Tensor, k: Tensor, v: Tensor, **settings: Any) -> Tensor:
    return flex_attention(q, k, v, **settings) * float("nan")


def forgets_a_gradient(q: Tensor, k: Tensor, v: Tensor, **settings: Any) -> Tensor:
    return flex_attention(q, k.detach() + 0 * k, v, **settings)


def does_not_compile(q: Tensor, k: Tensor, v: Tensor, **settings: Any) -> Tensor:
    raise RuntimeError("no valid triton configs")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (sees_a_block_too_many, "it is off by"),
        (gives_nan, "it is off by nan"),
        (forgets_a_gradient, "it is off by 100.0%"),
        (does_not_compile, "RuntimeError"),
    ],
)
def test_a_wrong_kernel_is_not_used_and_a_warning_says_so(broken: flex.Flex, why: str) -> None:
    with pytest.warns(RuntimeWarning, match=why):
        assert not agrees(kernel(), broken)


def test_what_is_not_trusted_goes_segment_by_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = twins("llama", torch.float64)
    batch = forest()
    plain = score(model, batch).values_M
    monkeypatch.setattr(attention, "way", lambda device, tokens: "flex")
    monkeypatch.setattr(attention, "trusted", lambda kernel: False)
    monkeypatch.setattr(attention, "compiled_flex", lambda: pytest.fail("used all the same"))
    assert error(score(model, batch).values_M, plain) <= 1e-6  # transformers rounds to fp32 here and there


def test_a_check_within_a_checkpointed_layer_leaves_no_trace() -> None:
    """The check runs in the first forward only; the layer run again in the backward pass must save as many tensors."""
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True, backend="aot_eager")
    inputs = random_heads(200)
    spans = [TreeSpan(0, 90, (60, 50))]
    checks = iter([kernel()])

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def layer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert all(agrees(each, compiled) for each in checks)
        return flex_attend(q, k, v, tree_mask(spans, None, CPU), 0.3, None, compiled)

    out = checkpoint(layer, *inputs, use_reentrant=False)
    q, k, v = inputs
    plain = tree_attention(q[0], k[0], v[0], spans, 0.3, None, None)[None]
    ours, theirs = (torch.autograd.grad(each.sum(), inputs) for each in (out, plain))
    assert all(error(a, b) <= 1e-12 for a, b in zip(ours, theirs, strict=True))


def test_one_compilation_serves_all_packs_of_a_length_and_all_windows() -> None:
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True, backend=counter)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def layer(tokens: int, spans: list[TreeSpan], window: int | None) -> None:
        q, k, v = (each * 2 for each in random_heads(tokens, dtype=torch.float32))
        out = flex_attend(q, k, v, tree_mask(spans, window, CPU), 0.3, None, compiled)
        assert error(out, tree_attention(q[0], k[0], v[0], spans, 0.3, window, None)[None]) <= 1e-5

    torch._dynamo.reset()
    for tokens, prefix, window in itertools.product((256, 384), (100, 17), (None, 30)):
        assert agrees(kernel(tokens=tokens), compiled)
        layer(tokens, [TreeSpan(0, prefix, (50, tokens - 50 - prefix))], window)
    assert counter.frame_count == 2
