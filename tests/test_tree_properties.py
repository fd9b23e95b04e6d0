"""What holds for any trees: how they are laid out changes no number, and no token sees what it must not see."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from favonius.trees.pack import plan
from favonius.trees.tree import TokenSequence, Tree
from tests.reference import InDouble, error, flat, gradients, in_small_pieces, packed_logps, plain_logps, twins, unequal
from tests.tiny import FAMILIES, VOCABULARY

LAYERS = 2
length = st.just(1) | st.integers(1, 12)
families = st.sampled_from(FAMILIES)
windows = st.sampled_from([1, 2, 3, 5, 8, 13, None])
Pieces = Callable[[], AbstractContextManager[None]]
pieces: st.SearchStrategy[Pieces] = st.sampled_from([nullcontext, in_small_pieces])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A prompt and 1 to 5 answers, of which some open alike, continue one another or are the same."""

    def ids(count: int) -> list[int]:
        return draw(st.lists(st.integers(3, VOCABULARY - 1), min_size=count, max_size=count))

    prompt, opening = ids(draw(length)), ids(draw(st.integers(0, 4)))
    answers = [opening + ids(draw(length))]
    for _ in range(draw(st.integers(0, 4))):
        begin: list[int] = draw(st.sampled_from([[], opening, *answers]))
        same = begin in answers and draw(st.booleans())
        answers.append(begin if same else begin + ids(draw(length)))
    return Tree.of(*(sequence(prompt, answer) for answer in answers))


def sequence(prompt: list[int], answer: list[int]) -> TokenSequence:
    return TokenSequence.of(prompt + answer, [False] * len(prompt) + [True] * len(answer))


forests = st.lists(trees(), min_size=1, max_size=4)


def weighted(logps: list[Tensor], sequences: list[TokenSequence]) -> Tensor:
    """Σ weight · log-prob. A token's weight depends on itself and the tokens before it, not on where it is laid out."""
    total = logps[0].new_zeros(())
    for logps_M, one in zip(logps, sequences, strict=True):
        weights = [random.Random(str(one.ids[: i + 1])).uniform(-1, 2) for i, mark in enumerate(one.scored) if mark]
        total = total + logps_M @ logps_M.new_tensor(weights)
    return total


@functools.cache
def models(family: str, window: int | None, dtype: torch.dtype = torch.float64) -> tuple[PreTrainedModel, ...]:
    """Favonius' and its plain twin; only Mistral's window is drawn, and no embedding is tied to the head."""
    changes = {"sliding_window": window} if family == "mistral" else {}
    return twins(family, dtype, tie_word_embeddings=False, **changes)


@settings(max_examples=40, deadline=None)
@given(forest=forests, family=families, window=windows, pieces=pieces)
def test_any_trees_score_as_plain_transformers_scores_their_sequences(
    forest: list[Tree], family: str, window: int | None, pieces: Pieces
) -> None:
    with InDouble(), pieces():
        model, reference = models(family, window)
        sequences = [one for tree in forest for one in tree.sequences]
        ours, theirs = flat(packed_logps(model, forest)), [plain_logps(reference, one) for one in sequences]
        assert error(torch.cat(ours), torch.cat(theirs)) <= 1e-12
        slopes = gradients(model, weighted(ours, sequences))
        assert not unequal(slopes, gradients(reference, weighted(theirs, sequences)), 1e-12)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Tree], list[Tree], int]:
    """A forest, the same forest with trees and branches in another order, and a budget of tokens per pack."""
    forest = draw(forests)
    other = [Tree.of(*draw(st.permutations(tree.sequences))) for tree in draw(st.permutations(forest))]
    return forest, other, draw(st.integers(1, sum(tree.run_tokens for tree in forest)))


@settings(max_examples=40, deadline=None)
@given(layout=layouts(), family=families, window=windows, pieces=pieces)
def test_any_order_of_trees_and_branches_and_any_packing_gives_the_same(
    layout: tuple[list[Tree], list[Tree], int], family: str, window: int | None, pieces: Pieces
) -> None:
    with InDouble(), pieces():
        check_layout(models(family, window)[0], *layout, tolerance=1e-12)


@settings(max_examples=20, deadline=None)
@given(layout=layouts(), family=families, window=windows)
def test_so_it_does_in_fp32(layout: tuple[list[Tree], list[Tree], int], family: str, window: int | None) -> None:
    check_layout(models(family, window, torch.float32)[0], *layout, tolerance=1e-5)


