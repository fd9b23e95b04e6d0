"""The recipe file: an ordered mapping of steps, typed, strict, every error with its line."""

from favonius.recipe.load import load_recipe
from favonius.recipe.model import AnyStage, Recipe

__all__ = ["AnyStage", "Recipe", "load_recipe"]
