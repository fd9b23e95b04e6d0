"""The judge of the tree step: plain transformers, eager attention, one sequence alone, full logits, autograd."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from favonius.trees import blocks, head
from favonius.trees.pack import pack, plan
from favonius.trees.score import score
from favonius.trees.tree import TokenSequence, Tree
from tests.tiny import VOCABULARY, tiny_model


@contextmanager
def in_small_pieces() -> Iterator[None]:
    """Inside, tiny models meet the seams of large ones: blocks of attention, tiles of the head, logits made again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", 3)
        patch.setattr(head, "CPU_TILE", 2000)
        patch.setattr(head, "KEEP_BYTES", 100_000)
        yield


class InDouble(TorchFunctionMode):
    """Inside, whoever asks for fp32 gets fp64.

    Transformers casts to fp32 in its norms, rotary tables and eager softmax whatever the model's precision, so an
    fp64 model still rounds as fp32 does. Two ways of computing one formula then differ by 1e-7, as two formulas may
    that are only nearly the same; without the casts they agree to 1e-14, or they are not the same formula.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.float:
            function = Tensor.double
        widened = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return function(*map(_wide, args), **widened)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def twins(family: str, dtype: torch.dtype, **changes: object) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Equal models: the first with favonius attention, the second with transformers' eager one.

    Norms and biases, which begin as ones and zeros, are moved: a step that left them out must not go unseen.
    """
    models = tuple(tiny_model(family, dtype, attention, **changes) for attention in ("favonius", "eager"))
    for model in models:
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return models


def draw(rng: random.Random, count: int, vocabulary: int = VOCABULARY) -> list[int]:
    return [rng.randrange(3, vocabulary) for _ in range(count)]


def grow(
    rng: random.Random, prompt: int, answers: Sequence[int], shared: int = 0, vocabulary: int = VOCABULARY
) -> Tree:
    """A tree of len(answers) branches: a prompt, `shared` scored tokens that all answers open with, and the rest."""
    common, opening = draw(rng, prompt, vocabulary), draw(rng, shared, vocabulary)
    return Tree.of(
        *(
            TokenSequence.of(
                common + opening + draw(rng, answer, vocabulary), [False] * prompt + [True] * (shared + answer)
            )
            for answer in answers
        )
    )


def talk(rng: random.Random, *turns: int) -> Tree:
    """A tree of one branch whose turns of so many tokens are, by turns, unscored and scored."""
    scored = [index % 2 == 1 for index, length in enumerate(turns) for _ in range(length)]
    return Tree.of(TokenSequence.of(draw(rng, len(scored)), scored))


def plain_logps(model: PreTrainedModel, sequence: TokenSequence) -> Tensor:
    """Log-probs of the scored tokens of one sequence, run alone."""
    logits_TV = model(input_ids=torch.tensor([sequence.ids])).logits[0, :-1]
    logps_T = torch.log_softmax(logits_TV, -1).gather(1, torch.tensor(sequence.ids[1:])[:, None])[:, 0]
    return logps_T[torch.tensor(sequence.scored[1:])]


def packed_logps(model: PreTrainedModel, trees: Sequence[Tree], budget: int = 100_000) -> list[list[Tensor]]:
    """Log-probs of the scored tokens of each sequence of each tree, from packs of at most `budget` tokens."""
    found: dict[int, list[Tensor]] = {}
    for members in plan(trees, budget):
        chosen = [trees[index] for index in members]
        logps = score(model, pack(chosen))
        sequences = iter([logps.values_M[logps.sequence_M == number] for number in range(logps.sequences)])
        found |= {i: [next(sequences) for _ in tree.sequences] for i, tree in zip(members, chosen, strict=True)}
    return [found[index] for index in range(len(trees))]


def flat(by_tree: list[list[Tensor]]) -> list[Tensor]:
    """One list of what belongs to sequences, tree after tree."""
    return list(itertools.chain.from_iterable(by_tree))


def gradients(model: PreTrainedModel, value: Tensor) -> dict[str, Tensor]:
    """d value / d trained parameter, by name."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(named, torch.autograd.grad(value, list(named.values())), strict=True))


def error(ours: Tensor, theirs: Tensor) -> float:
    """‖ours - theirs‖ / ‖theirs‖."""
    ours, theirs = ours.detach().double(), theirs.detach().double()
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / theirs.norm())


def unequal(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> dict[str, float]:
    """The relative errors that are above `tolerance`, by name.

    Where a gradient is nought (queries and keys, if every token sees itself alone) only rounding is left of it, and
    rounding has no relative error: what is below a billionth of the largest gradient in both is equal.
    """
    sizes = {name: max(float(each[name].detach().norm()) for each in (ours, theirs)) for name in theirs}
    nought = 1e-9 * max(sizes.values())
    errors = {name: error(ours[name], theirs[name]) for name, size in sizes.items() if size > nought}
    return {name: value for name, value in errors.items() if not value <= tolerance}  # not >: NaN is no equal
