"""The packed tree step equals the plain transformers forward: log-probs and every gradient."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from favonius.trees import head
from favonius.trees.pack import pack, plan
from favonius.trees.score import score, score_pack
from favonius.trees.tree import TokenSequence, Tree
from tests.tiny import FAMILIES, VOCABULARY, tiny_model


def sequence(ids: list[int], scored: list[bool]) -> TokenSequence:
    return TokenSequence.of(ids, scored)


def random_tree(rng: random.Random, branches: int, prompt: int, answer: int, shared: int = 0) -> Tree:
    """Branches with a common prompt, and the first `shared` answer tokens alike."""
    draw = lambda n: [rng.randrange(3, VOCABULARY) for _ in range(n)]  # noqa: E731
    common, opening = draw(prompt), draw(shared)
    sequences = []
    for _ in range(branches):
        own = draw(rng.randint(1, answer))
        sequences.append(sequence(common + opening + own, [False] * prompt + [True] * (shared + len(own))))
    return Tree.of(*sequences)


def plain_logps(model: torch.nn.Module, ids: tuple[int, ...], scored: tuple[bool, ...]) -> torch.Tensor:
    """The reference: one sequence alone through transformers, full logits, log_softmax."""
    logits = model(input_ids=torch.tensor([ids])).logits[0]
    wide = torch.promote_types(logits.dtype, torch.float32)
    logps = torch.log_softmax(logits[:-1].to(wide), -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return logps[torch.tensor(scored[1:])]


def sums_of(trees: list[Tree], budget: int) -> list[list[float]]:
    """Summed log-probs of each tree's sequences, in packs of at most `budget` tokens."""
    found: dict[int, list[float]] = {}
    for members in plan(trees, budget):
        chosen = [trees[index] for index in members]
        found |= dict(zip(members, score_pack(MODEL, pack(chosen), chosen), strict=True))
    return [found[index] for index in range(len(trees))]


def batch_of(seed: int) -> list[Tree]:
    rng = random.Random(seed)
    return [
        random_tree(rng, 2, 11, 14),
        random_tree(rng, 1, 5, 20),
        random_tree(rng, 4, 7, 6, shared=3),
        random_tree(rng, 2, 1, 2),
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("explicit", [True, False])
def test_logps_and_gradients_equal_plain_forward(
    family: str, dtype: torch.dtype, tolerance: float, explicit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("favonius.trees.attention.EXPLICIT_LIMIT", 192 if explicit else 0)
    monkeypatch.setattr(head, "COLUMNS", 96)
    monkeypatch.setattr(head, "ROWS", 16)
    trees = batch_of(1)
    model = tiny_model(family, dtype)
    reference = tiny_model(family, dtype, attention="sdpa")

    ours = score(model, pack(trees))
    weights = torch.linspace(-1, 2, ours.values_M.numel(), dtype=dtype)
    (ours.values_M * weights).sum().backward()

    theirs = torch.cat([plain_logps(reference, s.ids, s.scored) for tree in trees for s in tree.sequences])
    (theirs * weights).sum().backward()

    torch.testing.assert_close(ours.values_M, theirs, rtol=tolerance, atol=tolerance)
    # transformers' norms and rotary tables round to fp32 even in an fp64 model, so gradients agree to that at best.
    gradient_tolerance = max(10 * tolerance, 1e-6)
    for (name, mine), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None and other.grad is not None, name
        difference = (mine.grad - other.grad).norm() / other.grad.norm().clamp_min(1e-30)
        assert difference <= gradient_tolerance, f"{name}: {difference:.2e}"


@pytest.mark.parametrize("keep", [0, 10**9])
def test_head_equals_log_softmax_kept_or_recomputed(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "KEEP_BYTES", keep)
    monkeypatch.setattr(head, "COLUMNS", 7)
    monkeypatch.setattr(head, "ROWS", 3)
    torch.manual_seed(0)
    hidden, weight = (torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (10, 23))
    targets = torch.randint(0, 23, (10,))
    for softcap in (None, 2.0):
        ours = head.token_logps(hidden, weight, targets, softcap)
        logits = hidden @ weight.T
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        theirs = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        slopes = torch.randn(10, dtype=torch.float64)
        for mine, other in zip(
            torch.autograd.grad(ours, (hidden, weight), slopes),
            torch.autograd.grad(theirs, (hidden, weight), slopes),
            strict=True,
        ):
            torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(4)), budget=st.integers(20, 120))
def test_any_packing_and_order_gives_the_same_sums(seed: int, order: list[int], budget: int) -> None:
    trees = batch_of(seed)
    alone = [sums_of([tree], 10_000)[0] for tree in trees]
    together = sums_of([trees[index] for index in order], budget)
    for index, sums in zip(order, together, strict=True):
        torch.testing.assert_close(torch.tensor(sums), torch.tensor(alone[index]), rtol=1e-9, atol=1e-9)


MODEL = tiny_model("gemma3", torch.float64)


def test_no_token_attends_to_a_sibling_or_another_tree() -> None:
    """Changing one branch changes no other branch's log-probs, bit for bit."""
    trees = batch_of(3)
    first = trees[2].sequences[1]
    changed = TokenSequence((*first.ids[:-1], first.ids[-1] ^ 1), first.scored)
    others = Tree((trees[2].sequences[0], changed, *trees[2].sequences[2:]), trees[2].prefix)
    before = list(itertools.chain.from_iterable(sums_of(trees, 10_000)))
    after = list(itertools.chain.from_iterable(sums_of([trees[0], trees[1], others, trees[3]], 10_000)))
    changed_index = 4
    assert before[changed_index] != after[changed_index]
    assert [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [changed_index]


@given(sizes=st.lists(st.integers(2, 60), min_size=1, max_size=40), budget=st.integers(10, 90))
def test_plan_places_every_tree_once_within_the_budget(sizes: list[int], budget: int) -> None:
    trees = [Tree.of(sequence(list(range(n)), [False] + [True] * (n - 1))) for n in sizes]
    packs = plan(trees, budget)
    assert sorted(itertools.chain.from_iterable(packs)) == list(range(len(trees)))
    for members in packs:
        assert len(members) == 1 or sum(trees[i].run_tokens for i in members) <= budget


def test_shared_opening_runs_once() -> None:
    prompt, opening = [5, 6, 7], [8, 9]
    chosen = sequence([*prompt, *opening, 10, 11], [False] * 3 + [True] * 4)
    rejected = sequence([*prompt, *opening, 12], [False] * 3 + [True] * 3)
    tree = Tree.of(chosen, rejected)
    assert tree.prefix == 5
    assert tree.run_tokens == 5 + 1 + 0
    assert tree.logical_tokens == 13
    assert pack([tree]).rows_N.tolist() == [2, 3, 4, 5, 4]


def test_identical_sequences_and_strict_prefixes_are_scored() -> None:
    long = sequence([4, 5, 6, 7], [False, True, True, True])
    short = sequence([4, 5], [False, True])
    for tree in (Tree.of(long, long), Tree.of(long, short)):
        [sums] = sums_of([tree], 100)
        assert sums == pytest.approx([sums_of([Tree.of(one)], 100)[0][0] for one in tree.sequences], abs=1e-9)
