"""Reads a recipe file: everything that can be known to be wrong is said before anything is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from favonius.errors import UserError
from favonius.recipe.document import Document, KeyPath, read_document
from favonius.recipe.model import Recipe, validated
from favonius.recipe.override import override
from favonius.recipe.parameters import fill_in
from favonius.recipe.problems import Problem, problems_of
from favonius.recipe.references import check_references
from favonius.recipe.rounds import resolved, unroll


def load_recipe(
    path: Path, overrides: Sequence[str] = (), with_ablations: bool = False, check_files: bool = True
) -> Recipe:
    """The recipe at `path` with each `key.path=value` of `overrides` in its place, and plain steps for rounds.

    Without `with_ablations`, ablation steps and the entries that name them are gone. `check_files` asks for the
    files that the steps read. Raises UserError with one line per problem:
    `recipes/x.yaml:17: steps.ddpo.learning_rte: unknown key; did you mean learning_rate?`
    """
    document = read_document(path)
    if not isinstance(document.value, dict):
        raise UserError(f"{path}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}")
    for text in overrides:
        document = override(document, text)
    rounds = unroll(document)
    _refuse(document, rounds.problems)
    document, unknown = fill_in(rounds.into(document))
    _refuse(document, unknown)
    try:
        recipe = resolved(validated(document.value), rounds.scopes)
        _refuse(document, check_references(recipe, path.parent if check_files else None))
        without = recipe.without_ablations()
        _refuse(document, check_references(without, None, recipe.ablations()))
    except ValidationError as error:
        raise _refusal(document, problems_of(error, Recipe)) from None
    return recipe if with_ablations else without


def _refuse(document: Document, problems: list[Problem]) -> None:
    if problems:
        raise _refusal(document, problems)


def _refusal(document: Document, problems: list[Problem]) -> UserError:
    """A mistake in a block of rounds is told once, of the first round that shows it."""
    first: dict[KeyPath, KeyPath] = {}
    told = (
        document.error(problem.path, problem.sentence)
        for problem in problems
        if first.setdefault(document.as_written(problem.path), problem.path) == problem.path
    )
    return UserError("\n".join(told))
