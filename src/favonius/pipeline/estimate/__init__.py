"""How much work a recipe asks for, before any of it is done."""

from favonius.pipeline.estimate.amounts import Asks, Estimate, dollars
from favonius.pipeline.estimate.steps import estimate

__all__ = ["Asks", "Estimate", "dollars", "estimate"]