def check_layout(model: PreTrainedModel, forest: list[Tree], other: list[Tree], budget: int, tolerance: float) -> None:
    found, slopes = [], []
    for trees_now, budget_now in ((forest, 10**6), (other, budget)):
        sequences = [one for tree in trees_now for one in tree.sequences]
        logps = flat(packed_logps(model, trees_now, budget_now))
        found.append(dict(zip(sequences, logps, strict=True)))
        slopes.append(torch.cat([slope.flatten() for slope in gradients(model, weighted(logps, sequences)).values()]))
    before, after = found
    assert error(torch.cat([after[one] for one in before]), torch.cat(list(before.values()))) <= tolerance
    assert error(slopes[1], slopes[0]) <= tolerance


@st.composite
def forests_without_repeats(draw: st.DrawFn) -> list[Tree]:
    """No token occurs twice, but for what the branches of a tree share."""
    fresh = iter(draw(st.permutations(range(3, VOCABULARY))))
    ids = lambda count: list(itertools.islice(fresh, count))  # noqa: E731
    forest = []
    for _ in range(draw(st.integers(1, 4))):
        prompt, opening = ids(draw(length)), ids(draw(st.integers(0, 3)))
        forest.append(Tree.of(*(sequence(prompt, opening + ids(draw(length))) for _ in range(draw(st.integers(1, 5))))))
    return forest


@settings(max_examples=60, deadline=None)
@given(forest=forests_without_repeats(), family=families, window=windows, pieces=pieces, data=st.data())
def test_a_token_is_predicted_from_what_its_own_sequence_holds_before_it_and_from_nothing_else(
    forest: list[Tree], family: str, window: int | None, pieces: Pieces, data: st.DataObject
) -> None:
    """The embedding's gradient tells: where no token occurs twice, its row of a token is that token's influence."""
    sequences = [each for tree in forest for each in tree.sequences]
    one = data.draw(st.sampled_from(sequences))
    index = data.draw(st.sampled_from([index for index, mark in enumerate(one.scored) if mark]))
    with InDouble(), pieces():
        model, _ = models(family, window)
        logps_M = dict(zip(sequences, flat(packed_logps(model, forest)), strict=True))[one]
        [slope_VD] = torch.autograd.grad(logps_M[sum(one.scored[:index])], [model.get_input_embeddings().weight])
    reach = LAYERS * (window - 1) + 1 if family == "mistral" and window else len(one.ids)
    seen = set(slope_VD.abs().sum(1).nonzero()[:, 0].tolist())
    assert seen == set(one.ids[max(0, index - reach) : index])


@settings(max_examples=40, deadline=None)
@given(forest=forests_without_repeats(), family=families, window=windows, pieces=pieces, data=st.data())
def test_another_token_changes_what_follows_it_in_its_own_sequence_and_nothing_else(
    forest: list[Tree], family: str, window: int | None, pieces: Pieces, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(forest) - 1))
    tree = forest[number]
    branch = data.draw(st.integers(0, len(tree.sequences) - 1))
    one = tree.sequences[branch]
    index = data.draw(st.integers(tree.prefix, len(one.ids) - 1))
    changed = TokenSequence((*one.ids[:index], 2, *one.ids[index + 1 :]), one.scored)
    branches = [*tree.sequences[:branch], changed, *tree.sequences[branch + 1 :]]
    with InDouble(), pieces():
        model, _ = models(family, window)
        before = packed_logps(model, forest)
        after = packed_logps(model, [*forest[:number], Tree.of(*branches), *forest[number + 1 :]])
    mine, other = before[number].pop(branch), after[number].pop(branch)
    rest = sum(one.scored[:index])
    same = [*zip(flat(before), flat(after), strict=True), (mine[:rest], other[:rest])]
    assert all(torch.allclose(a, b, rtol=1e-13, atol=0) for a, b in same)
    assert mine[rest] != other[rest]


@given(sizes=st.lists(st.integers(2, 60), min_size=1, max_size=40), budget=st.integers(10, 90))
def test_a_plan_places_every_tree_once_and_keeps_to_its_budget(sizes: list[int], budget: int) -> None:
    forest = [Tree.of(sequence([3], list(range(3, n + 2)))) for n in sizes]
    packs = plan(forest, budget)
    assert sorted(itertools.chain.from_iterable(packs)) == list(range(len(forest)))
    for members in packs:
        assert len(members) == 1 or sum(forest[index].run_tokens for index in members) <= budget
